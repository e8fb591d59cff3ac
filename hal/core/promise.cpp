// SPDX-License-Identifier: Apache-2.0
#include "core/promise.hpp"

namespace hal::core {

void PromiseSet::add(Promised& made, Promised*& gone) {
  made.listed = true;
  made.given = given_++;
  Promised** at = &lanes_;
  while (*at != nullptr && (*at)->lane != made.lane) { at = &(*at)->next_lane; }
  bool has_others = *at != nullptr;
  // Threads that submit to one queue at a time may come here in another order than they got their numbers in.
  Promised* behind = nullptr;
  while (has_others && (*at)->last->number > made.number) {
    Promised& one = *(*at)->last;
    has_others = pop_last(at);
    one.following = std::exchange(behind, &one);
  }
  push(at, has_others, made, gone);
  while (behind != nullptr) {
    Promised& one = *std::exchange(behind, behind->following);
    push(at, true, one, gone);
  }
}

void PromiseSet::push(Promised** at, bool has_others, Promised& made, Promised*& gone) {
  if (!has_others) {
    made.earlier = made.jump = nullptr;
    made.depth = 1;
    made.last_idle = nullptr;
    made.next_lane = std::exchange(*at, &made);
  } else {
    Promised& last = *(*at)->last;
    if (last.promised >= made.promised) {
      drop(made, gone);
      return;
    }
    made.earlier = &last;
    last.later = &made;
    made.depth = last.depth + 1;
    made.jump = &last;
    while (made.jump != nullptr && made.jump->depth > jump_depth(made)) {
      made.jump = jump_depth(*made.jump) >= (*at)->depth ? made.jump->jump : nullptr;
    }
  }
  made.later = nullptr;
  Promised& first = **at;
  first.last = &made;
  if (made.watched) { return; }
  made.idle_before = std::exchange(first.last_idle, &made);
  made.idle_behind = nullptr;
  if (made.idle_before != nullptr) { made.idle_before->idle_behind = &made; }
}

// Of one that is watched nothing is left to be done.
void PromiseSet::leave_idle(Promised& first, Promised& one) {
  if (first.last_idle == &one) { first.last_idle = one.idle_before; }
  if (one.idle_before != nullptr) { one.idle_before->idle_behind = one.idle_behind; }
  if (one.idle_behind != nullptr) { one.idle_behind->idle_before = one.idle_before; }
  one.idle_before = one.idle_behind = nullptr;
}

bool PromiseSet::pop_last(Promised** at) {
  Promised& first = **at;
  Promised& last = *first.last;
  leave_idle(first, last);
  if (&last == &first) {
    *at = first.next_lane;
    return false;
  }
  first.last = last.earlier;
  first.last->later = nullptr;
  return true;
}

void PromiseSet::weigh(Promised& lost, Promised*& gone) {
  Promised* other = &lost;
  if (lost_ == nullptr || lost.promised > lost_->promised ||
      (lost.promised == lost_->promised && lost.given < lost_->given)) {
    other = std::exchange(lost_, &lost);
  }
  if (other != nullptr) { drop(*other, gone); }
}

const Promised& PromiseSet::first_from(std::uint64_t value, const Promised& first) {
  if (first.promised >= value) { return first; }
  const Promised* one = first.last;
  while (one->earlier != nullptr && one->earlier->promised >= value) {
    const bool far = jump_depth(*one) >= first.depth && one->jump->promised >= value;
    one = far ? one->jump : one->earlier;
  }
  return *one;
}

Promised* PromiseSet::watch_from(std::uint64_t value) {
  Promised* asked = nullptr;
  for (Promised* first = lanes_; first != nullptr; first = first->next_lane) {
    while (first->last_idle != nullptr && first->last_idle->promised >= value) {
      Promised& one = *first->last_idle;
      leave_idle(*first, one);
      one.watched = true;
      one.following = std::exchange(asked, &one);
    }
  }
  return asked;
}

void PromiseSet::clear(Promised*& gone) {
  while (lanes_ != nullptr) { pop_first(&lanes_, gone); }
  if (lost_ != nullptr) { drop(*std::exchange(lost_, nullptr), gone); }
}

}  // namespace hal::core
