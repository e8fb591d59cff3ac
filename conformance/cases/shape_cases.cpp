// SPDX-License-Identifier: Apache-2.0
// Graphs with sizes that are known when they run.
#include <cstring>
#include <string>

#include "conformance/cases/graphs.hpp"
#include "graph/element.hpp"
#include "graph/reference.hpp"
#include "graph/view.hpp"

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

}  // namespace

HAL_CASE(GRF_011, "one program, many shapes") {
  const GraphBytes bytes = rows_graph();
  auto program = load_graph(t, bytes);
  auto queue = t.queue();
  const auto view = graph::View::verify_dynamic(bytes);
  EXPECT(view.has_value());
  // More shapes than anybody keeps, and again one of the first.
  for (const std::int64_t n : {1, 5, 2, 17, 3, 4, 6, 7, 8, 9, 10, 11, 33, 5, 1}) {
    const auto bound = view->bind(std::span(&n, 1));
    EXPECT(bound.has_value());
    std::vector<std::byte> input(bound->inputs()[0].bytes);
    for (std::int64_t i = 0; i < bound->inputs()[0].elements; ++i) {
      graph::store_integer(DType::i32, input.data(), i, static_cast<std::int64_t>(t.random().below(1000)) - 500);
    }
    const std::span<const std::byte> span(input);
    const auto expected = graph::evaluate_reference(*bound, {&span, 1});
    EXPECT(expected.has_value());
    std::vector<Owned<hal_buffer>> buffers;
    std::vector<hal_arg> args;
    std::vector<hal_command> commands;
    buffers.push_back(t.buffer(input.size()));
    args.push_back(arg(whole(buffers.back())));
    commands.push_back(copy(whole(buffers.back()), hal_host(input.data(), input.size())));
    Tensors found;
    for (const graph::Tensor& output : bound->outputs()) {
      buffers.push_back(t.buffer(output.bytes));
      args.push_back(arg(whole(buffers.back())));
      commands.push_back(fill(whole(buffers.back()), 0xEE));
      found.emplace_back(output.bytes);
    }
    if (n % 2 == 0) {  // given here, found from the lengths otherwise
      args.push_back(extent(n));
      args.push_back(extent(2 * n));
    }
    commands.push_back(run_graph(program, 0, args));
    for (std::size_t i = 0; i < found.size(); ++i) {
      commands.push_back(copy(hal_host(found[i].data(), found[i].size()), whole(buffers[i + 1])));
    }
    t.wait(t.submit(queue, commands));
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i] != (*expected)[i]) {
        fail_case(HAL_HERE, "n = " + std::to_string(n) + ": output " + std::to_string(i) + " differs");
      }
      count_check();
    }
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

}  // namespace hal::conformance
