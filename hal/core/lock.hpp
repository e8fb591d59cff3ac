// SPDX-License-Identifier: Apache-2.0
// A mutex for the few that every submission takes: one instruction with a lock prefix when nobody is in the way, where
// std::mutex makes two calls and has two. Unlocking is a store and a look for waiters, in no order of their own:
// whoever is going to sleep counts itself and then fences all threads, so that an unlock either is seen or sees the
// count.
#pragma once

#include <atomic>
#include <cstdint>

#include "threads/fence.hpp"
#include "threads/futex.hpp"

namespace hal::core {

class Lock {
 public:
  Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() {
    if (!try_lock()) [[unlikely]] { wait(); }
  }
  bool try_lock() {
    std::uint32_t expected = kFree;
    return word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire, std::memory_order_relaxed);
  }
  void unlock() {
    word_.store(kFree, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (waiters_.load(std::memory_order_relaxed) != 0) [[unlikely]] { wake(); }
  }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1;
  static constexpr int kLooks = 100;                   // what is held for some ten nanoseconds is soon free
  static constexpr std::uint64_t kLookNs = 1'000'000;  // where threads cannot be fenced a wake may be missed

  [[gnu::noinline, gnu::cold]] void wait() {
    for (int look = 0; look < kLooks; ++look) {
      if (word_.load(std::memory_order_relaxed) == kFree && try_lock()) { return; }
      pause();
    }
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    const bool fenced = threads::fence_other_threads();
    while (!try_lock()) { threads::futex_wait(word_, kHeld, fenced ? 0 : kLookNs); }
    waiters_.fetch_sub(1, std::memory_order_relaxed);
  }
  [[gnu::noinline, gnu::cold]] void wake() { threads::futex_wake(word_, 1); }
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  std::atomic<std::uint32_t> word_{kFree};
  std::atomic<std::uint32_t> waiters_{0};
};

}  // namespace hal::core
