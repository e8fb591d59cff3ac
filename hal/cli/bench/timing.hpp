// SPDX-License-Identifier: Apache-2.0
// Timing a piece of work from inside the thread that does it.
#pragma once

#include <chrono>

namespace hal::cli::bench {

using Clock = std::chrono::steady_clock;

inline double ns_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::nano>(end - start).count();
}

/// Nanoseconds of one of `count` runs of `work`.
template <class Work>
double timed(int count, Work work) {
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) { work(); }
  return ns_between(start, Clock::now()) / count;
}

/// The compiler must believe that somebody reads it.
inline void keep(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

}  // namespace hal::cli::bench
