// SPDX-License-Identifier: Apache-2.0
#include "core/engine.hpp"

#include <array>
#include <atomic>
#include <halyard_catch.hpp>
#include <latch>

#include "core/order_fixture.hpp"

using namespace hal::test;

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
