// SPDX-License-Identifier: Apache-2.0
// Stamps around commands, on lanes that a test moves by hand: the core's numbers, the driver's, and what lies between.
#include <dlfcn.h>

#include <array>
#include <cstring>
#include <halyard_catch.hpp>
#include <string>
#include <thread>

#include "core/manual_driver.hpp"
#include "hal/hal.hpp"

namespace {

using namespace std::chrono_literals;
using hal::test::ManualControl;

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
  REQUIRE(hal_queue_submit(queue.get(), commands.data(), 2, nullptr, &point) == nullptr);
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
  for (int i = 0; i < 1'000 && s.control.taken("narrow") == before + 1; ++i) { std::this_thread::sleep_for(5ms); }
  REQUIRE(s.control.taken("narrow") == before + 2);
  (void)s.control.complete("narrow", before + 2);  // there was no room for a stamp behind it
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
  for (std::uint64_t next = before + 1; next <= before + 2; ++next) {  // a stamp and the command
    for (int i = 0; i < 1'000 && s.control.taken("looks") < next; ++i) { std::this_thread::sleep_for(5ms); }
    REQUIRE(s.control.taken("looks") == next);
    (void)s.control.complete("looks", next);
  }
  CHECK(s.word(0) == 7);
  REQUIRE(hal::wait(point, 10s));
}

TEST_CASE("stamps: a lane that fails at the first look at its clock fails the queue at its first command") {
  Stamped s;
  s.control.set_clock(true, false);
  std::thread breaks([&] {
    for (int i = 0; i < 1'000; ++i) {
      try {
        if (s.control.taken("broken") == 1) {
          return s.control.fail("broken", 1, HAL_EXECUTION_FAILED, "a wire broke");
        }
      } catch (const std::out_of_range&) {}  // not made yet
      std::this_thread::sleep_for(1ms);
    }
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
  REQUIRE(hal_queue_submit(queue.get(), &second, 1, nullptr, &point) == nullptr);
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
  std::thread ends([&] { queue = {}; });  // of its own: where nothing else holds the queue it waits for the stamp
  CHECK(!hal::wait(point, 10s));
  std::this_thread::sleep_for(50ms);                            // time for a lane that ends too early
  CHECK(s.control.complete("ends", before + 1) == before + 1);  // throws if it is gone
  ends.join();
}
