// SPDX-License-Identifier: Apache-2.0
// What a device has done of a lane whose commands it executes by itself, told to the core: commands that are done, and
// the lane's failure. Nothing here needs memory.
//
// Once the core knows of a failure it gives back all memory that the lane's commands name, also of those that never
// began. So a failure goes one way, in every driver:
//   keep      fail() or lose() keeps it; from now on submit() hands nothing over. Of several the earliest counts.
//   wait      What is before it is published as it becomes done; it, and what is behind it, never is.
//   stop      When everything before it is done the device is stopped, until nothing moves bytes for the lane any more.
//   publish   What turned out to be done before it.
//   tell      Once, and nothing is published behind it.
// One thread at a time does all this, so no publish is on its way when the failure is told; whoever comes meanwhile
// lets that thread look once more, and goes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "hal/driver.h"

namespace hal::kit {

// What a lane knows of its device. Called inside look() only, so by one thread at a time, with no lock held.
class DeviceLane {
 public:
  // The last command that the device has done. What it needed has been given back when this returns. Says fail() or
  // lose() if the device reports that something has gone wrong.
  virtual std::uint64_t done() noexcept = 0;
  // The lane has failed, and everything before that is done, or the device is lost. True when nothing moves bytes for
  // the lane any more, or ever will; false: not yet, and the driver sees to it that look() is called again.
  virtual bool stop() noexcept = 0;

 protected:
  ~DeviceLane() = default;
};

// All functions may be called from any thread.
class LaneProgress {
 public:
  LaneProgress(hal_lane& lane, DeviceLane& device) : lane_(lane), device_(device) {}
  LaneProgress(const LaneProgress&) = delete;
  LaneProgress& operator=(const LaneProgress&) = delete;
  ~LaneProgress() {
    hal_release(error_);
    hal_release(loss_);
  }

  // True: submit() takes what comes and hands nothing over, for nothing of it executes or is published.
  bool failed() const { return failed_.load(std::memory_order_seq_cst); }
  bool is_told() const { return told_.load(std::memory_order_seq_cst); }

  // Command `number` has failed. Ownership of `error` passes. Call look() behind it, from here or another thread.
  void fail(std::uint64_t number, hal_error* error) noexcept {
    keep(error_, error, [&] {
      const bool takes = error_ == nullptr || number < number_;
      if (takes) { number_ = number; }
      return takes;
    });
  }
  // The device is lost. The lane fails at the first command that turns out not to be done.
  void lose(hal_error* error) noexcept {
    keep(loss_, error, [&] { return loss_ == nullptr; });
  }

  // Something may have come to its end, or failed. True if something was published or told.
  bool look() noexcept {
    if (lookers_.fetch_add(1, std::memory_order_seq_cst) != 0) { return false; }
    bool moved = false;
    for (std::uint32_t seen = 1;;) {
      moved = look_once() || moved;
      if (lookers_.compare_exchange_strong(seen, 0, std::memory_order_seq_cst)) { return moved; }
    }
  }

 private:
  // Keeps `error` in `place` if `takes` says so. Needs no lock; `takes` has it.
  template <class Takes>
  void keep(hal_error*& place, hal_error* error, Takes takes) noexcept {
    {
      const std::lock_guard lock(mutex_);
      if (!is_told() && takes()) {
        std::swap(place, error);
        failed_.store(true, std::memory_order_seq_cst);
      }
    }
    hal_release(error);
  }

  // Where the lane fails if the device does no more than `done` commands. Needs the mutex.
  std::uint64_t first_bad(std::uint64_t done) const noexcept {
    const std::uint64_t number = error_ != nullptr ? number_ : UINT64_MAX;
    return loss_ != nullptr ? std::min(number, done + 1) : number;
  }

  bool look_once() noexcept {
    if (is_told()) { return false; }
    const std::uint64_t done = device_.done();
    std::uint64_t bad = UINT64_MAX;
    if (failed()) {
      const std::lock_guard lock(mutex_);
      bad = first_bad(done);
    }
    const bool moved = publish(std::min(done, bad - 1));
    if (bad > done + 1 || !device_.stop()) { return moved; }
    tell(device_.done());
    return true;
  }

  bool publish(std::uint64_t number) noexcept {
    if (number <= hal_lane_completed(&lane_)) { return false; }
    hal_lane_publish(&lane_, number);
    return true;
  }

  void tell(std::uint64_t done) noexcept {
    hal_error* error = nullptr;
    std::uint64_t bad = 0;
    {
      const std::lock_guard lock(mutex_);
      bad = first_bad(done);
      error = std::exchange(error_ != nullptr && number_ == bad ? error_ : loss_, nullptr);
      told_.store(true, std::memory_order_seq_cst);
    }
    publish(bad - 1);
    hal_lane_fail(&lane_, bad, error);
  }

  hal_lane& lane_;
  DeviceLane& device_;
  mutable std::mutex mutex_;  // of the failure
  hal_error *error_ = nullptr, *loss_ = nullptr;
  std::uint64_t number_ = 0;  // of the command that error_ is about
  std::atomic<bool> failed_{false}, told_{false};
  std::atomic<std::uint32_t> lookers_{0};
};

}  // namespace hal::kit
