// SPDX-License-Identifier: Apache-2.0
#include "core/lock.hpp"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "halyard_catch.hpp"

using hal::core::Lock;

// Threads that meet in the lock sleep and are woken: a missed wake hangs here.
TEST_CASE("lock: nobody is let in twice, and nobody sleeps for ever") {
  constexpr int kThreads = 4, kRounds = 20'000;
  Lock lock;
  int inside = 0, count = 0;
  std::atomic<int> wrong{0};
  const auto work = [&](int seed) {
    for (int i = 0; i < kRounds; ++i) {
      const std::lock_guard guard(lock);
      if (++inside != 1) { ++wrong; }
      ++count;
      if ((i + seed) % 97 == 0) { std::this_thread::yield(); }  // longer than others look before they sleep
      --inside;
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) { threads.emplace_back(work, i); }
  for (std::jthread& thread : threads) { thread.join(); }
  CHECK(wrong == 0);
  CHECK(count == kThreads * kRounds);
}

TEST_CASE("lock: a thread that sleeps is woken by the unlock") {
  Lock lock;
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> came{false}, entered{false};
    lock.lock();
    std::thread other([&] {
      came = true;
      const std::lock_guard guard(lock);
      entered = true;
    });
    while (!came) { std::this_thread::yield(); }
    for (int i = 0; i < 20; ++i) { std::this_thread::yield(); }  // on two processors it sleeps by now, or is about to
    CHECK_FALSE(entered);
    CHECK_FALSE(lock.try_lock());
    lock.unlock();
    other.join();
    CHECK(entered);
  }
}
