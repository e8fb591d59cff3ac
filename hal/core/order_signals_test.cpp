// SPDX-License-Identifier: Apache-2.0
// Timelines that several works are to signal, some of which fail: whose value comes, and that looking changes nothing.
#include <poll.h>
#include <unistd.h>

#include <halyard_catch.hpp>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

// Queues whose work waits for a gate of its own and then signals one timeline.
struct Signallers {
  Fixture f;
  std::vector<hal::Timeline> gates;
  std::vector<hal::Queue> queues;
  std::vector<Point> points;
  hal::Timeline line = f.instance.timeline(0, "line").value();

  explicit Signallers(std::initializer_list<std::uint64_t> values) {
    for (const std::uint64_t value : values) { add(value); }
  }
  void add(std::uint64_t value) {
    gates.push_back(f.instance.timeline(0, "gate").value());
    queues.push_back(f.device.queue("signaller").value());
    points.push_back(queues.back().barrier({.waits = {gates.back().at(1)}, .signals = {line.at(value)}}).value());
  }
  // Returns when everybody could know.
  void fail(std::size_t i, const char* why) {
    gates[i].fail(hal::Error(HAL_PEER_LOST, why));
    REQUIRE_FALSE(hal::wait(points[i], kSoon));
  }
  void succeed(std::size_t i) {
    REQUIRE(gates[i].signal(1));
    REQUIRE(hal::wait(points[i], kSoon));
  }
};

// The ways to look at a timeline in between; each test says the same for all of them.
enum class Look { never, value, wait, callback };
constexpr std::array kLooks{Look::never, Look::value, Look::wait, Look::callback};

void look(Look how, const hal::Timeline& line) {
  if (how == Look::value) { (void)line.value(); }
  if (how == Look::wait) { (void)line.wait(1, 0ns); }
  if (how == Look::callback) {
    REQUIRE(hal::check(hal_timeline_on_reached(line.get(), 9, [](void*, const hal_error*) {}, nullptr)));
  }
}

}  // namespace

TEST_CASE("order: a value that several works signal is reached by any that is good, whoever looks") {
  const Look how = GENERATE(from_range(kLooks));
  CAPTURE(static_cast<int>(how));
  Signallers s{1, 2};
  const Point waits = s.f.queue.fill(s.f.at(0), std::uint32_t{3}, {.waits = {s.line.at(2)}}).value();
  look(how, s.line);
  s.fail(0, "the first gave up");
  look(how, s.line);
  s.succeed(1);
  CHECK(hal::wait(waits, kSoon));
  CHECK(s.f.word(0) == 3);
  CHECK(s.line.wait(1, kSoon));
  CHECK(s.line.value().value() == 2);
  CHECK(s.line.signal(3));  // it has not failed
  CHECK(s.line.value().value() == 3);
}

TEST_CASE("order: a value is lost with the last work that could bring it, and the highest that failed is the cause") {
  const Look how = GENERATE(from_range(kLooks));
  CAPTURE(static_cast<int>(how));
  const std::array order = GENERATE(std::array{0U, 1U, 2U}, std::array{2U, 1U, 0U}, std::array{1U, 2U, 0U});
  Signallers s{2, 3, 1};
  const Point waits = s.f.queue.fill(s.f.at(0), std::uint32_t{3}, {.waits = {s.line.at(1)}}).value();
  look(how, s.line);
  constexpr std::array kWhy{"cause of 2", "cause of 3", "cause of 1"};
  for (const std::size_t i : order) {
    s.fail(i, kWhy[i]);
    look(how, s.line);
  }
  const hal::Result<void> result = hal::wait(waits, kSoon);
  REQUIRE_FALSE(result);
  CHECK(contains(result.error().text(), "cause of 3"));
  CHECK(contains(s.line.value().error().text(), "cause of 3"));
  CHECK(s.f.word(0) == 0);
}

TEST_CASE("order: of several signals lost while nobody looked the highest is the cause") {
  Signallers s{1, 2};
  s.fail(0, "cause of 1");
  s.fail(1, "cause of 2");
  CHECK(contains(s.line.value().error().text(), "cause of 2"));
}

TEST_CASE("order: a lost signal leaves lower values to the work that is to bring them") {
  const Look how = GENERATE(from_range(kLooks));
  CAPTURE(static_cast<int>(how));
  const bool good = GENERATE(true, false);
  Signallers s{1, 3};
  hal::Queue low = s.f.device.queue("low").value(), high = s.f.device.queue("high").value();
  const Point one = low.barrier({.waits = {s.line.at(1)}}).value();
  const Point two = high.barrier({.waits = {s.line.at(2)}}).value();
  s.fail(1, "the higher gave up");
  look(how, s.line);
  CHECK(contains(hal::wait(two, kSoon).error().text(), "the higher gave up"));
  CHECK(hal::wait(one, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  // Signals that come now are ignored, also those below.
  REQUIRE(s.line.signal(2));
  s.add(2);
  s.succeed(2);
  CHECK_FALSE(s.line.wait(2, kSoon));
  if (good) {
    s.succeed(0);
    CHECK(hal::wait(one, kSoon));
    CHECK(s.line.wait(1, kSoon));
  } else {
    s.fail(0, "the lower too");
    CHECK(contains(hal::wait(one, kSoon).error().text(), "the higher gave up"));
  }
  CHECK(contains(s.line.value().error().text(), "the higher gave up"));
}

TEST_CASE(
    "order: signals given after the last signal submitted is lost are ignored, whether anybody had looked or not") {
  const Look how = GENERATE(from_range(kLooks));
  CAPTURE(static_cast<int>(how));
  Signallers s{1};
  s.fail(0, "the only one");
  look(how, s.line);
  SECTION("of work") {
    s.add(2);
    s.succeed(1);
  }
  SECTION("of the host") { REQUIRE(s.line.signal(2)); }
  SECTION("of a descriptor") {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    REQUIRE(s.line.import_fd(2, ends[0]));
    REQUIRE(write(ends[1], "x", 1) == 1);
    close(ends[0]);
    // Nobody reads any more: it has come.
    CHECK(eventually([&] {
      pollfd reader{ends[1], 0, 0};
      return poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR) != 0;
    }));
    close(ends[1]);
  }
  SECTION("a failure of the host") { s.line.fail(hal::Error(HAL_CANCELLED, "too late")); }
  const hal::Result<void> result = s.line.wait(2, kSoon);
  REQUIRE_FALSE(result);
  CHECK(contains(result.error().text(), "the only one"));
}

TEST_CASE("order: who waits for more than was promised is told of the loss without anybody's look") {
  Signallers s{1, 2, 2};
  std::atomic<int> told{0};
  REQUIRE(hal::check(hal_timeline_on_reached(
      s.line.get(), 5,
      [](void* user, const hal_error* error) { *static_cast<std::atomic<int>*>(user) += error != nullptr ? 1 : 100; },
      &told)));
  s.fail(1, "one of two");
  s.succeed(0);
  s.add(3);
  s.fail(2, "the other");
  CHECK(s.line.wait(5, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);  // not lost: one may still bring 3
  s.fail(3, "the last");
  CHECK(eventually([&] { return told == 1; }));
  CHECK(s.line.wait(1, kSoon));
}

TEST_CASE("order: a signal submitted after more was reached is nobody's when it is lost") {
  const Look how = GENERATE(from_range(kLooks));
  CAPTURE(static_cast<int>(how));
  Signallers s{1, 2};
  s.succeed(1);
  s.fail(0, "nobody needs it");
  look(how, s.line);
  CHECK(s.line.value().value() == 2);
  CHECK(s.line.signal(3));
  CHECK(s.line.wait(3, kSoon));
}

TEST_CASE("order: a signal at or below the value is refused, after a loss ignored like any other, whoever had looked") {
  const Look how = GENERATE(from_range(kLooks));
  CAPTURE(static_cast<int>(how));
  const bool lost = GENERATE(false, true);
  CAPTURE(lost);
  Signallers s{5};
  if (lost) {
    s.add(6);
    s.fail(1, "the higher gave up");
  }
  s.succeed(0);
  look(how, s.line);
  const std::uint64_t value = GENERATE(std::uint64_t{1}, std::uint64_t{5});
  const auto told = [&](const auto& result) {
    if (lost) {
      CHECK(result.has_value());
    } else {
      REQUIRE_FALSE(result.has_value());
      CHECK(result.error().code() == HAL_INVALID_ARGUMENT);
      CHECK(contains(result.error().text(), "not above"));
    }
  };
  SECTION("of the host") { told(s.line.signal(value)); }
  SECTION("of work") { told(s.f.queue.barrier({.signals = {s.line.at(value)}})); }
  SECTION("of a descriptor") {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    told(s.line.import_fd(value, ends[0]));
    close(ends[0]);
    close(ends[1]);
  }
  CHECK(s.line.wait(5, kSoon));
  CHECK(s.line.wait(6, 0ns).error().code() == (lost ? HAL_PEER_LOST : HAL_DEADLINE_EXCEEDED));
}
