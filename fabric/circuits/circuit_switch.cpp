// SPDX-License-Identifier: Apache-2.0
#include "fabric/circuits/circuit_switch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace hal::fabric {

bool CircuitSwitch::stuck(unsigned port, Picoseconds t) const noexcept {
  const auto found = stuck_from_.find(port);
  return found != stuck_from_.end() && found->second <= t;
}

void CircuitSwitch::stick(unsigned port, Picoseconds at) {
  const auto [found, fresh] = stuck_from_.emplace(port, at);
  if (!fresh) { found->second = std::min(found->second, at); }
}

CircuitSwitch::Change CircuitSwitch::plan(const std::vector<Cross>& wanted, Picoseconds t) const {
  Change change;
  std::map<unsigned, unsigned> next;
  std::set<unsigned> taken;
  for (const auto& [in, out] : out_of_) {
    if (stuck(in, t) || stuck(out, t)) {
      next.emplace(in, out);
      taken.insert(out);
    }
  }
  for (const Cross& cross : wanted) {
    if (const auto kept = next.find(cross.in); kept != next.end() && kept->second == cross.out) { continue; }
    const auto refuse = [&](unsigned port) {
      change.refused.push_back({cross, fmt::format("port {} of circuit switch {} is stuck", port, id_)});
    };
    if (stuck(cross.in, t) || next.contains(cross.in)) {
      refuse(cross.in);
    } else if (stuck(cross.out, t) || taken.contains(cross.out)) {
      refuse(cross.out);
    } else {
      next.emplace(cross.in, cross.out);
      taken.insert(cross.out);
    }
  }
  for (const auto& [in, out] : out_of_) {
    const auto kept = next.find(in);
    if (kept == next.end() || kept->second != out) { change.removed.push_back({in, out}); }
  }
  for (const auto& [in, out] : next) {
    const auto had = out_of_.find(in);
    if (had == out_of_.end() || had->second != out) { change.made.push_back({in, out}); }
  }
  if (!profile_.hitless && !(change.removed.empty() && change.made.empty())) {
    for (const auto& [in, out] : next) {
      const auto had = out_of_.find(in);
      if (had != out_of_.end() && had->second == out) { change.disturbed.push_back({in, out}); }
    }
  }
  return change;
}

void CircuitSwitch::commit(const Change& change) {
  for (const Cross& cross : change.removed) { out_of_.erase(cross.in); }
  for (const Cross& cross : change.made) { out_of_.insert_or_assign(cross.in, cross.out); }
}

}  // namespace hal::fabric
