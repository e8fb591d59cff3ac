// SPDX-License-Identifier: Apache-2.0
// Order on a device that the test moves by hand: waits that the device does itself, failure and cancelling behind them,
// lanes that fill up. Nothing here depends on time.
#include <algorithm>
#include <halyard_catch.hpp>
#include <stdexcept>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

bool reached(Point point) { return hal::wait(point, 0ns).has_value(); }

// Whatever the engine was given by now has been done when it opens a gate.
void let_engine_catch_up(Manual& m) {
  hal::Queue other = m.device.queue("other").value();
  hal::Timeline gate = m.instance.timeline(0, "gate").value();
  other.barrier({.waits = {gate.at(1)}}).value();
  REQUIRE(gate.signal(1));
  REQUIRE(eventually([&] { return m.control.taken("other") == 1; }));
  m.control.complete("other", 1);
}

}  // namespace

TEST_CASE("order: a device-side wait keeps order, and its points are reached when the producer's are") {
  Manual m(true);
  hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value();
  const Point made = producer.fill(m.at(0), std::uint32_t{5}).value();
  const Point used = consumer.copy(m.at(0), m.at(1), {.waits = {made}}).value();
  REQUIRE(m.control.granted() == 1);
  CHECK(m.control.taken("consumer") == 1);  // handed down, not held back
  CHECK(m.control.complete("consumer", 1) == 0);
  CHECK_FALSE(reached(used));
  CHECK(m.control.complete("producer", 1) == 1);
  CHECK_FALSE(reached(used));
  CHECK(m.control.complete("consumer", 1) == 1);
  CHECK(reached(used));
  CHECK(m.word(1) == 5);
}

TEST_CASE("order: a device-side wait for work that fails fails the dependant, which is never reached or executed") {
  Manual m(true);
  hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value(),
             third = m.device.queue("third").value(), bystander = m.device.queue("bystander").value();
  hal::Timeline signal = m.instance.timeline(0, "signal").value();
  const Point before = consumer.fill(m.at(9), std::uint32_t{1}).value();
  const Point made = producer.fill(m.at(0), std::uint32_t{5}).value();
  const Point used = consumer.fill(m.at(1), std::uint32_t{6}, {.waits = {made}, .signals = {signal.at(1)}}).value();
  const Point last = third.fill(m.at(2), std::uint32_t{7}, {.waits = {used}}).value();
  const Point apart = bystander.fill(m.at(3), std::uint32_t{8}).value();
  REQUIRE(m.control.granted() == 2);
  m.control.fail("producer", 1, HAL_EXECUTION_FAILED, "a wire broke");
  for (const Point& point : {made, used, last, signal.at(1)}) {
    const hal::Result<void> result = hal::wait(point, kSoon);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_EXECUTION_FAILED);
    CHECK(contains(result.error().text(), "a wire broke"));
  }
  // What came before on the same lane, and other lanes, are as they were.
  m.control.complete("consumer", 1);
  m.control.complete("bystander", 1);
  CHECK(reached(before));
  CHECK(reached(apart));
  // The device may go on with what it has; nobody is told that it was good.
  m.control.complete("consumer", 2);
  m.control.complete("third", 1);
  CHECK_FALSE(reached(used));
  CHECK_FALSE(reached(last));
  CHECK(consumer.barrier().error().code() == HAL_EXECUTION_FAILED);
}

TEST_CASE(
    "order: a wait for a timeline's value stays with the core, as others than the work on the device may bring it") {
  Manual m(true);
  hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value(),
             other = m.device.queue("other").value();
  hal::Timeline signal = m.instance.timeline(0, "signal").value();
  const Point made = producer.fill(m.at(0), std::uint32_t{5}, {.signals = {signal.at(1)}}).value();
  const Point used = consumer.fill(m.at(1), std::uint32_t{6}, {.waits = {signal.at(1)}}).value();
  CHECK(m.control.granted() == 0);
  CHECK(m.control.taken("consumer") == 0);
  SECTION("the host fails it before it is there") {
    signal.fail(hal::Error(HAL_EXECUTION_FAILED, "the host gave up"));
    m.control.complete("producer", 1);
    CHECK(reached(made));
    const hal::Result<void> result = hal::wait(used, kSoon);
    REQUIRE_FALSE(result);
    CHECK(contains(result.error().text(), "the host gave up"));
  }
  SECTION("other work brings it, and the first fails") {
    const Point more = other.fill(m.at(2), std::uint32_t{7}, {.signals = {signal.at(2)}}).value();
    m.control.complete("other", 1);
    CHECK(reached(more));
    m.control.fail("producer", 1, HAL_EXECUTION_FAILED, "a wire broke");
    REQUIRE(eventually([&] { return m.control.taken("consumer") == 1; }));
    m.control.complete("consumer", 1);
    CHECK(hal::wait(used, kSoon));
    CHECK(m.word(1) == 6);
  }
  SECTION("it is good when its signal is, also if nobody else owns it") {
    signal = m.instance.timeline(0, "another").value();
    m.control.complete("producer", 1);
    REQUIRE(eventually([&] { return m.control.taken("consumer") == 1; }));
    m.control.complete("consumer", 1);
    CHECK(hal::wait(used, kSoon));
  }
}

TEST_CASE("order: a device-side wait for work that is cancelled never shows the dependant as reached") {
  // The cancelled lane still publishes what it skips, which lets the device's wait go: only the core can hold the
  // point.
  for (int round = 0; round < 200; ++round) {
    Manual m(true);
    hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value();
    const Point made = producer.fill(m.at(0), std::uint32_t{5}).value();
    const Point used = consumer.copy(m.at(0), m.at(1), {.waits = {made}}).value();
    REQUIRE(m.control.granted() == 1);
    // A waiter of each kind: what waits for memory hears of the publish, what waits for the point must not.
    { const hal::Buffer doomed = m.device.buffer(64).value(); }
    struct Heard {
      std::atomic<int> good{0}, bad{0};
    } heard;
    REQUIRE(hal::check(hal_timeline_on_reached(
        used.timeline, used.value,
        [](void* user, const hal_error* error) {
          auto& counts = *static_cast<Heard*>(user);
          ++(error != nullptr ? counts.bad : counts.good);
        },
        &heard)));
    producer.cancel();
    REQUIRE(m.control.complete("producer", 1) == 1);
    REQUIRE(m.control.complete("consumer", 1) == 1);
    const hal::Result<void> now = hal::wait(used, 0ns);
    REQUIRE_FALSE(now);  // not yet known, or failed; never reached
    const hal::Result<void> then = hal::wait(used, kSoon);
    REQUIRE_FALSE(then);
    REQUIRE(then.error().code() == HAL_CANCELLED);
    // What comes now does not use it either, though the device has published it.
    const Point third = m.device.queue("third").value().fill(m.at(2), std::uint32_t{7}, {.waits = {used}}).value();
    REQUIRE(hal::wait(third, kSoon).error().code() == HAL_CANCELLED);
    m.control.complete("third", 1);  // the device has taken it, and nothing of it goes before it is done
    REQUIRE(eventually([&] { return heard.good + heard.bad == 1; }));
    REQUIRE(heard.good == 0);
    REQUIRE(m.control.executed("producer") == 0);
  }
}

TEST_CASE("order: a host function behind a device-side wait runs only when the producer's work is good") {
  for (const bool good : {true, false}) {
    Manual m(true);
    hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value();
    const Point made = producer.fill(m.at(0), std::uint32_t{5}).value();
    consumer.barrier({.waits = {made}}).value();
    std::atomic<bool> ran{false};
    const Point call = consumer
                           .call([&]() -> hal::Result<void> {
                             ran = true;
                             return {};
                           })
                           .value();
    if (!good) { producer.cancel(); }
    m.control.complete("producer", 1);
    m.control.complete("consumer", 1);
    if (good) {
      REQUIRE(eventually([&] { return m.control.taken("consumer") == 2; }));
      m.control.complete("consumer", 2);
      CHECK(hal::wait(call, kSoon));
      CHECK(ran);
    } else {
      CHECK(hal::wait(call, kSoon).error().code() == HAL_CANCELLED);
      CHECK_FALSE(ran);
    }
  }
}

TEST_CASE("order: a host function does not go by what a device publishes before its wait is known to be good") {
  Manual m(true);
  hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value();
  const Point made = producer.fill(m.at(0), std::uint32_t{5}).value();
  consumer.barrier({.waits = {made}}).value();
  REQUIRE(m.control.granted() == 1);
  // The device has lost the producer's work: it ends the wait for it now, and tells of the loss later.
  hal_lane_publish(m.control.lane("consumer"), 1);
  std::atomic<bool> ran{false};
  const Point call = consumer
                         .call([&]() -> hal::Result<void> {
                           ran = true;
                           return {};
                         })
                         .value();
  let_engine_catch_up(m);
  const hal::Result<void> late = hal::wait(call, 1ms);
  REQUIRE_FALSE(late);
  CHECK(contains(late.error().text(), "waits for what was submitted before it"));
  m.control.fail("producer", 1, HAL_EXECUTION_FAILED, "a wire broke");
  CHECK(hal::wait(call, kSoon).error().code() == HAL_EXECUTION_FAILED);
  CHECK_FALSE(ran);
}

TEST_CASE("order: a deadline follows a wait that the device does itself") {
  Manual m(true);
  hal::Queue producer = m.device.queue("producer").value(), consumer = m.device.queue("consumer").value();
  const Point made = producer.fill(m.at(0), std::uint32_t{5}).value();
  const Point used = consumer.barrier({.waits = {made}}).value();
  const hal::Result<void> late = hal::wait(used, 1ms);
  REQUIRE_FALSE(late);
  CHECK(contains(late.error().text(), "manual:0 has it, and waits by itself:"));
  CHECK(contains(late.error().what(), "queue 'producer' on manual:0 has completed 0 of the 1"));
  m.control.complete("producer", 1);
  m.control.complete("consumer", 1);
  CHECK(reached(used));
}

TEST_CASE("order: work that a full lane does not take is handed over in order as it drains, nothing lost or doubled") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value();
  m.control.set_capacity("lane", 3);
  std::vector<hal::Command> batch;
  for (std::uint32_t i = 0; i < 10; ++i) { batch.push_back(hal::command::fill(m.at(i), i + 1)); }
  queue.submit(batch).value();
  const Point last = queue.copy(m.at(9), m.at(20)).value();
  CHECK(m.control.taken("lane") == 3);
  for (std::uint64_t i = 1; i <= 11; ++i) {
    REQUIRE(eventually([&] { return m.control.taken("lane") >= i; }));
    CHECK(m.control.taken("lane") <= i + 2);
    REQUIRE(m.control.complete("lane", i) == i);
  }
  REQUIRE(hal::wait(last, kSoon));
  CHECK(m.control.executed("lane") == 11);
  for (std::uint32_t i = 0; i < 10; ++i) { CHECK(m.word(i) == i + 1); }
  CHECK(m.word(20) == 10);
}

TEST_CASE("order: a queue that is blocked, at a wait, a full lane or a host function's turn, blocks no other") {
  Manual m;
  hal::Timeline never = m.instance.timeline(0, "never").value(), gate = m.instance.timeline(0, "gate").value();
  hal::Queue waits = m.device.queue("waits").value(), full = m.device.queue("full").value(),
             turn = m.device.queue("turn").value(), open = m.device.queue("open").value();
  const Point stays = waits.barrier({.waits = {never.at(1)}}).value();
  m.control.set_capacity("full", 1);
  full.barrier().value();
  const Point left = full.barrier().value();
  turn.barrier().value();
  std::atomic<bool> ran{false};
  const Point called = turn.call([&]() -> hal::Result<void> {
                             ran = true;
                             return {};
                           })
                           .value();
  const Point other = open.barrier({.waits = {gate.at(1)}}).value();
  REQUIRE(gate.signal(1));
  REQUIRE(eventually([&] { return m.control.taken("open") == 1; }));
  m.control.complete("open", 1);
  CHECK(hal::wait(other, kSoon));
  CHECK(m.control.taken("full") == 1);
  CHECK_FALSE(ran);
  // Each goes on with what it waits for.
  for (std::uint64_t i = 1; i <= 2; ++i) {
    for (const char* lane : {"full", "turn"}) {
      REQUIRE(eventually([&] { return m.control.taken(lane) >= i; }));
      m.control.complete(lane, i);
    }
  }
  CHECK(hal::wait(left, kSoon));
  CHECK(hal::wait(called, kSoon));
  CHECK(ran);
  CHECK_FALSE(reached(stays));
}

TEST_CASE("order: a queue that is released lets its device finish what it has") {
  Manual m;
  hal::Timeline done = m.instance.timeline(0, "done").value();
  m.device.queue("released").value().fill(m.at(0), std::uint32_t{4}, {.signals = {done.at(1)}}).value();
  CHECK(done.wait(1, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  CHECK(m.control.complete("released", 1) == 1);
  CHECK(done.wait(1, kSoon));
  CHECK(m.word(0) == 4);
}

TEST_CASE("order: a wait may come before its signal on another device, in both directions") {
  const Manual load;  // finds the control functions
  hal::Instance instance = hal::Instance::create("host:" MANUAL_DRIVER).value();
  hal::Device host = instance.open("host:0").value(), device = instance.open("manual:0").value();
  hal::Timeline there = instance.timeline(0, "there").value(), back = instance.timeline(0, "back").value();
  hal::Queue near = host.queue("near").value(), second = host.queue("second").value(),
             far = device.queue("far").value();
  hal::Buffer buffer = host.buffer(64).value();
  std::memset(buffer.host().data(), 0, 64);
  const Point end = near.copy(buffer.slice(0, 4), buffer.slice(4, 4), {.waits = {back.at(1)}}).value();
  far.barrier({.waits = {there.at(1)}, .signals = {back.at(1)}}).value();
  CHECK(load.control.taken("far") == 0);
  second.fill(buffer.slice(0, 4), std::uint32_t{8}, {.signals = {there.at(1)}}).value();
  REQUIRE(eventually([&] { return load.control.taken("far") == 1; }));
  CHECK_FALSE(reached(end));
  load.control.complete("far", 1);
  REQUIRE(hal::wait(end, kSoon));
  std::array<std::uint32_t, 2> words{};
  std::memcpy(words.data(), buffer.host().data(), sizeof words);
  CHECK(words == std::array<std::uint32_t, 2>{8, 8});
}

TEST_CASE("order: a lane that fails keeps what it published, fails the rest, and what it held back is told") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value(), other = m.device.queue("other").value();
  hal::Timeline never = m.instance.timeline(0, "never").value();
  const Point one = queue.fill(m.at(0), std::uint32_t{1}).value(), two = queue.fill(m.at(1), std::uint32_t{2}).value(),
              three = queue.fill(m.at(2), std::uint32_t{3}).value();
  std::atomic<int> told{0};
  hal::Command call{HAL_OP_CALL, 0, nullptr, {}};
  call.as.call = {[](void* user, const hal_error* failure) -> hal_error* {
                    if (failure != nullptr) { ++*static_cast<std::atomic<int>*>(user); }
                    return nullptr;
                  },
                  &told};
  const Point held = queue.submit({&call, 1}, {.waits = {never.at(1)}}).value();
  const Point dependant = other.barrier({.waits = {two}}).value();
  m.control.fail("lane", 2, HAL_DEVICE_LOST, "fell off the bus");
  CHECK(reached(one));
  for (const Point& point : {two, three, held, dependant}) {
    CHECK(hal::wait(point, kSoon).error().code() == HAL_DEVICE_LOST);
  }
  CHECK(eventually([&] { return told == 1; }));
  CHECK(m.word(0) == 1);
  CHECK(m.word(1) == 0);
}

TEST_CASE("order: cancel keeps a buffer until the device is done with it, though its point has failed") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value();
  hal::Pool pool = m.device.pool().value();
  const Point gone = [&] {
    const hal::Buffer doomed = queue.alloc(pool, 64).value();
    return queue.fill(doomed, std::uint32_t{3}).value();
  }();
  queue.cancel();
  CHECK(hal::wait(gone, kSoon).error().code() == HAL_CANCELLED);
  let_engine_catch_up(m);
  CHECK(pool.stats().used_bytes == 64);  // the device still has the command
  m.control.complete("lane", 2);
  CHECK(eventually([&] { return pool.stats().used_bytes == 0; }));
}

TEST_CASE("order: memory that a cancelled queue freed cools until the device is done with it") {
  Manual m;
  hal::Queue queue = m.device.queue("cancelled").value();
  hal::Pool pool = m.device.pool().value();
  const hal::Buffer buffer = queue.alloc(pool, 64).value();
  queue.fill(buffer, std::uint8_t{1}).value();
  const Point freed = queue.free(buffer).value();
  queue.cancel();
  CHECK(hal::wait(freed, kSoon).error().code() == HAL_CANCELLED);
  CHECK(pool.stats().cooling_bytes == 64);
  CHECK(m.control.complete("cancelled", UINT64_MAX) == freed.value);
  CHECK(pool.stats().cooling_bytes == 0);
}

TEST_CASE("order: memory that is taken behind another queue's work is good also if that queue fails") {
  Manual m;
  hal::Queue first = m.device.queue("first").value(), second = m.device.queue("second").value();
  hal::Pool pool = m.device.pool(64).value();
  const hal::Buffer a = first.alloc(pool, 64).value();
  const Point freed = first.free(a).value();
  const hal::Buffer b = second.alloc(pool, 64).value();
  CHECK(pool.stats().waits == 1);
  const Point filled = second.fill(b, std::uint8_t{1}).value();
  CHECK_FALSE(reached(filled));
  m.control.fail("first", freed.value, HAL_DEVICE_LOST, "fell off the bus");
  REQUIRE(eventually([&] { return m.control.taken("second") == filled.value; }));
  m.control.complete("second", filled.value);
  CHECK(hal::wait(filled, kSoon));
}

TEST_CASE("order: memory whose work is done is ready for whoever looks, also before its lane has told") {
  Manual m;
  hal::Queue queue = m.device.queue("quiet").value();
  hal::Pool pool = m.device.pool().value();
  const hal::Buffer buffer = queue.alloc(pool, 64).value();
  const std::uint64_t freed = queue.free(buffer).value().value;
  CHECK(m.control.complete("quiet", freed - 1) == freed - 1);
  CHECK(pool.stats().cooling_bytes == 64);
  (void)hal_lane_count(m.control.lane("quiet"), freed);  // published; the core is told at the end
  CHECK(pool.stats().cooling_bytes == 0);
  pool.trim();
  CHECK(pool.stats().cached_bytes == 0);
  CHECK(m.control.complete("quiet", freed) == freed);
}

TEST_CASE("order: who only looks is told the failure of what was to signal a timeline") {
  Manual m;
  hal::Queue queue = m.device.queue("lane").value();
  hal::Timeline line = m.instance.timeline(0, "line").value();
  queue.barrier({.signals = {line.at(3)}}).value();
  CHECK(line.wait(3, 0ns).error().code() == HAL_DEADLINE_EXCEEDED);
  m.control.fail("lane", 1, HAL_EXECUTION_FAILED, "a wire broke");
  CHECK(line.wait(3, 0ns).error().code() == HAL_EXECUTION_FAILED);
  CHECK(line.value().error().code() == HAL_EXECUTION_FAILED);
}

namespace {

// Copies by the host's queue "owner" from a device whose memory it cannot reach, back there or to itself: the core
// carries them out in halves, on lanes that are called "reader" and "writer" here.
struct Crossed {
  Manual m;
  hal::Instance instance = hal::Instance::create("host:" MANUAL_DRIVER).value();
  hal::Device host = instance.open("host:0").value(), device = instance.open("manual:0").value();
  hal::Queue queue = host.queue("owner").value(), look = device.queue("look").value();
  hal::Buffer from, far, near = host.buffer(64).value();
  static inline const ManualControl* control = nullptr;
  static inline bool lose_reader = false;
  static inline int halves = 0;

  Crossed() {
    control = &m.control;
    lose_reader = false;
    halves = 0;
    control->hide_memory(true);
    from = device.buffer(64).value();
    far = device.buffer(64).value();
    look.fill(from, std::uint8_t{7}).value();
    look.fill(far, std::uint8_t{1}).value();
    control->complete("look", 2);
    std::memset(near.host().data(), 1, 64);
    control->on_create([](const char* label) {
      if (std::string_view(label) != "copy between devices") { return label; }
      if (++halves == 1) { return "reader"; }
      if (lose_reader) { control->fail("reader", 1, HAL_DEVICE_LOST, "fell off the bus"); }
      return "writer";
    });
  }
  ~Crossed() {
    control->on_create(nullptr);
    control->hide_memory(false);
  }
  Crossed(const Crossed&) = delete;
  Crossed& operator=(const Crossed&) = delete;

  bool holds(const hal::Buffer& buffer, unsigned char value) {
    std::array<unsigned char, 64> bytes{};
    if (&buffer == &near) {
      std::memcpy(bytes.data(), near.host().data(), 64);
    } else {
      const Point seen = look.copy(buffer, hal::host(std::span(bytes))).value();
      control->complete("look", seen.value);
      hal::wait(seen, kSoon).value();
    }
    return std::all_of(bytes.begin(), bytes.end(), [&](unsigned char one) { return one == value; });
  }
  void expect_lost(const hal::Result<Point>& copied, const hal::Buffer& to) {
    REQUIRE(copied);  // it had its numbers
    const hal::Result<void> result = hal::wait(*copied, kSoon);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_DEVICE_LOST);
    CHECK(contains(result.error().text(), "fell off the bus"));
    CHECK(queue.barrier().error().code() == HAL_DEVICE_LOST);
    try {  // whatever the writing lane was given, it does now
      control->complete("writer", 1);
    } catch (const std::out_of_range&) {}  // it is gone
    CHECK(holds(to, 1));
  }
};

}  // namespace

TEST_CASE("order: a copy between devices goes in halves, and each waits for the one before") {
  Crossed c;
  const Point copied = c.queue.copy(c.from, c.far).value();
  CHECK(c.m.control.taken("reader") == 1);
  CHECK(c.m.control.taken("writer") == 0);
  CHECK_FALSE(reached(copied));
  c.m.control.complete("reader", 1);
  REQUIRE(eventually([&] { return c.m.control.taken("writer") == 1; }));
  CHECK(c.holds(c.far, 1));
  CHECK_FALSE(reached(copied));
  c.m.control.complete("writer", 1);
  REQUIRE(hal::wait(copied, kSoon));
  CHECK(c.holds(c.far, 7));
}

TEST_CASE("order: a copy between devices reads only when its queue has done what comes before") {
  Crossed c;
  hal::Timeline gate = c.instance.timeline(0, "gate").value();
  c.queue.barrier({.waits = {gate.at(1)}}).value();
  const Point copied = c.queue.copy(c.from, c.far).value();
  CHECK(c.m.control.taken("reader") == 0);
  REQUIRE(gate.signal(1));
  REQUIRE(eventually([&] { return c.m.control.taken("reader") == 1; }));
  c.m.control.complete("reader", 1);
  REQUIRE(eventually([&] { return c.m.control.taken("writer") == 1; }));
  c.m.control.complete("writer", 1);
  REQUIRE(hal::wait(copied, kSoon));
  CHECK(c.holds(c.far, 7));
}

TEST_CASE("order: a copy between devices whose reading device is lost before it begins fails, and writes nothing") {
  Crossed c;
  c.lose_reader = true;  // once both halves have lanes, before either has its work
  const hal::Result<Point> copied = c.queue.copy(c.from, c.far);
  c.expect_lost(copied, c.far);
}

TEST_CASE("order: a copy between devices whose reading device is lost between the halves fails, and writes nothing") {
  for (const bool far : {true, false}) {  // written by the other device, or by the queue itself
    INFO("on the other device: " << far);
    Crossed c;
    const hal::Buffer& to = far ? c.far : c.near;
    const hal::Result<Point> copied = c.queue.copy(c.from, to);
    CHECK(c.m.control.taken("reader") == 1);
    c.m.control.fail("reader", 1, HAL_DEVICE_LOST, "fell off the bus");
    c.expect_lost(copied, to);
  }
}

TEST_CASE("order: a thread that waits is lent for no more than its time and a sixteenth") {
  Manual m;
  hal::Queue queue = m.device.queue("lent").value();
  const Point last = queue.fill(m.at(0), std::uint32_t{1}).value();
  CHECK_FALSE(hal::wait(last, 16ms));
  CHECK(m.control.lent_ns("lent") > 0);
  CHECK(m.control.lent_ns("lent") <= 17'000'000);
  m.control.complete("lent", 1);
}
