// SPDX-License-Identifier: Apache-2.0
// Somebody who waits for a value of a timeline, and how a timeline keeps those who do.
#pragma once

#include <cstdint>

#include "hal/hal.h"

namespace hal::core {

// A member of what waits, or made by Timeline::when(): the timeline only links it, so that neither waiting nor ending a
// wait needs memory. At one timeline at a time.
struct Waiter {
  // Called once, on any thread, with no timeline's lock held; a queue's may be, so it must not take one. error is NULL
  // or borrowed. Must be short and must not block. From then on the waiter is the callee's, who may use it again.
  void (*ended)(void* of, const hal_error* error) = nullptr;
  void* of = nullptr;

  // Of the timeline, while `linked`.
  std::uint64_t value = 0, order = 0;
  bool linked = false, physical = false;
  Waiter *child = nullptr, *next = nullptr, *back = nullptr;
};

// First in, first out, through `next`.
class WaiterList {
 public:
  bool empty() const { return first_ == nullptr; }
  void push(Waiter& waiter);
  Waiter* pop();  // NULL at the end
  // Calls and empties. `error` as Waiter::ended.
  void end_all(const hal_error* error);

 private:
  Waiter *first_ = nullptr, *last_ = nullptr;
};

// By value, equals in the order in which they came: a pairing heap. Adding is constant time, taking away logarithmic.
class WaiterHeap {
 public:
  bool empty() const { return top_ == nullptr; }
  const Waiter* first() const { return top_; }
  void add(Waiter& waiter);
  void remove(Waiter& waiter);
  Waiter& pop();
  // Moves everything up to `value`, lowest first.
  void take(std::uint64_t value, WaiterList& out);

 private:
  Waiter* top_ = nullptr;
};

}  // namespace hal::core
