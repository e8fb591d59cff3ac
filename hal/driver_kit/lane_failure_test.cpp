// SPDX-License-Identifier: Apache-2.0
// What a lane's failure waits for, what it publishes first, and that it is told once, whoever looks.
#include "driver_kit/lane_failure.hpp"

#include <atomic>
#include <halyard_catch.hpp>
#include <string>
#include <thread>

#include "driver_kit/errors.hpp"

namespace {

// A core that notes what it is told.
struct Core {
  hal_host_api host{};
  hal_lane lane{};
  std::atomic<int> failures{0};
  std::uint64_t number = 0, completed = 0;
  std::string what;

  Core() {
    host.failed = [](hal_lane* of, std::uint64_t failed, hal_error* error) {
      Core& self = *static_cast<Core*>(of->core);
      self.number = failed;
      self.completed = hal_lane_completed(of);
      self.what = hal_error_describe(error).what;
      ++self.failures;
      hal_release(error);
    };
    lane.host = &host;
    lane.core = this;
    lane.wake_at = UINT64_MAX;
  }
};

hal_error* error(const char* what) { return hal::kit::make_error("test", HAL_EXECUTION_FAILED, what); }

}  // namespace

TEST_CASE("lane failure: waits for what is before it, publishes that, and is told once") {
  Core core;
  hal::kit::LaneFailure failure;
  CHECK_FALSE(failure.is_set());
  CHECK(failure.last_good(7) == 7);
  CHECK_FALSE(failure.tell(&core.lane, 7));
  failure.set(5, error("five"));
  CHECK(failure.is_set());
  CHECK(failure.last_good(3) == 3);
  CHECK(failure.last_good(9) == 4);
  CHECK_FALSE(failure.tell(&core.lane, 3));
  CHECK_FALSE(failure.is_told());
  hal_lane_publish(&core.lane, 3);
  CHECK(failure.tell(&core.lane, 4));  // 4 is done and not published
  CHECK(failure.is_told());
  CHECK(failure.is_set());
  CHECK((core.failures == 1 && core.number == 5 && core.completed == 4 && core.what == "five"));
  CHECK_FALSE(failure.tell(&core.lane, 4));
  failure.set(2, error("too late"));
  CHECK_FALSE(failure.tell(&core.lane, 4));
  CHECK(core.failures == 1);
}

TEST_CASE("lane failure: the earliest command counts, whichever is found first") {
  Core core;
  hal::kit::LaneFailure failure;
  failure.set(9, error("nine"));
  failure.set(4, error("four"));
  failure.set(6, error("six"));
  CHECK(failure.last_good(100) == 3);
  CHECK(failure.tell(&core.lane, 3));
  CHECK((core.number == 4 && core.completed == 3 && core.what == "four"));
}

TEST_CASE("lane failure: one of who sets it and who counts tells it") {
  for (int round = 0; round < 2000; ++round) {
    Core core;
    hal::kit::LaneFailure failure;
    std::atomic<std::uint64_t> done{0};
    std::atomic<int> ready{0};
    std::thread device([&] {
      ++ready;
      while (ready != 2) {}
      done.store(1);
      hal_lane_publish(&core.lane, 1);
      if (failure.is_set()) { failure.tell(&core.lane, 1); }
    });
    ++ready;
    while (ready != 2) {}
    failure.set(2, error("two"));
    failure.tell(&core.lane, done.load());
    device.join();
    REQUIRE(core.failures == 1);
    REQUIRE((core.number == 2 && core.completed == 1));
  }
}
