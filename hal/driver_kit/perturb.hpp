// SPDX-License-Identifier: Apache-2.0
// Seeded use of the freedoms that the border leaves to a driver, for devices whose job is to be as inconvenient as
// allowed. Every decision is a pure function of (seed, salt, number), so a seed replays whatever the threads do.
#pragma once

#include <sched.h>

#include <cstdint>

namespace hal::kit {

class Perturb {
 public:
  constexpr Perturb() = default;  // off: every chance is 0
  explicit Perturb(std::uint64_t seed) : seed_(seed), on_(true) {}

  bool on() const { return on_; }

  // A number in [0, below).
  std::uint64_t pick(std::uint64_t number, std::uint32_t salt, std::uint64_t below) const {
    if (!on_) { return 0; }
    // splitmix64's finaliser: neighbouring numbers give unrelated results.
    std::uint64_t x = seed_ ^ (number * 0x9e3779b97f4a7c15U) ^ (std::uint64_t{salt} << 56U);
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return (x ^ (x >> 31U)) % below;
  }

  // Lets other threads run, up to three times; never sleeps.
  void delay(std::uint64_t number, std::uint32_t salt) const {
    for (std::uint64_t left = pick(number, salt, 4); left > 0; --left) { ::sched_yield(); }
  }

 private:
  std::uint64_t seed_ = 0;
  bool on_ = false;
};

}  // namespace hal::kit
