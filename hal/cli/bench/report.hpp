// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/bench/measure.hpp"
#include "cli/machine.hpp"

namespace hal::cli::bench {

/// Prints the table, or with `json` one object of schema halyard-bench/2. `notes` are what peers said of themselves.
void print_report(const std::vector<Measured>& all, const std::vector<double>& probes, const Machine& machine,
                  const std::vector<std::string>& notes, int repetitions, bool json);

}  // namespace hal::cli::bench
