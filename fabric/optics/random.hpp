// SPDX-License-Identifier: Apache-2.0
// Numbers that depend on the seed and on what they are for, never on the order in which they are asked for.
#pragma once

#include <cstdint>

namespace hal::fabric {

// Uniform in [-1, 1].
constexpr double seeded_spread(std::uint64_t seed, std::uint64_t what, std::uint64_t which) noexcept {
  std::uint64_t x = seed ^ (what * 0x9e3779b97f4a7c15ULL) ^ (which * 0xbf58476d1ce4e5b9ULL);
  for (int round = 0; round < 2; ++round) {  // the mixer of splitmix64
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    x ^= x >> 31;
  }
  return static_cast<double>(x >> 11) * 0x1.0p-52 - 1.0;
}

}  // namespace hal::fabric
