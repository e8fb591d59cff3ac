// SPDX-License-Identifier: Apache-2.0
#include "fabric/circuits/circuit.hpp"

#include <algorithm>
#include <utility>

namespace hal::fabric {

const char* name_of(CircuitState state) noexcept {
  switch (state) {
    case CircuitState::dark:
      return "dark";
    case CircuitState::switching:
      return "switching";
    case CircuitState::locking:
      return "locking";
    case CircuitState::up:
      return "up";
    case CircuitState::degraded:
      return "degraded";
    case CircuitState::failed:
      return "failed";
  }
  return "unknown";
}

void Circuit::begin(Phase phase) {
  if (!phases_.empty()) { phase.at = std::max(phase.at, phases_.back().at); }
  phases_.push_back(std::move(phase));
}

const Circuit::Phase* Circuit::phase(Picoseconds t) const noexcept {
  const auto after =
      std::upper_bound(phases_.begin(), phases_.end(), t, [](Picoseconds when, const Phase& p) { return when < p.at; });
  return after == phases_.begin() ? nullptr : &*(after - 1);
}

bool Circuit::up(Picoseconds t) const noexcept {
  const Phase* now = phase(t);
  return now != nullptr && t >= now->up_at;
}

Picoseconds Circuit::next_change(Picoseconds t) const noexcept {
  Picoseconds next = kNever;
  if (const Phase* now = phase(t); now != nullptr && now->up_at > t) { next = now->up_at; }
  const auto after =
      std::upper_bound(phases_.begin(), phases_.end(), t, [](Picoseconds when, const Phase& p) { return when < p.at; });
  return after == phases_.end() ? next : std::min(next, after->at);
}

bool Circuit::ever_lit() const noexcept {
  return std::any_of(phases_.begin(), phases_.end(), [](const Phase& p) { return p.light_at != kNever; });
}

}  // namespace hal::fabric
