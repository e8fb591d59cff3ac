// SPDX-License-Identifier: Apache-2.0
#include "core/waiter.hpp"

#include <utility>

namespace hal::core {
namespace {

bool before(const Waiter& a, const Waiter& b) { return a.value != b.value ? a.value < b.value : a.order < b.order; }

// Each root owns a list of children through `next`; `back` of the first child is its parent, of others the one before.
Waiter* join(Waiter* a, Waiter* b) {
  if (a == nullptr) { return b; }
  if (b == nullptr) { return a; }
  if (before(*b, *a)) { std::swap(a, b); }
  b->next = a->child;
  if (a->child != nullptr) { a->child->back = b; }
  b->back = a;
  a->child = b;
  return a;
}

// One heap of a list of roots: neighbours first, then all of these from the last to the first.
Waiter* join_all(Waiter* roots) {
  Waiter* pairs = nullptr;
  while (roots != nullptr) {
    Waiter* one = roots;
    Waiter* two = one->next;
    roots = two != nullptr ? two->next : nullptr;
    one->next = one->back = nullptr;
    if (two != nullptr) { two->next = two->back = nullptr; }
    Waiter* pair = join(one, two);
    pair->next = pairs;
    pairs = pair;
  }
  Waiter* top = nullptr;
  while (pairs != nullptr) {
    Waiter* one = pairs;
    pairs = one->next;
    one->next = nullptr;
    top = join(top, one);
  }
  return top;
}

}  // namespace

void WaiterList::push(Waiter& waiter) {
  waiter.next = nullptr;
  (last_ != nullptr ? last_->next : first_) = &waiter;
  last_ = &waiter;
}

Waiter* WaiterList::pop() {
  Waiter* waiter = first_;
  if (waiter == nullptr) { return nullptr; }
  first_ = waiter->next;
  if (first_ == nullptr) { last_ = nullptr; }
  waiter->next = nullptr;
  return waiter;
}

void WaiterList::end_all(const hal_error* error) {
  while (Waiter* waiter = pop()) { waiter->ended(waiter->of, error); }
}

void WaiterHeap::add(Waiter& waiter) {
  waiter.child = waiter.next = waiter.back = nullptr;
  waiter.linked = true;
  top_ = join(top_, &waiter);
}

Waiter& WaiterHeap::pop() {
  Waiter& waiter = *top_;
  top_ = join_all(std::exchange(waiter.child, nullptr));
  waiter.linked = false;
  return waiter;
}

void WaiterHeap::remove(Waiter& waiter) {
  if (&waiter == top_) {
    pop();
    return;
  }
  (waiter.back->child == &waiter ? waiter.back->child : waiter.back->next) = waiter.next;
  if (waiter.next != nullptr) { waiter.next->back = waiter.back; }
  top_ = join(top_, join_all(std::exchange(waiter.child, nullptr)));
  waiter.next = waiter.back = nullptr;
  waiter.linked = false;
}

void WaiterHeap::take(std::uint64_t value, WaiterList& out) {
  while (top_ != nullptr && top_->value <= value) { out.push(pop()); }
}

}  // namespace hal::core
