// SPDX-License-Identifier: Apache-2.0
// Timing a piece of work from inside the thread that does it.
#pragma once

#include <algorithm>
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

/// The same after some milliseconds of it that are not counted: the first runs find caches full of something else,
/// threads asleep and a core that has slowed down, the more so the longer nobody worked, which is not equal for all.
template <class Work>
double timed_warm(int count, Work work) {
  constexpr std::chrono::milliseconds kWarm{20};
  const auto start = Clock::now();
  do { work(); } while (Clock::now() - start < kWarm);
  return timed(count, work);
}

/// Products and softmax: how often one repetition does so much work, ours and the peers' alike. Some milliseconds: what
/// one late thread costs must not decide. `fast`: in types of two bytes or fewer.
inline int product_runs(double n, bool fast) {
  return std::clamp(static_cast<int>((fast ? 1.6e10 : 2e9) / (2 * n * n * n)), 2, 8000);
}
constexpr int kSoftmaxRuns = 4;

/// The compiler must believe that somebody reads it.
inline void keep(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

}  // namespace hal::cli::bench
