// SPDX-License-Identifier: Apache-2.0
// Who touched which bytes of one piece of memory, as far back as it can still matter.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hal/hal.h"
#include "layers/validation/order.hpp"

namespace hal::layers {

struct Access {
  std::uint64_t begin = 0, end = 0;  // bytes; of loose host memory addresses
  std::uint64_t epoch = 0, number = 0;
  std::uint32_t lane = 0, line = 0;
  const char* file = nullptr;
  const char* range = "";  // of the application
  std::uint32_t op = 0;    // hal_op
  bool write = false;
  std::array<char, 23> label;  // copied: a label need not outlive the work

  Access() { label[0] = '\0'; }

  // Who does it: all but what is touched.
  void by(std::uint32_t of_lane, std::uint64_t at_number, std::uint64_t at_epoch, const hal_command& command,
          const hal_site* where, const char* of_range) {
    lane = of_lane;
    number = at_number;
    epoch = at_epoch;
    op = command.op;
    range = of_range;
    file = where != nullptr ? where->file : nullptr;
    line = where != nullptr ? where->line : 0;
    name(command.label);
  }
  void name(const char* text) {
    label[0] = '\0';
    if (text == nullptr) { return; }
    label.back() = '\0';
    std::strncpy(label.data(), text, label.size() - 1);
  }
  bool covers(const Access& other) const { return begin <= other.begin && end >= other.end; }
  bool overlaps(const Access& other) const { return begin < other.end && other.begin < end; }
};

class History {
 public:
  // The one access that is remembered, if another of `lane` with that range and kind takes its place without more ado:
  // one lane doing the same again, the usual case. Else NULL.
  Access* repeated(std::uint32_t lane, std::uint64_t begin, std::uint64_t end, bool write) {
    if (entries_.size() != 1) { return nullptr; }
    Access& only = entries_[0];
    const bool covered = begin <= only.begin && end >= only.end;
    return only.lane == lane && covered && (write || !only.write) ? &only : nullptr;
  }

  // Adds an access of a lane whose clock is `clock`. Calls `found` with each earlier access that overlaps it, writes or
  // is written over, and that no point orders before it.
  template <class Found>
  void add(const Access& access, const VectorClock& clock, const VectorClock& host, Found found) {
    if (Access* same = repeated(access.lane, access.begin, access.end, access.write)) {
      *same = access;
      return;
    }
    std::size_t kept = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const Access& entry = entries_[i];
      const bool seen = entry.epoch <= at(host, entry.lane);
      const bool before = seen || entry.lane == access.lane || entry.epoch <= at(clock, entry.lane);
      if (!before && (entry.write || access.write) && entry.overlaps(access)) { found(entry); }
      // What the host has seen orders nothing new; what comes after this one on any lane comes after what it covers.
      const bool superseded = before && access.covers(entry) && (access.write || !entry.write);
      if (!seen && !superseded) { entries_[kept++] = entry; }
    }
    entries_.resize(kept);
    if (entries_.size() >= kMostEntries) { entries_.erase(entries_.begin()); }
    entries_.push_back(access);
  }

 private:
  static constexpr std::size_t kMostEntries = 48;  // beyond it the oldest is forgotten: hides, never invents
  std::vector<Access> entries_;
};

}  // namespace hal::layers
