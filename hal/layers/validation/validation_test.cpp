// SPDX-License-Identifier: Apache-2.0
// A misuse of each class is found, with both places; the right way beside it is silent.
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <future>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "failing_allocations.hpp"
#include "hal/graph.hpp"
#include "hal/hal.hpp"
#include "hal/host_kernel.h"

namespace {

using namespace std::chrono_literals;
using hal::test::eventually;
using hal::test::kSoon;

struct Bench {
  std::vector<std::string> lines;
  hal::Instance instance;
  hal::Device device;

  Bench() {
    hal_instance_desc desc{};
    desc.struct_size = sizeof desc;
    desc.drivers = "host";
    desc.layers = "validation";
    desc.log_user = this;
    desc.log = [](void* user, hal_log_level, const char* origin, const char* text) {
      if (std::string_view(origin) == "validation") { static_cast<Bench*>(user)->lines.emplace_back(text); }
    };
    instance = hal::Instance::create(desc).value();
    device = instance.open("host:0").value();
  }
  // How many findings came since the last look; the text of the last one.
  std::uint64_t news() {
    const std::uint64_t now = instance.findings(), before = std::exchange(seen_, now);
    return now - before;
  }
  std::string last() const { return lines.empty() ? "" : lines.back(); }

 private:
  std::uint64_t seen_ = 0;
};

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// A host call that waits until it is let go.
struct Gate {
  hal::Timeline open;
  static hal_error* wait(void* user, const hal_error*) {
    const auto wait_once = [&] {
      return hal_wait(&static_cast<Gate*>(user)->point, 1, HAL_WAIT_ALL, 10'000'000'000U, nullptr);
    };
    hal_error* error = wait_once();
    if (error == nullptr || hal_error_describe(error).code != HAL_OUT_OF_HOST_MEMORY) { return error; }
    hal_release(error);  // an allocation failed on purpose
    return wait_once();
  }
  hal_point point{};
  hal_command command() {
    hal_command call{};
    call.op = HAL_OP_CALL;
    call.as.call.function = wait;
    call.as.call.user = this;
    return call;
  }
};

}  // namespace

TEST_CASE("validation: two queues write one buffer without a point: both sites, labels and ranges are told") {
  Bench bench;
  hal::Queue a = bench.device.queue("first").value(), b = bench.device.queue("second").value();
  hal::Buffer weights = bench.device.buffer(256).value();
  weights.label("weights");
  CHECK(a.fill(weights.slice(0, 128), std::uint8_t{1}));
  CHECK(b.fill(weights.slice(128, 128), std::uint8_t{2}));
  CHECK(bench.news() == 0);  // other bytes
  const hal::Range range(bench.instance, "epoch 3");
  const int line = __LINE__ + 1;
  CHECK(b.fill(weights.slice(64, 64), std::uint8_t{2}));
  CHECK(bench.news() == 1);
  const std::string text = bench.last();
  for (const char* part : {"missing wait", "'weights'", "'first'", "'second'", "bytes 0 to 128", "bytes 64 to 128",
                           "validation_test.cpp", "epoch 3", "buffer 'weights' of 256 bytes on host:0 made at"}) {
    INFO(part << " in " << text);
    CHECK(has(text, part));
  }
  CHECK(has(text, ":" + std::to_string(line)));
}

TEST_CASE("validation: a wait for the point, a signal, the host's own wait and queue order each order two accesses") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value(),
             c = bench.device.queue("c").value();
  hal::Buffer buffer = bench.device.buffer(64).value();
  const hal::Point one = a.fill(buffer, std::uint8_t{1}).value();
  const hal::Point two = b.fill(buffer, std::uint8_t{2}, {.waits = {one}}).value();
  // Through a timeline, and not directly.
  hal::Timeline timeline = bench.instance.timeline(0, "t").value();
  CHECK(b.barrier({.signals = {timeline.at(5)}}));
  const hal::Point three = c.fill(buffer, std::uint8_t{3}, {.waits = {timeline.at(4)}}).value();
  CHECK(hal::wait(three, kSoon));
  CHECK(a.fill(buffer, std::uint8_t{4}));  // the host has seen `three`, and with it all before
  CHECK(a.fill(buffer, std::uint8_t{5}));
  CHECK(bench.news() == 0);
  (void)two;
}

TEST_CASE("validation: of a command done again and again the last time counts, with its own place") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Buffer from = bench.device.buffer(64).value(), to = bench.device.buffer(64).value();
  const hal::Point once = a.copy(from, to).value();
  CHECK(a.copy(from, to));
  const int line = __LINE__ + 1;
  CHECK(a.copy(from, to));
  // The first copy's point orders the first alone.
  CHECK(b.fill(to, std::uint8_t{1}, {.waits = {once}}));
  CHECK(bench.news() == 1);
  CHECK(has(bench.last(), "command 3 of queue 'a'"));
  CHECK(has(bench.last(), ":" + std::to_string(line)));
  CHECK(b.fill(from, std::uint8_t{1}, {.waits = {once}}));
  CHECK(bench.news() == 1);
  // Another lane's access, or another range, is not the same again.
  hal::Buffer parts = bench.device.buffer(128).value();
  CHECK(a.fill(parts.slice(0, 64), std::uint8_t{1}));
  CHECK(a.fill(parts.slice(64, 64), std::uint8_t{1}));
  CHECK(b.fill(parts.slice(0, 64), std::uint8_t{2}));
  CHECK(bench.news() == 1);
  CHECK(b.fill(parts.slice(64, 64), std::uint8_t{2}));
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: a write stays a write whatever the same lane reads there later, in a run of its own too") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Buffer data = bench.device.buffer(64).value(), other = bench.device.buffer(64).value(),
              third = bench.device.buffer(64).value();
  CHECK(a.fill(data, std::uint8_t{1}));
  CHECK(a.copy(data, other));
  CHECK(b.copy(data, third));  // a has written there, before it read
  CHECK(bench.news() == 1);

  static const hal_host_entry entry{"both", [](const hal_host_group*, void* const*) {}};
  static const hal_host_functions functions = HAL_HOST_FUNCTIONS(&entry, 1);
  const hal::Program program =
      bench.device
          .load({"host.functions", std::as_bytes(std::span(&functions, 1)),
                 "entry both kernel group=1,1,1\n  buffer y out f32\n  buffer x in f32\n  buffer z out f32\n"})
          .value();
  const hal::Entry both = program.entry("both").value();
  hal::Buffer same = bench.device.buffer(64).value();
  CHECK(a.copy(same, other));
  const std::array<hal::Arg, 3> in_place{hal::Arg(same), hal::Arg(same), hal::Arg(other)};
  CHECK(a.run(both, in_place, hal::Grid(1)));
  CHECK(b.copy(same, third));
  CHECK(bench.news() == 1);
  const std::array<hal::Arg, 3> onto_itself{hal::Arg(same), hal::Arg(third), hal::Arg(same.slice(32, 32))};
  CHECK(hal::wait(b.barrier().value(), kSoon));
  for (int i = 0; i < 3; ++i) { CHECK(a.run(both, onto_itself, hal::Grid(1))); }
  CHECK(bench.news() == 1);  // once
  CHECK(has(bench.last(), "overlapping arguments"));
}

TEST_CASE("validation: order may be given later: a wait before its signal, and a host call that opens a gate") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Buffer buffer = bench.device.buffer(64).value();
  hal::Timeline timeline = bench.instance.timeline(0, "t").value();
  const hal::Point late = b.fill(buffer, std::uint8_t{2}, {.waits = {timeline.at(1)}}).value();
  CHECK(a.fill(buffer, std::uint8_t{1}, {.signals = {timeline.at(1)}}));
  CHECK(hal::wait(late, kSoon));
  CHECK(bench.news() == 0);

  Gate gate{bench.instance.timeline(0, "gate").value(), {}};
  gate.point = gate.open.at(1);
  const hal_command call = gate.command();
  REQUIRE(hal::check(hal_queue_submit(a.get(), &call, 1, nullptr, nullptr)));
  const hal::Point after = a.fill(buffer, std::uint8_t{3}).value();  // behind the gate
  const hal::Point other = b.fill(buffer, std::uint8_t{4}).value();
  CHECK(hal::wait(other, kSoon));
  CHECK(gate.open.signal(1));  // the host opens it after it saw `other`
  CHECK(hal::wait(after, kSoon));
  CHECK(bench.news() == 0);

  // The same without the host's look in between.
  Gate second{bench.instance.timeline(0, "gate").value(), {}};
  second.point = second.open.at(1);
  const hal_command again = second.command();
  REQUIRE(hal::check(hal_queue_submit(a.get(), &again, 1, nullptr, nullptr)));
  const hal::Point behind = a.fill(buffer, std::uint8_t{3}).value();
  const hal::Point beside = b.fill(buffer, std::uint8_t{4}).value();
  CHECK(second.open.signal(1));
  CHECK(hal::wait(behind, kSoon));
  CHECK(hal::wait(beside, kSoon));
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: a signal orders what came before it and nothing that came after") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Buffer early = bench.device.buffer(64).value(), late = bench.device.buffer(64).value();
  hal::Timeline timeline = bench.instance.timeline(0, "t").value();
  CHECK(a.fill(early, std::uint8_t{1}, {.signals = {timeline.at(1)}}));
  CHECK(a.fill(late, std::uint8_t{1}));
  CHECK(b.fill(early, std::uint8_t{2}, {.waits = {timeline.at(1)}}));
  CHECK(bench.news() == 0);
  CHECK(b.fill(late, std::uint8_t{2}));
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: of several signals that may bring a value only what they have in common counts") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value(),
             c = bench.device.queue("c").value();
  hal::Timeline gate = bench.instance.timeline(0, "gate").value();
  hal::Buffer x = bench.device.buffer(64).value(), y = bench.device.buffer(64).value();
  const auto timeline = [&] { return bench.instance.timeline(0, "t").value(); };
  {
    hal::Timeline t = timeline();
    CHECK(a.fill(x, std::uint8_t{1}, {.signals = {t.at(1)}}));
    CHECK(b.fill(y, std::uint8_t{1}, {.signals = {t.at(2)}}));
    // The higher signal brings the value too, and knows nothing of the first fill.
    CHECK(c.copy(x.slice(0, 32), x.slice(32, 32), {.waits = {t.at(1)}}));
    CHECK(bench.news() == 1);
    CHECK(c.fill(y, std::uint8_t{2}, {.waits = {t.at(2)}}));
    CHECK(bench.news() == 0);
    for (hal::Queue* queue : {&a, &b, &c}) { CHECK(queue->finish(20s)); }
  }
  {
    // Who signals more comes after who signals less.
    hal::Timeline t = timeline();
    const hal::Point first = a.fill(x, std::uint8_t{1}, {.signals = {t.at(1)}}).value();
    CHECK(b.barrier({.waits = {first}, .signals = {t.at(2)}}));
    CHECK(c.fill(x, std::uint8_t{2}, {.waits = {t.at(1)}}));
    CHECK(c.finish(20s));
  }
  {
    // What was read is where it stands: the lower signal alone.
    hal::Timeline t = timeline();
    CHECK(a.fill(x, std::uint8_t{1}, {.signals = {t.at(1)}}));
    CHECK(a.finish(20s));
    CHECK(b.fill(y, std::uint8_t{1}, {.waits = {gate.at(2)}, .signals = {t.at(2)}}));
    CHECK(t.value().value() == 1);
    CHECK(c.fill(x, std::uint8_t{2}));
    CHECK(c.finish(20s));
    REQUIRE(gate.signal(2));
    CHECK(b.finish(20s));
  }
  {
    // A signal that is lost brings nothing.
    hal::Timeline t = timeline();
    hal::Queue lost = bench.device.queue("lost").value();
    CHECK(lost.barrier({.waits = {gate.at(3)}, .signals = {t.at(1)}}));
    CHECK(b.fill(x, std::uint8_t{1}, {.signals = {t.at(2)}}));
    lost.cancel();
    CHECK(c.fill(x, std::uint8_t{2}, {.waits = {t.at(1)}}));
    CHECK(c.finish(20s));
  }
  {
    // Nor one that was sure to come but for its queue's failure.
    static std::atomic<bool> open;
    open = false;
    static const hal_host_entry entry{"gate", [](const hal_host_group*, void* const*) {
                                        while (!open) { std::this_thread::yield(); }
                                      }};
    static const hal_host_functions functions = HAL_HOST_FUNCTIONS(&entry, 1);
    const hal::Program program =
        bench.device
            .load({"host.functions", std::as_bytes(std::span(&functions, 1)), "entry gate kernel group=1,1,1\n"})
            .value();
    hal::Timeline t = timeline();
    hal::Queue lost = bench.device.queue("lost").value();
    struct Opens {
      ~Opens() { open = true; }
    } const opens;  // also if something below is thrown
    CHECK(lost.run(program.entry("gate").value(), {}, hal::Grid(1), {.signals = {t.at(1)}}));
    CHECK(b.fill(x, std::uint8_t{1}, {.signals = {t.at(2)}}));
    lost.cancel();
    CHECK(c.fill(x, std::uint8_t{2}, {.waits = {t.at(1)}}));
    CHECK(c.finish(20s));
  }
  CHECK(bench.news() == 0);
}

TEST_CASE("validation: a wait for any tells of the point that ended it, a deadline of none, whatever else has come") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value(),
             c = bench.device.queue("c").value();
  hal::Buffer x = bench.device.buffer(64).value(), y = bench.device.buffer(64).value();
  hal::Timeline gate = bench.instance.timeline(0, "gate").value();
  const std::array points{a.fill(x, std::uint8_t{1}).value(), b.fill(y, std::uint8_t{1}).value(), gate.at(1)};
  // The history says that both are reached, and tells no layer.
  for (hal::Queue* queue : {&a, &b}) {
    CHECK(queue->flush());
    while (!has(queue->history().value(), "done")) { std::this_thread::yield(); }
  }
  CHECK(hal::wait_any(std::span(points).first(1), 20s).value() == 0);
  CHECK(c.fill(x, std::uint8_t{2}));
  CHECK(bench.news() == 0);
  CHECK(hal::wait_all(points, 0s).error().code() == HAL_DEADLINE_EXCEEDED);
  CHECK(c.fill(y.slice(0, 8), std::uint8_t{2}));
  CHECK(bench.news() == 1);
  CHECK(hal::wait_any(points, 20s).value() == 0);
  CHECK(c.fill(y.slice(8, 8), std::uint8_t{2}));
  CHECK(bench.news() == 1);
  CHECK(hal::wait_any(std::span(points).subspan(1), 20s).value() == 0);
  CHECK(c.fill(y.slice(16, 8), std::uint8_t{2}));
  CHECK(bench.news() == 0);
}

TEST_CASE("validation: reads may overlap, a write beside them may not; host memory counts too") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Buffer from = bench.device.buffer(64).value(), to = bench.device.buffer(64).value();
  std::vector<unsigned char> one(64), two(64);
  CHECK(a.copy(from, hal::host(one)));
  CHECK(b.copy(from, hal::host(two)));
  CHECK(bench.news() == 0);
  CHECK(b.copy(to, hal::host(one)));  // a writes there as well
  CHECK(bench.news() == 1);
  CHECK(has(bench.last(), "host memory"));
  CHECK(a.fill(from, std::uint8_t{1}));  // b reads it
  CHECK(bench.news() == 1);
  // A buffer reached through its host address is the same memory.
  hal::Buffer seen = bench.device.buffer(64).value();
  CHECK(a.fill(seen, std::uint8_t{1}));
  CHECK(b.copy(to, hal::host(seen.host())));
  CHECK(bench.news() == 1);
  CHECK(hal::wait(a.barrier().value(), kSoon));  // the vectors are still in use
  CHECK(hal::wait(b.barrier().value(), kSoon));
}

TEST_CASE("validation: a released buffer is refused by name and not touched") {
  Bench bench;
  hal::Queue queue = bench.device.queue("q").value();
  hal::Buffer buffer = bench.device.buffer(64).value();
  buffer.label("gone");
  const hal_slice stale = buffer.all();
  buffer = {};
  hal_command fill{};
  fill.op = HAL_OP_FILL;
  fill.as.fill = {stale, 1, 1};
  const hal::Result<void> refused = hal::check(hal_queue_submit(queue.get(), &fill, 1, nullptr, nullptr));
  REQUIRE(!refused);
  CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
  CHECK(has(refused.error().what(), "use after release"));
  CHECK(has(refused.error().what(), "'gone'"));
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: a released timeline is refused by name wherever a point is taken, and not touched") {
  Bench bench;
  hal::Queue queue = bench.device.queue("q").value();
  hal::Timeline living = bench.instance.timeline(0, "living").value();
  const auto refused = [&](const hal::Result<void>& result) {
    REQUIRE(!result);
    CHECK(result.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(has(result.error().what(), "use after release"));
    CHECK(has(result.error().what(), "'gone'"));
    CHECK(std::string(hal_error_describe(result.error().get()).origin) == "layer validation");
  };
  hal_point plain{}, lane{};
  {
    hal::Timeline timeline = bench.instance.timeline(4, "gone").value();
    plain = timeline.at(1);
    hal::Queue other = bench.device.queue("gone").value();
    lane = other.barrier().value();
    REQUIRE(other.finish(20s));
  }
  for (const hal_point stale : {plain, lane}) {
    refused(hal::wait(stale, 0s));
    const std::array both{living.at(1), stale};
    refused(hal::wait_all(both, 0s));
    const std::array first{stale, living.at(1)};
    refused(hal::check(hal_wait(first.data(), 2, HAL_WAIT_ANY, 0, nullptr)));
    int fd = -1;
    refused(hal::check(hal_point_export_fd(stale, &fd)));
    refused(hal::check(hal_timeline_on_reached(stale.timeline, 1, [](void*, const hal_error*) {}, nullptr)));
    std::uint64_t value = 0;
    refused(hal::check(hal_timeline_value(stale.timeline, &value)));
    refused(hal::check(hal_timeline_signal(stale.timeline, 9)));
    refused(hal::check(hal_timeline_import_fd(stale.timeline, 9, 0)));
    hal_timeline_fail(stale.timeline, nullptr);
    hal_sync sync{};
    sync.waits = &stale;
    sync.wait_count = 1;
    refused(hal::check(hal_queue_submit(queue.get(), nullptr, 0, &sync, nullptr)));
    REQUIRE(queue.begin_capture());
    refused(hal::check(hal_queue_submit(queue.get(), nullptr, 0, &sync, nullptr)));
    CHECK(queue.end_capture().error().code() == HAL_INVALID_ARGUMENT);  // spoilt
    hal_sync signal{};
    signal.signals = &stale;
    signal.signal_count = 1;
    refused(hal::check(hal_queue_submit(queue.get(), nullptr, 0, &signal, nullptr)));
    CHECK(bench.news() >= 1);
  }
}

TEST_CASE("validation: a released timeline is refused, and not touched, when nobody remembers its name any more") {
  Bench bench;
  hal::Queue queue = bench.device.queue("q").value();
  const hal_point stale = bench.instance.timeline().value().at(1);
  for (int i = 0; i < 5000; ++i) { (void)bench.device.buffer(64).value(); }
  const auto refused = [](const hal::Result<void>& result) {
    REQUIRE(!result);
    CHECK(result.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(has(result.error().what(), "its last owner has released it"));
  };
  hal_sync wait{}, signal{};
  wait.waits = signal.signals = &stale;
  wait.wait_count = signal.signal_count = 1;
  refused(hal::check(hal_queue_submit(queue.get(), nullptr, 0, &wait, nullptr)));
  refused(hal::check(hal_queue_submit(queue.get(), nullptr, 0, &signal, nullptr)));
  REQUIRE(queue.begin_capture());
  refused(hal::check(hal_queue_submit(queue.get(), nullptr, 0, &wait, nullptr)));
  CHECK_FALSE(queue.end_capture());
  CHECK(queue.barrier());
}

TEST_CASE("validation: to fail a released timeline is a finding, and does nothing") {
  Bench bench;
  const hal_point stale = bench.instance.timeline(4, "gone").value().at(1);
  hal_timeline_fail(stale.timeline, nullptr);
  CHECK(bench.news() == 1);
  CHECK(has(bench.last(), "use after release"));
  CHECK(has(bench.last(), "'gone'"));
}

// The thread that the allocator starts lets go of a timeline too, which has to end before the allocator returns.
TEST_CASE("validation: the allocator may do anything when it gets back the memory of a released timeline") {
  struct Program {
    std::vector<hal::Timeline> timelines;
    std::thread other;
    std::atomic<bool> asked = false;
    std::promise<void> gone;
    bool ended = false;
  } program;
  const hal_allocator allocator{&program,
                                [](void*, std::uint64_t bytes, std::uint64_t alignment) {
                                  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
                                },
                                [](void* user, void* address, std::uint64_t, std::uint64_t) {
                                  std::free(address);
                                  auto& self = *static_cast<Program*>(user);
                                  if (!self.asked.exchange(false)) { return; }
                                  self.other = std::thread([&self] {
                                    self.timelines.pop_back();
                                    self.gone.set_value();
                                  });
                                  self.ended = self.gone.get_future().wait_for(20s) == std::future_status::ready;
                                }};
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "";
  desc.layers = "validation";
  desc.allocator = &allocator;
  const hal::Instance instance = hal::Instance::create(desc).value();
  for (int i = 0; i < 5000; ++i) { program.timelines.push_back(instance.timeline().value()); }
  while (program.timelines.size() > 2) { program.timelines.pop_back(); }
  hal::Timeline last = std::move(program.timelines.back());
  program.timelines.pop_back();
  program.asked = true;
  last = {};
  CHECK(program.ended);
  REQUIRE(program.other.joinable());
  program.other.join();
}

TEST_CASE("validation: the memory of released timelines stays for a while, and goes with the instance") {
  Bench bench;
  for (int i = 0; i < 5000; ++i) { (void)bench.instance.timeline().value(); }
  hal::Timeline last = bench.instance.timeline().value();
  const hal_point stale = last.at(1);
  last = {};
  CHECK(hal::wait(stale, 0s).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("validation: giving a buffer back while another queue uses it") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Pool pool = bench.device.pool().value();
  const auto allocate = [&](hal::Point& ready) {
    hal_buffer* out = nullptr;
    REQUIRE(hal::check(hal_queue_alloc(a.get(), pool.get(), 64, nullptr, &out, &ready)));
    return hal::Buffer(out);
  };
  const auto give_back = [&](const hal::Buffer& buffer, std::initializer_list<hal::Point> waits) {
    hal_command free{};
    free.op = HAL_OP_FREE;
    free.as.free.buffer = buffer.get();
    const hal_sync sync{waits.begin(), nullptr, static_cast<std::uint32_t>(waits.size()), 0, nullptr};
    CHECK(hal::check(hal_queue_submit(a.get(), &free, 1, &sync, nullptr)));
  };
  hal::Point ready{};
  const hal::Buffer right = allocate(ready);
  const hal::Point used = b.fill(right, std::uint8_t{1}, {.waits = {ready}}).value();
  give_back(right, {used});
  CHECK(bench.news() == 0);
  const hal::Buffer wrong = allocate(ready);
  CHECK(b.fill(wrong, std::uint8_t{1}, {.waits = {ready}}));
  give_back(wrong, {});
  CHECK(bench.news() == 1);
  CHECK(has(bench.last(), "gives back"));
  const hal::Buffer early = allocate(ready);
  CHECK(b.fill(early, std::uint8_t{1}));  // without the allocation's point
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: objects of another instance are named as such") {
  Bench bench, other;
  hal::Queue queue = bench.device.queue("q").value();
  hal::Timeline foreign = other.instance.timeline(0, "theirs").value();
  const auto refused = queue.barrier({.waits = {foreign.at(1)}});
  REQUIRE(!refused);
  CHECK(has(refused.error().what(), "wrong instance"));
  CHECK(has(refused.error().what(), "'theirs'"));
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: waiting in a host call for what comes behind it is refused instead of hanging") {
  Bench bench;
  hal::Queue queue = bench.device.queue("q").value();
  struct Call {
    hal_point own;
    std::string text;
    static hal_error* run(void* user, const hal_error*) {
      auto& self = *static_cast<Call*>(user);
      const hal::Result<void> waited = hal::check(hal_wait(&self.own, 1, HAL_WAIT_ALL, 5'000'000'000U, nullptr));
      self.text = waited ? "waited" : std::string(waited.error().what());
      return nullptr;
    }
  } call{{hal_queue_timeline(queue.get()), 2}, ""};
  hal_command command{};
  command.op = HAL_OP_CALL;
  command.as.call = {Call::run, &call};
  hal_point end{};
  REQUIRE(hal::check(hal_queue_submit(queue.get(), &command, 1, nullptr, &end)));
  CHECK(hal::wait(end, 20s));  // longer than the call waits: it uses what is here
  CHECK(has(call.text, "waiting from inside a host call"));
  CHECK(bench.news() == 1);
}

TEST_CASE("validation: ends with a clean program are silent, many queues and long runs too") {
  Bench bench;
  hal::Buffer buffer = bench.device.buffer(1 << 16).value();
  hal::Timeline timeline = bench.instance.timeline(0, "t").value();
  std::uint64_t value = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<hal::Queue> queues;
    for (int i = 0; i < 4; ++i) { queues.push_back(bench.device.queue("q" + std::to_string(i)).value()); }
    for (int i = 0; i < 100; ++i) {
      hal::Queue& queue = queues[static_cast<std::size_t>(i * 7 % 4)];
      ++value;
      REQUIRE(
          queue.fill(buffer, std::uint8_t{1}, {.waits = {timeline.at(value - 1)}, .signals = {timeline.at(value)}}));
    }
    CHECK(timeline.wait(value, 10s));
  }
  CHECK(bench.news() == 0);
}

TEST_CASE("validation: memory that is mapped twice is one memory, and so is what a descriptor shares") {
  Bench bench;
  const std::uint64_t unit = bench.device.number("virtual.granularity").value();
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  hal::Physical memory = bench.device.physical(2 * unit).value();
  memory.label("block");
  hal::VirtualBuffer one = bench.device.reserve(2 * unit).value(), two = bench.device.reserve(4 * unit).value();
  REQUIRE(one.map(0, memory, 0, 2 * unit));
  REQUIRE(two.map(0, memory, unit, unit));  // the block's second half first
  REQUIRE(two.map(unit, memory, 0, unit));
  const auto both_wait = [&] {
    REQUIRE(hal::wait(a.barrier().value(), kSoon));
    REQUIRE(hal::wait(b.barrier().value(), kSoon));
  };
  CHECK(a.fill(one.slice(0, 64), std::uint8_t{1}));
  CHECK(b.fill(two.slice(0, unit), std::uint8_t{2}));
  CHECK(bench.news() == 0);  // another half of the block
  CHECK(b.fill(two.slice(unit, 64), std::uint8_t{2}));
  CHECK(bench.news() == 1);
  CHECK(has(bench.last(), "physical memory 'block'"));
  both_wait();
  // Across the seam of two mappings, and in order.
  const hal::Point first = a.fill(one.slice(unit - 64, 128), std::uint8_t{1}).value();
  CHECK(b.fill(two.slice(0, 2 * unit), std::uint8_t{1}, {.waits = {first}}));
  CHECK(bench.news() == 0);
  both_wait();

  const int fd = memory.export_fd().value();
  hal::Physical again = bench.device.import_fd(fd, 2 * unit).value();
  close(fd);
  hal::VirtualBuffer three = bench.device.reserve(2 * unit).value();
  REQUIRE(three.map(0, again, 0, 2 * unit));
  CHECK(a.fill(one.slice(64, 64), std::uint8_t{1}));
  CHECK(b.fill(three.slice(64, 64), std::uint8_t{1}));
  CHECK(bench.news() == 1);
  both_wait();

  // What lies there now counts, not what lay there.
  hal::Physical other = bench.device.physical(unit).value();
  CHECK(a.fill(one.slice(unit, 64), std::uint8_t{1}));
  REQUIRE(three.unmap(0, 2 * unit));
  both_wait();
  // BUSY until the device has taken the old one away.
  REQUIRE(eventually([&] { return three.map(unit, other, 0, unit).has_value(); }));
  CHECK(a.fill(one.slice(unit, 64), std::uint8_t{1}));
  CHECK(b.fill(three.slice(unit, 64), std::uint8_t{1}));
  CHECK(bench.news() == 0);
}

TEST_CASE("validation: host memory that buffers were made over is one memory, by any of its names") {
  Bench bench;
  hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value();
  std::vector<std::byte> bytes(4096);
  hal::Buffer whole = bench.device.import_host(bytes).value();
  hal::Buffer half = bench.device.import_host(std::span(bytes).subspan(2048)).value();
  hal::Buffer own = bench.device.buffer(64).value();
  CHECK(a.fill(whole.slice(0, 2048), std::uint8_t{1}));
  CHECK(b.fill(half, std::uint8_t{2}));
  CHECK(bench.news() == 0);
  CHECK(a.fill(whole.slice(2048, 64), std::uint8_t{1}));
  CHECK(bench.news() == 1);
  CHECK(b.copy(hal::host(std::span(bytes).first(64)), own));
  CHECK(bench.news() == 1);
  REQUIRE(hal::wait(a.barrier().value(), kSoon));
  REQUIRE(hal::wait(b.barrier().value(), kSoon));
}

TEST_CASE("validation: outputs of a run that are one memory under two buffers") {
  Bench bench;
  static const hal_host_entry entry{"both", [](const hal_host_group*, void* const*) {}};
  static const hal_host_functions functions = HAL_HOST_FUNCTIONS(&entry, 1);
  const hal::Program program = bench.device
                                   .load({"host.functions", std::as_bytes(std::span(&functions, 1)),
                                          "entry both kernel group=1,1,1\n  buffer y out f32\n  buffer z out f32\n"})
                                   .value();
  const hal::Entry both = program.entry("both").value();
  const std::uint64_t unit = bench.device.number("virtual.granularity").value();
  hal::Queue a = bench.device.queue("a").value();
  hal::Physical memory = bench.device.physical(2 * unit).value();
  hal::VirtualBuffer one = bench.device.reserve(2 * unit).value(), two = bench.device.reserve(unit).value();
  REQUIRE(one.map(0, memory, 0, 2 * unit));
  REQUIRE(two.map(0, memory, unit, unit));
  const std::array<hal::Arg, 2> apart{hal::Arg(one.slice(0, unit)), hal::Arg(two)};
  CHECK(a.run(both, apart, hal::Grid(1)));
  CHECK(bench.news() == 0);
  const std::array<hal::Arg, 2> over{hal::Arg(one.slice(unit, unit)), hal::Arg(two)};
  CHECK(a.run(both, over, hal::Grid(1)));
  CHECK(bench.news() == 1);
  CHECK(has(bench.last(), "overlapping arguments"));
  REQUIRE(hal::wait(a.barrier().value(), kSoon));
}

// A program without a mistake, whatever it misses and says so.
TEST_CASE("validation: what it missed for want of memory it makes nothing of, and says once that it has stopped") {
  const auto sure = [](const auto& call) {  // what is refused for want of memory or a thread is asked for again
    auto done = call();
    for (int i = 0; i < 3 && !done; ++i) {
      INFO(done.error().what());
      REQUIRE((done.error().code() == HAL_OUT_OF_HOST_MEMORY || done.error().code() == HAL_UNAVAILABLE));
      done = call();
    }
    if (!done) { FAIL(done.error().text()); }
    return *done;
  };
  std::uint64_t stopped = 0, failed = 1;
  for (std::uint64_t n = 0; failed != 0; ++n) {
    REQUIRE(n < 2'000);
    Bench bench;
    hal::Queue a = bench.device.queue("a").value(), b = bench.device.queue("b").value(),
               c = bench.device.queue("c").value();
    hal::Timeline timeline = bench.instance.timeline(0, "t").value();
    std::vector<hal::Buffer> buffers;
    for (int i = 0; i < 4; ++i) { buffers.push_back(bench.device.buffer(256).value()); }
    std::vector<unsigned char> loose(256);
    hal::Point last{};
    Gate gate{bench.instance.timeline(0, "gate").value(), {}};
    gate.point = gate.open.at(1);
    const hal_command call = gate.command();
    hal::test::fail_after(n);
    std::uint64_t value = 0;
    for (int round = 0; round < 3; ++round) {
      for (hal::Buffer& buffer : buffers) {
        last = sure([&] { return a.fill(buffer, std::uint8_t{1}, {.waits = {last}}); });
        last = sure([&] { return b.copy(buffer, hal::host(loose), {.waits = {last}}); });
        ++value;
        sure([&] { return b.barrier({.signals = {timeline.at(value)}}); });
        last = sure([&] { return c.fill(buffer, std::uint8_t{2}, {.waits = {timeline.at(value)}}); });
      }
    }
    // Work behind a gate, which the host opens.
    sure([&]() -> hal::Result<hal::Point> {
      hal_point out{};
      const hal_sync sync{&last, nullptr, 1, 0, nullptr};
      HAL_CHECK(hal::check(hal_queue_submit(a.get(), &call, 1, &sync, &out)));
      return hal::Point{out};
    });
    const hal::Point behind = sure([&] { return a.fill(buffers[0], std::uint8_t{3}); });
    sure([&]() -> hal::Result<int> {
      HAL_CHECK(gate.open.signal(1));
      return 0;
    });
    last = sure([&] { return b.fill(buffers[0], std::uint8_t{4}, {.waits = {behind}}); });
    hal::test::fail_no_more();
    failed = hal::test::failures();
    REQUIRE(hal::wait(last, 10s));
    REQUIRE(hal::wait(c.barrier().value(), 10s));
    INFO("allocation " << n << ": " << bench.last());
    REQUIRE(bench.news() == 0);
    if (bench.lines.empty()) { continue; }
    REQUIRE(bench.lines.size() == 1);
    REQUIRE(has(bench.last(), "no missing wait is looked for"));
    ++stopped;
    // What it knows it still says.
    const hal_slice stale = buffers.back().all();
    buffers.pop_back();
    hal_command fill{};
    fill.op = HAL_OP_FILL;
    fill.as.fill = {stale, 1, 1};
    REQUIRE(!hal::check(hal_queue_submit(a.get(), &fill, 1, nullptr, nullptr)));
    REQUIRE(has(bench.last(), "use after release"));
  }
  CHECK(stopped >= 20);
}
