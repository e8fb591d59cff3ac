// SPDX-License-Identifier: Apache-2.0
// Timelines whose last owner has let go while work waits for them: what can still be signalled is waited for, and what
// only waiting work would signal fails.
#include <algorithm>
#include <halyard_catch.hpp>
#include <optional>
#include <random>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

void is_cancelled(const Point& point) {
  const hal::Result<void> result = hal::wait(point, kSoon);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == HAL_CANCELLED);
}

}  // namespace

TEST_CASE("order: work that waits for a timeline which only it would signal fails once nobody else owns that") {
  Fixture f;
  std::optional<hal::Timeline> line = f.instance.timeline(0, "line").value();
  const Point own = f.queue.barrier({.waits = {line->at(1)}, .signals = {line->at(1)}}).value();
  const Point behind = f.queue.fill(f.at(0), std::uint32_t{1}).value();
  CHECK(hal::wait(own, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  line.reset();
  is_cancelled(own);
  CHECK(contains(hal::wait(own, 0ns).error().text(),
                 "timeline 'line' was released, and all work that is to signal it waits for it"));
  is_cancelled(behind);
  CHECK(f.word(0) == 0);
}

TEST_CASE("order: a circle of work ends with its last owner, in whatever order they let go") {
  // Two timelines, then the queues of the work between them.
  std::array<std::size_t, 4> order{0, 1, 2, 3};
  do {
    CAPTURE(order[0], order[1], order[2], order[3]);
    Fixture f;
    std::array<std::optional<hal::Timeline>, 2> lines;
    std::array<std::optional<hal::Queue>, 2> queues;
    for (auto& line : lines) { line = f.instance.timeline(0, "line").value(); }
    for (auto& queue : queues) { queue = f.device.queue("circle").value(); }
    std::vector<hal::Queue> outside;
    std::vector<Point> ends;
    for (const std::size_t i : {0U, 1U}) {
      const Point in = queues[i]->barrier({.waits = {lines[i]->at(3)}, .signals = {lines[1 - i]->at(5)}}).value();
      outside.push_back(f.device.queue("outside").value());
      ends.push_back(outside.back().barrier({.waits = {in}}).value());
    }
    for (const std::size_t one : order) {
      if (lines[0] || lines[1]) { CHECK(hal::wait(ends[0], 0ns).error().code() == HAL_DEADLINE_EXCEEDED); }
      one < 2 ? lines[one].reset() : queues[one - 2].reset();
    }
    for (const Point& end : ends) { is_cancelled(end); }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("order: a released timeline that others are still to signal is waited for, and what is left then fails") {
  Fixture f;
  const bool good = GENERATE(true, false);
  hal::Timeline gate = f.instance.timeline(0, "gate").value(), owned = f.instance.timeline(0, "owned").value();
  hal::Queue bringer = f.device.queue("bringer").value(), own = f.device.queue("own").value();
  std::optional<hal::Timeline> line = f.instance.timeline(0, "line").value();
  const bool is_asked = GENERATE(true, false);  // whether anybody waits for what the others bring
  Point first{};
  if (is_asked) { first = f.queue.fill(f.at(0), std::uint32_t{1}, {.waits = {line->at(1)}}).value(); }
  // It would bring 3 if it had 2, and would have 2 if it brought 3.
  const Point circle = own.barrier({.waits = {line->at(2)}, .signals = {line->at(3)}}).value();
  const Point brings = bringer.barrier({.waits = {gate.at(1), owned.at(1)}, .signals = {line->at(1)}}).value();
  line.reset();
  CHECK(hal::wait(circle, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(owned.signal(1));
  CHECK(hal::wait(circle, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  if (good) {
    REQUIRE(gate.signal(1));
    REQUIRE(hal::wait(brings, kSoon));
    if (is_asked) { CHECK(hal::wait(first, kSoon)); }
  } else {
    gate.fail(hal::Error(HAL_PEER_LOST, "no more"));
    if (is_asked) { is_cancelled(first); }
  }
  is_cancelled(circle);
  CHECK(f.word(0) == (good && is_asked ? 1 : 0));
}

TEST_CASE("order: a chain of 1,000 that lacks its first signal ends when its timeline is released") {
  Fixture f;
  std::optional<hal::Timeline> line = f.instance.timeline(0, "line").value();
  std::vector<hal::Queue> queues;
  std::vector<Point> points;
  for (int i = 0; i < 8; ++i) { queues.push_back(f.device.queue("chain").value()); }
  for (std::uint64_t i = 1000; i-- > 0;) {
    points.push_back(queues[i % 8].barrier({.waits = {line->at(i + 1)}, .signals = {line->at(i + 2)}}).value());
  }
  line.reset();
  for (const Point& point : points) { is_cancelled(point); }
}

TEST_CASE("order: random work on released timelines runs if anything can still begin it, and fails else") {
  for (std::uint32_t round = 0; round < 20; ++round) {
    const std::uint32_t seed = Catch::rngSeed() * 1000 + round;
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    constexpr std::size_t kLines = 8, kQueues = 6, kWorks = 60;
    Fixture f;
    hal::Timeline start = f.instance.timeline(0, "start").value();
    std::vector<hal::Queue> queues;
    for (std::size_t i = 0; i < kQueues; ++i) {
      queues.push_back(f.device.queue("works").value());
      queues.back().barrier({.waits = {start.at(1)}}).value();
    }
    std::vector<hal::Timeline> lines;
    for (std::size_t i = 0; i < kLines; ++i) { lines.push_back(f.instance.timeline(0, "line").value()); }
    struct Work {
      std::size_t queue;
      std::vector<std::pair<std::size_t, std::uint64_t>> waits, signals;
      Point point{};
      bool runs = false;
    };
    std::vector<Work> works(kWorks);
    for (std::size_t i = 0; i < kWorks; ++i) {
      Work& work = works[i];
      work.queue = below(kQueues);
      std::vector<Point> waits, signals;
      for (std::size_t n = below(5) / 2; n != 0; --n) { work.waits.emplace_back(below(kLines), 1 + below(5)); }
      for (std::size_t n = below(4); n != 0; --n) { work.signals.emplace_back(below(kLines), 1 + below(5)); }
      for (const auto& [line, value] : work.waits) { waits.push_back(lines[line].at(value)); }
      for (const auto& [line, value] : work.signals) { signals.push_back(lines[line].at(value)); }
      const hal::Command fill = hal::command::fill(f.at(i), static_cast<std::uint32_t>(i + 1));
      const hal_sync sync{waits.data(), signals.data(), static_cast<std::uint32_t>(waits.size()),
                          static_cast<std::uint32_t>(signals.size()), nullptr};
      REQUIRE(hal::check(hal_queue_submit(queues[work.queue].get(), &fill, 1, &sync, &work.point)));
    }
    // What runs: all before it on its queue does, and for each wait some work that runs signals as much.
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t i = 0; i < kWorks; ++i) {
        const auto before = std::find_if(works.rend() - static_cast<std::ptrdiff_t>(i), works.rend(),
                                         [&](const Work& other) { return other.queue == works[i].queue; });
        const auto comes = [&](const auto& wait) {
          return std::any_of(works.begin(), works.end(), [&](const Work& other) {
            return other.runs && std::any_of(other.signals.begin(), other.signals.end(), [&](const auto& signal) {
                     return signal.first == wait.first && signal.second >= wait.second;
                   });
          });
        };
        if (works[i].runs || (before != works.rend() && !before->runs) ||
            !std::all_of(works[i].waits.begin(), works[i].waits.end(), comes)) {
          continue;
        }
        works[i].runs = changed = true;
      }
    }
    const std::size_t opened = below(kLines + 1);  // before so many of the timelines are let go
    for (std::size_t i = 0; i < kLines; ++i) {
      if (i == opened) { REQUIRE(start.signal(1)); }
      lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(below(lines.size())));
    }
    if (opened == kLines) { REQUIRE(start.signal(1)); }
    for (std::size_t i = 0; i < kWorks; ++i) {
      CAPTURE(i);
      const hal::Result<void> result = hal::wait(works[i].point, kSoon);
      REQUIRE(result.has_value() == works[i].runs);
      if (!result) { REQUIRE(result.error().code() == HAL_CANCELLED); }
      REQUIRE(f.word(i) == (works[i].runs ? i + 1 : 0));
    }
  }
}
