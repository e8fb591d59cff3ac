// SPDX-License-Identifier: Apache-2.0
// Why a wait did not end: from each missing point to whoever is to signal it, and on to what that waits for itself.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hal/hal.h"

namespace hal::core {

class Instance;
class Timeline;

// What the lanes of an instance had completed when a wait began. Slow work differs from a hang by what was completed
// since, not by the time it took.
class Progress {
 public:
  void begin(Instance& instance);
  bool known() const { return begun_; }
  // Commands that `lane` has completed since begin(). A lane made since then counts from 0.
  std::uint64_t since(const Timeline& lane) const;
  // The same for all other lanes of its device.
  std::uint64_t of_device_since(const Timeline& lane) const;

 private:
  bool begun_ = false;
  Instance* instance_ = nullptr;
  std::vector<std::pair<const Timeline*, std::uint64_t>> before_;
};

struct Explanation {
  std::string summary;  // the first missing point, and how the way from there ends
  std::string details;  // everything, a line each, and the recent work of the queues where it ends
};

// Points that are reached are passed over.
Explanation explain(std::span<const hal_point> points, const Progress& progress);

// Adds lines that hal_error_text() shows below the error's own. Only on an error that nobody else has seen yet.
hal_error* with_notes(hal_error* error, std::string notes);

}  // namespace hal::core
