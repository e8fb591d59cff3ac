// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <thread>

#include "conformance/kernels/pack.hpp"

namespace hal::conformance {
namespace {

Owned<hal_commands> record(Case& t, const std::vector<hal_command>& commands) {
  Owned<hal_commands> made;
  EXPECT_OK(hal_commands_create(t.device(), commands.data(), static_cast<std::uint32_t>(commands.size()), made.out()));
  return made;
}

hal_error* nothing(void*, const hal_error*) { return nullptr; }

}  // namespace

HAL_CASE(CMD_006, "replays are all alike") {
  auto queue = t.queue();
  auto gate = t.timeline();
  constexpr std::uint64_t kReplays = 40;
  auto a = t.filled(queue, 16, 0);
  auto b = t.filled(queue, 16, 0);
  auto log = t.filled(queue, kReplays * 16, 0);
  auto recording =
      record(t, {fill(slice(a, 0, 8), 0x21), copy(slice(b, 4, 8), slice(a, 2, 8)), fill(slice(a, 2, 4), 0x43)});
  t.submit(queue, {barrier()}, {{{gate, 1}}});
  hal_point last{};
  for (std::uint64_t i = 0; i < kReplays; ++i) {
    last = t.submit(queue, {fill(whole(b), 0), execute(recording, {}), copy(slice(log, i * 16, 16), whole(b))});
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  const Bytes bytes = t.read(queue, log);
  for (std::uint64_t i = 0; i < kReplays; ++i) {
    t.expect_all(bytes, i * 16, 4, 0, "before the copy's range");
    t.expect_all(bytes, i * 16 + 4, 6, 0x21, "copied");
    t.expect_all(bytes, i * 16 + 10, 2, 0, "copied from behind the fill");
    t.expect_all(bytes, i * 16 + 12, 4, 0, "behind the copy's range");
  }
}

HAL_CASE(CMD_008, "slots stand for what the call gave") {
  auto queue = t.queue();
  auto gate = t.timeline();
  constexpr std::uint64_t kTables = 12;
  auto source = t.buffer(kTables);
  for (std::uint64_t i = 0; i < kTables; ++i) { t.submit(queue, {fill(slice(source, i, 1), 10 + i)}); }
  auto target = t.filled(queue, kTables * 4, 0);
  // Slot 3 gets slot 0's second byte; slots in between stay empty.
  auto recording = record(t, {copy(hal_slot(3, 1, 1), hal_slot(0, 0, 1)), fill(hal_slot(3, 0, 1), 0x66)});
  t.submit(queue, {barrier()}, {{{gate, 1}}});
  hal_point last{};
  for (std::uint64_t i = 0; i < kTables; ++i) {
    std::array<hal_slice, 4> slots{};
    slots[0] = slice(source, i, 1);
    slots[3] = slice(target, i * 4, 2);
    last = t.submit(queue, {execute(recording, slots)});
    slots = {};
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  const Bytes bytes = t.read(queue, target);
  for (std::uint64_t i = 0; i < kTables; ++i) {
    EXPECT_EQ(bytes[i * 4], 0x66);
    EXPECT_EQ(bytes[i * 4 + 1], 10 + i);
    EXPECT_EQ(bytes[i * 4 + 2], 0);
  }
}

HAL_CASE(CMD_009, "tables that do not fit are refused") {
  auto queue = t.queue();
  auto buffer = t.filled(queue, 16, 0x31);
  auto recording = record(t, {fill(hal_slot(0, 0, 4), 1), fill(hal_slot(2, 8, 4), 2)});
  const std::uint64_t before = t.submit(queue, {barrier()}).value;
  std::array<hal_slice, 3> slots = {slice(buffer, 0, 4), hal_slice{}, slice(buffer, 0, 12)};
  const std::span<const hal_slice> table(slots);
  EXPECT_CODE(t.try_submit(queue, {execute(recording, table.first(2))}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  EXPECT_CODE(t.try_submit(queue, {execute(recording, table.first(0))}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  slots[0] = slice(buffer, 0, 3);
  EXPECT_CODE(t.try_submit(queue, {execute(recording, table)}), HAL_OUT_OF_RANGE);
  slots[0] = slice(buffer, 13, 4);
  EXPECT_CODE(t.try_submit(queue, {execute(recording, table)}), HAL_OUT_OF_RANGE);
  EXPECT_EQ(t.submit(queue, {barrier()}).value, before + 1);
  t.expect_all(t.read(queue, buffer), 0, 16, 0x31, "after refusals");
  slots[0] = slice(buffer, 0, 4);
  t.wait(t.submit(queue, {execute(recording, table)}));
  t.expect_all(t.read(queue, buffer), 0, 4, 1, "a table that fits");
  t.expect_all(t.read(queue, buffer), 8, 4, 2, "a table that fits");
}

HAL_CASE(CMD_012, "a recording keeps alive what it needs") {
  auto queue = t.queue();
  auto gate = t.timeline();
  constexpr std::uint64_t kSize = 5000;
  auto target = t.filled(queue, kSize, 0);
  hal_point point{};
  {
    auto source = t.filled(queue, kSize, 0x4E);
    auto recording = record(t, {copy(whole(target), whole(source))});
    source.reset();
    auto usurper = t.filled(queue, kSize, 0xFF);
    point = t.submit(queue, {execute(recording, {})}, {{{gate, 1}}});
  }
  auto other = t.queue("other");
  auto usurper = t.filled(other, kSize, 0xFE);
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(t.read(queue, target), 0, kSize, 0x4E, "through a released recording");
}

HAL_CASE(CMD_020, "what cannot be replayed is refused at recording") {
  auto queue = t.queue();
  auto buffer = t.buffer(16);
  hal_commands* none = nullptr;
  for (const hal_command& command : {call(nothing, nullptr), free_buffer(buffer)}) {
    const std::array<hal_command, 2> commands = {barrier(), command};
    EXPECT_CODE(hal_commands_create(t.device(), commands.data(), 2, &none), HAL_INVALID_ARGUMENT);
    EXPECT(none == nullptr);
  }
  const hal_command range = fill(slice(buffer, 8, 9), 1);
  EXPECT_CODE(hal_commands_create(t.device(), &range, 1, &none), HAL_OUT_OF_RANGE);
  const hal_command length = copy(hal_slot(0, 0, 8), hal_slot(1, 0, 9));
  EXPECT_CODE(hal_commands_create(t.device(), &length, 1, &none), HAL_INVALID_ARGUMENT);
  const hal_command slot = fill(hal_slot(256, 0, 8), 1);
  EXPECT_CODE(hal_commands_create(t.device(), &slot, 1, &none), HAL_INVALID_ARGUMENT);
  EXPECT(none == nullptr);
}

HAL_CASE(CMD_021, "the caller's arrays are free after the call") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto decoy_gate = t.timeline();
  auto done = t.timeline(0, "done");
  auto buffer = t.filled(queue, 8, 0);
  auto decoy = t.filled(queue, 8, 0x55);
  std::array<hal_command, 2> commands = {fill(slice(buffer, 0, 4), 0x12),
                                         copy(slice(buffer, 4, 4), slice(buffer, 0, 4))};
  hal_point wait{gate, 1}, signal{done, 1};
  hal_sync sync{};
  sync.waits = &wait;
  sync.wait_count = 1;
  sync.signals = &signal;
  sync.signal_count = 1;
  EXPECT_OK(hal_queue_submit(queue, commands.data(), 2, &sync, nullptr));
  commands = {fill(whole(decoy), 0x99), fill(whole(decoy), 0x99)};
  wait = {decoy_gate, 1};
  signal = {decoy_gate, 1};
  sync = {};
  std::vector<hal_command> list = {fill(slice(decoy, 0, 2), 0x34)};
  auto recording = record(t, list);
  list[0] = fill(whole(decoy), 0x99);
  const hal_point replay = t.submit(queue, {execute(recording, {})});
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait({done, 1});
  t.wait(replay);
  t.expect_all(t.read(queue, buffer), 0, 8, 0x12, "as submitted");
  t.expect_all(t.read(queue, decoy), 0, 2, 0x34, "as recorded");
  t.expect_all(t.read(queue, decoy), 2, 6, 0x55, "what was written into the arrays later");
}

HAL_CASE(CMD_022, "recordings inside recordings") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto buffer = t.filled(queue, 32, 0);
  auto other = t.filled(queue, 8, 0);
  auto inner = record(t, {fill(hal_slot(0, 1, 2), 0x21), copy(hal_slot(1, 0, 2), hal_slot(0, 1, 2))});
  const std::array<hal_slice, 2> passed = {hal_slot(2, 4, 8), hal_slot(0, 0, 4)};
  const std::array<hal_slice, 2> fixed = {hal_slot(2, 16, HAL_REST), slice(other, 2, 4)};
  auto outer = record(t, {fill(hal_slot(2, 0, 1), 0x65), execute(inner, passed), execute(inner, fixed)});
  inner.reset();
  const std::array<hal_slice, 3> slots = {slice(buffer, 24, 8), {}, slice(buffer, 0, 24)};
  const hal_point point = t.submit(queue, {execute(outer, slots)}, {{{gate, 1}}});
  outer.reset();
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  const Bytes bytes = t.read(queue, buffer);
  const Bytes beside = t.read(queue, other);
  for (std::uint64_t i = 0; i < 32; ++i) {
    const bool inner_fill = i == 5 || i == 6 || i == 17 || i == 18 || i == 24 || i == 25;
    EXPECT_EQ(bytes[i], i == 0 ? 0x65 : inner_fill ? 0x21 : 0);
  }
  for (std::uint64_t i = 0; i < 8; ++i) { EXPECT_EQ(beside[i], i == 2 || i == 3 ? 0x21 : 0); }

  auto level = record(t, {barrier()});
  for (int depth = 1; depth <= 32; ++depth) { level = record(t, {execute(level, {})}); }
  t.wait(t.submit(queue, {execute(level, {})}));
  hal_commands* none = nullptr;
  const hal_command deeper = execute(level, {});
  EXPECT_CODE(hal_commands_create(t.device(), &deeper, 1, &none), HAL_INVALID_ARGUMENT);
  EXPECT(none == nullptr);
}

HAL_CASE(CMD_023, "scalars by slot") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto program = load_pack(t);
  constexpr std::uint32_t kReplays = 12;
  auto out = t.filled(queue, kReplays * 8, 0);
  hal_arg value{};
  value.kind = HAL_ARG_SLOT;
  value.size = 4;
  value.value.slice = hal_slot(0, 4, 4);
  const std::vector<hal_arg> args = {scalar<std::uint32_t>(2), value, arg(hal_slot(1, 0, 8))};
  auto recording = record(t, {run_kernel(program, entry_of(program, "pack_fill"), args, 1)});
  t.submit(queue, {barrier()}, {{{gate, 1}}});
  hal_point last{};
  for (std::uint32_t i = 0; i < kReplays; ++i) {
    std::array<std::uint32_t, 2> numbers = {0xDEAD, 1000 + i};
    const std::array<hal_slice, 2> slots = {hal_host(numbers.data(), 8), slice(out, i * 8, 8)};
    last = t.submit(queue, {execute(recording, slots)});
    numbers = {0xDEAD, 0xDEAD};
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  const auto found = t.read_as<std::uint32_t>(queue, out);
  for (std::uint32_t i = 0; i < 2 * kReplays; ++i) { EXPECT_EQ(found[i], 1000 + i / 2); }
  const std::uint64_t number = 0;
  const std::array<hal_slice, 2> device_memory = {slice(out, 0, 8), slice(out, 0, 8)};
  EXPECT_CODE(t.try_submit(queue, {execute(recording, device_memory)}), HAL_INVALID_ARGUMENT);
  const std::array<hal_slice, 2> few = {hal_host(&number, 7), slice(out, 0, 8)};
  EXPECT_CODE(t.try_submit(queue, {execute(recording, few)}), HAL_OUT_OF_RANGE);
  hal_commands* none = nullptr;
  std::vector<hal_arg> wide = args;
  wide[1].size = 8;
  wide[1].value.slice = hal_slot(0, 0, 8);
  const hal_command command = run_kernel(program, entry_of(program, "pack_fill"), wide, 1);
  EXPECT_CODE(hal_commands_create(t.device(), &command, 1, &none), HAL_INVALID_ARGUMENT);
}

HAL_CASE(CMD_027, "patterns by slot") {
  auto queue = t.queue();
  auto gate = t.timeline();
  constexpr std::uint32_t kReplays = 6;
  auto out = t.filled(queue, kReplays * 8, 0);
  auto recording = record(t, {by_slot(fill(hal_slot(1, 0, 4), 0, 2), 0, 2)});
  const std::array<hal_slice, 2> shifted = {hal_slot(0, 2, HAL_REST), hal_slot(1, 4, 4)};
  auto both = record(t, {execute(recording, std::array<hal_slice, 2>{hal_slot(0, 0, 4), hal_slot(1, 0, 4)}),
                         execute(recording, shifted)});
  std::array<std::array<std::uint16_t, 3>, kReplays> patterns{};
  std::array<std::array<hal_slice, 2>, kReplays> slots{};
  std::vector<hal_command> replays;
  for (std::uint32_t i = 0; i < kReplays; ++i) {
    patterns[i] = {0xDEAD, static_cast<std::uint16_t>(0x4100 + i), static_cast<std::uint16_t>(0x5200 + i)};
    slots[i] = {hal_host(patterns[i].data(), 6), slice(out, i * 8, 8)};
    replays.push_back(execute(both, slots[i]));
  }
  const hal_point last = t.submit(queue, replays, {{{gate, 1}}});
  patterns = {};
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  const auto found = t.read_as<std::uint16_t>(queue, out);
  for (std::uint32_t i = 0; i < 4 * kReplays; ++i) { EXPECT_EQ(found[i], (i % 4 < 2 ? 0x4100 : 0x5200) + i / 4); }
}

HAL_CASE(CMD_027, "what a slot cannot give is refused") {
  auto queue = t.queue();
  auto out = t.filled(queue, 16, 0x31);
  auto recording = record(t, {by_slot(fill(whole(out), 0, 4), 0, 0)});
  const std::uint32_t pattern = 0x66666666;
  const std::array<hal_slice, 1> device_memory = {slice(out, 0, 8)}, few = {hal_host(&pattern, 3)}, none = {};
  EXPECT_CODE(t.try_submit(queue, {execute(recording, device_memory)}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {execute(recording, few)}), HAL_OUT_OF_RANGE);
  EXPECT_CODE(t.try_submit(queue, {execute(recording, none)}), HAL_OUT_OF_RANGE, HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {by_slot(fill(whole(out), 0, 4), 0, 0)}), HAL_INVALID_ARGUMENT);
  hal_commands* refused = nullptr;
  for (const hal_command& command : {by_slot(barrier(), 0, 0), by_slot(copy(slice(out, 0, 4), slice(out, 8, 4)), 0, 0),
                                     by_slot(fill(whole(out), 0, 4), 256, 0)}) {
    EXPECT_CODE(hal_commands_create(t.device(), &command, 1, &refused), HAL_INVALID_ARGUMENT);
  }
  t.expect_all(t.read(queue, out), 0, 16, 0x31, "after the refusals");
}

HAL_CASE(CMD_028, "grids by slot") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto program = load_pack(t);
  constexpr std::uint32_t kReplays = 5, kItems = 64 * kReplays;
  auto out = t.filled(queue, kReplays * kItems * 4, 0);
  const std::vector<hal_arg> args = {scalar<std::uint32_t>(kItems), scalar<std::uint32_t>(9),
                                     arg(hal_slot(0, 0, kItems * 4))};
  auto recording = record(t, {by_slot(run_kernel(program, entry_of(program, "pack_fill"), args, 1), 1, 4)});
  struct Given {
    std::uint32_t before;
    hal_grid grid;
  };
  std::array<Given, kReplays> given{};
  std::array<std::array<hal_slice, 2>, kReplays> slots{};
  std::vector<hal_command> replays;
  for (std::uint32_t i = 0; i < kReplays; ++i) {
    given[i] = {0, {{i + 1, 1, 1}, {i % 2 == 0 ? 0U : 64U, i % 2, i % 2}, 0}};
    slots[i] = {slice(out, i * kItems * 4, kItems * 4), hal_host(&given[i], sizeof given[i])};
    replays.push_back(execute(recording, slots[i]));
  }
  const hal_point last = t.submit(queue, replays, {{{gate, 1}}});
  given = {};
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  const auto found = t.read_as<std::uint32_t>(queue, out);
  for (std::uint32_t i = 0; i < kReplays * kItems; ++i) {
    EXPECT_EQ(found[i], i % kItems < 64 * (i / kItems + 1) ? 9U : 0U);
  }
  EXPECT_CODE(t.try_submit(queue, {execute(recording, slots[0])}), HAL_INVALID_ARGUMENT);  // no groups
  slots[0][1].length = 31;
  EXPECT_CODE(t.try_submit(queue, {execute(recording, slots[0])}), HAL_OUT_OF_RANGE);
}

HAL_CASE(CMD_024, "a capture records and runs nothing") {
  auto queue = t.queue();
  auto buffer = t.filled(queue, 16, 0);
  const std::uint64_t before = t.submit(queue, {barrier()}).value;
  EXPECT_OK(hal_queue_capture_begin(queue));
  EXPECT_CODE(hal_queue_capture_begin(queue), HAL_INVALID_ARGUMENT);
  const hal_point first = t.submit(queue, {fill(slice(buffer, 0, 4), 0x17), barrier()});
  t.submit(queue, {copy(hal_slot(0, 0, 4), slice(buffer, 0, 4))}, {{first}});
  EXPECT_CODE(hal_wait(&first, 1, HAL_WAIT_ALL, t.deadline_ns(), nullptr), HAL_INVALID_ARGUMENT);
  Owned<hal_commands> recording;
  EXPECT_OK(hal_queue_capture_end(queue, recording.out()));
  hal_commands* none = nullptr;
  EXPECT_CODE(hal_queue_capture_end(queue, &none), HAL_INVALID_ARGUMENT);
  EXPECT_EQ(t.submit(queue, {barrier()}).value, before + 1);
  t.expect_all(t.read(queue, buffer), 0, 16, 0, "after a capture");
  const std::array<hal_slice, 1> slots = {slice(buffer, 8, 4)};
  t.wait(t.submit(queue, {execute(recording, slots)}));
  const Bytes bytes = t.read(queue, buffer);
  for (std::uint64_t i = 0; i < 16; ++i) { EXPECT_EQ(bytes[i], i < 4 || (i >= 8 && i < 12) ? 0x17 : 0); }
}

HAL_CASE(CMD_025, "what cannot be captured is refused") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto buffer = t.buffer(16);
  const hal_point outside = t.submit(queue, {barrier()});
  const auto spoilt = [&](const std::vector<hal_command>& commands, const With& with) {
    EXPECT_OK(hal_queue_capture_begin(queue));
    t.submit(queue, {barrier()});
    EXPECT_CODE(t.try_submit(queue, commands, with), HAL_INVALID_ARGUMENT);
    hal_commands* none = nullptr;
    EXPECT_CODE(hal_queue_capture_end(queue, &none), HAL_INVALID_ARGUMENT);
    EXPECT(none == nullptr);
  };
  spoilt({call(nothing, nullptr)}, {});
  spoilt({free_buffer(buffer)}, {});
  spoilt({barrier()}, {{{gate, 1}}});
  spoilt({barrier()}, {{outside}});
  spoilt({barrier()}, {{}, {{gate, 1}}});
  EXPECT_OK(hal_queue_capture_begin(queue));
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), 0, pool.out()));
  hal_buffer* made = nullptr;
  EXPECT_CODE(hal_queue_alloc(queue, pool, 64, nullptr, &made, nullptr), HAL_INVALID_ARGUMENT);
  EXPECT(made == nullptr);
  hal_commands* none = nullptr;
  EXPECT_CODE(hal_queue_capture_end(queue, &none), HAL_INVALID_ARGUMENT);
  EXPECT(none == nullptr);
  t.wait(t.submit(queue, {barrier()}));
}

HAL_CASE(CMD_026, "threads replay one recording") {
  constexpr std::uint64_t kThreads = 4, kRounds = 50;
  auto queue = t.queue();
  auto source = t.buffer(kThreads * kRounds);
  for (std::uint64_t i = 0; i < kThreads * kRounds; ++i) { t.submit(queue, {fill(slice(source, i, 1), 1 + i % 251)}); }
  auto target = t.filled(queue, kThreads * kRounds, 0);
  auto recording = record(t, {barrier(), copy(hal_slot(0, 0, 1), hal_slot(1, 0, 1))});
  std::vector<std::jthread> threads;
  for (std::uint64_t k = 0; k < kThreads; ++k) {
    threads.emplace_back([&, k] {
      auto own = t.queue("own");
      hal_queue* mine = k % 2 == 0 ? queue.get() : own.get();
      hal_point last{};
      for (std::uint64_t i = k * kRounds; i < (k + 1) * kRounds; ++i) {
        const std::array<hal_slice, 2> slots = {slice(target, i, 1), slice(source, i, 1)};
        last = t.submit(mine, {execute(recording, slots)});
      }
      t.wait(last);
    });
  }
  for (std::jthread& thread : threads) { thread.join(); }
  const Bytes bytes = t.read(queue, target);
  for (std::uint64_t i = 0; i < kThreads * kRounds; ++i) { EXPECT_EQ(bytes[i], 1 + i % 251); }
}

}  // namespace hal::conformance
