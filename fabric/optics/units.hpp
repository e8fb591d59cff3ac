// SPDX-License-Identifier: Apache-2.0
// Units of the emulated plane. All are integers, so that sums do not depend on their order.
#pragma once

#include <chrono>
#include <cstdint>

namespace hal::fabric {

// Virtual time since the plane began. 64 bits of picoseconds are 106 days.
using Picoseconds = std::chrono::duration<std::int64_t, std::pico>;
using Femtojoules = std::uint64_t;

inline constexpr Picoseconds kNever = Picoseconds::max();
// The longest span a topology may name, so that sums of a few of them cannot overflow.
inline constexpr double kMaxMicroseconds = 1e12;  // 11.6 days
// Work that would begin later than this is refused, which leaves room for one more change and transfer.
inline constexpr Picoseconds kHorizon{4'000'000'000'000'000'000};  // 46 days

constexpr Picoseconds from_microseconds(double us) noexcept {
  return Picoseconds(static_cast<std::int64_t>(us * 1e6 + 0.5));
}
constexpr double to_microseconds(Picoseconds t) noexcept { return static_cast<double>(t.count()) / 1e6; }
constexpr double to_seconds(Picoseconds t) noexcept { return static_cast<double>(t.count()) / 1e12; }
constexpr double to_joules(Femtojoules e) noexcept { return static_cast<double>(e) / 1e15; }

// Light in silica fibre: 4.9 ns per metre.
inline constexpr double kFibrePicosecondsPerMetre = 4900.0;

}  // namespace hal::fabric
