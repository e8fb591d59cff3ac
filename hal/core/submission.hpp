// SPDX-License-Identifier: Apache-2.0
// From what a user submits to what a driver gets: checked, slots filled in, recordings unrolled.
#pragma once

#include <span>
#include <vector>

#include "core/allocator.hpp"
#include "core/device.hpp"
#include "hal/result.hpp"

namespace hal::core {

// Commands ready for a driver. `args` backs the runs whose arguments had slots; its storage never moves once filled.
struct Batch {
  std::vector<hal_command> commands;
  std::vector<hal_arg> args;
  std::vector<std::vector<hal_arg>> bound;  // argument lists with extents behind them
  // Positions of commands that the core itself carries out; the rest is the driver's.
  bool plain = true;

  void clear() {
    commands.clear();
    args.clear();
    bound.clear();
    plain = true;
  }
};

// True for a copy one side of which is a buffer that only another device can reach.
bool crosses_devices(const Device& device, const hal_command& command);

// Checks `commands` for `device` and appends them to `out`. Slots are an error unless `slots_allowed`.
// Errors as hal_queue_submit(); each names the command's index, label and what is wrong.
Result<void> lower(Device& device, std::span<const hal_command> commands, Batch& out);

}  // namespace hal::core
