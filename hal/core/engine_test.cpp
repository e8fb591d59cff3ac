// SPDX-License-Identifier: Apache-2.0
#include "core/engine.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <halyard_catch.hpp>
#include <iterator>
#include <latch>
#include <string>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

// In a call of the kernel's that does not return yet.
bool is_blocked(::pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  const std::string stat{std::istreambuf_iterator<char>(file), {}};
  return contains(stat, ") S ");
}

}  // namespace

TEST_CASE("engine: a thread that sleeps hears of its first descriptor") {
  hal::core::Engine engine;
  REQUIRE(engine.start());
  std::atomic<::pid_t> thread{0};
  hal::core::Task task{[](void* of) { *static_cast<std::atomic<::pid_t>*>(of) = ::gettid(); }, &thread};
  engine.post(task);
  // Nobody else holds its lock, so what it is blocked in is its sleep.
  REQUIRE(eventually([&] { return thread != 0 && is_blocked(thread); }));
  std::atomic<bool> claimed{false};
  const int readable = ::eventfd(1, EFD_CLOEXEC);
  REQUIRE(readable >= 0);
  REQUIRE(engine.watch(engine.next_ticket(), readable, [&](std::uint32_t, int) -> hal::core::Task* {
    claimed = true;
    return nullptr;
  }));
  CHECK(eventually([&] { return claimed.load(); }));
}

TEST_CASE("workers: threads that have nothing to do for a while end, but for one") {
  constexpr std::ptrdiff_t kBusy = 8;
  hal::core::Workers workers(1ms);
  REQUIRE(workers.start());
  CHECK(workers.threads() == 1);
  for (int round = 0; round < 20; ++round) {
    std::latch together(kBusy), done(kBusy);
    struct Meeting {
      std::latch* together;
      std::latch* done;
      hal::core::Task task{};
    };
    std::array<Meeting, kBusy> meetings;
    for (Meeting& one : meetings) {
      one = {&together, &done};
      one.task = {[](void* of) {
                    const Meeting self = *static_cast<Meeting*>(of);
                    self.together->arrive_and_wait();  // each needs a thread of its own
                    self.done->count_down();
                  },
                  &one};
      workers.post(one.task);
    }
    done.wait();
    if (round % 2 == 0) {
      REQUIRE(eventually([&] { return workers.threads() == 1; }));
    }
  }
}
