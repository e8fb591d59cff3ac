// SPDX-License-Identifier: Apache-2.0
// Graphs with sizes that are known when they run.
#include <array>
#include <cstring>
#include <deque>
#include <string>

#include "conformance/cases/graphs.hpp"
#include "graph/compare.hpp"
#include "graph/element.hpp"
#include "graph/reference.hpp"
#include "graph/view.hpp"
#include "hal/nn.hpp"

namespace hal::conformance {
namespace {

using graph::Value;

// Rows of 6 in, whatever their number: a layer, a reduction with the count of rows in it, and the rows twice.
GraphBytes rows_graph() {
  GraphBuilder b("rows");
  const std::int64_t n = b.symbol("n");
  const Value x = b.input("x", DType::i32, {n, 6});
  const std::vector<std::int32_t> numbers(24, 3);
  b.output("product", b.contract("nk,ko->no", x, b.constant({6, 4}, std::span<const std::int32_t>(numbers))));
  b.output("counted", b.map({b.reduce(x, graph::ReduceOp::sum, {0})}, graph::arg(0) * graph::size_of(n)));
  b.output("twice", b.concat({b.transpose(b.transpose(x, {1, 0}), {1, 0}), x}, 0));
  return finish(b);
}

hal_arg extent(std::int64_t value) {
  hal_arg out{};
  out.kind = HAL_ARG_SCALAR;
  out.size = sizeof value;
  std::memcpy(out.value.scalar, &value, sizeof value);
  return out;
}

hal_arg slot_extent(std::uint32_t number, std::uint64_t offset) {
  hal_arg out{};
  out.kind = HAL_ARG_SLOT;
  out.size = 8;
  out.value.slice = hal_slot(number, offset, 8);
  return out;
}

std::vector<hal_arg> extents_of(std::int64_t n) { return {extent(n), extent(2 * n)}; }

// A symbol that no shape has: one that is only declared, or counts in an expression.
GraphBytes scaled_graph(bool used) {
  GraphBuilder b("scaled");
  const std::int64_t n = b.symbol("n");
  const Value x = b.input("x", DType::i32, {4});
  b.output("y", b.map({x}, graph::arg(0) + (used ? graph::size_of(n) : graph::Expr(3.0))));
  return finish(b);
}

// One run of rows_graph(): its own buffers, input and what should come out. It stays where it is while it is pending.
struct RowsRun {
  std::int64_t n;
  std::vector<std::byte> input;
  Tensors expected, found;
  std::vector<Owned<hal_buffer>> buffers;
  std::vector<hal_arg> args;
  std::vector<hal_command> commands;

  RowsRun(Case& t, const GraphBytes& bytes, hal_program* program, std::int64_t rows, bool give_extents) : n(rows) {
    const auto view = graph::View::verify_dynamic(bytes);
    EXPECT(view.has_value());
    const auto bound = view->bind(std::span(&n, 1));
    EXPECT(bound.has_value());
    input.resize(bound->inputs()[0].bytes);
    for (std::int64_t i = 0; i < bound->inputs()[0].elements; ++i) {
      graph::store_integer(DType::i32, input.data(), i, static_cast<std::int64_t>(t.random().below(1000)) - 500);
    }
    const std::span<const std::byte> span(input);
    auto reference = graph::evaluate_reference(*bound, {&span, 1});
    EXPECT(reference.has_value());
    expected = std::move(*reference);
    add(t, input.size());
    commands.push_back(copy(whole(buffers.back()), hal_host(input.data(), input.size())));
    for (const graph::Tensor& output : bound->outputs()) {
      add(t, output.bytes);
      commands.push_back(fill(whole(buffers.back()), 0xEE));
      found.emplace_back(output.bytes);
    }
    if (give_extents) {  // found from the lengths otherwise
      for (const hal_arg& each : extents_of(n)) { args.push_back(each); }
    }
    commands.push_back(run_graph(program, 0, args));
    for (std::size_t i = 0; i < found.size(); ++i) {
      commands.push_back(copy(hal_host(found[i].data(), found[i].size()), whole(buffers[i + 1])));
    }
  }
  RowsRun(const RowsRun&) = delete;
  RowsRun& operator=(const RowsRun&) = delete;

  void check() const {
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i] != expected[i]) {
        fail_case(HAL_HERE, "n = " + std::to_string(n) + ": output " + std::to_string(i) + " differs");
      }
      count_check();
    }
  }

 private:
  void add(Case& t, std::uint64_t bytes) {
    buffers.push_back(t.buffer(bytes));
    args.push_back(arg(whole(buffers.back())));
  }
};

hal_command prepare(hal_program* program, std::span<const hal_arg> extents) {
  hal_command command = run_graph(program, 0, extents);
  command.op = HAL_OP_PREPARE;
  return command;
}

}  // namespace

HAL_CASE(GRF_011, "one program, many shapes") {
  const GraphBytes bytes = rows_graph();
  auto program = load_graph(t, bytes);
  auto queue = t.queue();
  // More shapes than anybody keeps, and again one of the first.
  for (const std::int64_t n : {1, 5, 2, 17, 3, 4, 6, 7, 8, 9, 10, 11, 33, 5, 1}) {
    const RowsRun run(t, bytes, program, n, n % 2 == 0);
    t.wait(t.submit(queue, run.commands));
    run.check();
  }
}

HAL_CASE(GRF_019, "runs at different extents are pending together") {
  const GraphBytes bytes = rows_graph();
  auto program = load_graph(t, bytes);
  std::array<Owned<hal_queue>, 2> queues{t.queue("first"), t.queue("second")};
  auto gate = t.timeline();
  std::deque<RowsRun> runs;
  std::vector<hal_point> points;
  const auto submit = [&](std::size_t queue, std::int64_t n, const With& with) {
    points.push_back(t.submit(queues[queue], runs.emplace_back(t, bytes, program, n, n % 2 == 0).commands, with));
  };
  // Each queue begins with more rows than the other ends with.
  for (int round = 0; round < 2; ++round) {
    for (const std::int64_t n : {24, 5, 12, 7, 9, 2, 11, 8, 4, 10, 3, 1}) { submit(0, n, {.waits = {{gate, 1}}}); }
    for (const std::int64_t n : {25, 3, 12, 8, 2, 10, 7, 5, 9, 4, 11, 1}) { submit(1, n, {.waits = {{gate, 1}}}); }
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  for (const hal_point& point : points) { t.wait(point); }
  for (const RowsRun& run : runs) { run.check(); }
  // And by turns, with nothing that holds them back.
  for (std::int64_t n = 12; n > 0; --n) {
    submit(0, n, {});
    submit(1, 13 - n, {});
  }
  for (const hal_point& point : points) { t.wait(point); }
  for (const RowsRun& run : runs) { run.check(); }
}

HAL_CASE(EXE_026, "what was prepared with its extents loads nothing when it runs") {
  const GraphBytes bytes = rows_graph();
  auto program = load_graph(t, bytes);
  std::int64_t n = 7;
  const auto expect_ready = [&](hal_queue* queue) {
    const RowsRun run(t, bytes, program, n, true);
    const std::uint64_t before = lazy_loads(t);
    t.wait(t.submit(queue, run.commands));
    EXPECT_EQ(lazy_loads(t), before);
    run.check();
  };
  auto queue = t.queue("prepared");
  t.wait(t.submit(queue, {prepare(program, extents_of(n))}));
  expect_ready(queue);

  n = 9;  // behind a gate, where the list is gone when its turn comes
  auto gate = t.timeline();
  auto later = t.queue("prepared later");
  const hal_point point = t.submit(later, {prepare(program, extents_of(n))}, {.waits = {{gate, 1}}});
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  expect_ready(later);

  n = 11;  // in a recording
  Owned<hal_commands> recorded;
  const std::vector<hal_arg> extents = extents_of(n);
  const std::array both{barrier(), prepare(program, extents)};
  EXPECT_OK(hal_commands_create(t.device(), both.data(), 2, recorded.out()));
  auto replayed = t.queue("prepared by a recording");
  t.wait(t.submit(replayed, {execute(recorded, {})}));
  expect_ready(replayed);

  n = 12;  // in a recording whose slots give them
  const std::array<hal_arg, 2> open = {slot_extent(0, 8), slot_extent(1, 0)};
  const hal_command by_slots = prepare(program, open);
  EXPECT_OK(hal_commands_create(t.device(), &by_slots, 1, recorded.out()));
  std::array<std::int64_t, 3> given = {0, n, 2 * n};
  const std::array<hal_slice, 2> slots = {hal_host(given.data(), 16), hal_host(&given[2], 8)};
  auto filled_in = t.queue("prepared by slots");
  const hal_point done = t.submit(filled_in, {execute(recorded, slots)}, {.waits = {{gate, 2}}});
  given = {};  // read during the call
  EXPECT_OK(hal_timeline_signal(gate, 2));
  t.wait(done);
  expect_ready(filled_in);
  EXPECT_CODE(t.try_submit(filled_in, {execute(recorded, slots)}), HAL_INVALID_ARGUMENT);  // of 0 rows
  EXPECT_CODE(t.try_submit(filled_in, {by_slots}), HAL_INVALID_ARGUMENT);

  n = 13;  // without extents nothing is known, and nothing is wrong
  t.wait(t.submit(queue, {prepare(program, {})}));
  const RowsRun run(t, bytes, program, n, false);
  t.wait(t.submit(queue, run.commands));
  run.check();
}

HAL_CASE(EXE_026, "extents that no run could have are refused") {
  auto program = load_graph(t, rows_graph());
  auto queue = t.queue();
  auto buffer = t.filled(queue, 64, 0);
  hal_arg narrow = extent(4);
  narrow.size = 4;
  const std::vector<std::vector<hal_arg>> wrong = {
      {extent(4)},         {extent(4), extent(8), extent(1)}, {extent(0), extent(0)},        {extent(-4), extent(-8)},
      {narrow, extent(8)}, {arg(whole(buffer)), extent(8)},   {extent(INT64_MAX), extent(8)}};
  for (const std::vector<hal_arg>& list : wrong) {
    EXPECT_CODE(t.try_submit(queue, {prepare(program, list)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  }
  // Only the graph knows that twice four is eight.
  auto failing = t.queue("failing");
  hal_point point{};
  const std::vector<hal_arg> odd = {extent(4), extent(9)};
  hal_error* error = t.try_submit(failing, {prepare(program, odd)}, {}, &point);
  if (error == nullptr) { error = t.try_wait(point); }
  EXPECT_CODE(error, HAL_INVALID_ARGUMENT);
}

HAL_CASE(GRF_011, "layers whose sizes are open") {
  GraphBuilder b("open layers");
  const std::int64_t rows = b.symbol("n");
  const Value x = b.input("x", DType::f32, {2, rows, 3});
  b.output("largest", nn::argmax(b, x, 1));
  const nn::TopK top = nn::top_k(b, b.transpose(x, {2, 0, 1}), 2);
  b.output("top", top.values);
  b.output("places", top.indices);
  b.output("mean", nn::average_pool(b, x, {.window = {3}, .strides = {2}, .pad_low = {1}, .pad_high = {2}}));
  b.output("reach", nn::max_pool(b, x, {.window = {2}, .strides = {1}, .pad_low = {1}}));
  b.output("running", nn::cumulative_sum(b, x, 1));
  b.output("back", nn::cumulative_sum(b, b.convert(x, DType::i32), 1, {.exclusive = true, .reverse = true}));
  const std::int64_t wider = b.size(graph::SizeOp::add, b.size(graph::SizeOp::mul, rows, 3), 1);
  b.output("nearest", nn::resize_nearest(b, x, {wider}));
  b.output("mixed", nn::resize_linear(b, x, {wider}, nn::Coordinates::align_corners));
  b.output("fewer", nn::resize_linear(b, x, {7}));
  b.output("mirrored", nn::pad(b, x, {0, 5, 0}, {0, 2, 0}, nn::PadMode::reflect));
  const GraphBytes bytes = finish(b);
  auto program = load_graph(t, bytes);
  auto queue = t.queue();
  const auto view = graph::View::verify_dynamic(bytes);
  EXPECT(view.has_value());
  for (const std::int64_t n : {2, 9, 300}) {
    const auto bound = view->bind(std::span(&n, 1));
    EXPECT(bound.has_value());
    std::vector<float> input(static_cast<std::size_t>(6 * n));
    for (float& element : input) { element = static_cast<float>(t.random().below(64)) / 4 - 8; }
    const auto raw = std::as_bytes(std::span(input));
    const auto expected = graph::evaluate_reference(*bound, {&raw, 1});
    EXPECT(expected.has_value());
    auto in = t.upload(queue, input);
    std::vector<Owned<hal_buffer>> outs;
    std::vector<hal_arg> args = {arg(whole(in))};
    for (const graph::Tensor& output : bound->outputs()) {
      outs.push_back(t.filled(queue, output.bytes, 0xEE));
      args.push_back(arg(whole(outs.back())));
    }
    t.wait(t.submit(queue, {run_graph(program, 0, args)}));
    for (std::size_t i = 0; i < outs.size(); ++i) {
      const Bytes found = t.read(queue, outs[i]);
      const auto same = graph::compare(bound->outputs()[i].dtype, std::as_bytes(std::span(found)), (*expected)[i]);
      if (!same) {
        fail_case(HAL_HERE, "n = " + std::to_string(n) + ": output " + std::to_string(i) + ": " + same.text());
      }
      count_check();
    }
  }
}

HAL_CASE(GRF_011, "places that a run computes along a long axis are exact") {
  GraphBuilder b("long line");
  const Value x = b.input("x", DType::u8, {1, b.symbol("m"), 1});
  b.output("y", nn::resize_nearest(b, x, {b.symbol("n")}, nn::Coordinates::asymmetric, nn::Nearest::floor));
  auto program = load_graph(t, finish(b));
  auto queue = t.queue();
  // A quotient in f32 misses places of so long an axis by one or more.
  constexpr std::int64_t kFrom = 2'000'003, kTo = 4099;
  std::vector<std::uint8_t> line(kFrom);
  for (std::size_t i = 0; i < line.size(); ++i) { line[i] = static_cast<std::uint8_t>(i % 251); }
  auto in = t.upload(queue, line);
  auto out = t.filled(queue, kTo, 0xEE);
  const std::vector<hal_arg> args = {arg(whole(in)), arg(whole(out)), extent(kFrom), extent(kTo)};
  t.wait(t.submit(queue, {run_graph(program, 0, args)}));
  const Bytes found = t.read(queue, out);
  for (std::int64_t i = 0; i < kTo; ++i) {
    EXPECT_EQ(static_cast<unsigned>(found[static_cast<std::size_t>(i)]), static_cast<unsigned>(i * kFrom / kTo % 251));
  }
}

HAL_CASE(GRF_011, "extents that do not fit are refused") {
  const GraphBytes bytes = rows_graph();
  auto program = load_graph(t, bytes);
  auto queue = t.queue();
  auto x = t.filled(queue, 3 * 24, 0), product = t.filled(queue, 3 * 16, 0x5D), counted = t.filled(queue, 24, 0x5D),
       twice = t.filled(queue, 6 * 24, 0x5D);
  const std::vector<hal_arg> good = {arg(whole(x)), arg(whole(product)), arg(whole(counted)), arg(whole(twice))};
  std::vector<hal_arg> args = good;
  args[0] = arg(slice(x, 0, 70));  // no whole row
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  args = good;
  args[0] = arg(slice(x, 0, 48));  // two rows, and results of three
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{-3}, std::int64_t{2}, INT64_MAX}) {
    args = good;
    args.push_back(extent(bad));
    args.push_back(extent(6));
    EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  }
  t.expect_all(t.read(queue, product), 0, 48, 0x5D, "after refusals");

  // Five rows for what is twice three: nobody but the graph knows, so the run fails.
  auto failing = t.queue("failing");
  args = good;
  args[3] = arg(slice(twice, 0, 5 * 24));
  hal_point point{};
  hal_error* error = t.try_submit(failing, {run_graph(program, 0, args)}, {}, &point);
  if (error == nullptr) { error = t.try_wait(point); }
  EXPECT_CODE(error, HAL_INVALID_ARGUMENT);
  t.expect_all(t.read(queue, twice), 0, 6 * 24, 0x5D, "after the failed run");
}

HAL_CASE(GRF_011, "an extent that no length tells is asked for") {
  for (const bool used : {false, true}) {
    auto program = load_graph(t, scaled_graph(used));
    auto queue = t.queue();
    auto x = t.filled(queue, 16, 0), y = t.filled(queue, 16, 0x5D);
    std::vector<hal_arg> args = {arg(whole(x)), arg(whole(y))};
    const hal_command without = run_graph(program, 0, args);
    EXPECT_CODE(t.try_submit(queue, {without}), HAL_INVALID_ARGUMENT);
    EXPECT_CODE(t.try_submit(queue, {barrier(), without}), HAL_INVALID_ARGUMENT);
    Owned<hal_commands> recorded;
    EXPECT_CODE(hal_commands_create(t.device(), &without, 1, recorded.out()), HAL_INVALID_ARGUMENT);
    t.expect_all(t.read(queue, y), 0, 16, 0x5D, "after refusals");
    args.push_back(extent(3));
    t.wait(t.submit(queue, {run_graph(program, 0, args)}));
    const std::array<std::int32_t, 4> expected = {3, 3, 3, 3};
    EXPECT_EQ(std::memcmp(t.read(queue, y).data(), expected.data(), 16), 0);
  }
}

}  // namespace hal::conformance
