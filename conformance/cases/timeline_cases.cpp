// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "conformance/cases/case.hpp"

namespace hal::conformance {
namespace {

constexpr std::uint64_t kFarLater = 600'000'000'000U;  // a deadline in which nothing will be decided

std::uint64_t value_of(hal_timeline* timeline) {
  std::uint64_t value = 0;
  EXPECT_OK(hal_timeline_value(timeline, &value));
  return value;
}

hal_error* some_error(hal_code code) {
  hal_error_info info{};
  info.code = code;
  info.what = "made by the test";
  return hal_error_create(&info);
}

// Waits and says with what code it ended; HAL_OK for success. Codes behind it count: the first failure is the story.
bool ends_with(Case& t, hal_point point, hal_code code) {
  hal_error* error = t.try_wait(point);
  const bool right = code == HAL_OK ? error == nullptr : has_code(error, code);
  hal_release(error);
  return right;
}

// A callback's user data.
struct Called {
  std::atomic<int> times{0};
  std::atomic<int> code{-1};
  static void reached(void* user, const hal_error* error) {
    auto* called = static_cast<Called*>(user);
    called->code = root_code(error);
    ++called->times;
  }
};

// Looks until it holds or the deadline has passed. Only for things that no wait can see.
template <class Condition>
bool eventually(Case& t, Condition condition) {
  const std::uint64_t end = now_ns() + t.deadline_ns();
  while (!condition()) {
    if (now_ns() > end) { return false; }
    std::this_thread::yield();
  }
  return true;
}

bool readable(int fd, std::uint64_t timeout_ns) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(timeout_ns / 1'000'000)) == 1 && (entry.revents & POLLIN) != 0;
}

}  // namespace

HAL_CASE(TLS_001, "a timeline starts where it is told") {
  for (const std::uint64_t initial : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 31U,
                                      std::uint64_t{1} << 32U, std::uint64_t{1} << 63U, UINT64_MAX - 1}) {
    auto timeline = t.timeline(initial);
    EXPECT_EQ(value_of(timeline), initial);
    EXPECT(t.reached({timeline, initial}));
    if (initial < UINT64_MAX - 1) { EXPECT(!t.reached({timeline, initial + 1})); }
  }
  hal_timeline* none = nullptr;
  EXPECT_CODE(hal_timeline_create(t.instance(), UINT64_MAX, "none", &none), HAL_INVALID_ARGUMENT);
  EXPECT(none == nullptr);
}

HAL_CASE(TLS_002, "a host signal counts at once") {
  auto timeline = t.timeline();
  for (const std::uint64_t value : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{77}, std::uint64_t{0xFFFFFFFF},
                                    std::uint64_t{0x100000000}, std::uint64_t{0x100000001}, UINT64_MAX - 1}) {
    EXPECT(!t.reached({timeline, value}));
    EXPECT_OK(hal_timeline_signal(timeline, value));
    EXPECT_EQ(value_of(timeline), value);
    EXPECT(t.reached({timeline, value}));
    EXPECT(t.reached({timeline, value - 1}));
  }
}

HAL_CASE(TLS_002, "a host signal beyond their values releases queues") {
  auto timeline = t.timeline();
  std::vector<Owned<hal_queue>> queues;
  auto setup = t.queue();
  auto buffer = t.filled(setup, 4, 0);
  std::vector<hal_point> points;
  for (std::uint64_t i = 0; i < 4; ++i) {
    queues.push_back(t.queue());
    points.push_back(t.submit(queues[i], {fill(slice(buffer, i, 1), i + 1)}, {{{timeline, (i + 1) << 32U}}}));
  }
  for (const hal_point& point : points) { EXPECT(!t.reached(point)); }
  EXPECT_OK(hal_timeline_signal(timeline, 5ULL << 32U));
  for (const hal_point& point : points) { t.wait(point); }
  const Bytes bytes = t.read(setup, buffer);
  for (std::uint64_t i = 0; i < 4; ++i) { EXPECT_EQ(bytes[i], i + 1); }
}

HAL_CASE(TLS_003, "a timeline never goes back") {
  auto timeline = t.timeline(10);
  for (const std::uint64_t value : {10U, 9U, 1U, 0U}) {
    EXPECT_CODE(hal_timeline_signal(timeline, value), HAL_INVALID_ARGUMENT);
    EXPECT_EQ(value_of(timeline), std::uint64_t{10});
  }
  EXPECT_OK(hal_timeline_signal(timeline, 11));
}

HAL_CASE(TLS_005, "what is reached needs no waiting") {
  auto timeline = t.timeline(5);
  auto queue = t.queue();
  const hal_point done = t.submit(queue, {barrier()});
  t.wait(done);
  for (const hal_point& point :
       {hal_point{timeline, 5}, hal_point{timeline, 3}, hal_point{timeline, 0}, hal_point{nullptr, 0}, done}) {
    EXPECT_OK(hal_wait(&point, 1, HAL_WAIT_ALL, 0, nullptr));
    EXPECT_OK(hal_wait(&point, 1, HAL_WAIT_ANY, 0, nullptr));
  }
  // A value of no timeline is nothing that could be reached.
  const std::array<hal_point, 2> points = {done, hal_point{nullptr, 5}};
  for (const hal_wait_mode mode : {HAL_WAIT_ALL, HAL_WAIT_ANY}) {
    EXPECT_CODE(hal_wait(points.data(), 2, mode, 0, nullptr), HAL_INVALID_ARGUMENT);
  }
  EXPECT_CODE(t.try_submit(queue, {barrier()}, {.waits = {points[1]}}), HAL_INVALID_ARGUMENT);
}

HAL_CASE(TLS_006, "a wait ends at its deadline and not before") {
  auto timeline = t.timeline(0, "never");
  auto queue = t.queue();
  const hal_point held = t.submit(queue, {barrier()}, {{{timeline, 1}}});
  for (const hal_point& point : {hal_point{timeline, 1}, held}) {
    for (const std::uint64_t timeout : {std::uint64_t{0}, std::uint64_t{1'000'000}, std::uint64_t{20'000'000}}) {
      const std::uint64_t start = now_ns();
      EXPECT_CODE(hal_wait(&point, 1, HAL_WAIT_ALL, timeout, nullptr), HAL_DEADLINE_EXCEEDED);
      EXPECT(now_ns() - start >= timeout);
    }
    EXPECT_CODE(hal_wait(&point, 1, HAL_WAIT_ALL, HAL_FOREVER, nullptr), HAL_INVALID_ARGUMENT);
    EXPECT_CODE(hal_wait(&point, 1, HAL_WAIT_ANY, HAL_FOREVER, nullptr), HAL_INVALID_ARGUMENT);
  }
  EXPECT_OK(hal_timeline_signal(timeline, 1));
  t.wait(held);
}

HAL_CASE(TLS_006, "a missed deadline names the point") {
  auto timeline = t.timeline(0, "the missing signal");
  const hal_point point{timeline, 41};
  const std::string text = text_of(hal_wait(&point, 1, HAL_WAIT_ALL, 0, nullptr));
  EXPECT(text.find("the missing signal") != std::string::npos);
  EXPECT(text.find("41") != std::string::npos);
}

HAL_CASE(TLS_030, "a wait keeps its deadline behind work that the waiting thread could do itself") {
  constexpr std::uint64_t kMuch = 100'000'000, kLongest = 32 << 20, kTries = 5;
  constexpr std::uint64_t kCount = 128;  // so few that the device has them all when the wait begins
  auto queue = t.queue();
  auto buffer = t.buffer(kLongest);
  const auto pour = [&](std::uint64_t length) {
    hal_point last{};
    for (std::uint64_t i = 0; i < kCount; ++i) { last = t.submit(queue, {fill(slice(buffer, 0, length), i)}); }
    return last;
  };
  std::uint64_t length = 32 << 10, took = 0;
  while (took < kMuch && length < kLongest) {
    length *= 2;
    const std::uint64_t start = now_ns();
    t.wait(pour(length));
    took = now_ns() - start;
  }
  if (took < kMuch) { return; }  // too quick for any wait to be held up by it
  bool in_time = false, queued = false;
  for (std::uint64_t i = 0; i < kTries && !in_time; ++i) {  // a machine may be busy with something else now and then
    const hal_point last = pour(length);
    if (t.reached(last)) { continue; }  // it executes as quickly as it takes work, or nearly
    queued = true;
    const std::uint64_t start = now_ns();
    hal_error* error = hal_wait(&last, 1, HAL_WAIT_ALL, took / 20, nullptr);
    in_time = error != nullptr && now_ns() - start < took / 2;
    hal_release(error);
    t.wait(last);
  }
  EXPECT(in_time || !queued);
}

HAL_CASE(TLS_008, "wait-all needs all") {
  constexpr int kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& order : kOrders) {
    std::array<Owned<hal_timeline>, 3> timelines = {t.timeline(), t.timeline(), t.timeline()};
    const std::array<hal_point, 4> points = {
        hal_point{timelines[0], 1}, {timelines[1], 2}, {timelines[2], 3}, {timelines[1], 1}};
    for (const int i : order) {
      EXPECT_CODE(hal_wait(points.data(), 4, HAL_WAIT_ALL, 0, nullptr), HAL_DEADLINE_EXCEEDED);
      EXPECT_OK(hal_timeline_signal(timelines[static_cast<std::size_t>(i)], 3));
    }
    EXPECT_OK(hal_wait(points.data(), 4, HAL_WAIT_ALL, t.deadline_ns(), nullptr));
  }
  EXPECT_OK(hal_wait(nullptr, 0, HAL_WAIT_ALL, 0, nullptr));
}

HAL_CASE(TLS_009, "wait-any needs one and names it") {
  for (std::uint32_t index = 0; index < 4; ++index) {
    std::array<Owned<hal_timeline>, 4> timelines = {t.timeline(), t.timeline(), t.timeline(), t.timeline()};
    std::array<hal_point, 4> points{};
    for (std::size_t i = 0; i < 4; ++i) { points[i] = {timelines[i], 7}; }
    std::uint32_t which = 99;
    EXPECT_CODE(hal_wait(points.data(), 4, HAL_WAIT_ANY, 0, &which), HAL_DEADLINE_EXCEEDED);
    EXPECT_EQ(which, 99U);
    EXPECT_OK(hal_timeline_signal(timelines[index], 8));
    EXPECT_OK(hal_wait(points.data(), 4, HAL_WAIT_ANY, t.deadline_ns(), &which));
    EXPECT_EQ(which, index);
  }
  EXPECT_CODE(hal_wait(nullptr, 0, HAL_WAIT_ANY, 0, nullptr), HAL_INVALID_ARGUMENT);
}

HAL_CASE(TLS_009, "a device ends a wait for any") {
  auto never = t.timeline();
  auto gate = t.timeline();
  auto queue = t.queue();
  auto buffer = t.buffer(64);
  const hal_point work = t.submit(queue, {fill(whole(buffer), 1)}, {{{gate, 1}}});
  const std::array<hal_point, 2> points = {hal_point{never, 1}, work};
  std::atomic<bool> started{false};
  std::uint32_t which = 99;
  std::jthread waiter([&] {
    started = true;
    EXPECT_OK(hal_wait(points.data(), 2, HAL_WAIT_ANY, t.deadline_ns(), &which));
  });
  while (!started) { std::this_thread::yield(); }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  waiter.join();
  EXPECT_EQ(which, 1U);
}

HAL_CASE(TLS_012, "every waiter wakes") {
  constexpr std::uint64_t kThreads = 24, kSteps = 40;
  auto timeline = t.timeline();
  auto turns = t.timeline(0, "turns");
  std::atomic<std::uint64_t> arrived{0};
  std::vector<std::jthread> threads;
  for (std::uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t step = 1; step <= kSteps; ++step) {
        // Some wait for each stair, some for every second, some for one that is jumped over.
        const std::uint64_t value = step * 10 - i % 3;
        t.wait({timeline, value});
        EXPECT(value_of(timeline) >= value);
        if (++arrived == kThreads * step) { EXPECT_OK(hal_timeline_signal(turns, step)); }
      }
    });
  }
  for (std::uint64_t step = 1; step <= kSteps; ++step) {
    EXPECT_OK(hal_timeline_signal(timeline, step * 10));
    t.wait({turns, step});
  }
  for (std::jthread& thread : threads) { thread.join(); }
}

HAL_CASE(TLS_014, "work that ends releases whoever waits without help") {
  // Nobody calls hal_wait() until all is over: the device itself must bring the news.
  auto source = t.queue("source");
  std::vector<Owned<hal_queue>> sinks;
  std::array<Called, 6> called;
  auto gate = t.timeline();
  auto buffer = t.filled(source, 8, 0);
  const hal_point point = t.submit(source, {fill(slice(buffer, 0, 1), 1), fill(slice(buffer, 1, 1), 2)}, {{{gate, 1}}});
  for (std::uint64_t i = 0; i < 3; ++i) {
    sinks.push_back(t.queue("sink"));
    const hal_point sunk =
        t.submit(sinks[i], {fill(slice(buffer, 2 + i, 1), 3 + i)}, {{{point.timeline, point.value - i % 2}}});
    EXPECT_OK(hal_timeline_on_reached(sunk.timeline, sunk.value, &Called::reached, &called[i]));
    EXPECT_OK(hal_timeline_on_reached(point.timeline, point.value, &Called::reached, &called[3 + i]));
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  for (Called& each : called) {
    EXPECT(eventually(t, [&] { return each.times.load() == 1; }));
  }
  const Bytes bytes = t.read(source, buffer);
  for (std::uint64_t i = 0; i < 5; ++i) { EXPECT_EQ(bytes[i], i + 1); }
}

HAL_CASE(TLS_014, "a sleeping wait is woken by the device") {
  auto queue = t.queue();
  auto buffer = t.buffer(64);
  for (std::uint64_t i = 0; i < 20; ++i) {
    auto gate = t.timeline();
    const hal_point point = t.submit(queue, {fill(whole(buffer), i)}, {{{gate, 1}}});
    std::atomic<bool> started{false};
    std::uint64_t took = 0;
    std::jthread waiter([&] {
      started = true;
      const std::uint64_t start = now_ns();
      EXPECT_OK(hal_wait(&point, 1, HAL_WAIT_ALL, t.deadline_ns(), nullptr));
      took = now_ns() - start;
    });
    while (!started) { std::this_thread::yield(); }
    EXPECT_OK(hal_timeline_signal(gate, 1));
    waiter.join();
    // A wait that only ends because its deadline passed has not been woken.
    EXPECT(took < t.deadline_ns());
  }
}

HAL_CASE(TLS_015, "failing a timeline tells every waiter") {
  auto timeline = t.timeline(3);
  auto queue = t.queue();
  auto buffer = t.filled(queue, 8, 1);
  const hal_point held = t.submit(queue, {fill(whole(buffer), 2)}, {{{timeline, 4}}});
  Called called;
  EXPECT_OK(hal_timeline_on_reached(timeline, 9, &Called::reached, &called));
  std::atomic<bool> started{false}, right{false};
  std::jthread waiter([&] {
    started = true;
    right = ends_with(t, {timeline, 4}, HAL_PEER_LOST);
  });
  while (!started) { std::this_thread::yield(); }
  hal_timeline_fail(timeline, some_error(HAL_PEER_LOST));
  waiter.join();
  EXPECT(right.load());
  EXPECT(ends_with(t, held, HAL_PEER_LOST));
  EXPECT(eventually(t, [&] { return called.times.load() == 1; }));
  EXPECT_EQ(called.code.load(), static_cast<int>(HAL_PEER_LOST));
  EXPECT(t.reached({timeline, 3}));
  std::uint64_t value = 0;
  hal_error* error = hal_timeline_value(timeline, &value);
  EXPECT(has_code(error, HAL_PEER_LOST));
  hal_release(error);
  EXPECT_EQ(value, std::uint64_t{3});
}

HAL_CASE(TLS_016, "the first failure stays") {
  auto timeline = t.timeline();
  hal_timeline_fail(timeline, some_error(HAL_UNAVAILABLE));
  hal_timeline_fail(timeline, some_error(HAL_BUSY));
  EXPECT_OK(hal_timeline_signal(timeline, 5));  // ignored, by contract no error
  for (int i = 0; i < 3; ++i) {
    hal_error* error = t.try_wait({timeline, 5});
    EXPECT(has_code(error, HAL_UNAVAILABLE));
    EXPECT(!has_code(error, HAL_BUSY));
    hal_release(error);
  }
}

HAL_CASE(TLS_017, "work whose wait fails does not execute") {
  constexpr std::uint64_t kChain = 12;
  auto first = t.timeline();
  auto good = t.timeline();
  auto done = t.timeline(0, "done");
  std::vector<Owned<hal_queue>> queues;
  for (int i = 0; i < 4; ++i) { queues.push_back(t.queue()); }
  auto reader = t.queue("reader");
  auto buffer = t.filled(reader, kChain, 0x77);
  hal_point point{first, 1};
  for (std::uint64_t i = 0; i < kChain; ++i) {
    With with{{point, {good, 1}}};
    if (i + 1 == kChain) { with.signals.push_back({done, 1}); }
    point = t.submit(queues[i % queues.size()], {fill(slice(buffer, i, 1), 1)}, with);
  }
  // The good wait stays closed: failure must not wait for it.
  hal_timeline_fail(first, some_error(HAL_UNAVAILABLE));
  EXPECT(ends_with(t, point, HAL_UNAVAILABLE));
  EXPECT(ends_with(t, {done, 1}, HAL_UNAVAILABLE));
  EXPECT_OK(hal_timeline_signal(good, 1));
  t.expect_all(t.read(reader, buffer), 0, kChain, 0x77, "work behind a failure");
}

HAL_CASE(TLS_018, "a failure reaches only its dependants") {
  auto failing = t.timeline();
  auto gate = t.timeline();
  auto bad = t.queue("bad");
  auto a = t.queue("good a");
  auto b = t.queue("good b");
  auto buffer = t.filled(a, 8, 0);
  const hal_point doomed = t.submit(bad, {barrier()}, {{{failing, 1}}});
  hal_point point{gate, 1};
  for (std::uint64_t i = 1; i <= 10; ++i) { point = t.submit(i % 2 == 0 ? a : b, {fill(whole(buffer), i)}, {{point}}); }
  hal_timeline_fail(failing, some_error(HAL_UNAVAILABLE));
  EXPECT(ends_with(t, doomed, HAL_UNAVAILABLE));
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(t.read(a, buffer), 0, 8, 10, "the other chain");
}

HAL_CASE(TLS_020, "a released gate leaves nobody waiting") {
  auto queue = t.queue();
  auto other = t.queue("other");
  auto done = t.timeline(0, "done");
  auto gate = t.timeline();
  auto buffer = t.filled(queue, 8, 0x19);
  const hal_point point = t.submit(queue, {fill(whole(buffer), 1)}, {{{gate, 1}}, {{done, 1}}});
  EXPECT(!t.reached(point));
  gate.reset();
  EXPECT(ends_with(t, point, HAL_CANCELLED));
  EXPECT(ends_with(t, {done, 1}, HAL_CANCELLED));
  t.expect_all(t.read(other, buffer), 0, 8, 0x19, "behind a released gate");
}

HAL_CASE(TLS_022, "messages arrive with their contents") {
  auto a = t.queue("a");
  auto b = t.queue("b");
  auto ping = t.timeline(0, "ping");
  auto pong = t.timeline(0, "pong");
  constexpr std::uint64_t kSize = 4000, kRounds = 30;
  auto middle = t.buffer(kSize);
  auto end = t.buffer(kSize);
  Bytes out(kSize), back(kSize);
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    // Host bytes are written after submission and before the signal; the device reads them behind it.
    t.submit(a, {copy(whole(middle), hal_host(out.data(), kSize))}, {{{ping, round}}, {{pong, round}}});
    const hal_point last = t.submit(
        b, {copy(whole(end), whole(middle)), copy(hal_host(back.data(), kSize), whole(end))}, {{{pong, round}}});
    std::memset(out.data(), static_cast<int>(round), kSize);
    EXPECT_OK(hal_timeline_signal(ping, round));
    t.wait(last);
    t.expect_all(back, 0, kSize, static_cast<std::uint8_t>(round), "message");
  }
}

HAL_CASE(TLS_026, "a callback comes once") {
  auto timeline = t.timeline(1);
  auto failing = t.timeline();
  Called past, soon, jumped, failed;
  EXPECT_OK(hal_timeline_on_reached(timeline, 1, &Called::reached, &past));
  EXPECT_OK(hal_timeline_on_reached(timeline, 2, &Called::reached, &soon));
  EXPECT_OK(hal_timeline_on_reached(timeline, 5, &Called::reached, &jumped));
  EXPECT_OK(hal_timeline_on_reached(failing, 1, &Called::reached, &failed));
  EXPECT_EQ(soon.times.load() + jumped.times.load() + failed.times.load(), 0);
  EXPECT_OK(hal_timeline_signal(timeline, 2));
  EXPECT_OK(hal_timeline_signal(timeline, 9));
  EXPECT_OK(hal_timeline_signal(timeline, 10));
  hal_timeline_fail(failing, some_error(HAL_BUSY));
  for (Called* called : {&past, &soon, &jumped, &failed}) {
    EXPECT(eventually(t, [&] { return called->times.load() >= 1; }));
  }
  // A second call would come with the next thing that the same thread does.
  Called fence;
  EXPECT_OK(hal_timeline_on_reached(timeline, 10, &Called::reached, &fence));
  EXPECT(eventually(t, [&] { return fence.times.load() == 1; }));
  for (Called* called : {&past, &soon, &jumped}) {
    EXPECT_EQ(called->times.load(), 1);
    EXPECT_EQ(called->code.load(), 0);
  }
  EXPECT_EQ(failed.times.load(), 1);
  EXPECT_EQ(failed.code.load(), static_cast<int>(HAL_BUSY));
}

HAL_CASE(TLS_027, "a queue's timeline is not the host's to signal") {
  auto queue = t.queue();
  hal_timeline* timeline = hal_queue_timeline(queue);
  EXPECT_CODE(hal_timeline_signal(timeline, 100), HAL_INVALID_ARGUMENT);
  hal_timeline_fail(timeline, some_error(HAL_BUSY));
  auto buffer = t.filled(queue, 8, 4);
  t.expect_all(t.read(queue, buffer), 0, 8, 4, "after meddling");
}

// A deadline far away is legal and does not keep a wait that can end.
HAL_CASE(TLS_005, "a distant deadline does no harm") {
  auto queue = t.queue();
  auto buffer = t.buffer(16);
  const hal_point point = t.submit(queue, {fill(whole(buffer), 1)});
  EXPECT_OK(hal_wait(&point, 1, HAL_WAIT_ALL, kFarLater, nullptr));
}

HAL_CASE(TLS_028, "an exported descriptor becomes readable when the point is decided") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto broken = t.timeline(0, "broken");
  auto buffer = t.filled(queue, 64, 1);
  const hal_point held = t.submit(queue, {fill(whole(buffer), 2)}, {{{gate, 1}}});
  std::array<int, 4> fds{-1, -1, -1, -1};
  EXPECT_OK(hal_point_export_fd(held, &fds[0]));
  EXPECT_OK(hal_point_export_fd({broken, 1}, &fds[1]));
  EXPECT_OK(hal_point_export_fd({nullptr, 0}, &fds[2]));
  EXPECT_OK(hal_point_export_fd(held, &fds[3]));
  ::close(fds[3]);
  EXPECT(!readable(fds[0], 0));
  EXPECT(!readable(fds[1], 0));
  EXPECT(readable(fds[2], 0));
  hal_timeline_fail(broken, nullptr);
  EXPECT(readable(fds[1], t.deadline_ns()));
  EXPECT(!readable(fds[0], 0));
  EXPECT_OK(hal_timeline_signal(gate, 1));
  EXPECT(readable(fds[0], t.deadline_ns()));
  EXPECT(t.reached(held));
  EXPECT(readable(fds[0], 0));
  t.expect_all(t.read(queue, buffer), 0, 64, 2, "behind the gate");
  // Once more on the same queue, with nobody who waits in another way.
  const hal_point second = t.submit(queue, {fill(whole(buffer), 3)}, {{{gate, 2}}});
  EXPECT_OK(hal_point_export_fd(second, &fds[3]));
  EXPECT_OK(hal_timeline_signal(gate, 2));
  EXPECT(readable(fds[3], t.deadline_ns()));
  for (const int fd : fds) { ::close(fd); }
}

HAL_CASE(TLS_029, "an imported descriptor signals, or fails when hung up") {
  auto queue = t.queue();
  auto line = t.timeline(0, "line");
  auto dead = t.timeline(0, "dead");
  auto buffer = t.filled(queue, 64, 1);
  std::array<int, 2> talks{}, silent{};
  EXPECT(::pipe(talks.data()) == 0);
  EXPECT(::pipe(silent.data()) == 0);
  EXPECT_OK(hal_timeline_import_fd(line, 3, talks[0]));
  EXPECT_OK(hal_timeline_import_fd(dead, 1, silent[0]));
  ::close(talks[0]);
  EXPECT_CODE(hal_timeline_import_fd(line, 0, silent[0]), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(hal_timeline_import_fd(line, 9, -1), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(hal_timeline_import_fd(hal_queue_timeline(queue), 1000, silent[0]), HAL_INVALID_ARGUMENT);
  const hal_point held = t.submit(queue, {fill(whole(buffer), 2)}, {{{line, 3}}});
  EXPECT(!t.reached(held));
  EXPECT(::write(talks[1], "x", 1) == 1);
  t.wait(held);
  t.expect_all(t.read(queue, buffer), 0, 64, 2, "behind the descriptor");
  ::close(silent[1]);
  EXPECT_CODE(t.try_wait({dead, 1}), HAL_UNAVAILABLE);
  ::close(talks[1]);
  ::close(silent[0]);
}

}  // namespace hal::conformance
