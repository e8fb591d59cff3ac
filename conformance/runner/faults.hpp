// SPDX-License-Identifier: Apache-2.0
// The suite tested: each seeded fault must be killed, each control must survive, and a driver that does nothing may
// pass no must that depends on a device.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "conformance/runner/runner.hpp"

namespace hal::conformance {

// `names` are the cases to use. Prints the kill matrix; the result is that of run().
int run_faults(const Options& options, const std::vector<std::string>& names, std::ostream& out, std::ostream& err);

}  // namespace hal::conformance
