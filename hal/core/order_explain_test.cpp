// SPDX-License-Identifier: Apache-2.0
// What a deadline says: each missing point, the way to what it waits for, and how that ends. And the flight recorder.
#include <halyard_catch.hpp>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

std::string late(const hal::Result<void>& result) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == HAL_DEADLINE_EXCEEDED);
  return std::string(result.error().text());
}

std::size_t lines(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("order: a deadline tells a cycle, and names every queue in it") {
  Fixture f;
  hal::Timeline x = f.instance.timeline(0, "x").value(), y = f.instance.timeline(0, "y").value();
  hal::Queue other = f.device.queue("other").value();
  f.queue.barrier({.waits = {y.at(1)}, .signals = {x.at(1)}}).value();
  other.barrier({.waits = {x.at(1)}, .signals = {y.at(1)}}).value();
  const std::string text = late(x.wait(1, 1ms));
  CHECK(contains(text, "a cycle: queue 'q' on host:0, which waits for queue 'other' on host:0, which waits for"));
  CHECK(contains(text, "order_explain_test.cpp"));
  f.queue.cancel();
}

TEST_CASE("order: a host function that waits for its own queue's later work is told as a cycle") {
  Fixture f;
  std::string text;
  Point later{};
  std::atomic<bool> submitted{false};
  const Point call = f.queue
                         .call([&]() -> hal::Result<void> {
                           while (!submitted) { std::this_thread::yield(); }
                           text = late(hal::wait(later, 1ms));
                           return {};
                         })
                         .value();
  later = f.queue.barrier().value();
  submitted = true;
  REQUIRE(hal::wait(call, kSoon));
  CHECK(contains(text, "it is the one that waits here: a cycle"));
}

TEST_CASE("order: a deadline tells whether a signal was never submitted or is the host's to give") {
  Fixture f;
  hal::Timeline untouched = f.instance.timeline(0, "untouched").value(),
                hosts = f.instance.timeline(0, "hosts").value(), works = f.instance.timeline(0, "works").value();
  REQUIRE(hosts.signal(3));
  REQUIRE(hal::wait(f.queue.barrier({.signals = {works.at(5)}}).value(), kSoon));
  CHECK(contains(late(untouched.wait(1, 0ns)), "a signal was never submitted, or the host is to give it"));
  CHECK(contains(late(hosts.wait(4, 0ns)), "the host has signalled timeline 'hosts' up to 3; the host is to signal 4"));
  CHECK(contains(late(works.wait(6, 0ns)),
                 "work has signalled timeline 'works' up to 5; a signal to 6 was never submitted"));
  const Point beyond{hal_queue_timeline(f.queue.get()), 100};
  CHECK(contains(late(hal::wait(beyond, 0ns)), "command 100 was never submitted"));
}

TEST_CASE("order: a deadline tells slow work from none at all by what was completed, not by time") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value(), side = m.device.queue("side").value();
  for (int i = 0; i < 40; ++i) { queue.fill(m.at(0), std::uint32_t{1}).value(); }
  const Point last = queue.barrier().value();
  side.barrier().value();
  CHECK(contains(late(hal::wait(last, 0ns)), "a wait with time to spare would tell"));
  const std::string none = late(hal::wait(last, 1ms));
  CHECK(contains(none, "nothing was completed there while this waited: one long command, or a hang"));
  CHECK(
      contains(none, "recent work of queue 'lane' on manual:0:\n      34 on the device: fill 4 bytes at 0 of buffer"));
  // Completes something once the wait sleeps, which flushes the lane.
  const auto late_while = [&](const char* lane, std::uint64_t number) {
    const std::uint64_t before = m.control.flushed("lane");
    std::jthread mover([&] {
      if (eventually([&] { return m.control.flushed("lane") > before; })) { m.control.complete(lane, number); }
    });
    std::string told = late(hal::wait(last, 200ms));
    mover.join();
    return told;
  };
  CHECK(contains(late_while("lane", 10), "while this waited: slow work, not a hang"));
  m.control.complete("lane", 40);
  const std::string stuck = late_while("side", 1);
  CHECK(contains(stuck, "has completed 40 of the 41"));
  CHECK(contains(stuck, "other queues of the device completed 1"));
  m.control.complete("lane", 41);
  CHECK(hal::wait(last, kSoon));
}

namespace {

// Opens a gate also where the test gives up.
struct Opens {
  hal::Timeline gate;
  ~Opens() { (void)gate.signal(1); }
};

}  // namespace

TEST_CASE("order: a deadline tells a host function that has not returned, and one that waits for its turn") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  const Opens opens{gate};
  const Point call = f.queue.call([gate]() -> hal::Result<void> { return gate.wait(1, kSoon); }).value();
  const Point behind = f.queue.call([]() -> hal::Result<void> { return {}; }).value();
  REQUIRE(eventually([&] { return contains(late(hal::wait(call, 0ns)), "command 1 (call) submitted at"); }));
  REQUIRE(eventually([&] { return contains(late(hal::wait(call, 0ns)), "is a host function that has not returned"); }));
  const std::string text = late(hal::wait(behind, 0ns));
  CHECK(contains(text, "before it in queue 'q' on host:0: command 1 (call)"));
  REQUIRE(gate.signal(1));
  CHECK(hal::wait(behind, kSoon));
}

TEST_CASE("order: host functions that wait hold up no other queue's, however many they are") {
  constexpr int kWaiting = 80;
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  const Opens opens{gate};
  const auto inside =
      std::make_shared<std::atomic<int>>(0);  // theirs too, as the gate: they may outlive a test that gives up
  std::vector<hal::Queue> queues;
  for (int i = 0; i < kWaiting; ++i) {
    queues.push_back(f.device.queue("waiting").value());
    queues.back()
        .call([gate, inside]() -> hal::Result<void> {
          ++*inside;
          return gate.wait(1, kSoon);
        })
        .value();
  }
  CHECK(eventually([&] { return *inside == kWaiting; }));
  CHECK(hal::wait(f.queue.call([]() -> hal::Result<void> { return {}; }).value(), kSoon));
  REQUIRE(gate.signal(1));
  for (hal::Queue& queue : queues) { CHECK(queue.finish(kSoon)); }
}

TEST_CASE("order: a deadline tells a host function that waits for a thread, which a failure takes back") {
  Fixture f;
  hal::Queue other = f.device.queue("other").value(), third = f.device.queue("third").value();
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  const Opens opens{gate};
  const Point first = f.queue.call([gate]() -> hal::Result<void> { return gate.wait(1, kSoon); }).value();
  REQUIRE(
      eventually([&] { return contains(late(hal::wait(first, 0ns)), "is a host function that has not returned"); }));
  std::vector<hal::Queue> queues;  // more than the instance may have threads by now
  for (int i = 0; i < 8; ++i) { queues.push_back(f.device.queue("waiting").value()); }
  static std::atomic<int> ran, told;
  ran = told = 0;
  const auto function = [](void*, const hal_error* failure) -> hal_error* {
    ++(failure != nullptr ? told : ran);
    return nullptr;
  };
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {function, nullptr};
  Point second{}, cancelled{};
  {
    const NoThreads none;
    for (hal::Queue& queue : queues) {
      queue.call([gate]() -> hal::Result<void> { return gate.wait(1, kSoon); }).value();
    }
    second = other.submit({&call, 1}).value();
    cancelled = third.submit({&call, 1}).value();
    REQUIRE(eventually([&] {
      const std::string text = late(hal::wait(second, 0ns));
      return contains(text, "is a host function that waits for a thread: the instance has") &&
             contains(text, "of at most 4096, all in functions that have not returned, and the system gives no more");
    }));
    third.cancel();
    CHECK(hal::wait(cancelled, kSoon).error().code() == HAL_CANCELLED);
    CHECK(ran + told == 0);
    REQUIRE(gate.signal(1));  // whoever comes back takes what waits
    CHECK(hal::wait(second, kSoon));
    CHECK(eventually([&] { return told == 1; }));
  }
  CHECK(ran == 1);
  CHECK(told == 1);
}

TEST_CASE("order: a deadline tells work that the device's own limit holds back") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value();
  m.control.set_capacity("lane", 2);
  for (int i = 0; i < 4; ++i) { queue.barrier().value(); }
  const Point last = queue.barrier().value();
  const std::string text = late(hal::wait(last, 1ms));
  CHECK(contains(text, "is held back by the device's limit: its lane holds 2 commands and takes no more"));
  for (std::uint64_t i = 1; i <= 5; ++i) {
    REQUIRE(eventually([&] { return m.control.taken("lane") >= i; }));
    m.control.complete("lane", i);
  }
  CHECK(hal::wait(last, kSoon));
}

TEST_CASE("order: a deadline follows every missing point of a fan-in, tells a diamond as none, and stays short") {
  Fixture f;
  hal::Timeline a = f.instance.timeline(0, "a").value(), b = f.instance.timeline(0, "b").value();
  hal::Queue left = f.device.queue("left").value(), right = f.device.queue("right").value(),
             base = f.device.queue("base").value();
  const Point ground = base.barrier({.waits = {a.at(1)}}).value();
  const Point l = left.barrier({.waits = {ground, b.at(2)}}).value(), r = right.barrier({.waits = {ground}}).value();
  const Point end = f.queue.barrier({.waits = {l, r}}).value();
  const std::string text = late(hal::wait(end, 0ns));
  for (const char* part : {"timeline 'a' stands at 0, 1 was wanted", "timeline 'b' stands at 0, 2 was wanted",
                           "queue 'left' on host:0 stands at 0", "queue 'right' on host:0 stands at 0"}) {
    CHECK(contains(text, part));
  }
  CHECK_FALSE(contains(text, "cycle"));
  const std::array both{a.at(1), b.at(2)};
  CHECK(contains(late(hal::wait_all(both, 0ns)), "(2 of 2 points are missing)"));

  // A chain of 300 behind one gate: the end is told, the text stays bounded.
  std::vector<hal::Timeline> links;
  std::vector<hal::Queue> queues;
  for (int i = 0; i < 100; ++i) { queues.push_back(f.device.queue("link").value()); }
  Point at = b.at(2);
  for (std::size_t i = 0; i < 300; ++i) { at = queues[i % queues.size()].barrier({.waits = {at}}).value(); }
  const std::string chain = late(hal::wait(at, 0ns));
  CHECK(lines(chain) < 80);
  CHECK(chain.size() < 16'000);
  CHECK(contains(chain, "nothing submitted will signal 2 to timeline 'b'"));
  REQUIRE(a.signal(1));
  REQUIRE(b.signal(2));
  CHECK(hal::wait(at, kSoon));
}

TEST_CASE("order: a deadline in a wait-any names the points that have failed and those that are missing") {
  Fixture f;
  hal::Timeline gone = f.instance.timeline(0, "gone").value(), open = f.instance.timeline(0, "open").value();
  gone.fail(hal::Error(HAL_CANCELLED, "no"));
  const std::array points{gone.at(1), open.at(1)};
  const hal::Result<std::uint32_t> any = hal::wait_any(points, 1ms);
  REQUIRE_FALSE(any);
  CHECK(contains(any.error().text(), "timeline 'gone' has failed and will not get there"));
  CHECK(contains(any.error().text(), "timeline 'open' stands at 0"));
}

TEST_CASE("order: the flight recorder keeps the last 64 submissions with arguments and call sites") {
  Fixture f;
  std::array<std::uint32_t, 4> host{};
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  for (std::uint32_t i = 0; i < 100; ++i) { f.queue.barrier().value(); }
  {
    std::string label = "a label that goes away, and is longer than is kept";
    hal::Command fill = hal::command::fill(f.buffer.slice(8, 16), std::uint32_t{0xabcd}, label.c_str());
    REQUIRE(hal::wait(f.queue.submit({&fill, 1}).value(), kSoon));
    label.assign(label.size(), 'x');
  }
  f.queue.copy(f.buffer.slice(0, 16), hal::host(host), {.waits = {gate.at(1)}}).value();
  const std::string text = f.queue.history().value();
  CHECK(lines(text) == 64);
  CHECK(contains(text, "101 done: fill 'a label that goes away, '"));
  CHECK(contains(text, "16 bytes at 8 of buffer"));
  CHECK(contains(text, "with 0xabcd (4 bytes)"));
  CHECK(contains(text, "102 held back: copy 16 bytes at 0 of buffer"));
  CHECK(contains(text, "16 bytes of host memory at"));
  CHECK(contains(text, "order_explain_test.cpp:"));
  CHECK_FALSE(contains(text, "xxxx"));
  const Point end{hal_queue_timeline(f.queue.get()), 102};
  CHECK(contains(late(hal::wait(end, 0ns)), "nothing submitted will signal 1 to timeline 'gate'"));
  REQUIRE(gate.signal(1));
  REQUIRE(f.queue.finish(kSoon));
}

TEST_CASE("order: a failure on a device shows the queue's recent work") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value();
  queue.fill(m.buffer.slice(0, 64), std::uint32_t{7}).value();
  const Point last = queue.copy(m.buffer.slice(0, 64), m.buffer.slice(128, 64)).value();
  m.control.fail("lane", 2, HAL_EXECUTION_FAILED, "a wire broke");
  const hal::Result<void> result = hal::wait(last, kSoon);
  REQUIRE_FALSE(result);
  const std::string text(result.error().text());
  CHECK(contains(text, "a wire broke"));
  CHECK(contains(text, "recent work of queue 'lane' on manual:0"));
  CHECK(contains(text, "1 done: fill 64 bytes at 0 of buffer"));
  CHECK(contains(text, "2 on the device: copy 64 bytes at 0 of buffer"));
}
