// SPDX-License-Identifier: Apache-2.0
// A driver for tests of the core: its lanes move only when the test says so. It executes fills and copies for real.
#pragma once

#include <cstdint>

#include "hal/driver.h"

namespace hal::test {

// What the module exports as `manual_control`. Lanes are named by their queue's label.
struct ManualControl {
  // Executes and publishes commands up to `number`, as far as the lane has them and its device-side waits allow.
  // Returns what it has completed.
  std::uint64_t (*complete)(const char* lane, std::uint64_t number);
  // Publishes what is before `number` and fails the lane there.
  void (*fail)(const char* lane, std::uint64_t number, hal_code code, const char* what);
  // The most commands in flight; the next submit() takes no more.
  void (*set_capacity)(const char* lane, std::uint64_t commands);
  // The last command that the lane was given.
  std::uint64_t (*taken)(const char* lane);
  // Whether lane_wait() grants what it is asked; how many it granted so far.
  void (*grant_waits)(bool yes);
  std::uint64_t (*granted)();
  // How many of the lane's commands were executed, not skipped.
  std::uint64_t (*executed)(const char* lane);
  // How often the lane was flushed: the core does it for whoever begins to wait there.
  std::uint64_t (*flushed)(const char* lane);
  // Its memory; nothing else lies in its pages.
  hal_lane* (*lane)(const char* lane);
  // Whether the host, and so other devices, cannot reach memory that is allocated from now on.
  void (*hide_memory)(bool yes);
  // Called before and after a lane is destroyed. NULL: no more.
  void (*on_destroy)(void (*hook)(bool before));
  // Called before a lane is made; it has the name that comes back. NULL: no more.
  void (*on_create)(const char* (*hook)(const char* label));
  // Whether the device has a clock, for those who open it from now on; and whether its lanes look at it at once, if
  // nothing else comes before, or like anything else when the test says so.
  void (*set_clock)(bool yes, bool at_once);
  // Called at the end of each submit(), which has taken so many commands. NULL: no more.
  void (*on_submit)(void (*hook)(const char* lane, std::uint32_t taken));
  // For how long waiting threads were lent to the lane, all together. It does nothing with them.
  std::uint64_t (*lent_ns)(const char* lane);
};

}  // namespace hal::test
