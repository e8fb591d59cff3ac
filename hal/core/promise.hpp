// SPDX-License-Identifier: Apache-2.0
// What work is to signal to a timeline, kept so that what has come of it is found without a look at each.
//
// Of one lane's promises those that count rise in number and in value: one that comes later on its lane and promises no
// more changes nothing, whatever becomes of it. A lane reaches the first of them and loses the last, so a look costs a
// question or two for each lane, and each promise comes and goes once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

namespace hal::core {

// "This value once that lane has completed that number."
struct Promised {
  std::uint64_t promised = 0, number = 0;
  const void* lane = nullptr;
  // Under the lock of the timeline that is signalled:
  bool listed = false, watched = false;  // a set has it; somebody is told when it ends
  Promised* following = nullptr;         // in a list of some that leave the set, or are to be watched

 private:
  friend class PromiseSet;
  std::uint64_t given = 0;                        // how many came before it
  Promised *earlier = nullptr, *later = nullptr;  // of its lane
  std::uint64_t depth = 0;                        // one more than of the earlier one,
  Promised* jump = nullptr;                       // and the one whose depth lacks the lowest bit of it; it may be gone
  Promised *idle_before = nullptr, *idle_behind = nullptr;  // of its lane, those that nobody watches
  // The first of its lane has:
  Promised *last = nullptr, *last_idle = nullptr, *next_lane = nullptr;
};

class PromiseSet {
 public:
  bool empty() const { return lanes_ == nullptr; }

  // What can change nothing any more goes to `gone`, here and below: `made` itself, too.
  void add(Promised& made, Promised*& gone);

  struct View {
    std::uint64_t kept = 0;  // the value, by all that is reached
    std::uint64_t open = 0;  // the most that may still come
    // The highest that is lost, of equals the one given first, if it is above both. Goes with `gone`.
    const Promised* lost = nullptr;
  };
  // `reached` and `lost` tell of one promise.
  template <class Reached, class Lost>
  View look(std::uint64_t value, Reached reached, Lost lost, Promised*& gone);

  // Calls with the lowest of each lane that promises `value` or more.
  template <class Function>
  void each_bringing(std::uint64_t value, Function function) const;
  // The lowest of all, of lanes that have not lost it; NULL if there is none.
  template <class Lost>
  const Promised* bringing(std::uint64_t value, Lost lost) const;

  // All from `value` up that nobody watches yet. They count as watched now.
  Promised* watch_from(std::uint64_t value);

  void clear(Promised*& gone);

  // One that is watched stays with whoever watches.
  static void drop(Promised& one, Promised*& gone);

 private:
  // `at` leads to the first of a lane, or to where it will be.
  static void push(Promised** at, bool has_others, Promised& made, Promised*& gone);
  // False if nothing of that lane is left; then `at` leads to the next one.
  static bool pop_first(Promised** at, Promised*& gone);
  static bool pop_last(Promised** at);
  static void leave_idle(Promised& first, Promised& one);
  static std::uint64_t jump_depth(const Promised& one) { return one.depth & (one.depth - 1); }
  static const Promised& first_from(std::uint64_t value, const Promised& first);
  void weigh(Promised& lost, Promised*& gone);

  Promised* lanes_ = nullptr;  // the first promise of each
  Promised* lost_ = nullptr;   // promised as much as one that is open
  std::uint64_t given_ = 0;
};

inline void PromiseSet::drop(Promised& one, Promised*& gone) {
  one.listed = false;
  if (!one.watched) { one.following = std::exchange(gone, &one); }
}

inline bool PromiseSet::pop_first(Promised** at, Promised*& gone) {
  Promised& first = **at;
  Promised* const later = first.later;
  if (later == nullptr) {
    *at = first.next_lane;
  } else {
    leave_idle(first, first);
    later->earlier = nullptr;
    later->last = first.last;
    later->last_idle = first.last_idle;
    later->next_lane = first.next_lane;
    *at = later;
  }
  drop(first, gone);
  return later != nullptr;
}

template <class Reached, class Lost>
PromiseSet::View PromiseSet::look(std::uint64_t value, Reached reached, Lost lost, Promised*& gone) {
  View view{value, 0, nullptr};
  for (Promised** at = &lanes_; *at != nullptr;) {
    bool is_left = true;
    while (is_left && ((*at)->promised <= view.kept || reached(**at))) {
      view.kept = std::max(view.kept, (*at)->promised);
      is_left = pop_first(at, gone);
    }
    while (is_left && lost(*(*at)->last)) {
      Promised& one = *(*at)->last;
      is_left = pop_last(at);
      weigh(one, gone);
    }
    if (is_left) {
      view.open = std::max(view.open, (*at)->last->promised);
      at = &(*at)->next_lane;
    }
  }
  if (lost_ != nullptr && (lost_->promised != view.open || lost_->promised <= view.kept)) {
    if (lost_->promised > std::max(view.open, view.kept)) { view.lost = lost_; }
    drop(*std::exchange(lost_, nullptr), gone);
  }
  return view;
}

template <class Function>
void PromiseSet::each_bringing(std::uint64_t value, Function function) const {
  for (const Promised* first = lanes_; first != nullptr; first = first->next_lane) {
    if (first->last->promised >= value) { function(first_from(value, *first)); }
  }
}

template <class Lost>
const Promised* PromiseSet::bringing(std::uint64_t value, Lost lost) const {
  const Promised* best = nullptr;
  each_bringing(value, [&](const Promised& one) {
    if ((best == nullptr || one.promised < best->promised) && !lost(one)) { best = &one; }
  });
  return best;
}

}  // namespace hal::core
