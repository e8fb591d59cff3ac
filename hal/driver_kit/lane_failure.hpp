// SPDX-License-Identifier: Apache-2.0
// The failure of a lane whose commands a device does by itself. It is found where a command cannot be handed over, or
// in what the device reports, while commands before it are still under way: it is kept until those are published, and
// told to the core once. Nothing here needs memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "hal/driver.h"

namespace hal::kit {

// All functions may be called from any thread. No lock is held while the core is called.
//
// Whoever sets a failure looks at the device's count of finished commands afterwards, and whoever moves that count
// looks here afterwards, each in the one order of all threads: so one of the two sees that the failure can be told.
class LaneFailure {
 public:
  LaneFailure() = default;
  LaneFailure(const LaneFailure&) = delete;
  LaneFailure& operator=(const LaneFailure&) = delete;
  ~LaneFailure() { hal_release(error_); }

  // True: submit() takes what comes and hands nothing over, for nothing of it executes or is published.
  bool is_set() const { return set_.load(std::memory_order_seq_cst); }
  bool is_told() const { return told_.load(std::memory_order_seq_cst); }

  // Command `number` has failed; ownership of `error` passes. Of several the earliest command counts.
  void set(std::uint64_t number, hal_error* error) noexcept {
    hal_error* dropped = error;
    {
      const std::lock_guard lock(mutex_);
      if (!is_told() && (error_ == nullptr || number < number_)) {
        dropped = std::exchange(error_, error);
        number_ = number;
        set_.store(true, std::memory_order_seq_cst);
      }
    }
    hal_release(dropped);
  }

  // The last command up to `number` that may still be published.
  std::uint64_t last_good(std::uint64_t number) const noexcept {
    if (!is_set()) { return number; }
    const std::lock_guard lock(mutex_);
    return number < number_ ? number : number_ - 1;
  }

  // Tells the failure if the device has done everything before it, which is `done` commands; publishes what of that is
  // not published yet. True if it was told now. `stop` is called before: from when the core knows, nothing may touch
  // memory for the lane any more.
  template <class Stop>
  bool tell(hal_lane* lane, std::uint64_t done, Stop stop) noexcept {
    hal_error* error = nullptr;
    std::uint64_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      if (error_ == nullptr || done + 1 < number_) { return false; }
      error = std::exchange(error_, nullptr);
      number = number_;
      told_.store(true, std::memory_order_seq_cst);
    }
    stop();
    if (hal_lane_completed(lane) < number - 1) { hal_lane_publish(lane, number - 1); }
    hal_lane_fail(lane, number, error);
    return true;
  }
  bool tell(hal_lane* lane, std::uint64_t done) noexcept {
    return tell(lane, done, [] {});
  }

 private:
  mutable std::mutex mutex_;  // of the failure
  hal_error* error_ = nullptr;
  std::uint64_t number_ = 0;
  std::atomic<bool> set_{false}, told_{false};
};

}  // namespace hal::kit
