// SPDX-License-Identifier: Apache-2.0
// What is known to happen before what: vector clocks over lanes.
//
// Every command has a lane and an epoch (its number, shifted so that a lane's slot can be used again). A clock says how
// far each lane is known to have come. A lane's clock grows by what its submissions wait for; a timeline remembers the
// clock of each signal, and who waits for a value knows what the signals have in common that may bring it; the host has
// one clock for all its threads, which grows by what any of them waits for or reads. One clock for the host means that
// order made by the program's own locks never looks like a missing wait.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace hal::layers {

using VectorClock = std::vector<std::uint64_t>;  // by lane; behind its end is 0

inline std::uint64_t at(const VectorClock& clock, std::uint32_t lane) { return lane < clock.size() ? clock[lane] : 0; }

inline bool join(VectorClock& into, const VectorClock& from) {
  if (into.size() < from.size()) { into.resize(from.size()); }
  bool grew = false;
  for (std::size_t i = 0; i < from.size(); ++i) {
    grew = grew || from[i] > into[i];
    into[i] = std::max(into[i], from[i]);
  }
  return grew;
}

inline void meet(VectorClock& into, const VectorClock& from) {
  if (into.size() > from.size()) { into.resize(from.size()); }
  for (std::size_t i = 0; i < into.size(); ++i) { into[i] = std::min(into[i], from[i]); }
}

inline void raise(VectorClock& clock, std::uint32_t lane, std::uint64_t epoch) {
  if (clock.size() <= lane) { clock.resize(lane + 1); }
  clock[lane] = std::max(clock[lane], epoch);
}

// The clock of a lane, and what it was at earlier epochs.
class LaneClock {
 public:
  const VectorClock& now() const { return now_; }
  // From `epoch` on everything in `from` has happened before.
  void wait(std::uint64_t epoch, const VectorClock& from) {
    if (!join(now_, from)) { return; }
    if (!past_.empty() && past_.back().first == epoch) {
      past_.back().second = now_;
      return;
    }
    past_.emplace_back(epoch, now_);
    if (past_.size() > kMostPast) {
      past_.pop_front();
      forgot_ = true;
    }
  }
  // What happened before the end of `epoch`, that epoch of `lane` included. Where the past was forgotten, later order
  // stands in for it: that hides, and never invents.
  VectorClock at(std::uint32_t lane, std::uint64_t epoch) const {
    VectorClock out;
    const auto later = std::upper_bound(past_.begin(), past_.end(), epoch,
                                        [](std::uint64_t value, const auto& entry) { return value < entry.first; });
    if (later != past_.begin()) {
      out = std::prev(later)->second;
    } else if (forgot_) {
      out = past_.empty() ? now_ : past_.front().second;
    }
    raise(out, lane, epoch);
    return out;
  }

 private:
  static constexpr std::size_t kMostPast = 128;
  VectorClock now_;
  std::deque<std::pair<std::uint64_t, VectorClock>> past_;
  bool forgot_ = false;
};

// The signals that a timeline will get or got.
struct Signal {
  static constexpr std::uint32_t kHost = UINT32_MAX;
  VectorClock clock;
  std::uint32_t lane = kHost;  // and the epoch of what gives it there
  std::uint64_t epoch = 0;
};

// Whether a signal may have come, or come yet.
using MayCome = std::function<bool(const Signal&)>;

class SignalClocks {
 public:
  explicit SignalClocks(std::uint64_t initial = 0) : initial_(initial) {}

  void add(std::uint64_t value, Signal signal) {
    signals_.emplace(value, std::move(signal));
    // Who waits for the oldest value then gets more order than there is, never less.
    if (signals_.size() > kMostSignals) { signals_.erase(signals_.begin()); }
  }
  // What is known once `value` is reached: nothing yet (false), or what all signals have in common that may bring it,
  // which those of higher values do too. Where none may come all count.
  bool find(std::uint64_t value, VectorClock& out, const MayCome& may_come) const {
    if (value <= initial_) {
      out.clear();
      return true;
    }
    return common(signals_.lower_bound(value), signals_.end(), out, may_come);
  }
  // The same of a timeline that stands at `value`: nothing higher has come.
  bool find_at(std::uint64_t value, VectorClock& out, const MayCome& may_come) const {
    return common(signals_.lower_bound(value), signals_.upper_bound(value), out, may_come) ||
           find(value, out, may_come);
  }

 private:
  static constexpr std::size_t kMostSignals = 256;
  using Signals = std::multimap<std::uint64_t, Signal>;

  static bool common(Signals::const_iterator first, Signals::const_iterator last, VectorClock& out,
                     const MayCome& may_come) {
    const bool any = std::any_of(first, last, [&](const auto& entry) { return may_come(entry.second); });
    bool found = false;
    for (; first != last; ++first) {
      const Signal& signal = first->second;
      if (any && !may_come(signal)) { continue; }
      if (std::exchange(found, true)) {
        meet(out, signal.clock);
      } else {
        out = signal.clock;
      }
    }
    return found;
  }

  std::uint64_t initial_;
  Signals signals_;
};

}  // namespace hal::layers
