// SPDX-License-Identifier: Apache-2.0
// The lane of mode=weak: keeps the border's contract and uses every freedom that it leaves. docs/host.md lists them.
//
// Every decision is a function of the seed, the lane's number on its device and a command's number. A window is full at
// numbers that nothing but these choose, whatever part of the work one submit() brings; who waits for a command of an
// open window ends it there. flush() is not heard. So the same seed and the same submissions and waits give the same
// schedule, whatever the threads do. docs/host.md says what can change it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "driver_kit/perturb.hpp"
#include "driver_kit/software_lane.hpp"
#include "hal/driver.h"
#include "host.hpp"
#include "program.hpp"
#include "weak.hpp"

namespace hal::host {

class WeakLane final : public kit::TaggedLane {
 public:
  static constexpr std::uint32_t kTag = 1;
  static constexpr std::uint32_t kInFlight = 12;      // commands; then the lane is full
  static constexpr std::uint32_t kLongestWindow = 6;  // commands that may change places
  static constexpr std::uint32_t kMostPieces = 12;    // of one fill or copy

  // Starts a thread. `number` tells the device's lanes apart. Throws: call it inside guarded().
  WeakLane(Device& device, std::uint64_t number, const char* label, void* core_object);
  ~WeakLane();
  WeakLane(const WeakLane&) = delete;
  WeakLane& operator=(const WeakLane&) = delete;

  // The entries of hal_driver_ops with the same names.
  std::uint32_t submit(std::uint64_t first, const hal_command* commands, std::uint32_t count);
  void notify();
  void help(std::uint64_t number, std::uint64_t within_ns);
  void cancel();

 private:
  // Bytes that a command reads or writes.
  struct Access {
    std::uintptr_t begin, end;
    bool writes;
  };
  struct Entry {
    std::uint64_t number = 0;
    hal_command command{};
    std::vector<hal_arg> args;
    std::vector<Access> accesses;
    bool fence = false;     // its effects are not known: it changes places with nobody
    bool may_fail = false;  // nothing after it may begin before it
    bool lost = false;      // there was no memory to describe it
    std::vector<std::pair<std::uint64_t, std::uint64_t>> pieces;  // begin, end: what is left, last first
    bool begun = false, done = false;
  };

  void describe(Entry& entry) const;
  static bool must_follow(const Entry& later, const Entry& earlier);
  void close(std::uint64_t end);
  void want(std::uint64_t number);
  void work();
  void run_windows(std::uint64_t within_ns = UINT64_MAX);
  bool run_next();
  void give_up();
  bool run_window(std::deque<Entry>& window);
  void publish_prefix(const std::deque<Entry>& window, bool late);
  hal_error* step(Entry& entry);
  hal_error* run(Entry& entry);
  void cut(Entry& entry, std::uint64_t bytes, std::uint64_t unit);
  std::uint64_t decide(std::uint32_t salt, std::uint64_t below) { return perturb_.pick(++decisions_, salt, below); }
  void lag();

  Device& device_;
  std::uint64_t lane_;
  kit::Perturb perturb_;
  std::uint64_t slowness_;  // 0 to 2: completion is not fair between lanes
  Patience patience_;
  Scratch scratch_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> waiting_;              // taken, not yet in a window that runs
  std::deque<std::uint64_t> window_ends_;  // closed windows
  std::uint64_t tail_ = 0;                 // the last command taken
  std::uint64_t closed_ = 0;               // the end of the last closed window
  std::uint64_t full_at_ = 0;              // where the open window ends if nobody waits
  bool failed_ = false, cancelled_ = false, stop_ = false;
  bool starved_ = false;  // there was no memory to take a command

  std::mutex running_;  // held by the one thread that executes
  std::uint64_t decisions_ = 0;
  std::thread worker_;
};

}  // namespace hal::host
