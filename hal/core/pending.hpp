// SPDX-License-Identifier: Apache-2.0
// Work that a queue holds back.
#pragma once

#include <atomic>
#include <cassert>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "core/allocator.hpp"
#include "core/object.hpp"
#include "core/timeline.hpp"

namespace hal::core {

inline constexpr hal_command kBarrier{HAL_OP_BARRIER, 0, nullptr, {}};

// A submission that cannot begin yet. Everything that it will ever need, the ways into timelines and to the threads of
// the core too, is made with it, before the submission is accepted.
struct Pending {
  // A copy of the commands and of everything they point to, with room for so many waits. Throws std::bad_alloc.
  static Ref<Pending> make(const hal_allocator& from, std::span<const hal_command> given, std::size_t most_waits);

  hal_object object;  // owners: the queue, each wait that goes on, the thread that runs the function
  Ref<Pending> next;  // in the queue's list
  std::uint64_t first = 0;
  std::uint32_t taken = 0;  // the lane took this many already
  HostVector<hal_command> commands;
  HostVector<hal_arg> args;
  HostVector<std::string> texts;         // names of permutations
  hal_host_function function = nullptr;  // a host call instead of commands; a barrier takes its number when it returns
  void* user = nullptr;
  // For its turn, then for a thread; running and returned are set under the queue's lock by that thread.
  enum class Call { none, waiting, posted, running, returned } call = Call::none;
  bool counts = true;  // towards the declared limit: one part of each submission does
  hal_site site{};

  // `point` is guarded by failure_mutex; a wait that ended has none: a timeline that goes ends its waits first.
  struct Wait : Waiter {
    hal_point point{};
    Pending* pending = nullptr;
  };
  HostVector<Wait> waits;
  std::atomic<std::size_t> unresolved{0};
  std::mutex failure_mutex;
  hal_error* failure = nullptr;

  Queue* queue = nullptr;  // every owner but the queue itself is one of the queue's, too
  Engine::Unfinished unfinished{};
  Task call_task;             // runs the function,
  hal_error* told = nullptr;  // with this if its turn never comes

  std::uint64_t last() const { return first + commands.size() - 1; }
  void add_wait(const hal_point& point) {
    assert(waits.size() < waits.capacity());  // no memory is asked for here
    waits.emplace_back().point = point;
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

 private:
  friend struct Storage;
  explicit Pending(const hal_allocator& from)
      : commands(FromHost<hal_command>(from)),
        args(FromHost<hal_arg>(from)),
        texts(FromHost<std::string>(from)),
        waits(FromHost<Wait>(from)) {}
  ~Pending() { hal_release(failure); }
};

// First in, first out.
class PendingList {
 public:
  PendingList() = default;
  PendingList(const PendingList&) = delete;
  PendingList& operator=(const PendingList&) = delete;
  ~PendingList() {  // one after the other: the stack is not as deep as a queue may be long
    while (!empty()) { pop_front(); }
  }

  bool empty() const { return !first_; }
  Pending& front() const { return *first_; }
  Pending* back() const { return last_; }
  // What came behind `one`; the first if it is NULL.
  Pending* after(Pending* one) const { return one != nullptr ? one->next.get() : first_.get(); }
  void push_back(Ref<Pending> pending) {
    Pending* last = pending.get();
    (last_ != nullptr ? last_->next : first_) = std::move(pending);
    last_ = last;
  }
  Ref<Pending> pop_front() {
    Ref<Pending> head = std::move(first_);
    first_ = std::move(head->next);
    if (!first_) { last_ = nullptr; }
    return head;
  }

 private:
  Ref<Pending> first_;
  Pending* last_ = nullptr;
};

}  // namespace hal::core
