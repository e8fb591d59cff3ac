// SPDX-License-Identifier: Apache-2.0
// Work that a queue holds back.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/allocator.hpp"
#include "core/object.hpp"

namespace hal::core {

inline constexpr hal_command kBarrier{HAL_OP_BARRIER, 0, nullptr, {}};

// A submission that cannot begin yet.
struct Pending {
  explicit Pending(const hal_allocator& from) : commands(FromHost<hal_command>(from)), args(FromHost<hal_arg>(from)) {}
  static std::shared_ptr<Pending> make(const hal_allocator& from) {
    return std::allocate_shared<Pending>(FromHost<Pending>(from), from);
  }

  std::uint64_t first = 0;
  std::uint32_t taken = 0;  // the lane took this many already
  HostVector<hal_command> commands;
  HostVector<hal_arg> args;
  std::deque<std::string> texts;         // names of permutations
  hal_host_function function = nullptr;  // a host call instead of commands; a barrier takes its number when it returns
  void* user = nullptr;
  enum class Call { none, waiting, running, returned } call = Call::none;
  bool counts = true;  // towards the declared limit: one part of each submission does
  hal_site site{};
  std::vector<hal_point>
      waits;  // guarded by failure_mutex; a wait that ended is {}: a timeline that goes ends its waits first
  std::atomic<std::size_t> unresolved{0};
  std::mutex failure_mutex;
  hal_error* failure = nullptr;

  std::uint64_t last() const { return first + commands.size() - 1; }
  void ended(std::size_t i) {
    const std::lock_guard lock(failure_mutex);
    waits[i] = {};
  }
  void fail(hal_error* error) {
    const std::lock_guard lock(failure_mutex);
    if (failure == nullptr) {
      failure = error;
    } else {
      hal_release(error);
    }
  }
  hal_error* take_failure() {
    const std::lock_guard lock(failure_mutex);
    return std::exchange(failure, nullptr);
  }
  ~Pending() { hal_release(failure); }
};

}  // namespace hal::core
