// SPDX-License-Identifier: Apache-2.0
// The process that runs cases. It reads their names from standard input, one a line, and reports on a descriptor.
#pragma once

#include <cstdint>
#include <string>

namespace hal::conformance {

struct WorkerSettings {
  std::string device;       // URI; empty: the first usable device of the drivers
  std::string drivers;      // as hal_instance_desc::drivers; empty: the default
  std::string fault;        // ID of a seeded fault; the drivers are then those of the shim
  std::string fault_inner;  // name or path of the driver that the shim wraps
  std::uint64_t deadline_ms = 5000;
  std::uint64_t seed = 1;
};

inline constexpr int kStreamDescriptor = 3;

// Runs the worker; returns the exit code of the process.
int run_worker(const WorkerSettings& settings);

}  // namespace hal::conformance
