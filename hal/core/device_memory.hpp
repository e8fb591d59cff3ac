// SPDX-License-Identifier: Apache-2.0
// What one device gave to this instance, in all: the budget, the pools, and the way to make room.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "hal/hal.h"
#include "hal/result.hpp"

namespace hal::core {

struct Block;
class Device;
class Pool;

class DeviceMemory {
 public:
  explicit DeviceMemory(Device& device) : device_(device) {}

  void set_budget(std::uint64_t bytes);
  // Runs `attempt`, a driver's allocation as Result<void>, for `bytes` bytes within the
  // budget. If budget or device refuse, takes back what all pools keep and tries once more. Calls the driver, so no
  // lock may be held.
  template <class Attempt>
  Result<void> take(std::uint64_t bytes, Attempt attempt) {
    for (bool last = false;; last = true) {
      Result<void> refused = ask(bytes);
      if (refused) {
        refused = attempt();
        answered(bytes, refused.has_value());
        if (refused) { return {}; }
      }
      if (last || !worth_trimming(refused.error()) || !trim_all()) { return refused; }
    }
  }
  void give_back(std::uint64_t bytes);

  // Gives a list of blocks, linked by `next`, back to the driver. No lock may be held.
  void free_blocks(Block* list);

  void join(Pool& pool);
  void leave(Pool& pool);
  hal_pool_stats stats() const;

 private:
  Result<void> ask(std::uint64_t bytes);
  void answered(std::uint64_t bytes, bool given);
  static bool worth_trimming(const Error& error);
  bool trim_all();  // true if anything was given back

  Device& device_;
  mutable std::mutex mutex_;
  // What the driver has been asked for and has not answered uses the budget, and is not held.
  std::uint64_t held_ = 0, asked_ = 0, peak_ = 0, budget_ = 0;
  std::vector<Pool*> pools_;
};

}  // namespace hal::core
