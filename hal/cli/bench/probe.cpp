// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/probe.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace hal::cli::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kRounds = 2000;
constexpr auto kMost = std::chrono::milliseconds(20);
constexpr double kAlike = 1.5;  // the two states seen so far lie a factor of four apart

struct alignas(64) Line {
  std::atomic<std::uint32_t> value{0};
};

bool pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

// Waits until the line holds `value`; false if time is up. Reads the clock rarely, it costs as much as a round.
bool reaches(const Line& line, std::uint32_t value, Clock::time_point deadline) {
  for (std::uint32_t spins = 1; line.value.load(std::memory_order_acquire) != value; ++spins) {
    if (spins % 4096 == 0 && Clock::now() > deadline) { return false; }
  }
  return true;
}

}  // namespace

std::optional<double> probe_round_trip() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) { return std::nullopt; }
  int cpus[2] = {-1, -1};
  for (int cpu = 0, found = 0; cpu < CPU_SETSIZE && found < 2; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) { cpus[found++] = cpu; }
  }
  Line ping, pong;
  std::atomic<bool> whole{true};
  double ns = 0;
  const Clock::time_point deadline = Clock::now() + kMost;
  std::thread second([&] {
    if (!pin(cpus[1])) { whole = false; }
    for (std::uint32_t i = 1; i <= kRounds; ++i) {
      if (!reaches(ping, i, deadline)) { whole = false; }
      if (!whole) { return; }
      pong.value.store(i, std::memory_order_release);
    }
  });
  std::thread first([&] {  // a thread of its own, so that the caller's affinity stays as it is
    if (!pin(cpus[0])) { whole = false; }
    Clock::time_point start;
    for (std::uint32_t i = 1; i <= kRounds; ++i) {
      if (i == kRounds / 4) { start = Clock::now(); }  // the first rounds only find each other
      ping.value.store(i, std::memory_order_release);
      if (!reaches(pong, i, deadline)) { whole = false; }
      if (!whole) { return; }
    }
    ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count() / (kRounds - kRounds / 4.0 + 1);
  });
  first.join();
  second.join();
  if (!whole) { return std::nullopt; }
  return ns;
}

bool alike(std::optional<double> before, std::optional<double> after) {
  if (!before || !after) { return before.has_value() == after.has_value(); }
  return std::max(*before, *after) <= kAlike * std::min(*before, *after);
}

}  // namespace hal::cli::bench
