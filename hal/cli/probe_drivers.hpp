// SPDX-License-Identifier: Apache-2.0
// Looks at drivers in a process of their own first: one that exits, crashes or hangs while it is loaded ends that
// process, and the tool goes on without it.
#pragma once

#include <string>
#include <vector>

namespace hal::cli {

struct DriverProbe {
  std::string drivers;             // for Instance::create(): those that came back, ':'-separated
  bool all = true;                 // every driver came back: `drivers` need not be used
  std::vector<std::string> fatal;  // one line for each that did not: its file and what it did
};

// Makes an instance in child processes until one lives. Call it before the process has threads. HALYARD_DRIVERS is
// honoured. A driver gets `seconds` to load.
DriverProbe probe_drivers(unsigned seconds);

}  // namespace hal::cli
