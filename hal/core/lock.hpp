// SPDX-License-Identifier: Apache-2.0
// A mutex of one word, for the few that every submission takes: two inlined instructions with a lock prefix when nobody
// is in the way, where std::mutex makes two calls. Parks at once otherwise; nothing here spins.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace hal::core {

class Lock {
 public:
  Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() {
    std::uint32_t expected = kFree;
    if (!word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire, std::memory_order_relaxed))
        [[unlikely]] {
      wait();
    }
  }
  bool try_lock() {
    std::uint32_t expected = kFree;
    return word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire, std::memory_order_relaxed);
  }
  void unlock() {
    if (word_.exchange(kFree, std::memory_order_release) == kAwaited) [[unlikely]] { wake(); }
  }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kAwaited = 2;

  // Whoever waited takes the word as awaited: others may wait too, and only a needless wake comes of it.
  [[gnu::noinline, gnu::cold]] void wait() {
    while (word_.exchange(kAwaited, std::memory_order_acquire) != kFree) {
      ::syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, kAwaited, nullptr, nullptr, 0);
    }
  }
  [[gnu::noinline, gnu::cold]] void wake() { ::syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }

  std::atomic<std::uint32_t> word_{kFree};
};

}  // namespace hal::core
