// SPDX-License-Identifier: Apache-2.0
// The ordering contract on the host device. Order is proved by gates (timelines the test holds) and unique writes.
#include <algorithm>
#include <halyard_catch.hpp>
#include <memory>

#include "core/order_fixture.hpp"

using namespace hal::test;

TEST_CASE("order: a verb returns its point at once and the point is reached") {
  Fixture f;
  const Point point = f.queue.fill(f.buffer, std::uint32_t{7}).value();
  CHECK(point.value == 1);
  REQUIRE(hal::wait(point, kSoon));
  CHECK(f.word(0) == 7);
  CHECK(f.word(1023) == 7);
}

TEST_CASE("order: work behind a gate does not begin, other queues go on, and opening the gate lets it run") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  hal::Queue other = f.device.queue("other").value();
  REQUIRE(hal::wait(f.queue.fill(f.at(0), std::uint32_t{0}).value(), kSoon));
  const Point held = f.queue.fill(f.at(0), std::uint32_t{5}, {.waits = {gate.at(1)}}).value();
  const Point after = f.queue.fill(f.at(1), std::uint32_t{6}).value();
  REQUIRE(hal::wait(other.fill(f.at(2), std::uint32_t{9}).value(), kSoon));
  CHECK(f.word(2) == 9);
  CHECK(f.word(0) == 0);
  CHECK(hal::wait(held, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(after, kSoon));
  CHECK(f.word(0) == 5);
  CHECK(f.word(1) == 6);
}

TEST_CASE("order: wait before signal across two queues and a plain timeline") {
  Fixture f;
  hal::Timeline ready = f.instance.timeline(0, "ready").value();
  hal::Queue producer = f.device.queue("producer").value();
  const Point consumed = f.queue.copy(f.at(0), f.at(1), {.waits = {ready.at(10)}}).value();
  producer.fill(f.at(0), std::uint32_t{42}, {.signals = {ready.at(10)}}).value();
  REQUIRE(hal::wait(consumed, kSoon));
  CHECK(f.word(1) == 42);
  CHECK(*ready.value() == 10);
}

TEST_CASE("order: a ping-pong of 200 hops between two queues sees every write in order") {
  Fixture f;
  hal::Timeline line = f.instance.timeline(0, "line").value();
  std::array<hal::Queue, 2> queues{f.device.queue("a").value(), f.device.queue("b").value()};
  f.queue.fill(f.at(0), std::uint32_t{0}).value();
  REQUIRE(f.queue.finish(kSoon));
  // Submitted backwards, so that every hop is a wait before its signal.
  std::atomic<std::uint32_t> seen{0};
  std::vector<Point> points;
  for (std::uint64_t hop = 1; hop <= 200; ++hop) {
    points.push_back(queues[hop % 2]
                         .call(
                             [&seen, hop]() -> hal::Result<void> {
                               std::uint32_t expected = static_cast<std::uint32_t>(hop - 1);
                               if (!seen.compare_exchange_strong(expected, static_cast<std::uint32_t>(hop))) {
                                 return hal::Error(HAL_INTERNAL, "out of order");
                               }
                               return {};
                             },
                             {.waits = {line.at(hop)}, .signals = {line.at(hop + 1)}})
                         .value());
  }
  REQUIRE(line.signal(1));
  REQUIRE(hal::wait_all(points, kSoon));
  CHECK(seen == 200);
}

TEST_CASE("order: failure reaches every dependant with the first cause, and nothing else") {
  Fixture f;
  hal::Timeline broken = f.instance.timeline(0, "broken").value();
  hal::Timeline second = f.instance.timeline(0, "second").value();
  hal::Queue b = f.device.queue("b").value(), c = f.device.queue("c").value(),
             bystander = f.device.queue("bystander").value();
  f.queue.fill(f.at(0), std::uint32_t{1}).value();
  REQUIRE(f.queue.finish(kSoon));
  const Point first =
      f.queue.fill(f.at(0), std::uint32_t{2}, {.waits = {broken.at(1)}, .signals = {second.at(1)}}).value();
  const Point chained = b.fill(f.at(1), std::uint32_t{3}, {.waits = {second.at(1)}}).value();
  const Point last = c.fill(f.at(2), std::uint32_t{4}, {.waits = {chained}}).value();
  broken.fail(hal::Error(HAL_EXECUTION_FAILED, "the sensor burnt out"));
  const hal::Result<void> result = hal::wait(last, kSoon);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == HAL_EXECUTION_FAILED);
  CHECK(result.error().text().find("the sensor burnt out") != std::string_view::npos);
  CHECK(result.error().text().find("order_test.cpp") != std::string_view::npos);
  CHECK_FALSE(hal::wait(first, kSoon));
  CHECK_FALSE(f.queue.fill(f.at(0), std::uint32_t{9}));
  CHECK(f.word(0) == 1);
  REQUIRE(hal::wait(bystander.fill(f.at(5), std::uint32_t{8}).value(), kSoon));
  CHECK(f.word(5) == 8);
}

TEST_CASE("order: a signal after failure is ignored and values reached before it stay reached") {
  Fixture f;
  hal::Timeline line = f.instance.timeline(0, "line").value();
  REQUIRE(line.signal(3));
  line.fail(hal::Error(HAL_CANCELLED, "first"));
  line.fail(hal::Error(HAL_INTERNAL, "second"));
  REQUIRE(line.signal(9));
  CHECK(line.wait(3, 0ns));
  CHECK(line.wait(4, kSoon).error().code() == HAL_CANCELLED);
  CHECK(line.value().error().what() == "first");
}

TEST_CASE("order: wait-any returns a reached point, wait-all needs all, no points are defined") {
  Fixture f;
  hal::Timeline a = f.instance.timeline().value(), b = f.instance.timeline().value();
  const std::array points{a.at(1), b.at(1)};
  REQUIRE(b.signal(1));
  CHECK(*hal::wait_any(points, kSoon) == 1);
  CHECK(hal::wait_all(points, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  REQUIRE(a.signal(1));
  CHECK(hal::wait_all(points, 0ns));
  CHECK(hal::wait_all({}, 0ns));
  CHECK(hal::wait_any({}, 0ns).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("order: a wait-all fails as soon as one member fails, a wait-any only when none can be reached") {
  Fixture f;
  hal::Timeline a = f.instance.timeline().value(), b = f.instance.timeline().value();
  const std::array points{a.at(1), b.at(1)};
  a.fail(hal::Error(HAL_CANCELLED, "gone"));
  CHECK(hal::wait_all(points, kSoon).error().code() == HAL_CANCELLED);
  CHECK(hal::wait_any(points, 1ms).error().code() == HAL_DEADLINE_EXCEEDED);
  hal::Timeline c = f.instance.timeline().value();
  c.fail(hal::Error(HAL_PEER_LOST, "gone too"));
  CHECK(hal::wait_any(std::array{a.at(1), c.at(1)}, kSoon).error().code() == HAL_CANCELLED);
  REQUIRE(b.signal(1));
  CHECK(*hal::wait_any(points, kSoon) == 1);
}

TEST_CASE("order: a deadline names the point, its producer, and what that waits for") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value(), done = f.instance.timeline(0, "done").value();
  f.queue.fill(f.at(0), std::uint32_t{1}, {.waits = {gate.at(4)}, .signals = {done.at(1)}}).value();
  const hal::Result<void> late = done.wait(1, 1ms);
  REQUIRE_FALSE(late);
  const std::string text(late.error().text());
  CHECK(text.find("'done'") != std::string::npos);
  CHECK(text.find("queue 'q'") != std::string::npos);
  CHECK(text.find("'gate' stands at 0, 4 was wanted") != std::string::npos);
  CHECK(text.find("fill") != std::string::npos);
  REQUIRE(gate.signal(4));
  CHECK(done.wait(1, kSoon));
}

TEST_CASE("order: two queues that wait for each other are called a cycle") {
  Fixture f;
  hal::Timeline x = f.instance.timeline(0, "x").value(), y = f.instance.timeline(0, "y").value();
  hal::Queue other = f.device.queue("other").value();
  f.queue.barrier({.waits = {y.at(1)}, .signals = {x.at(1)}}).value();
  other.barrier({.waits = {x.at(1)}, .signals = {y.at(1)}}).value();
  CHECK(x.wait(1, 1ms).error().text().find("a cycle") != std::string_view::npos);
  f.queue.cancel();
  CHECK(x.wait(1, kSoon).error().code() == HAL_CANCELLED);
  CHECK(y.wait(1, kSoon).error().code() == HAL_CANCELLED);
}

TEST_CASE("order: releasing a queue with work behind a gate drains it once the gate opens") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value(), done = f.instance.timeline(0, "done").value();
  {
    hal::Queue doomed = f.device.queue("doomed").value();
    doomed.fill(f.at(3), std::uint32_t{77}, {.waits = {gate.at(1)}, .signals = {done.at(1)}}).value();
  }
  REQUIRE(gate.signal(1));
  REQUIRE(done.wait(1, kSoon));
  CHECK(f.word(3) == 77);
}

TEST_CASE("order: releasing a timeline that work waits for fails the work instead of hanging it") {
  Fixture f;
  Point held{};
  {
    hal::Timeline gate = f.instance.timeline(0, "gate").value();
    held = f.queue.barrier({.waits = {gate.at(1)}}).value();
  }
  CHECK(hal::wait(held, kSoon).error().code() == HAL_CANCELLED);
}

TEST_CASE("order: a buffer released behind a gate is still there when the work runs") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  std::array<std::uint32_t, 16> out{};
  Point done{};
  {
    hal::Buffer doomed = f.device.buffer(64).value();
    f.queue.fill(doomed, std::uint32_t{0xabcd}, {.waits = {gate.at(1)}}).value();
    done = f.queue.copy(doomed, hal::host(out)).value();
  }
  hal::Buffer thief = f.device.buffer(64).value();  // must not get the same memory
  std::memset(thief.host().data(), 0xee, 64);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(done, kSoon));
  CHECK(out[0] == 0xabcd);
  CHECK(out[15] == 0xabcd);
}

TEST_CASE("order: host calls run in queue order, and their error fails the queue") {
  Fixture f;
  std::vector<int> order;
  f.queue.fill(f.at(0), std::uint32_t{1}).value();
  f.queue
      .call([&]() -> hal::Result<void> {
        order.push_back(static_cast<int>(f.word(0)));
        return {};
      })
      .value();
  f.queue.fill(f.at(0), std::uint32_t{2}).value();
  const Point second = f.queue
                           .call([&]() -> hal::Result<void> {
                             order.push_back(static_cast<int>(f.word(0)));
                             return {};
                           })
                           .value();
  REQUIRE(hal::wait(second, kSoon));
  CHECK(order == std::vector<int>{1, 2});
  const Point failing =
      f.queue.call([]() -> hal::Result<void> { return hal::Error(HAL_EXECUTION_FAILED, "no coffee"); }).value();
  CHECK(hal::wait(failing, kSoon).error().text().find("no coffee") != std::string_view::npos);
}

TEST_CASE("order: a host call that waits for another queue's holds nothing up but its own queue") {
  Fixture f;
  constexpr int kQueues = 4;
  std::vector<hal::Queue> queues;
  for (int i = 0; i < kQueues; ++i) { queues.push_back(f.device.queue("call").value()); }
  struct State {
    std::atomic<int> inside{0};
  };
  const auto state = std::make_shared<State>();  // a call may outlive a test that gives up
  std::vector<Point> points;
  for (hal::Queue& queue : queues) {  // each returns when all have begun
    const auto call = [state]() -> hal::Result<void> {
      ++state->inside;
      if (!eventually([&] { return state->inside == kQueues; })) { return hal::Error(HAL_INTERNAL, "alone"); }
      return {};
    };
    points.push_back(queue.call(call).value());
  }
  REQUIRE(hal::wait_all(points, 2 * kSoon));
}

TEST_CASE("order: a host call that can never run is still called once, with the failure") {
  Fixture f;
  struct State {
    std::atomic<int> ran{0}, told{0};
  } state;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  f.queue.barrier({.waits = {gate.at(1)}}).value();
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {[](void* user, const hal_error* failure) -> hal_error* {
                    auto& mine = *static_cast<State*>(user);
                    (failure != nullptr ? mine.told : mine.ran)++;
                    return nullptr;
                  },
                  &state};
  f.queue.submit({&call, 1}).value();
  gate.fail(hal::Error(HAL_CANCELLED, "no"));
  while (state.told == 0) { std::this_thread::yield(); }
  CHECK(state.ran == 0);
  CHECK(state.told == 1);
}

TEST_CASE("order: a queue holds back its declared limit, then says WOULD_BLOCK and loses nothing") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.pending_limit = 8;
  hal::Instance instance = hal::Instance::create(desc).value();
  hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue().value();
  hal::Buffer buffer = device.buffer(64).value();
  hal::Timeline gate = instance.timeline().value();
  Point last = queue.fill(buffer.slice(0, 4), std::uint32_t{0}, {.waits = {gate.at(1)}}).value();
  std::uint32_t accepted = 0;
  for (std::uint32_t i = 1; i < 100; ++i) {
    hal::Result<Point> point = queue.fill(buffer.slice(0, 4), i);
    if (!point) {
      CHECK(point.error().code() == HAL_WOULD_BLOCK);
      break;
    }
    accepted = i;
    last = *point;
  }
  CHECK(accepted == 7);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(last, kSoon));
  std::uint32_t seen = 0;
  std::memcpy(&seen, buffer.host().data(), 4);
  CHECK(seen == accepted);
}

TEST_CASE("order: 20,000 submissions from two threads on one queue all arrive") {
  Fixture f;
  const auto pump = [&] {
    for (int i = 0; i < 10'000; ++i) { f.queue.fill(f.at(0), std::uint32_t{1}).value(); }
  };
  std::jthread one(pump), two(pump);
  one.join();
  two.join();
  REQUIRE(f.queue.finish(kSoon));
  hal_timeline* timeline = hal_queue_timeline(f.queue.get());
  std::uint64_t value = 0;
  REQUIRE(hal::check(hal_timeline_value(timeline, &value)));
  CHECK(value == 20'001);
}

TEST_CASE("order: on_reached is called once, with success or with the failure") {
  Fixture f;
  hal::Timeline line = f.instance.timeline().value();
  std::atomic<int> good{0}, bad{0};
  const auto count = [&](hal::Result<void> result) { (result ? good : bad)++; };
  REQUIRE(line.on_reached(1, count));
  REQUIRE(line.on_reached(2, count));
  REQUIRE(line.signal(1));
  line.fail(hal::Error(HAL_CANCELLED, "end"));
  REQUIRE(line.on_reached(1, count));
  while (good + bad < 3) { std::this_thread::yield(); }
  CHECK(good == 2);
  CHECK(bad == 1);
}

TEST_CASE("order: waiting for the queue's own future is refused") {
  Fixture f;
  const Point now = f.queue.barrier().value();
  CHECK(f.queue.barrier({.waits = {Point{now.timeline, now.value + 5}}}).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("order: cancel fails what has not begun, keeps what was reached, and may be repeated") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  const Point before = f.queue.fill(f.at(0), std::uint32_t{1}).value();
  REQUIRE(hal::wait(before, kSoon));
  const Point held = f.queue.fill(f.at(0), std::uint32_t{2}, {.waits = {gate.at(1)}}).value();
  f.queue.cancel();
  f.queue.cancel();
  CHECK(hal::wait(before, 0ns));
  CHECK(hal::wait(held, kSoon).error().code() == HAL_CANCELLED);
  CHECK(f.queue.barrier().error().code() == HAL_CANCELLED);
  const auto refused = f.queue.call([]() -> hal::Result<void> { return {}; });  // goes another way
  CHECK((!refused && refused.error().code() == HAL_CANCELLED));
  REQUIRE(gate.signal(1));
  CHECK(f.word(0) == 1);
}

TEST_CASE("order: objects may be released in any order while work is in flight") {
  // All orders of five releases, with a gate that opens after the third.
  std::array<int, 5> order{0, 1, 2, 3, 4};
  do {
    auto instance = std::make_unique<hal::Instance>(hal::Instance::create("host").value());
    auto device = std::make_unique<hal::Device>(instance->open("host:0").value());
    auto queue = std::make_unique<hal::Queue>(device->queue("q").value());
    auto buffer = std::make_unique<hal::Buffer>(device->buffer(64).value());
    auto gate = std::make_unique<hal::Timeline>(instance->timeline(0, "gate").value());
    std::array<std::uint32_t, 16> out{};
    hal::Timeline done = instance->timeline(0, "done").value();
    queue->fill(*buffer, std::uint32_t{6}, {.waits = {gate->at(1)}}).value();
    queue->copy(*buffer, hal::host(out), {.signals = {done.at(1)}}).value();
    bool opened = false;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i == 3 && gate) {
        REQUIRE(gate->signal(1));
        opened = true;
      }
      switch (order[i]) {
        case 0:
          instance.reset();
          break;
        case 1:
          device.reset();
          break;
        case 2:
          queue.reset();
          break;
        case 3:
          buffer.reset();
          break;
        default:
          gate.reset();
          break;
      }
    }
    const hal::Result<void> end = done.wait(1, kSoon);
    CHECK(end.has_value() == opened);
    if (opened) {
      CHECK(out[15] == 6);
    } else {
      CHECK(end.error().code() == HAL_CANCELLED);
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("order: a signal given before a failure counts even if nobody had looked, one after it does not") {
  Fixture f;
  hal::Timeline early = f.instance.timeline(0, "early").value(), late = f.instance.timeline(0, "late").value();
  REQUIRE(hal::wait(f.queue.barrier({.signals = {early.at(5)}}).value(), kSoon));
  early.fail(hal::Error(HAL_EXECUTION_FAILED, "later"));
  CHECK(early.wait(5, kSoon));
  CHECK(early.wait(6, kSoon).error().code() == HAL_EXECUTION_FAILED);
  late.fail(hal::Error(HAL_EXECUTION_FAILED, "first"));
  for (const std::uint64_t value : {5U, 6U, 7U}) { f.queue.barrier({.signals = {late.at(value)}}).value(); }
  REQUIRE(f.queue.finish(kSoon));
  CHECK(late.wait(5, kSoon).error().code() == HAL_EXECUTION_FAILED);
}

TEST_CASE("order: explaining a deadline and a driver that reports a failure do not wait for each other") {
  hal::Instance instance = hal::Instance::create("cuda").value();
  const hal::Device device = instance.open("cuda:0").value();  // a real one, or the emulated one of this build
  constexpr const char* kManifest = "entry k kernel\n  buffer p inout u64\n";
  constexpr std::string_view kSource =
      ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p) { ret; }\n";
  hal::Program program = device.load({"ptx", std::as_bytes(std::span(kSource)), kManifest}).value();
  const hal::Entry entry = program.entry("k").value();
  hal::Buffer buffer = device.buffer(64).value();
  for (int round = 0; round < 300; ++round) {
    hal::Queue queue = device.queue("q").value();
    std::atomic<bool> failed{false};
    std::jthread other([&] {
      // A launch with so large a group fails; the core hears of it when it asks the lane about the call behind it.
      const std::array<hal::Arg, 1> args{hal::Arg(buffer)};
      while (!failed) {
        failed =
            !queue.run(entry, args, hal::Grid(1).group(5000)) || !queue.call([]() -> hal::Result<void> { return {}; });
      }
    });
    const Point never{hal_queue_timeline(queue.get()), 1000};
    bool ever = false;  // no assertion inside the loop: it would leave less time in which the two can meet
    while (!failed) { ever = hal::wait(never, 0ns).has_value() || ever; }
    CHECK_FALSE(ever);
    other.join();
  }
}
