// SPDX-License-Identifier: Apache-2.0
// The entries of a program as every launch needs them: their rules packed into what few comparisons can check
// (fast_path.cpp), and the start of their names for whoever records each run (flight_recorder.cpp).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hal/hal.h"

namespace hal::core {

// An argument is usual if its kind is `kind` (a scalar or a buffer) and, a scalar, its size `size`, or, a slice, its
// length `least` plus at most `room`. Parameters of an entry with symbols ask for a length that no buffer has.
struct LaunchParam {
  std::uint32_t kind = HAL_ARG_BUFFER;
  std::uint32_t size = 0;
  std::uint64_t least = UINT64_MAX, room = 0;
};

struct alignas(64) Launch {
  // The first bytes of the entry's name, zeros behind it.
  using Name = std::array<std::uint64_t, 3>;

  const LaunchParam* params = nullptr;
  std::uint32_t param_count = 0;
  std::uint32_t has_grid = 0;                 // 1 for kernels, which need a grid; graphs refuse one
  std::array<std::uint32_t, 3> group_size{};  // where a grid leaves it 0
  Name name{};
};

class Launches {
 public:
  Launches() = default;
  explicit Launches(std::span<const hal_signature> entries);

  std::uint32_t size() const { return count_; }
  const Launch& operator[](std::uint32_t entry) const { return entries_.get()[entry]; }

 private:
  std::unique_ptr<Launch[]> entries_;
  std::uint32_t count_ = 0;
  std::vector<LaunchParam> params_;  // of all entries
};

}  // namespace hal::core
