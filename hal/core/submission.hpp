// SPDX-License-Identifier: Apache-2.0
// From what a user submits to what a driver gets: checked, slots filled in, recordings unrolled.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <vector>

#include "core/allocator.hpp"
#include "core/device.hpp"
#include "core/object.hpp"
#include "hal/result.hpp"

namespace hal::core {

// A recorded list: checked once, replayed often.
struct Commands : hal_commands {
  explicit Commands(const hal_allocator& from)
      : commands(FromHost<hal_command>(from)), args(FromHost<hal_arg>(from)), owned(FromHost<hal_object*>(from)) {}

  Ref<Device> device;
  HostVector<hal_command> commands;
  HostVector<hal_arg> args;       // of all runs, in order
  std::deque<std::string> texts;  // names of permutations
  HostVector<hal_object*> owned;  // what the commands name, kept alive
  std::uint32_t slot_count = 0;   // one more than the highest slot named
  bool names_ranges = false;      // what is mapped there may change between replays
};

inline Commands* cast(hal_commands* handle) { return static_cast<Commands*>(handle); }

// Commands ready for a driver. `args` backs the runs whose arguments had slots; its storage never moves once filled.
struct Batch {
  std::vector<hal_command> commands;
  std::vector<hal_arg> args;
  // Positions of commands that the core itself carries out; the rest is the driver's.
  bool plain = true;

  void clear() {
    commands.clear();
    args.clear();
    plain = true;
  }
};

// True for a copy one side of which is a buffer that only another device can reach.
bool crosses_devices(const Device& device, const hal_command& command);

// Checks `commands` for `device` and appends them to `out`. Slots are an error unless `slots_allowed`.
// Errors as hal_queue_submit(); each names the command's index, label and what is wrong.
Result<void> lower(Device& device, std::span<const hal_command> commands, Batch& out);

// The same checks for a recording, whose slices may name slots.
Result<Ref<Commands>> record(Device& device, std::span<const hal_command> commands);

}  // namespace hal::core
