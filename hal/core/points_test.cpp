// SPDX-License-Identifier: Apache-2.0
// Points and timeouts as callers write them: what is nothing to wait for, lists of waits, any duration.
#include <unistd.h>

#include <array>
#include <chrono>
#include <halyard_catch.hpp>
#include <limits>
#include <ratio>

#include "core/host_fixture.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;

namespace {

struct Fixture : hal::test::HostQueue {
  hal::Timeline gate = instance.timeline(0, "gate").value();
};

}  // namespace

TEST_CASE("points: a value of no timeline is refused wherever a point is taken") {
  Fixture f;
  const hal::Point none{}, stray{nullptr, 5};
  const auto refused = [](const auto& result) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_INVALID_ARGUMENT);
    CHECK_THAT(std::string(result.error().what()), Catch::Matchers::Contains("has the value 5 and no timeline"));
  };
  refused(hal::wait(stray, 0s));
  refused(hal::wait_any(std::array{none, stray}, 0s));
  refused(hal::export_fd(stray));
  refused(f.queue.barrier({.waits = {none, stray}}));
  hal::Pool pool = f.device.pool().value();
  refused(f.queue.alloc(pool, 64, nullptr, {.waits = {stray}}));
  REQUIRE(f.queue.begin_capture());
  refused(f.queue.barrier({.waits = {stray}}));
  CHECK_FALSE(f.queue.end_capture());

  CHECK(hal::wait(none, 0s));
  CHECK(hal::wait_any(std::array{none}, 0s).value() == 0);
  const int fd = hal::export_fd(none).value();
  CHECK(::close(fd) == 0);
  REQUIRE(f.queue.finish(20s, {.waits = {none}}));
}

TEST_CASE("points: both lists of waits count") {
  Fixture f;
  hal::Timeline other = f.instance.timeline(0, "other").value();
  const std::array more{other.at(1)};
  const hal::Point both = f.queue.barrier({.waits = {f.gate.at(1)}, .more_waits = more}).value();
  hal::Pool pool = f.device.pool().value();
  hal::Point ready{};
  const hal::Buffer held = f.queue.alloc(pool, 64, &ready, {.waits = {f.gate.at(2)}, .more_waits = more}).value();
  REQUIRE(f.gate.signal(2));
  CHECK(hal::wait(both, 0s).error().code() == HAL_DEADLINE_EXCEEDED);
  CHECK(hal::wait(ready, 0s).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(other.signal(1));
  CHECK(hal::wait(both, 20s));
  CHECK(hal::wait(ready, 20s));

  other = f.instance.timeline().value();
  const std::array last{other.at(1)};
  const hal::Point listed = f.queue.barrier({.more_waits = last}).value();
  CHECK(hal::wait(listed, 0s).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(other.signal(1));
  CHECK(hal::wait(listed, 20s));
}

TEST_CASE("points: a timeout is any duration; one that has passed only looks") {
  Fixture f;
  const auto passed = [](const auto& result) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_DEADLINE_EXCEEDED);
  };
  passed(hal::wait(f.gate.at(1), -1ns));
  passed(hal::wait(f.gate.at(1), -5ms));
  passed(hal::wait(f.gate.at(1), std::chrono::nanoseconds::min()));
  passed(hal::wait_any(std::array{f.gate.at(1)}, -1h));
  passed(f.gate.wait(1, -1s));
  passed(f.queue.finish(-1s, {.waits = {f.gate.at(1)}}));

  using Seconds = std::chrono::duration<double>;
  using Years = std::chrono::duration<std::int64_t, std::ratio<31'556'952>>;
  constexpr std::uint64_t kLongest = std::numeric_limits<std::int64_t>::max();
  CHECK(hal::Timeout(20ns).ns() == 20);
  CHECK(hal::Timeout(3h).ns() == 10'800'000'000'000);
  CHECK(hal::Timeout(Seconds(1.5)).ns() == 1'500'000'000);
  CHECK(hal::Timeout(Seconds(std::numeric_limits<double>::quiet_NaN())).ns() == 0);
  CHECK(hal::Timeout(Seconds(-std::numeric_limits<double>::infinity())).ns() == 0);
  CHECK(hal::Timeout(Seconds(std::numeric_limits<double>::infinity())).ns() == kLongest);
  CHECK(hal::Timeout(std::chrono::hours::max()).ns() == kLongest);
  CHECK(hal::Timeout(std::chrono::nanoseconds::max()).ns() == kLongest);
  CHECK(hal::Timeout(Years(292)).ns() == 292U * 31'556'952'000'000'000U);
  CHECK(hal::Timeout(Years(293)).ns() == kLongest);
  REQUIRE(f.gate.signal(1));
  CHECK(hal::wait(f.gate.at(1), std::chrono::hours::max()));
  CHECK(hal::wait(f.gate.at(1), -1s));
  CHECK(hal::wait(f.queue.barrier().value(), Years(1000)));
}
