// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "conformance/cases/graphs.hpp"
#include "graph/element.hpp"
#include "hal/nn.hpp"

namespace hal::conformance {
namespace {

using graph::arg;
using graph::KeepDims;
using graph::ReduceOp;
using graph::ScatterMode;
using graph::Shape;
using graph::Value;

// bf16 is not for every device: then the refusal must be clean.
bool takes(Case& t, const GraphBytes& bytes) {
  const hal_image image = graph_image(bytes);
  if (hal_device_check(t.device(), &image).support != HAL_NO) { return true; }
  hal_program* none = nullptr;
  EXPECT_CODE(hal_program_load(t.device(), &image, &none), HAL_UNSUPPORTED);
  return false;
}

GraphBytes matmul(std::int64_t m, std::int64_t k, std::int64_t n, DType type) {
  GraphBuilder b("matmul");
  const Value left = b.input("a", type, {m, k}), right = b.input("b", type, {k, n});
  b.output("c", b.contract("mk,kn->mn", left, right));
  return finish(b);
}

// y = a x + y: the pack's saxpy as a graph.
GraphBytes saxpy(std::int64_t n) {
  GraphBuilder b("saxpy");
  const Value a = b.input("a", DType::f32, {1}), x = b.input("x", DType::f32, {n}), y = b.input("y", DType::f32, {n});
  b.output("out", b.map({a, x, y}, arg(0) * arg(1) + arg(2)));
  return finish(b);
}

std::vector<std::byte> floats(const std::vector<float>& values) { return tensor_of(std::span<const float>(values)); }
std::vector<std::byte> ints(const std::vector<std::int32_t>& values) {
  return tensor_of(std::span<const std::int32_t>(values));
}

}  // namespace

HAL_CASE(GRF_001, "contract") {
  GraphBuilder b("contract");
  const Value x = b.input("x", DType::f32, {3, 17, 20}), y = b.input("y", DType::f32, {3, 20, 9});
  const Value u = b.input("u", DType::f32, {20, 17}), v = b.input("v", DType::f32, {9, 20}),
              w = b.input("w", DType::f32, {17});
  b.output("batched", b.contract("bmk,bkn->bmn", x, y));
  b.output("transposed", b.contract("km,nk->nm", u, v));
  b.output("vector", b.contract("km,m->k", u, w));
  b.output("outer", b.contract("m,k->km", w, b.reduce(v, ReduceOp::max, {0})));
  expect_graph(t, "contract", b, sum_of(20));
}

HAL_CASE(GRF_001, "contract on integers is exact") {
  const GraphBytes bytes = matmul(5, 33, 7, DType::i32);
  expect_graph(t, "i32", bytes, random_inputs(t, bytes), exact());
}

HAL_CASE(GRF_001, "contract in bf16") {
  const GraphBytes bytes = matmul(6, 40, 10, DType::bf16);
  if (!takes(t, bytes)) { return; }
  expect_graph(t, "bf16", bytes, random_inputs(t, bytes), sum_of(40, DType::bf16));
}

HAL_CASE(GRF_001, "map with one rounding") {
  GraphBuilder b("map");
  const Value x = b.input("x", DType::f32, {7, 33}), y = b.input("y", DType::f32, {33}),
              c = b.input("c", DType::f32, {7, 1});
  b.output("add", b.map({x, y}, arg(0) + arg(1)));
  b.output("sub", b.map({x, c}, arg(0) - arg(1)));
  b.output("mul", b.map({x, y}, arg(0) * arg(1)));
  b.output("min", b.map({x, y}, min(arg(0), arg(1))));
  b.output("max", b.map({x, y}, max(arg(0), arg(1))));
  b.output("neg", b.map({x}, -arg(0)));
  b.output("abs", b.map({x}, abs(arg(0))));
  b.output("select", b.map({x, y, c}, select(arg(0) < arg(1), arg(2), 7.0)));
  b.output("compare",
           b.map({x, y}, (arg(0) >= arg(1)) + 2.0 * equal(arg(0), arg(0)) + 4.0 * not_equal(arg(0), arg(1))));
  b.output("logic", b.map({x, y}, logical_and(arg(0) > 0.0, arg(1) > 0.0) +
                                      2.0 * logical_or(arg(0) > 0.0, arg(1) > 0.0) + 4.0 * logical_not(arg(0))));
  expect_graph(t, "map", b, exact());
}

HAL_CASE(GRF_001, "rounding in maps") {
  GraphBuilder b("round");
  const Value x = b.input("x", DType::f32, {20});
  b.output("round", b.map({x}, round(arg(0))));
  b.output("floor", b.map({x}, floor(arg(0))));
  b.output("ceil", b.map({x}, ceil(arg(0))));
  const GraphBytes bytes = finish(b);
  expect_graph(
      t, "rounding", bytes,
      {floats({0.5F, 1.5F,  2.5F,       -0.5F,       -1.5F, -2.5F,  0.4999999F, 0.50000006F, 1.25F,   -1.75F,
               3.0F, -3.0F, 8388607.5F, -8388607.5F, 1e20F, -1e20F, 0.0F,       1e-30F,      -1e-30F, 2.9999998F})},
      exact());
}

HAL_CASE(GRF_001, "map of elementary functions") {
  GraphBuilder b("functions");
  const Value x = b.input("x", DType::f32, {64}), p = b.input("p", DType::f32, {64});
  const auto positive = abs(arg(1)) + 0.25;
  b.output("div", b.map({x, p}, arg(0) / positive));
  b.output("exp", b.map({x}, exp(arg(0))));
  b.output("sqrt", b.map({x, p}, sqrt(positive)));
  b.output("rsqrt", b.map({x, p}, rsqrt(positive)));
  // Sixteen units: what reduced-precision hardware functions with one correction step reach; near a zero of the
  // function only the absolute error counts.
  expect_graph(t, "functions", b, ulps(16));
  GraphBuilder near_zero("near_zero");
  const Value z = near_zero.input("z", DType::f32, {64});
  near_zero.output("log", near_zero.map({z}, log(abs(arg(0)) + 0.25)));
  near_zero.output("tanh", near_zero.map({z}, tanh(arg(0))));
  near_zero.output("erf", near_zero.map({z}, erf(arg(0))));
  near_zero.output("sin", near_zero.map({z}, sin(arg(0) * 3.0)));
  near_zero.output("cos", near_zero.map({z}, cos(arg(0) * 3.0)));
  expect_graph(t, "functions with zeros", near_zero, ulps(16, 0x1p-20));
}

HAL_CASE(GRF_001, "map on integers wraps") {
  GraphBuilder b("imap");
  const Value x = b.input("x", DType::i32, {9}), y = b.input("y", DType::i32, {9});
  b.output("add", b.map({x, y}, arg(0) + arg(1)));
  b.output("mul", b.map({x, y}, arg(0) * arg(1)));
  b.output("less", b.map({x, y}, arg(0) < arg(1)));
  const GraphBytes bytes = finish(b);
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max(),
                         kLeast = std::numeric_limits<std::int32_t>::min();
  expect_graph(t, "wrapping", bytes,
               {ints({kMost, kLeast, 65536, -7, 0, 123456789, kMost, 1, -1}),
                ints({1, -1, 65536, 3, 0, 987654321, kMost, kLeast, kLeast})},
               exact());
}

HAL_CASE(GRF_001, "reduce") {
  GraphBuilder b("reduce");
  const Value x = b.input("x", DType::f32, {5, 11, 6});
  b.output("sum", b.reduce(x, ReduceOp::sum, {1}));
  b.output("all", b.reduce(x, ReduceOp::sum, {0, 1, 2}));
  b.output("kept", b.reduce(x, ReduceOp::sum, {0, 2}, KeepDims::yes));
  b.output("prod", b.reduce(x, ReduceOp::prod, {2}));
  expect_graph(t, "sums", b, sum_of(5 * 11 * 6));
  GraphBuilder e("extremes");
  const Value y = e.input("y", DType::f32, {5, 11, 6}), i = e.input("i", DType::i32, {4, 9});
  e.output("max", e.reduce(y, ReduceOp::max, {0}));
  e.output("min", e.reduce(y, ReduceOp::min, {1, 2}));
  e.output("isum", e.reduce(i, ReduceOp::sum, {1}));
  e.output("imax", e.reduce(i, ReduceOp::max, {0}));
  expect_graph(t, "extremes and integers", e, exact());
}

HAL_CASE(GRF_001, "view") {
  GraphBuilder b("view");
  const Value x = b.input("x", DType::f32, {6, 8});
  b.output("transposed", b.transpose(x, {1, 0}));
  b.output("sliced", b.slice(x, {1, 2}, {4, 5}));
  b.output("reversed", b.view(x, {6, 8}, 47, {-8, -1}));
  b.output("repeated", b.broadcast(b.slice(x, {0, 0}, {1, 8}), {3, 5, 8}));
  b.output("windows", b.view(x, {4, 6, 3, 3}, 0, {8, 1, 8, 1}));
  b.output("line", b.reshape(x, {48}));
  expect_graph(t, "view", b, exact());
}

HAL_CASE(GRF_001, "gather and scatter") {
  GraphBuilder b("gather");
  const Value x = b.input("x", DType::f32, {5, 4}), i = b.input("i", DType::i32, {3, 2}),
              k = b.input("k", DType::i32, {3});
  const Value u = b.input("u", DType::f32, {3, 4});
  b.output("rows", b.gather(x, i, 0));
  b.output("columns", b.gather(x, k, 1));
  b.output("set", b.scatter(x, k, u, 0, ScatterMode::set));
  b.output("add", b.scatter(x, k, u, 0, ScatterMode::add));
  const GraphBytes bytes = finish(b);
  Tensors inputs = random_inputs(t, bytes);
  for (std::byte& byte : inputs[0]) { byte = std::byte{0}; }
  for (std::size_t n = 0; n < 20; ++n) {
    const float value = static_cast<float>(n) * 3;
    std::memcpy(inputs[0].data() + n * 4, &value, 4);
  }
  for (std::size_t n = 0; n < 12; ++n) {
    const float value = static_cast<float>(n) + 100;
    std::memcpy(inputs[3].data() + n * 4, &value, 4);
  }
  inputs[1] = ints({4, 0, 2, 2, 1, 3});
  inputs[2] = ints({2, 0, 2});  // twice the same place: set keeps the last, add takes both
  expect_graph(t, "gather and scatter", bytes, inputs, exact());
}

HAL_CASE(GRF_001, "pad, concat and constant") {
  GraphBuilder b("pad");
  const Value x = b.input("x", DType::f32, {3, 4}), y = b.input("y", DType::f32, {3, 2});
  const std::array<float, 3> numbers = {1.5F, -2.25F, 1e-3F};
  b.output("padded", b.pad(x, {1, 0}, {2, 3}, -0.5));
  b.output("joined", b.concat({x, y, x}, 1));
  b.output("scaled", b.map({x, b.constant({3, 1}, std::span<const float>(numbers))}, arg(0) * arg(1)));
  expect_graph(t, "pad, concat and constant", b, exact());
}

HAL_CASE(GRF_003, "check and load agree on every element type") {
  for (int type = HAL_F64; type <= HAL_BOOL; ++type) {
    GraphBuilder b("typed");
    b.output("y", b.view(b.input("x", static_cast<DType>(type), {8}), {8}, 7, {-1}));
    const auto bytes = b.finish();
    if (!bytes) { continue; }  // the format itself does not have it
    const hal_image image = graph_image(*bytes);
    const hal_verdict verdict = hal_device_check(t.device(), &image);
    Owned<hal_program> program;
    hal_error* error = hal_program_load(t.device(), &image, program.out());
    if (verdict.support == HAL_NO) {
      EXPECT(*verdict.why != '\0');
      EXPECT_CODE(error, HAL_UNSUPPORTED);
    } else {
      EXPECT_OK(error);
      if (type == HAL_F32 || type == HAL_I32) {
        expect_graph(t, "reversed", *bytes, random_inputs(t, *bytes), exact());
      }
    }
    EXPECT(verdict.support != HAL_NO || (type != HAL_F32 && type != HAL_I32));
  }
}

HAL_CASE(GRF_005, "dimensions of one and primes") {
  constexpr std::array<std::array<std::int64_t, 3>, 9> kShapes = {
      {{1, 1, 1}, {1, 7, 1}, {7, 1, 1}, {1, 1, 7}, {13, 1, 5}, {1, 31, 3}, {17, 13, 11}, {2, 67, 1}, {5, 3, 37}}};
  auto queue = t.queue();
  for (const auto& [m, k, n] : kShapes) {
    GraphBuilder b("shapes");
    const Value x = b.input("a", DType::f32, {m, k}), y = b.input("b", DType::f32, {k, n});
    const Value c = b.contract("mk,kn->mn", x, y);
    b.output("c", c);
    b.output("rows", b.reduce(x, ReduceOp::sum, {1}));
    b.output("turned", b.transpose(x, {1, 0}));
    const GraphBytes bytes = finish(b);
    const Tensors inputs = random_inputs(t, bytes);
    auto program = load_graph(t, bytes);
    compare("shapes", bytes, inputs, run_on_device(t, queue, program, bytes, inputs), sum_of(k));
  }
}

HAL_CASE(GRF_006, "conversion rounds, truncates and saturates") {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.0F,          0.5F,          -0.5F,          1.5F,  2.5F,  -2.999F,
                                     2147483520.0F, 2147483648.0F, -2147483648.0F, -3e9F, 1e30F, infinity,
                                     -infinity,     std::nanf(""), 16777217.0F,    1e-40F};
  GraphBuilder b("to_int");
  b.output("i", b.convert(b.input("x", DType::f32, {16}), DType::i32));
  const GraphBytes to_int = finish(b);
  expect_graph(t, "f32 to i32", to_int, {floats(values)}, exact());
  GraphBuilder c("from_int");
  c.output("f", c.convert(c.input("x", DType::i32, {8}), DType::f32));
  const GraphBytes from_int = finish(c);
  expect_graph(t, "i32 to f32", from_int,
               {ints({0, 1, -1, 16777216, 16777217, 16777219, std::numeric_limits<std::int32_t>::max(),
                      std::numeric_limits<std::int32_t>::min()})},
               exact());
}

HAL_CASE(GRF_006, "bf16 rounds to nearest even") {
  GraphBuilder b("to_bf16");
  const Value narrow = b.convert(b.input("x", DType::f32, {12}), DType::bf16);
  b.output("bf16", narrow);
  b.output("back", b.convert(narrow, DType::f32));
  const GraphBytes bytes = finish(b);
  if (!takes(t, bytes)) { return; }
  // 1 + k/256 lies between two bf16 numbers that are 1/128 apart: a tie for odd k, to even.
  const std::vector<float> values = {1.0F,         1.00390625F,   1.01171875F,   1.0039063F, 1.0039062F, -1.00390625F,
                                     -1.01171875F, 3.3895314e38F, 3.4028235e38F, 1e-30F,     65504.0F,   0.1F};
  expect_graph(t, "f32 to bf16", bytes, {floats(values)}, exact());
}

HAL_CASE(GRF_010, "graphs do not mix their state") {
  auto a = t.queue("a");
  auto b = t.queue("b");
  auto gate = t.timeline();
  const GraphBytes product = matmul(9, 24, 7, DType::f32), line = saxpy(50);
  auto products = load_graph(t, product);
  auto lines = load_graph(t, line);
  struct Run {
    const GraphBytes* bytes;
    Tensors inputs, outputs;
    std::vector<Owned<hal_buffer>> buffers;
  };
  std::vector<Run> runs(16);
  std::vector<hal_point> points;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Run& run = runs[i];
    run.bytes = i % 3 == 0 ? &line : &product;
    run.inputs = random_inputs(t, *run.bytes);
    run.outputs = {std::vector<std::byte>(i % 3 == 0 ? 50 * 4 : 9 * 7 * 4)};
    std::vector<hal_command> commands;
    std::vector<hal_arg> args;
    for (const auto& input : run.inputs) {
      run.buffers.push_back(t.buffer(input.size()));
      commands.push_back(copy(whole(run.buffers.back()), hal_host(input.data(), input.size())));
      args.push_back(conformance::arg(whole(run.buffers.back())));
    }
    run.buffers.push_back(t.buffer(run.outputs[0].size()));
    args.push_back(conformance::arg(whole(run.buffers.back())));
    commands.push_back(run_graph(i % 3 == 0 ? lines : products, 0, args));
    commands.push_back(copy(hal_host(run.outputs[0].data(), run.outputs[0].size()), whole(run.buffers.back())));
    points.push_back(t.submit(i % 2 == 0 ? a : b, commands, {{{gate, 1}}}));
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  for (const hal_point& point : points) { t.wait(point); }
  for (const Run& run : runs) { compare("interleaved", *run.bytes, run.inputs, run.outputs, sum_of(24)); }
}

HAL_CASE(GRF_013, "bindings that do not fit are refused") {
  auto queue = t.queue();
  auto program = load_graph(t, saxpy(16));
  auto a = t.filled(queue, 4, 0), x = t.filled(queue, 64, 0), y = t.filled(queue, 64, 0),
       out = t.filled(queue, 64, 0x5D);
  const std::vector<hal_arg> good = {conformance::arg(whole(a)), conformance::arg(whole(x)), conformance::arg(whole(y)),
                                     conformance::arg(whole(out))};
  const std::uint64_t before = t.submit(queue, {barrier()}).value;
  std::vector<hal_arg> args(good.begin(), good.end() - 1);
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT);
  args = good;
  args.push_back(good.back());
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT);
  args = good;
  args[1] = conformance::arg(slice(x, 0, 63));
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE);
  args = good;
  args[3] = conformance::arg(slice(out, 1, 64));
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_OUT_OF_RANGE);
  args = good;
  args[0] = scalar(1.0F);
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 0, args)}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {run_graph(program, 1, good)}), HAL_INVALID_ARGUMENT, HAL_OUT_OF_RANGE,
              HAL_NOT_FOUND);
  EXPECT_CODE(t.try_submit(queue, {run_kernel(program, 0, good, 1)}), HAL_INVALID_ARGUMENT);
  EXPECT_EQ(t.submit(queue, {barrier()}).value, before + 1);
  t.expect_all(t.read(queue, out), 0, 64, 0x5D, "after refusals");
}

HAL_CASE(GRF_014, "damaged graphs are refused or harmless") {
  GraphBytes whole_graph = matmul(3, 5, 4, DType::f32);
  // Without its checksum (bytes 16 to 23, 0 is none), or no damage would get any further.
  std::fill_n(whole_graph.begin() + 16, 8, std::byte{0});
  hal_program* none = nullptr;
  for (std::size_t size = 0; size < whole_graph.size(); size += size < 128 ? 1 : 13) {
    const hal_image image = {"hal.graph", whole_graph.data(), size, nullptr, nullptr, 0};
    EXPECT_EQ(hal_device_check(t.device(), &image).support, HAL_NO);
    EXPECT_CODE(hal_program_load(t.device(), &image, &none), HAL_INVALID_IMAGE, HAL_INCOMPATIBLE, HAL_INVALID_ARGUMENT);
    EXPECT(none == nullptr);
  }
  for (int round = 0; round < 400; ++round) {
    GraphBytes bytes = whole_graph;
    for (std::uint64_t k = 0; k <= t.random().below(3); ++k) {
      bytes[t.random().below(bytes.size())] = static_cast<std::byte>(t.random().next());
    }
    const hal_image image = graph_image(bytes);
    const hal_verdict verdict = hal_device_check(t.device(), &image);
    Owned<hal_program> program;
    hal_error* error = hal_program_load(t.device(), &image, program.out());
    EXPECT_EQ(error == nullptr, verdict.support != HAL_NO);
    if (error != nullptr) { EXPECT_CODE(error, HAL_INVALID_IMAGE, HAL_INCOMPATIBLE, HAL_UNSUPPORTED); }
  }
  const Tensors inputs = random_inputs(t, whole_graph);
  expect_graph(t, "after all that", whole_graph, inputs, sum_of(5));
}

HAL_CASE(GRF_015, "repeated runs are bit-equal") {
  auto queue = t.queue();
  const GraphBytes bytes = matmul(12, 48, 10, DType::f32);
  auto program = load_graph(t, bytes);
  const Tensors inputs = random_inputs(t, bytes);
  const Tensors first = run_on_device(t, queue, program, bytes, inputs);
  compare("first run", bytes, inputs, first, sum_of(48));
  for (int round = 0; round < 12; ++round) { EXPECT(run_on_device(t, queue, program, bytes, inputs) == first); }
}

HAL_CASE(GRF_017, "an index outside fails the run and stops the queue") {
  auto queue = t.queue("failing");
  auto other = t.queue("other");
  GraphBuilder b("gather");
  const Value source = b.input("x", DType::f32, {4}), indices = b.input("i", DType::i32, {2});
  b.output("y", b.gather(source, indices, 0));
  const GraphBytes bytes = finish(b);
  auto program = load_graph(t, bytes);
  for (const std::int32_t index : {4, -1, std::numeric_limits<std::int32_t>::max()}) {
    auto lane = t.queue("failing");
    auto x = t.filled(other, 16, 0), i = t.upload(other, std::vector<std::int32_t>{0, index}),
         y = t.filled(other, 8, 0), z = t.filled(other, 8, 0x6B);
    const std::vector<hal_arg> args = {conformance::arg(whole(x)), conformance::arg(whole(i)),
                                       conformance::arg(whole(y))};
    const hal_point point = t.submit(lane, {run_graph(program, 0, args), fill(whole(z), 1)});
    hal_error* error = t.try_wait(point);
    EXPECT(has_code(error, HAL_OUT_OF_RANGE) || has_code(error, HAL_EXECUTION_FAILED));
    hal_release(error);
    error = t.try_submit(lane, {barrier()});
    EXPECT(has_code(error, HAL_OUT_OF_RANGE) || has_code(error, HAL_EXECUTION_FAILED));
    hal_release(error);
    t.expect_all(t.read(other, z), 0, 8, 0x6B, "behind the failure");
  }
  const Tensors inputs = {floats({1, 2, 3, 4}), ints({3, 0})};
  compare("good indices", bytes, inputs, run_on_device(t, queue, program, bytes, inputs), exact());
}

HAL_CASE(GRF_018, "the kernel pack as graphs") {
  {  // fill: a constant, repeated
    GraphBuilder b("fill");
    b.output("out", b.broadcast(b.input("value", DType::i32, {1}), {77}));
    expect_graph(t, "fill", b, exact());
  }
  {  // iota: a constant line plus a start
    std::vector<std::int32_t> line(100);
    for (std::size_t i = 0; i < line.size(); ++i) { line[i] = static_cast<std::int32_t>(i); }
    GraphBuilder b("iota");
    b.output("out", b.map({b.constant({100}, std::span<const std::int32_t>(line)), b.input("start", DType::i32, {1})},
                          arg(0) + arg(1)));
    expect_graph(t, "iota", b, exact());
  }
  {
    const GraphBytes bytes = saxpy(333);
    // Two roundings where the reference has one.
    expect_graph(t, "saxpy", bytes, random_inputs(t, bytes), sum_of(2));
  }
  {
    GraphBuilder b("reduce");
    b.output("sum", b.reduce(b.input("x", DType::i32, {1000}), ReduceOp::sum, {0}));
    expect_graph(t, "reduce", b, exact());
  }
  {
    const GraphBytes bytes = matmul(19, 21, 13, DType::f32);
    expect_graph(t, "matmul", bytes, random_inputs(t, bytes), sum_of(21));
  }
  {
    GraphBuilder b("softmax");
    b.output("y", nn::softmax(b, b.input("x", DType::f32, {6, 45})));
    // exp within 16 units, a sum of 45, a division: all relative, for every term is positive.
    expect_graph(t, "softmax", b, ulps(16 + 45 + 4));
  }
  {  // ticket: counting by scatter
    GraphBuilder b("count");
    const Value base = b.input("counters", DType::i32, {8}), where = b.input("where", DType::i32, {60}),
                one = b.input("ones", DType::i32, {60});
    b.output("out", b.scatter(base, where, one, 0, ScatterMode::add));
    const GraphBytes bytes = finish(b);
    std::vector<std::int32_t> places(60);
    for (std::int32_t& place : places) { place = static_cast<std::int32_t>(t.random().below(8)); }
    expect_graph(t, "ticket", bytes,
                 {ints(std::vector<std::int32_t>(8, 5)), ints(places), ints(std::vector<std::int32_t>(60, 1))},
                 exact());
  }
  {  // echo: what goes in comes out, every bit pattern of a finite float
    const GraphBytes bytes = identity_graph(64);
    expect_graph(t, "echo", bytes, random_inputs(t, bytes), exact());
  }
}

HAL_CASE(EXE_025, "what was prepared loads nothing when it runs") {
  GraphBuilder b("prepared");
  const Value x = b.input("x", DType::i32, {96, 96});
  const Value square = b.contract("mk,kn->mn", x, x);
  b.output("y", b.contract("mk,kn->mn", b.transpose(square, {1, 0}), b.map({square}, graph::arg(0) * 3.0)));
  const GraphBytes bytes = finish(b);
  const Tensors inputs = random_inputs(t, bytes);
  auto program = load_graph(t, bytes);
  {
    auto queue = t.queue("unprepared");
    compare("unprepared", bytes, inputs, run_on_device(t, queue, program, bytes, inputs), exact());
  }
  auto queue = t.queue("prepared");
  hal_command prepare = run_graph(program, 0, {});
  prepare.op = HAL_OP_PREPARE;
  t.wait(t.submit(queue, {prepare}));
  const std::uint64_t before = lazy_loads(t);
  const Tensors found = run_on_device(t, queue, program, bytes, inputs);
  EXPECT_EQ(lazy_loads(t), before);
  compare("prepared", bytes, inputs, found, exact());
}

HAL_CASE(EXE_027, "a tensor graph takes no grid") {
  const GraphBytes bytes = identity_graph(16);
  auto program = load_graph(t, bytes);
  auto queue = t.queue();
  auto in = t.filled(queue, 64, 0x11);
  auto out = t.filled(queue, 64, 0x2A);
  const std::array args{arg(whole(in)), arg(whole(out))};
  const hal_command run = run_graph(program, 0, args);
  hal_command with_grid = run;
  with_grid.as.run.has_grid = 1;
  with_grid.as.run.grid = {{1, 1, 1}, {1, 1, 1}, 0};
  hal_command prepare = with_grid;
  prepare.op = HAL_OP_PREPARE;
  prepare.as.run.args = nullptr;
  prepare.as.run.arg_count = 0;
  for (const hal_command& refused : {with_grid, prepare}) {
    EXPECT_CODE(t.try_submit(queue, {refused}), HAL_INVALID_ARGUMENT);
    Owned<hal_commands> none;
    EXPECT_CODE(hal_commands_create(t.device(), &refused, 1, none.out()), HAL_INVALID_ARGUMENT);
  }
  t.expect_all(t.read(queue, out), 0, 64, 0x2A, "after the refusals");
  t.wait(t.submit(queue, {run}));
  t.expect_all(t.read(queue, out), 0, 64, 0x11, "without a grid");
}

}  // namespace hal::conformance
