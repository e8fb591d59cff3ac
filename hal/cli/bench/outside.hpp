// SPDX-License-Identifier: Apache-2.0
// Peers from outside the process: programs that answer row names with one line a repetition, and files of such lines.
#pragma once

#include <string>
#include <vector>

#include "cli/bench/row.hpp"

namespace hal::cli::bench {

/// Adds the peers of every program and file of `given` to the rows that they answer for. What cannot be started or does
/// not keep to the format is an error; what answers "missing" is a missing peer.
Result<void> add_peers(const std::vector<std::string>& given, std::vector<Row>& rows, std::vector<std::string>& notes);

}  // namespace hal::cli::bench
