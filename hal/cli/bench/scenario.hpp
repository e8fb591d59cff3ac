// SPDX-License-Identifier: Apache-2.0
// What is measured on each device, and against what. One repetition takes a millisecond or so.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hal/hal.hpp"

namespace hal::cli::bench {

struct Scenario {
  std::string name, device;
  bool emulated = false;
  double target_ns = 0;                  // what it should stay under; 0: none is written
  std::function<Result<double>()> ours;  // nanoseconds of one operation
  std::string peer_name;                 // empty: there is none
  std::function<double()> peer;
};

/// The scenarios that the device can run. They keep the device open.
Result<std::vector<Scenario>> scenarios_of(const Device& device);

/// Opening an instance with the host driver alone.
Scenario opening();

}  // namespace hal::cli::bench
