// SPDX-License-Identifier: Apache-2.0
// Stamps around commands, on lanes that a test moves by hand: the core's numbers, the driver's, and what lies between.
#include <dlfcn.h>

#include <array>
#include <cstring>
#include <functional>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <string>
#include <thread>

#include "core/manual_driver.hpp"
#include "hal/hal.hpp"

namespace {

using namespace std::chrono_literals;
using hal::test::eventually;
using hal::test::ManualControl;

// For a hook of the driver, which is a plain function.
std::function<void(std::uint32_t taken)> at_submit;

struct Stamped {
  const ManualControl& control =
      *static_cast<const ManualControl*>(::dlsym(::dlopen(MANUAL_DRIVER, RTLD_NOW), "manual_control"));
  hal::Instance instance;
  hal::Device device;
  hal::Buffer words;

  Stamped() {
    control.set_clock(true, true);
    hal_instance_desc desc{};
    desc.struct_size = sizeof desc;
    desc.drivers = MANUAL_DRIVER;
    desc.layers = "trace=/dev/null+device";
    instance = hal::Instance::create(desc).value();
    device = instance.open("manual:0").value();
    words = device.buffer(64).value();
  }
  ~Stamped() {
    control.on_submit(nullptr);
    control.grant_waits(false);
    control.set_clock(true, true);  // the last looks at the clock must not need the test
    words = {};
    device = {};
    instance = {};
    control.set_clock(false, false);
  }

  // While it lives the test moves the lane's stamps too. It goes before the queue, whose end looks at the clock.
  struct ByHand {
    const ManualControl& control;
    const std::uint64_t taken;  // what the driver had been given before
    ByHand(const ManualControl& of, const char* label) : control(of), taken(of.taken(label)) {
      control.set_clock(true, false);
    }
    ByHand(const ByHand&) = delete;
    ByHand& operator=(const ByHand&) = delete;
    ~ByHand() { control.set_clock(true, true); }
  };
  ByHand by_hand(const char* label) const { return {control, label}; }
  // Does the last command. There is no room for the stamp behind it, whether a thread of the core's hands that over
  // before this or after.
  void complete_last(const char* label, std::uint64_t number) const {
    control.set_capacity(label, 0);
    (void)control.complete(label, number);
  }
  void finish(const char* label) { (void)control.complete(label, UINT64_MAX); }
  hal::Slice at(std::uint64_t word) const { return words.slice(word * 4, 4); }
  std::uint32_t word(std::uint64_t index) const {
    std::uint32_t out = 0;
    std::memcpy(&out, static_cast<const std::byte*>(words.host().data()) + index * 4, 4);
    return out;
  }
};

std::uint64_t value_of(const hal::Queue& queue) {
  std::uint64_t out = 0;
  hal_release(hal_timeline_value(hal_queue_timeline(queue.get()), &out));
  return out;
}

// `act` gets the number of each submit() of the driver from now on, 1 for the first, and how many commands it took.
void when_submitted(const Stamped& s, std::function<void(int call, std::uint32_t taken)> act) {
  at_submit = [act = std::move(act), call = 0](std::uint32_t taken) mutable { act(++call, taken); };
  s.control.on_submit([](const char*, std::uint32_t taken) { at_submit(taken); });
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("stamps: the queue counts its own commands, and the last of a submission waits for the stamp behind it") {
  Stamped s;
  hal::Queue queue = s.device.queue("counts").value();
  const Stamped::ByHand hand = s.by_hand("counts");
  const std::uint64_t before = hand.taken;
  const std::array commands{hal::command::fill(s.at(0), std::uint32_t{1}),
                            hal::command::fill(s.at(1), std::uint32_t{2})};
  hal_point point{};
  REQUIRE(hal::check(hal_queue_submit(queue.get(), commands.data(), 2, nullptr, &point)));
  CHECK(point.value == 2);
  CHECK(s.control.taken("counts") == before + 4);
  CHECK(s.control.complete("counts", before + 1) == before + 1);
  CHECK(value_of(queue) == 0);
  (void)s.control.complete("counts", before + 2);
  CHECK(value_of(queue) == 1);
  (void)s.control.complete("counts", before + 3);
  CHECK(s.word(1) == 2);
  CHECK(value_of(queue) == 1);
  (void)s.control.complete("counts", before + 4);
  CHECK(value_of(queue) == 2);
}

TEST_CASE("stamps: a lane that takes a stamp and nothing more is asked again when the stamp is done") {
  Stamped s;
  hal::Queue queue = s.device.queue("narrow").value();
  const Stamped::ByHand hand = s.by_hand("narrow");
  const std::uint64_t before = hand.taken;
  s.control.set_capacity("narrow", 1);
  const hal::Point point = queue.fill(s.at(0), std::uint32_t{7}).value();
  CHECK(point.value == 1);
  CHECK(s.control.taken("narrow") == before + 1);
  (void)s.control.complete("narrow", before + 1);  // nothing of the queue's own has been done
  REQUIRE(eventually([&] { return s.control.taken("narrow") != before + 1; }));
  REQUIRE(s.control.taken("narrow") == before + 2);
  s.complete_last("narrow", before + 2);
  CHECK(s.word(0) == 7);
  REQUIRE(hal::wait(point, 10s));
  CHECK(value_of(queue) == 1);
}

TEST_CASE("stamps: a lane that has no room beside a look at its clock is asked again when that is done") {
  Stamped s;
  s.control.set_clock(true, false);
  hal::Queue queue = s.device.queue("looks").value();  // which gives up on the look after a while
  const Stamped::ByHand hand = s.by_hand("looks");
  const std::uint64_t before = hand.taken;
  REQUIRE(before == 1);
  s.control.set_capacity("looks", 1);
  const hal::Point point = queue.fill(s.at(0), std::uint32_t{7}).value();
  CHECK(s.control.taken("looks") == before);
  (void)s.control.complete("looks", before);
  REQUIRE(eventually([&] { return s.control.taken("looks") >= before + 1; }));
  REQUIRE(s.control.taken("looks") == before + 1);  // the stamp
  (void)s.control.complete("looks", before + 1);
  REQUIRE(eventually([&] { return s.control.taken("looks") >= before + 2; }));
  REQUIRE(s.control.taken("looks") == before + 2);  // the command
  s.complete_last("looks", before + 2);
  CHECK(s.word(0) == 7);
  REQUIRE(hal::wait(point, 10s));
}

TEST_CASE("stamps: a lane that fails at the first look at its clock fails the queue at its first command") {
  Stamped s;
  s.control.set_clock(true, false);
  std::thread breaks([&] {
    (void)eventually([&] {
      try {
        if (s.control.taken("broken") != 1) { return false; }
        s.control.fail("broken", 1, HAL_EXECUTION_FAILED, "a wire broke");
        return true;
      } catch (const std::out_of_range&) { return false; }  // not made yet
    });
  });
  hal::Queue queue = s.device.queue("broken").value();
  breaks.join();
  const hal::Result<hal::Point> point = queue.fill(s.at(0), std::uint32_t{7});
  const hal::Result<void> result = point ? hal::wait(*point, 10s) : hal::Result<void>(hal::Error(point.error()));
  REQUIRE(!result);
  CHECK(contains(result.error().text(), "a wire broke"));
  CHECK(value_of(queue) == 0);
}

TEST_CASE("stamps: a failure has the core's number") {
  Stamped s;
  hal::Queue queue = s.device.queue("fails").value();
  const Stamped::ByHand hand = s.by_hand("fails");
  const std::uint64_t before = hand.taken;
  CHECK(queue.fill(s.at(0), std::uint32_t{1}));
  const hal_command second = hal::command::fill(s.at(1), std::uint32_t{2}, "the second");
  hal_point point{};
  REQUIRE(hal::check(hal_queue_submit(queue.get(), &second, 1, nullptr, &point)));
  s.control.fail("fails", before + 5, HAL_EXECUTION_FAILED, "a wire broke");
  const hal::Result<void> result = hal::wait(hal::Point{point}, 10s);
  REQUIRE(!result);
  CHECK(result.error().code() == HAL_EXECUTION_FAILED);
  CHECK(contains(result.error().text(), "a wire broke"));
  CHECK(contains(result.error().what(), "'the second'"));
  CHECK(value_of(queue) == 1);
}

TEST_CASE("stamps: a lane waits on the device for the very command that the core named") {
  Stamped s;
  s.control.grant_waits(true);
  hal::Queue producer = s.device.queue("producer").value(), consumer = s.device.queue("consumer").value();
  const Stamped::ByHand first = s.by_hand("producer"), second = s.by_hand("consumer");
  const std::uint64_t made = first.taken, used = second.taken;
  const hal::Point point = producer.fill(s.at(0), std::uint32_t{5}).value();
  const hal::Point last = consumer.copy(s.at(0), s.at(1), {.waits = {point}}).value();
  REQUIRE(s.control.granted() == 1);
  CHECK(s.control.complete("consumer", UINT64_MAX) == used);
  (void)s.control.complete("producer", made + 1);
  CHECK(s.control.complete("consumer", UINT64_MAX) == used);
  (void)s.control.complete("producer", made + 2);
  CHECK(s.control.complete("consumer", UINT64_MAX) == used + 3);
  CHECK(s.word(1) == 5);
  s.finish("producer");
  REQUIRE(hal::wait(last, 10s));
}

TEST_CASE("stamps: a lane ends when its stamps have, also those that nobody waits for") {
  Stamped s;
  hal::Queue queue = s.device.queue("ends").value();
  const Stamped::ByHand hand = s.by_hand("ends");
  const std::uint64_t before = hand.taken;
  s.control.set_capacity("ends", 1);
  const hal::Point point = queue.fill(s.at(0), std::uint32_t{7}).value();
  REQUIRE(s.control.taken("ends") == before + 1);
  queue.cancel();
  CHECK(!hal::wait(point, 10s));
  const std::uint64_t flushed = s.control.flushed("ends");
  const std::jthread ends([&] { queue = {}; });  // where nothing else holds the queue it waits for the stamp
  REQUIRE(eventually([&] { return s.control.flushed("ends") != flushed; }));
  CHECK(s.control.complete("ends", before + 1) == before + 1);  // throws if the lane is gone, like flushed()
}

TEST_CASE("stamps: commands that were done before there was no room for the stamp behind them are told at once") {
  Stamped s;
  hal::Queue queue = s.device.queue("short").value();
  const Stamped::ByHand hand = s.by_hand("short");
  const std::uint64_t before = hand.taken;
  when_submitted(s, [&](int call, std::uint32_t) {
    if (call != 2) { return; }  // the command, behind its stamp
    CHECK(s.control.complete("short", before + 2) == before + 2);
    s.control.set_capacity("short", 0);
  });
  const hal::Point point = queue.fill(s.at(0), std::uint32_t{7}).value();
  CHECK(s.control.taken("short") == before + 2);
  CHECK(point.value == 1);
  CHECK(value_of(queue) == 1);
  s.control.set_capacity("short", UINT64_MAX);
}

TEST_CASE("stamps: a lane that has room again when it has just refused commands gets them at once") {
  Stamped s;
  hal::Queue queue = s.device.queue("again").value();
  const Stamped::ByHand hand = s.by_hand("again");
  const std::uint64_t before = hand.taken;
  s.control.set_capacity("again", 1);
  when_submitted(s, [&](int call, std::uint32_t taken) {
    if (call != 2) { return; }
    CHECK(taken == 0);
    CHECK(s.control.complete("again", before + 1) == before + 1);
  });
  const hal::Point point = queue.fill(s.at(0), std::uint32_t{7}).value();
  CHECK(s.control.taken("again") == before + 2);
  (void)s.control.complete("again", before + 2);
  REQUIRE(hal::wait(point, 10s));
}

TEST_CASE("stamps: a lane that has room again when it has just refused a stamp gets it at once") {
  Stamped s;
  s.control.set_clock(true, false);
  hal::Queue queue = s.device.queue("once more").value();  // which gives up on the look at its clock after a while
  const Stamped::ByHand hand = s.by_hand("once more");
  const std::uint64_t before = hand.taken;
  REQUIRE(before == 1);
  s.control.set_capacity("once more", 1);
  when_submitted(s, [&](int call, std::uint32_t taken) {
    if (call != 1) { return; }
    CHECK(taken == 0);
    CHECK(s.control.complete("once more", before) == before);
  });
  const hal::Point point = queue.fill(s.at(0), std::uint32_t{7}).value();
  CHECK(s.control.taken("once more") == before + 1);
  REQUIRE(eventually([&] { return s.control.taken("once more") >= before + 1; }));
  REQUIRE(s.control.taken("once more") == before + 1);  // the stamp
  (void)s.control.complete("once more", before + 1);
  REQUIRE(eventually([&] { return s.control.taken("once more") >= before + 2; }));
  REQUIRE(s.control.taken("once more") == before + 2);  // the command
  s.complete_last("once more", before + 2);
  REQUIRE(hal::wait(point, 10s));
}

TEST_CASE("stamps: a lane waits on the device for the very command of many that are on their way") {
  Stamped s;
  s.control.grant_waits(true);
  hal::Queue producer = s.device.queue("many").value(), consumer = s.device.queue("one of many").value();
  const Stamped::ByHand first = s.by_hand("many"), second = s.by_hand("one of many");
  const std::uint64_t made = first.taken, used = second.taken;
  std::vector<hal::Point> points;
  for (std::uint32_t i = 0; i < 100; ++i) {  // of one command and of two in turn
    const std::array commands{hal::command::fill(s.at(0), i), hal::command::fill(s.at(1), i)};
    hal_point point{};
    REQUIRE(hal::check(hal_queue_submit(producer.get(), commands.data(), 1 + i % 2, nullptr, &point)));
    points.push_back({point});
  }
  // 33 pairs of a submission with one command and one with two: 7 numbers of the driver each, and 3 of the core.
  const hal::Point& awaited = points[2 * 33];
  REQUIRE(awaited.value == 33 * 3 + 1);
  const hal::Point last = consumer.copy(s.at(0), s.at(2), {.waits = {awaited}}).value();
  REQUIRE(s.control.granted() == 1);
  const std::uint64_t number = made + 33 * 7 + 2;  // behind the stamp before it
  (void)s.control.complete("many", number - 1);
  CHECK(s.control.complete("one of many", UINT64_MAX) == used);
  (void)s.control.complete("many", number);
  CHECK(s.control.complete("one of many", UINT64_MAX) == used + 3);
  CHECK(s.word(2) == 66);
  s.finish("many");
  REQUIRE(hal::wait(last, 10s));
}

TEST_CASE("stamps: a lane that gathers work until somebody waits for it is told for what") {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.layers = "trace=/dev/null+device";
  hal::Instance instance = hal::Instance::create(desc).value();
  // Left alone it begins in an hour.
  hal::Device device = instance.open("host:0?mode=weak&seed=9&patience=3600000").value();
  hal::Buffer words = device.buffer(64).value();
  std::array<hal::Queue, 2> queues{device.queue("a").value(), device.queue("b").value()};
  hal::Point hop{};
  for (std::uint32_t i = 0; i < 40; ++i) {
    hop = queues[i % 2].fill(words.slice(i % 16 * 4, 4), i, {.waits = {hop}}).value();
  }
  CHECK(hal::wait(hop, 20s));
}
