// SPDX-License-Identifier: Apache-2.0
#include "threads/fence.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
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

TEST_CASE("fence: one that the kernel refuses is told") {
  if (!hal::threads::fence_other_threads()) { return; }
  bool has_filter = false, fenced = true;
  std::jthread filtered([&] {  // it alone has the filter
    std::array<sock_filter, 4> steps{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
                                      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                                      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
    const sock_fprog filter{steps.size(), steps.data()};
    has_filter =
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
    fenced = hal::threads::fence_other_threads();
  });
  filtered.join();
  if (!has_filter) { return; }  // a machine that lets nobody filter
  CHECK_FALSE(fenced);
  CHECK(hal::threads::fence_other_threads());
}
