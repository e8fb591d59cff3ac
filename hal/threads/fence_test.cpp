// SPDX-License-Identifier: Apache-2.0
#include "threads/fence.hpp"

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <halyard_catch.hpp>
#include <thread>

TEST_CASE("fence: of two threads that store and then look at the other's store, one sees it, if one fences both") {
  if (!hal::threads::fence_other_threads()) { return; }  // a kernel that cannot: who uses it does without
  constexpr std::uint64_t kRounds = 20'000;
  struct alignas(64) Word {
    std::atomic<std::uint64_t> value{0};
  };
  Word fast, slow, fast_is_at, slow_is_at, fast_saw;
  // Both begin a round at once, and nobody begins the next before both have ended this one.
  const auto meet = [](Word& mine, const Word& other, std::uint64_t at) {
    mine.value.store(at, std::memory_order_release);
    for (int looks = 0; other.value.load(std::memory_order_acquire) < at;) {
      if (++looks == 1000) {  // perhaps both are on one core
        ::sched_yield();
        looks = 0;
      }
    }
  };
  std::jthread other([&] {
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      meet(fast_is_at, slow_is_at, 2 * round);
      fast.value.store(round, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      fast_saw.value.store(slow.value.load(std::memory_order_relaxed), std::memory_order_relaxed);
      meet(fast_is_at, slow_is_at, 2 * round + 1);
    }
  });
  int missed = 0, refused = 0;
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    meet(slow_is_at, fast_is_at, 2 * round);
    slow.value.store(round, std::memory_order_relaxed);
    refused += hal::threads::fence_other_threads() ? 0 : 1;
    const std::uint64_t seen = fast.value.load(std::memory_order_relaxed);
    meet(slow_is_at, fast_is_at, 2 * round + 1);
    missed += seen < round && fast_saw.value.load(std::memory_order_relaxed) < round ? 1 : 0;
  }
  CHECK(missed == 0);
  CHECK(refused == 0);
}
