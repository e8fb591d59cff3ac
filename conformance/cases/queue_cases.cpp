// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "conformance/cases/case.hpp"

namespace hal::conformance {
namespace {

// A ring of cells: each step copies cell i-1 over cell i and then marks cell i-1 with the step's number. Any command
// that is lost, repeated or out of order leaves other bytes.
struct Ring {
  static constexpr std::uint64_t kCells = 16, kCell = 8;
  std::array<std::uint64_t, kCells> expected{};

  void step(hal_buffer* buffer, std::uint64_t number, std::vector<hal_command>& out) {
    const std::uint64_t to = number % kCells, from = (number + kCells - 1) % kCells;
    out.push_back(copy(slice(buffer, to * kCell, kCell), slice(buffer, from * kCell, kCell)));
    out.push_back(fill(slice(buffer, from * kCell, kCell), number * 0x9E3779B97F4A7C15U, 8));
    expected[to] = expected[from];
    expected[from] = number * 0x9E3779B97F4A7C15U;
  }
  void verify(Case& t, hal_queue* queue, hal_buffer* buffer) const {
    const auto found = t.read_as<std::uint64_t>(queue, buffer);
    for (std::uint64_t i = 0; i < kCells; ++i) { EXPECT_EQ(found[i], expected[i]); }
  }
};

// A host function's user data: who was called when.
struct Ticket {
  std::atomic<std::uint32_t>* counter;
  std::atomic<std::uint32_t> taken{0};
  std::atomic<std::uint32_t> calls{0};
  std::atomic<int> failure{-1};  // the code that it was called with
};
hal_error* take_ticket(void* user, const hal_error* failure) {
  auto* ticket = static_cast<Ticket*>(user);
  ticket->failure = root_code(failure);
  ticket->taken = ++*ticket->counter;
  ++ticket->calls;
  return nullptr;
}
hal_error* fail_on_purpose(void*, const hal_error*) {
  hal_error_info info{};
  info.code = HAL_UNAVAILABLE;
  info.what = "on purpose";
  return hal_error_create(&info);
}

}  // namespace

HAL_CASE(QUE_002, "submitting does not wait for the work") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto buffer = t.filled(queue, 64, 1);
  hal_point last{};
  for (std::uint64_t i = 0; i < 50; ++i) { last = t.submit(queue, {fill(whole(buffer), i)}, {{{gate, 1}}}); }
  EXPECT(!t.reached(last));
  EXPECT_OK(hal_queue_flush(queue));
  EXPECT(!t.reached(last));
  EXPECT_OK(hal_timeline_signal(gate, 1));  // this thread holds the gate: had a call waited, it would wait for ever
  t.wait(last);
  t.expect_all(t.read(queue, buffer), 0, 64, 49, "the last fill");
}

HAL_CASE(QUE_003, "work starts only when all of its gates are open") {
  auto other = t.queue("other");
  auto side = t.buffer(64);
  constexpr int kOrders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (unsigned subset = 1; subset < 8; ++subset) {
    const auto& order = kOrders[subset % 6];
    auto queue = t.queue("held");
    std::array<Owned<hal_timeline>, 3> gates = {t.timeline(), t.timeline(), t.timeline()};
    auto buffer = t.filled(queue, 32, 0x11);
    With with;
    for (unsigned i = 0; i < 3; ++i) {
      if ((subset >> i & 1U) != 0) { with.waits.push_back({gates[i], 3}); }
    }
    const hal_point point = t.submit(queue, {fill(whole(buffer), 0x22)}, with);
    unsigned open = 0;
    for (const int i : order) {
      // Unrelated work passes: the device had every chance to start what it must not.
      t.wait(t.submit(other, {fill(whole(side), subset), fill(whole(side), subset + 1)}));
      if ((subset & ~open) != 0) {
        EXPECT(!t.reached(point));
        t.expect_all(t.read(other, buffer), 0, 32, 0x11, "held back");
      }
      EXPECT_OK(hal_timeline_signal(gates[static_cast<std::size_t>(i)], 3));
      open |= 1U << static_cast<unsigned>(i);
    }
    t.wait(point);
    t.expect_all(t.read(queue, buffer), 0, 32, 0x22, "let go");
  }
}

HAL_CASE(QUE_004, "what a point promises is there") {
  auto queue = t.queue();
  constexpr std::uint64_t kSize = 40000;
  auto a = t.buffer(kSize);
  auto b = t.buffer(kSize);
  for (std::uint8_t round = 1; round <= 60; ++round) {
    Bytes host(kSize, 0);
    t.wait(t.submit(queue,
                    {fill(whole(a), round), copy(whole(b), whole(a)), copy(hal_host(host.data(), kSize), whole(b))}));
    t.expect_all(host, 0, kSize, round, "read as soon as the wait returned");
  }
}

HAL_CASE(QUE_004, "a signal given by work comes after its effects") {
  auto queue = t.queue();
  constexpr std::uint64_t kSize = 30000;
  auto a = t.buffer(kSize);
  auto done = t.timeline(0, "done");
  for (std::uint8_t round = 1; round <= 30; ++round) {
    Bytes host(kSize, 0);
    t.submit(queue, {fill(whole(a), round), copy(hal_host(host.data(), kSize), whole(a))}, {{}, {{done, round}}});
    t.wait({done, round});
    t.expect_all(host, 0, kSize, round, "read as soon as the signal came");
  }
}

HAL_CASE(QUE_005, "one long submission runs in order") {
  auto queue = t.queue();
  auto buffer = t.filled(queue, Ring::kCells * Ring::kCell, 0);
  Ring ring;
  std::vector<hal_command> commands;
  for (std::uint64_t i = 1; i <= 300; ++i) { ring.step(buffer, i, commands); }
  t.wait(t.submit(queue, commands));
  ring.verify(t, queue, buffer);
}

HAL_CASE(QUE_005, "many small submissions run in order") {
  auto queue = t.queue();
  auto buffer = t.filled(queue, Ring::kCells * Ring::kCell, 0);
  Ring ring;
  hal_point last{};
  for (std::uint64_t i = 1; i <= 400; ++i) {
    std::vector<hal_command> commands;
    const std::uint64_t steps = 1 + t.random().below(4);
    for (std::uint64_t k = 0; k < steps; ++k) { ring.step(buffer, i * 8 + k, commands); }
    last = t.submit(queue, commands);
  }
  t.wait(last);
  ring.verify(t, queue, buffer);
}

HAL_CASE(QUE_006, "a blocked queue blocks no other") {
  auto blocked = t.queue("blocked");
  auto gate = t.timeline();
  auto buffer = t.filled(blocked, 64, 1);
  std::vector<hal_point> held;
  for (int i = 0; i < 20; ++i) { held.push_back(t.submit(blocked, {fill(whole(buffer), 2)}, {{{gate, 1}}})); }
  std::vector<Owned<hal_queue>> others;
  for (int i = 0; i < 3; ++i) { others.push_back(t.queue("free")); }
  auto side = t.filled(others[0], 64, 0);
  hal_point point{};
  for (std::uint64_t i = 1; i <= 30; ++i) {
    With with;
    if (point.timeline != nullptr) { with.waits.push_back(point); }
    point = t.submit(others[i % others.size()], {fill(whole(side), i)}, with);
  }
  t.wait(point);
  EXPECT(!t.reached(held.front()));
  t.expect_all(t.read(others[0], side), 0, 64, 30, "work of the free queues");
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(held.back());
}

HAL_CASE(QUE_007, "waits may come before their signals") {
  constexpr std::uint64_t kLinks = 6;
  std::vector<Owned<hal_queue>> queues;
  std::vector<Owned<hal_timeline>> links;
  for (std::uint64_t i = 0; i <= kLinks; ++i) { links.push_back(t.timeline(0, "link")); }
  for (std::uint64_t i = 0; i < kLinks; ++i) { queues.push_back(t.queue("link")); }
  auto buffer = t.filled(queues[0], kLinks + 1, 0);
  for (std::uint64_t round = 1; round <= 8; ++round) {
    t.wait(t.submit(queues[0], {fill(slice(buffer, 0, 1), 100 + round)}));
    // Link i copies byte i-1 to i and is submitted before the link that it waits for. A queue of its own for each: on a
    // shared one the later link would stand in front of the earlier, which no order can help.
    for (std::uint64_t i = kLinks; i >= 1; --i) {
      t.submit(queues[i - 1], {copy(slice(buffer, i, 1), slice(buffer, i - 1, 1))},
               {{{links[i - 1], round}}, {{links[i], round}}});
    }
    EXPECT(!t.reached({links[kLinks], round}));
    EXPECT_OK(hal_timeline_signal(links[0], round));
    t.wait({links[kLinks], round});
    t.expect_all(t.read(queues[0], buffer), 0, kLinks + 1, static_cast<std::uint8_t>(100 + round), "handed on");
  }
}

HAL_CASE(QUE_008, "empty submissions relay and bare ones are refused") {
  auto a = t.queue("a");
  auto b = t.queue("b");
  auto gate = t.timeline();
  auto buffer = t.filled(a, 8, 0);
  t.submit(a, {fill(whole(buffer), 0x17)}, {{{gate, 1}}});
  hal_point point{gate, 1};
  for (int i = 0; i < 300; ++i) { point = t.submit(i % 2 == 0 ? a : b, std::span<const hal_command>{}, {{point}}); }
  EXPECT(!t.reached(point));
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(t.read(b, buffer), 0, 8, 0x17, "work ahead of the relay");
  auto done = t.timeline(0, "done");
  t.submit(a, std::span<const hal_command>{}, {{}, {{done, 1}}});
  t.wait({done, 1});
  EXPECT_CODE(t.try_submit(a, std::span<const hal_command>{}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(hal_queue_submit(a, nullptr, 0, nullptr, nullptr), HAL_INVALID_ARGUMENT);
}

HAL_CASE(QUE_009, "every command counts once") {
  auto queue = t.queue();
  auto buffer = t.buffer(64);
  std::uint64_t sum = 0;
  hal_point point{};
  for (const std::uint64_t count : {1U, 2U, 3U, 1U, 17U, 64U, 1U, 200U}) {
    std::vector<hal_command> commands;
    for (std::uint64_t i = 0; i < count; ++i) {
      commands.push_back(i % 3 == 0 ? barrier() : fill(slice(buffer, 0, i % 3 == 1 ? 64 : 0), i));  // 199 is 1 mod 3
    }
    point = t.submit(queue, commands);
    sum += count;
    EXPECT_EQ(point.value, sum);
    EXPECT(point.timeline == hal_queue_timeline(queue));
  }
  t.wait(point);
  std::uint64_t value = 0;
  EXPECT_OK(hal_timeline_value(hal_queue_timeline(queue), &value));
  EXPECT_EQ(value, sum);
  t.expect_all(t.read(queue, buffer), 0, 64, 199, "the last fill that is not empty");
}

HAL_CASE(QUE_010, "threads share a queue, each in its own order") {
  auto queue = t.queue();
  constexpr std::uint64_t kThreads = 4, kRounds = 60;
  std::vector<Owned<hal_buffer>> buffers;
  std::array<Ring, kThreads> rings{};
  for (std::uint64_t i = 0; i < kThreads; ++i) { buffers.push_back(t.filled(queue, Ring::kCells * Ring::kCell, 0)); }
  std::vector<std::jthread> threads;
  for (std::uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      hal_point mine{};
      for (std::uint64_t round = 1; round <= kRounds; ++round) {
        std::vector<hal_command> commands;
        rings[i].step(buffers[i], round * kThreads + i, commands);
        const hal_point point = t.submit(queue, commands);
        EXPECT(point.value > mine.value);
        mine = point;
      }
      t.wait(mine);
    });
  }
  for (std::jthread& thread : threads) { thread.join(); }
  for (std::uint64_t i = 0; i < kThreads; ++i) { rings[i].verify(t, queue, buffers[i]); }
}

HAL_CASE(QUE_011, "beyond the limit nothing is lost and nothing sneaks in") {
  constexpr std::uint32_t kLimit = 8;
  t.give_up_device();
  auto instance = t.own_instance(kLimit);
  auto device = t.open_in(instance);
  auto queue = t.queue_on(device);
  Owned<hal_timeline> gate;
  EXPECT_OK(hal_timeline_create(instance, 0, "gate", gate.out()));
  Owned<hal_buffer> buffer;
  EXPECT_OK(hal_buffer_create(device, 64, buffer.out()));
  t.wait(t.submit(queue, {fill(whole(buffer), 0xFF)}));
  std::vector<hal_point> accepted;
  for (std::uint64_t i = 0; i < kLimit + 4; ++i) {
    hal_point point{};
    hal_error* error = t.try_submit(queue, {fill(slice(buffer, i, 1), i)}, {{{gate, 1}}}, &point);
    if (error == nullptr) {
      EXPECT_EQ(accepted.size(), static_cast<std::size_t>(i));
      accepted.push_back(point);
    } else {
      EXPECT_CODE(error, HAL_WOULD_BLOCK);
    }
  }
  EXPECT_EQ(accepted.size(), std::size_t{kLimit});
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(accepted.back());
  const Bytes bytes = t.read(queue, buffer, 0, 64);
  for (std::uint64_t i = 0; i < kLimit; ++i) { EXPECT_EQ(bytes[i], i); }
  t.expect_all(bytes, kLimit, 64 - kLimit, 0xFF, "refused submissions");
  t.wait(t.submit(queue, {fill(whole(buffer), 1)}));  // and there is room again
}

HAL_CASE(QUE_012, "a released queue finishes its work") {
  auto reader = t.queue("reader");
  auto gate = t.timeline();
  auto done = t.timeline(0, "done");
  auto buffer = t.filled(reader, 64, 0);
  {
    auto queue = t.queue("released");
    for (std::uint64_t i = 1; i <= 10; ++i) { t.submit(queue, {fill(whole(buffer), i)}, {{{gate, 1}}, {{done, i}}}); }
  }
  EXPECT(!t.reached({done, 1}));
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait({done, 10});
  t.expect_all(t.read(reader, buffer), 0, 64, 10, "work of a released queue");
}

HAL_CASE(QUE_014, "host functions run once and in their place") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto buffer = t.filled(queue, 8, 0);
  std::atomic<std::uint32_t> counter{0};
  // Behind the gate: copy a value out, let the host function see it, then overwrite the value.
  struct Seen {
    Ticket ticket;
    std::array<std::uint8_t, 8> bytes{};
    std::uint8_t value = 0;
  };
  std::array<Seen, 12> seen;
  const auto look = [](void* user, const hal_error* failure) -> hal_error* {
    auto* mine = static_cast<Seen*>(user);
    mine->value = mine->bytes[5];
    return take_ticket(&mine->ticket, failure);
  };
  t.submit(queue, {barrier()}, {{{gate, 1}}});
  hal_point last{};
  for (std::uint32_t i = 0; i < seen.size(); ++i) {
    seen[i].ticket.counter = &counter;
    last = t.submit(queue, {fill(whole(buffer), i + 1), copy(hal_host(seen[i].bytes.data(), 8), whole(buffer)),
                            call(look, &seen[i]), fill(whole(buffer), 0xEE)});
  }
  EXPECT_EQ(counter.load(), 0U);
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  for (std::uint32_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].ticket.calls.load(), 1U);
    EXPECT_EQ(seen[i].ticket.failure.load(), 0);
    EXPECT_EQ(seen[i].ticket.taken.load(), i + 1);
    EXPECT_EQ(seen[i].value, i + 1);
  }
}

HAL_CASE(QUE_014, "an error from a host function fails its queue") {
  auto queue = t.queue();
  auto other = t.queue("other");
  auto buffer = t.filled(queue, 8, 1);
  const hal_point good = t.submit(queue, {fill(whole(buffer), 2)});
  const hal_point bad = t.submit(queue, {call(fail_on_purpose, nullptr), fill(whole(buffer), 3)});
  t.wait(good);
  hal_error* error = t.try_wait(bad);
  EXPECT(has_code(error, HAL_UNAVAILABLE));
  hal_release(error);
  error = t.try_submit(queue, {fill(whole(buffer), 4)});
  EXPECT(has_code(error, HAL_UNAVAILABLE));
  hal_release(error);
  t.expect_all(t.read(other, buffer), 0, 8, 2, "nothing behind the failure ran");
}

HAL_CASE(QUE_014, "a host function whose turn never comes is told so, once") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto buffer = t.filled(queue, 8, 1);
  std::atomic<std::uint32_t> counter{0};
  std::array<Ticket, 3> tickets;
  hal_point last{};
  for (Ticket& ticket : tickets) {
    ticket.counter = &counter;
    last = t.submit(queue, {call(take_ticket, &ticket), fill(whole(buffer), 2)}, {{{gate, 1}}});
  }
  EXPECT_EQ(counter.load(), 0U);
  hal_queue_cancel(queue);
  hal_error* error = t.try_wait(last);
  EXPECT(has_code(error, HAL_CANCELLED));
  hal_release(error);
  const std::uint64_t end = now_ns() + t.deadline_ns();
  while (counter.load() < tickets.size() && now_ns() < end) { std::this_thread::yield(); }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  for (const Ticket& ticket : tickets) {
    EXPECT_EQ(ticket.calls.load(), 1U);
    EXPECT_EQ(ticket.failure.load(), static_cast<int>(HAL_CANCELLED));
  }
}

HAL_CASE(QUE_015, "cancelling fails what has not begun") {
  auto queue = t.queue("cancelled");
  auto other = t.queue("other");
  auto gate = t.timeline();
  auto signalled = t.timeline(0, "signalled");
  auto buffer = t.filled(queue, 64, 1);
  const hal_point point = t.submit(queue, {fill(whole(buffer), 2)}, {{{gate, 1}}, {{signalled, 1}}});
  hal_queue_cancel(queue);
  hal_queue_cancel(queue);
  hal_error* error = t.try_wait(point);
  EXPECT(has_code(error, HAL_CANCELLED));
  hal_release(error);
  error = t.try_wait({signalled, 1});
  EXPECT(has_code(error, HAL_CANCELLED));
  hal_release(error);
  error = t.try_submit(queue, {fill(whole(buffer), 3)});
  EXPECT(has_code(error, HAL_CANCELLED));
  hal_release(error);
  EXPECT_OK(hal_timeline_signal(gate, 1));
  auto side = t.filled(other, 64, 9);
  t.expect_all(t.read(other, side), 0, 64, 9, "another queue");
  t.expect_all(t.read(other, buffer), 0, 64, 1, "cancelled work");
}

HAL_CASE(QUE_016, "a malformed command refuses all of its submission") {
  auto queue = t.queue();
  auto buffer = t.filled(queue, 64, 1);
  const std::uint64_t before = t.submit(queue, {barrier()}).value;
  hal_command unknown = barrier();
  unknown.op = HAL_OP_COUNT;
  hal_command by_a_slot = barrier();
  by_a_slot.by_slot = 1;
  EXPECT_CODE(t.try_submit(queue, {fill(whole(buffer), 2), fill(slice(buffer, 0, 65), 2)}), HAL_OUT_OF_RANGE);
  EXPECT_CODE(t.try_submit(queue, {fill(whole(buffer), 2), unknown}), HAL_INVALID_ARGUMENT, HAL_UNSUPPORTED);
  EXPECT_CODE(t.try_submit(queue, {fill(whole(buffer), 2), by_a_slot}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {fill(whole(buffer), 2), fill(hal_slot(0, 0, 8), 2)}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {fill(whole(buffer), 2), call(nullptr, nullptr)}), HAL_INVALID_ARGUMENT);
  EXPECT_EQ(t.submit(queue, {barrier()}).value, before + 1);
  t.expect_all(t.read(queue, buffer), 0, 64, 1, "after refusals");
}

HAL_CASE(QUE_017, "submissions with host functions and frees stay whole between threads") {
  constexpr std::uint64_t kThreads = 3, kRounds = 12, kTotal = kThreads * kRounds;
  auto queue = t.queue();
  auto shared = t.filled(queue, 8, 0);
  auto results = t.filled(queue, kTotal * 8, 0);
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), 0, pool.out()));
  std::atomic<std::uint32_t> counter{0};
  std::vector<Ticket> tickets(kTotal);
  for (Ticket& ticket : tickets) { ticket.counter = &counter; }
  std::vector<std::jthread> threads;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint64_t i = thread * kRounds; i < (thread + 1) * kRounds; ++i) {
        Owned<hal_buffer> scratch;
        EXPECT_OK(hal_queue_alloc(queue, pool, 8, nullptr, scratch.out(), nullptr));
        t.submit(queue, {fill(whole(shared), i + 1, 8), call(take_ticket, &tickets[i]),
                         copy(slice(scratch, 0, 8), whole(shared)),
                         copy(slice(results, i * 8, 8), slice(scratch, 0, 8)), free_buffer(scratch)});
      }
    });
  }
  for (std::jthread& thread : threads) { thread.join(); }
  t.wait(t.submit(queue, {barrier()}));
  EXPECT_EQ(counter.load(), kTotal);
  const auto found = t.read_as<std::uint64_t>(queue, results);
  for (std::uint64_t i = 0; i < kTotal; ++i) { EXPECT_EQ(found[i], i + 1); }
}

HAL_CASE(QUE_018, "the history tells what was submitted") {
  auto queue = t.queue("told");
  auto target = t.buffer(64);
  const hal_site site{"some_file.c", "some_function", 4711, 0};
  hal_point last{};
  {
    std::string label = "first words";
    hal_command command = fill(slice(target, 16, 32), 0x5a);
    command.label = label.c_str();
    last = t.submit(queue, {command, barrier()}, {{}, {}, &site});
    t.wait(last);
    label.assign(label.size(), '#');
  }
  char* text = nullptr;
  EXPECT_OK(hal_queue_history(queue, &text));
  const std::string history(text);
  hal_free_text(text);
  for (const char* part : {"1 to 2 done: fill 'first words' 32 bytes at 16 of buffer", "0x5a", "some_file.c:4711"}) {
    EXPECT(history.find(part) != std::string::npos);
  }
  for (int i = 0; i < 70; ++i) { last = t.submit(queue, {barrier()}); }
  t.wait(last);
  EXPECT_OK(hal_queue_history(queue, &text));
  EXPECT_EQ(std::count(text, text + std::char_traits<char>::length(text), '\n'), 64);
  hal_free_text(text);
}

HAL_CASE(PRF_001, "timestamps never decrease along a chain") {
  auto a = t.queue("a");
  auto b = t.queue("b");
  constexpr std::uint64_t kCount = 40;
  auto place = t.filled(a, kCount * 8, 0);
  auto work = t.buffer(4096);
  hal_point point{};
  for (std::uint64_t i = 0; i < kCount; ++i) {
    With with;
    if (point.timeline != nullptr) { with.waits.push_back(point); }
    point = t.submit(i % 3 == 0 ? a : b, {fill(whole(work), i), timestamp(slice(place, i * 8, 8))}, with);
  }
  t.wait(point);
  const auto stamps = t.read_as<std::uint64_t>(a, place);
  EXPECT(stamps[0] != 0);
  for (std::uint64_t i = 1; i < kCount; ++i) { EXPECT(stamps[i] >= stamps[i - 1]); }
  EXPECT(stamps.back() > stamps.front());
}

}  // namespace hal::conformance
