// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/lane.hpp"

#include <algorithm>

namespace hal::fabric {

void Lane::set(Picoseconds at, bool lit, Picoseconds relock_time) {
  const auto after = std::upper_bound(changes_.begin(), changes_.end(), at,
                                      [](Picoseconds t, const Change& change) { return t < change.at; });
  changes_.insert(after, {at, lit ? at + relock_time : kNever});
}

const Lane::Change* Lane::last_at(Picoseconds t) const noexcept {
  const auto after = std::upper_bound(changes_.begin(), changes_.end(), t,
                                      [](Picoseconds when, const Change& change) { return when < change.at; });
  return after == changes_.begin() ? nullptr : &*(after - 1);
}

bool Lane::carries(Picoseconds t) const noexcept {
  const Change* last = last_at(t);
  return last == nullptr || t >= last->usable_at;
}

bool Lane::lit(Picoseconds t) const noexcept {
  const Change* last = last_at(t);
  return last == nullptr || last->usable_at != kNever;
}

Picoseconds Lane::next_change(Picoseconds t) const noexcept {
  Picoseconds next = kNever;
  if (const Change* last = last_at(t); last != nullptr && last->usable_at > t) { next = last->usable_at; }
  const auto after = std::upper_bound(changes_.begin(), changes_.end(), t,
                                      [](Picoseconds when, const Change& change) { return when < change.at; });
  return after == changes_.end() ? next : std::min(next, after->at);
}

}  // namespace hal::fabric
