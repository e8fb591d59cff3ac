// SPDX-License-Identifier: Apache-2.0
// One trace of several processes: what each wrote for itself, on the machine's one monotonic clock.
#pragma once

#include <string>
#include <vector>

#include "hal/result.hpp"

namespace hal::cli::demo {

struct TracePart {
  std::string path;
  std::string prefix;  // for the names of its rows' processes
};

/// Adds the parts to the trace at `path` and removes them. A part that is not there is left out.
/// Errors  NOT_FOUND, UNAVAILABLE  files; INVALID_IMAGE  one of them is no trace
Result<void> merge_traces(const std::string& path, const std::vector<TracePart>& parts);

}  // namespace hal::cli::demo
