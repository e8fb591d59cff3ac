// SPDX-License-Identifier: Apache-2.0
// Graphs on the host against the reference evaluator.
#include <cmath>
#include <cstring>
#include <functional>
#include <halyard_catch.hpp>
#include <limits>
#include <string>
#include <vector>

#include "driver_kit/harness.hpp"
#include "driver_kit/open_graph_check.hpp"
#include "graph/cases.hpp"
#include "graph/compare.hpp"
#include "graph/element.hpp"
#include "graph/format.hpp"
#include "graph/random_graph.hpp"
#include "graph/reference.hpp"
#include "graph/signature.hpp"
#include "graph/view.hpp"
#include "hal/graph.hpp"
#include "hal/nn.hpp"

using hal::DType;
using hal::GraphBuilder;
using hal::graph::arg;
using hal::graph::Expr;
using hal::graph::ReduceOp;
using hal::graph::Shape;
using hal::graph::Value;
using hal::kit::Harness;
using Bytes = std::vector<std::byte>;

namespace {

// Replayable numbers in [low, high).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  double real(double low, double high) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return low + (high - low) * static_cast<double>(state_ >> 11U) * 0x1p-53;
  }

 private:
  std::uint64_t state_;
};

struct Run {
  std::vector<Bytes> ours, expected;
  hal_code code = HAL_OK;
  std::string text;
};

// Loads and runs a graph, also with every argument one byte off its alignment, or with its only output written over its
// first input.
Run run_bytes(std::span<const std::byte> bytes, const std::vector<Bytes>& inputs, bool misaligned, const char* mode,
              bool over_input = false) {
  const auto view = hal::graph::View::verify(bytes).value();
  Run out;
  if (auto expected =
          hal::graph::evaluate_reference(view, std::vector<std::span<const std::byte>>(inputs.begin(), inputs.end()))) {
    out.expected = *expected;
  }
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0, mode);
  const hal::graph::Signature signature(view);
  const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
  hal_program* program = device->load(image, {&signature.describe(), 1});
  Harness::Lane lane(*device);
  std::vector<hal_arg> args;
  const std::uint64_t shift = misaligned ? 1 : 0;
  for (std::size_t t = 0; t < view.parameter_count(); ++t) {
    const std::uint64_t size = view.tensor(t).bytes;
    hal_arg& arg = args.emplace_back(hal::kit::buffer_arg({device->allocate(size + shift), shift, size}));
    if (over_input && t == inputs.size()) { arg.value.slice = args[0].value.slice; }
    if (t < inputs.size()) { lane.submit({hal::kit::copy(arg.value.slice, hal_host(inputs[t].data(), size))}); }
  }
  lane.submit({hal::kit::run(program, args)});
  for (std::size_t t = inputs.size(); t < args.size(); ++t) {
    Bytes& result = out.ours.emplace_back(view.tensor(t).bytes);
    lane.submit({hal::kit::copy(hal_host(result.data(), result.size()), args[t].value.slice)});
  }
  if (!lane.wait(lane.submitted())) {
    out.code = hal_error_describe(lane.failure()).code;
    out.text = hal_error_text(lane.failure());
  }
  return out;
}

// Builds a graph and runs it on random inputs.
Run run(const std::function<void(GraphBuilder&)>& build, double low, double high, bool misaligned = false,
        const char* mode = "", bool over_input = false) {
  GraphBuilder builder("test");
  build(builder);
  const auto bytes = builder.finish().value();
  const auto view = hal::graph::View::verify(bytes).value();
  Random random(bytes.size());
  std::vector<Bytes> inputs;
  for (const auto& tensor : view.inputs()) {
    Bytes& input = inputs.emplace_back(tensor.bytes);
    for (std::int64_t i = 0; i < tensor.elements; ++i) {
      hal::graph::store_element(tensor.dtype, input.data(), i, random.real(low, high));
    }
  }
  return run_bytes(bytes, inputs, misaligned, mode, over_input);
}

// The largest |ours - expected| / (1 + |expected|) over all outputs; infinity where only one is NaN.
double worst(const Run& run, DType type) {
  REQUIRE(run.text == "");
  REQUIRE(run.ours.size() == run.expected.size());
  double most = 0;
  for (std::size_t o = 0; o < run.ours.size(); ++o) {
    REQUIRE(run.ours[o].size() == run.expected[o].size());
    const auto count = static_cast<std::int64_t>(run.ours[o].size() * 8 / hal::dtype_bits(type));
    for (std::int64_t i = 0; i < count; ++i) {
      const double ours = hal::graph::load_element(type, run.ours[o].data(), i);
      const double expected = hal::graph::load_element(type, run.expected[o].data(), i);
      if (ours == expected || (std::isnan(ours) && std::isnan(expected))) { continue; }
      const double error = std::fabs(ours - expected) / (1 + std::fabs(expected));
      most = std::max(most, std::isnan(error) ? HUGE_VAL : error);
    }
  }
  return most;
}

void expect_exact(const Run& run) {
  REQUIRE(run.text == "");
  CHECK(run.ours == run.expected);
}

constexpr double kF32 = 0x1p-22, kBf16 = 0x1p-7;

}  // namespace

namespace {

// Returns how many there were.
std::size_t run_cases(const std::vector<hal::graph::Case>& cases, bool misaligned, const char* mode) {
  for (const hal::graph::Case& test : cases) {
    INFO(test.name);
    const Run result = run_bytes(test.bytes, test.inputs, misaligned, mode);
    if (test.fails_out_of_range) {
      CHECK(result.code == HAL_OUT_OF_RANGE);
      continue;
    }
    REQUIRE(result.text == "");
    const auto view = hal::graph::View::verify(test.bytes).value();
    for (std::size_t o = 0; o < view.outputs().size(); ++o) {
      const auto same = hal::graph::compare(view.outputs()[o].dtype, result.ours[o], result.expected[o]);
      INFO(same.text());
      CHECK(same);
      // The half byte behind an odd number of i4 is 0 on both sides.
      if (view.outputs()[o].dtype == DType::i4) { CHECK(result.ours[o] == result.expected[o]); }
    }
  }
  return cases.size();
}

}  // namespace

TEST_CASE("host graph: the cases that every driver must compute") {
  CHECK(run_cases(hal::graph::graph_cases(), false, "") > 200);
}

TEST_CASE("host graph: every primitive in every element type") {
  CHECK(run_cases(hal::graph::type_cases(), false, "") > 500);
  CHECK(run_cases(hal::graph::type_cases(), true, "mode=weak&seed=3") > 500);
}

TEST_CASE("host graph: every layer in every element type") {
  const hal::graph::LayerCases layers = hal::graph::layer_cases();
  CHECK(run_cases(layers.cases, false, "") > 300);
  CHECK(run_cases(layers.cases, true, "mode=weak&seed=3") > 300);
}

TEST_CASE("host graph: a long graph of steps over the same rows loads step by step") {
  GraphBuilder b("fan");
  const Value x = b.input("x", DType::f32, {4});
  for (int i = 0; i < 20000; ++i) { b.output("y" + std::to_string(i), b.map({x}, arg(0) + static_cast<double>(i))); }
  const auto bytes = b.finish().value();
  const auto view = hal::graph::View::verify(bytes).value();
  const hal::graph::Signature signature(view);
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0, "");
  const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
  CHECK(device->load(image, {&signature.describe(), 1}) != nullptr);  // half a minute, were each looked at from each
}

TEST_CASE("host graph: random graphs, fused and in place, are the reference's bit for bit") {
  for (std::uint32_t seed = 1000; seed < 1060; ++seed) {
    const auto graph = hal::graph::testing::random_graph(seed, 10 + seed % 50);
    CAPTURE(seed);
    expect_exact(run_bytes(graph.bytes, graph.inputs, seed % 5 == 0, ""));
  }
}

TEST_CASE("host graph: an output over an input, where a product and what is added behind it meet") {
  // y = x + a b, with y in the buffer of x.
  for (const std::int64_t n : {5, 64}) {
    GraphBuilder b("residual");
    const Value x = b.input("x", DType::f32, {n, n});
    const Value a = b.input("a", DType::f32, {n, n});
    b.output("y", b.map({x, b.contract("ik,kj->ij", a, a)}, arg(0) + arg(1)));
    const auto bytes = b.finish().value();
    const auto view = hal::graph::View::verify(bytes).value();
    const auto count = static_cast<std::size_t>(n * n);
    std::vector<float> values(count), weights(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = static_cast<float>(i % 7);
      weights[i] = static_cast<float>(i % 5) - 2;
    }
    const auto raw = std::as_bytes(std::span(values)), factors = std::as_bytes(std::span(weights));
    const std::vector<std::span<const std::byte>> inputs{raw, factors};
    const auto expected = hal::graph::evaluate_reference(view, inputs).value();

    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, "");
    const hal::graph::Signature signature(view);
    const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
    hal_program* program = device->load(image, {&signature.describe(), 1});
    Harness::Lane lane(*device);
    using hal::kit::buffer_arg, hal::kit::copy;
    const hal_slice sum = hal::kit::whole(device->allocate(raw.size())),
                    factor = hal::kit::whole(device->allocate(raw.size()));
    const hal_arg args[] = {buffer_arg(sum), buffer_arg(factor), buffer_arg(sum)};
    Bytes found(raw.size());
    lane.submit({copy(sum, hal_host(raw.data(), raw.size())), copy(factor, hal_host(factors.data(), factors.size())),
                 hal::kit::run(program, args), copy(hal_host(found.data(), found.size()), sum)});
    REQUIRE(lane.wait(lane.submitted()));
    CHECK(found == expected[0]);
  }
}

TEST_CASE("host graph: contractions of every shape agree with the reference") {
  struct Case {
    const char* einsum;
    Shape left, right;
  };
  const Case cases[] = {{"mk,kn->mn", {3, 5}, {5, 7}},
                        {"mk,kn->mn", {64, 96}, {96, 48}},
                        {"km,kn->mn", {96, 64}, {96, 48}},
                        {"mk,nk->mn", {64, 96}, {48, 96}},
                        {"mk,kn->nm", {64, 96}, {96, 48}},
                        {"bmk,bkn->bmn", {3, 40, 50}, {3, 50, 60}},
                        {"bmk,bkn->mbn", {3, 40, 50}, {3, 50, 60}},
                        {"abmk,bakn->abmn", {2, 3, 20, 30}, {3, 2, 30, 40}},
                        {"mabk,kba->m", {64, 8, 9, 10}, {10, 9, 8}},
                        {"i,j->ij", {200}, {300}},
                        {"i,i->", {70000}, {70000}},
                        {"ij,kj->", {30, 40}, {50, 40}},
                        {"mak,kbn->mabn", {16, 4, 64}, {64, 5, 12}},
                        {"mk,k->m", {500, 300}, {300}},
                        {"a,b->", {5}, {6}},
                        {"bi,bi->b", {300, 200}, {300, 200}},
                        {"mk,kn->mn", {1, 40000}, {40000, 1}}};
  for (const Case& one : cases) {
    for (const DType type : {DType::f32, DType::bf16, DType::i32}) {
      INFO(one.einsum << " " << std::string(hal::dtype_name(type)));
      const auto build = [&](GraphBuilder& b) {
        b.output("out", b.contract(one.einsum, b.input("l", type, one.left), b.input("r", type, one.right)));
      };
      const double range = type == DType::i32 ? 1e9 : 1;
      const Run result = run(build, -range, range);
      if (type == DType::i32) {
        expect_exact(result);
      } else {
        CHECK(worst(result, type) < (type == DType::f32 ? 1e-4 : kBf16));
      }
    }
  }
}

TEST_CASE("host graph: maps and reductions that follow each other may run a few rows at a time") {
  namespace nn = hal::nn;
  const auto softmax = [](DType type, const Shape& shape) {
    return [=](GraphBuilder& b) { b.output("y", nn::softmax(b, b.input("x", type, shape))); };
  };
  for (const char* mode : {"threads=1", "threads=4", "mode=weak&seed=5"}) {
    INFO(mode);
    // Rows that no strip divides; leading dimensions that are one and several; one row as long as a strip.
    for (const Shape& shape : {Shape{401, 97}, Shape{1, 3, 70, 300}, Shape{2, 40000}, Shape{100000, 2}}) {
      CHECK(worst(run(softmax(DType::f32, shape), -3, 3, false, mode), DType::f32) < kF32);
      CHECK(worst(run(softmax(DType::bf16, shape), -3, 3, false, mode), DType::bf16) < kBf16);
    }
    CHECK(worst(run(softmax(DType::f32, {401, 97}), -3, 3, true, mode), DType::f32) < kF32);
    CHECK(worst(run(softmax(DType::f32, {401, 97}), -3, 3, false, mode, true), DType::f32) < kF32);
    // Something between the rows' steps is an output too, something else is the same for all rows.
    const auto shared = [](GraphBuilder& b) {
      const auto x = b.input("x", DType::f32, {300, 200}), bias = b.input("bias", DType::f32, {200});
      const auto moved = b.map({x, bias}, hal::graph::arg(0) + hal::graph::arg(1));
      const auto sum = b.reduce(moved, hal::graph::ReduceOp::sum, {1}, hal::graph::KeepDims::yes);
      b.output("moved", moved);
      b.output("sum", sum);
      b.output("share", b.map({moved, sum}, hal::graph::arg(0) / hal::graph::arg(1)));
    };
    CHECK(worst(run(shared, 1, 2, false, mode), DType::f32) < kF32 * 4);
    // A reduction over the rows themselves ends the run; a reversed reading of them cannot be part of it.
    const auto crossed = [](GraphBuilder& b) {
      const auto x = b.input("x", DType::i32, {250, 120});
      const auto twice = b.map({x}, hal::graph::arg(0) + hal::graph::arg(0));
      const auto columns = b.reduce(twice, hal::graph::ReduceOp::max, {0}, hal::graph::KeepDims::yes);
      b.output("y", b.map({twice, columns, x}, hal::graph::arg(0) * hal::graph::arg(1) - hal::graph::arg(2)));
    };
    expect_exact(run(crossed, -1e6, 1e6, false, mode));
    // Products before and after, whose sums the plan may lay over the rows.
    const auto attention = [](GraphBuilder& b) {
      const auto q = b.input("q", DType::f32, {4, 96, 32}), k = b.input("k", DType::f32, {4, 96, 32});
      const auto weights = nn::softmax(b, b.contract("bqd,bkd->bqk", q, k));
      b.output("y", b.contract("bqk,bkd->bqd", weights, b.input("v", DType::f32, {4, 96, 32})));
    };
    CHECK(worst(run(attention, -1, 1, false, mode), DType::f32) < 1e-5);
  }
}

TEST_CASE("host graph: a result too large for the caches, with lines that begin anywhere in them") {
  const auto build = [](GraphBuilder& b) {
    const Value rows = b.input("rows", DType::f32, {2100, 1}), columns = b.input("columns", DType::f32, {1, 4003});
    b.output("y", b.map({rows, columns}, arg(0) - arg(1)));
  };
  for (const char* mode : {"threads=1", "threads=2"}) { expect_exact(run(build, -1, 1, false, mode)); }
}

TEST_CASE("host graph: sums of byte products are exact, also at the ends of the range") {
  // Pairs of such products pass what 16 bits hold; some processors' instructions would cut them off there.
  const std::pair<double, double> ranges[] = {{-128, 127}, {-128, -127.9}, {126.9, 127}};
  for (const auto& [low, high] : ranges) {
    for (const char* einsum : {"mk,kn->mn", "mk,nk->mn", "km,kn->mn", "mk,kn->nm"}) {
      INFO(einsum << " from " << low << " to " << high);
      const auto build = [&](GraphBuilder& b) {
        const hal::graph::Value left = b.input("l", DType::i8, {72, 72}), right = b.input("r", DType::i8, {72, 72});
        b.output("out", b.contract(einsum, left, right, DType::i32));
      };
      expect_exact(run(build, low, high));
    }
  }
}

TEST_CASE("host graph: products so large that threads share them agree with the reference") {
  struct Case {
    const char* einsum;
    Shape left, right;
  };
  // Shared by rows, columns or batches; too few of anything; operands that are copied or transposed first; our own
  // tiles.
  const Case cases[] = {{"mk,kn->mn", {203, 190}, {190, 170}},        {"mk,kn->mn", {7, 600}, {600, 1100}},
                        {"mk,kn->mn", {7, 40000}, {40000, 9}},        {"bmk,bkn->bmn", {5, 90, 80}, {5, 80, 120}},
                        {"bmk,kn->bmn", {4, 90, 80}, {80, 120}},      {"mk,kn->nm", {203, 190}, {190, 170}},
                        {"bmk,bkn->mbn", {2, 150, 90}, {2, 90, 140}}, {"mk,kn->mn", {128, 128}, {128, 128}},
                        {"mk,kn->mn", {5, 640}, {640, 512}}};
  for (const Case& one : cases) {
    for (const char* mode : {"threads=1", "threads=3", "threads=40"}) {
      for (const DType type : {DType::f32, DType::bf16, DType::i8}) {
        INFO(one.einsum << " " << std::string(hal::dtype_name(type)) << " " << mode);
        const auto build = [&](GraphBuilder& b) {
          const hal::graph::Value left = b.input("l", type, one.left), right = b.input("r", type, one.right);
          b.output("out", b.contract(one.einsum, left, right, type == DType::i8 ? DType::i32 : DType::f32));
        };
        const Run result = run(build, type == DType::i8 ? -128 : -1, type == DType::i8 ? 127 : 1, false, mode);
        if (type == DType::i8) {
          expect_exact(result);
        } else {
          CHECK(worst(result, DType::f32) < 1e-4);
        }
      }
    }
  }
}

TEST_CASE("host graph: products of every floating type are summed in f32, wherever the result is") {
  // As it stands, transposed, copied for each batch, and with a result whose elements lie apart.
  struct Case {
    const char* einsum;
    Shape left, right;
  };
  const Case cases[] = {{"mk,kn->mn", {37, 90}, {90, 33}},
                        {"km,nk->nm", {90, 37}, {33, 90}},
                        {"bmk,bkn->bmn", {2, 37, 90}, {2, 90, 33}},
                        {"bmk,bkn->mbn", {3, 37, 90}, {3, 90, 33}},
                        {"bmk,bkn->mnb", {3, 37, 90}, {3, 90, 33}}};
  struct Type {
    DType type;
    double most;  // relative to the largest, in the result: one rounding of it
  };
  const Type types[] = {{DType::f32, 1e-5}, {DType::bf16, kBf16}, {DType::f16, 0x1p-10}, {DType::f8e4m3, 0x1p-3}};
  for (const Case& one : cases) {
    for (const char* mode : {"threads=1", "threads=3"}) {
      for (const Type& in : types) {
        for (const Type& out : {in, types[0]}) {
          INFO(one.einsum << " " << std::string(hal::dtype_name(in.type)) << " to "
                          << std::string(hal::dtype_name(out.type)) << " " << mode);
          const auto build = [&](GraphBuilder& b) {
            const Value left = b.input("l", in.type, one.left), right = b.input("r", in.type, one.right);
            b.output("out", b.contract(one.einsum, left, right, out.type));
          };
          CHECK(worst(run(build, -1, 1, false, mode), out.type) < out.most);
        }
      }
    }
  }
}

TEST_CASE("host graph: products of every small size agree with the reference") {
  for (const std::int64_t m : {1, 2, 4, 5, 11, 12, 13, 25}) {
    for (const std::int64_t n : {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65}) {
      INFO(m << " rows, " << n << " columns");
      for (const DType type : {DType::f32, DType::f64, DType::i32, DType::i64}) {
        const auto build = [&](GraphBuilder& b) {
          b.output("out", b.contract("mk,kn->mn", b.input("l", type, {m, 9}), b.input("r", type, {9, n})));
        };
        const Run result = run(build, -9, 9);
        if (type == DType::i32 || type == DType::i64) {
          expect_exact(result);
        } else {
          CHECK(worst(result, type) < (type == DType::f32 ? 1e-5 : 1e-13));
        }
      }
    }
  }
}

TEST_CASE("host graph: bf16 operands summed into f32, and f64 accumulation") {
  const auto wide = [](GraphBuilder& b) {
    b.output("out", b.contract("mk,kn->mn", b.input("l", DType::bf16, {64, 64}), b.input("r", DType::bf16, {64, 64}),
                               DType::f32));
  };
  CHECK(worst(run(wide, -1, 1), DType::f32) < 1e-5);
}

TEST_CASE("host graph: every floating instruction, over blocks, broadcasts and odd lengths") {
  using hal::graph::Opcode;
  for (int op = static_cast<int>(Opcode::add); op <= static_cast<int>(Opcode::mod); ++op) {
    const auto opcode = static_cast<Opcode>(op);
    const bool unary = (opcode >= Opcode::neg && opcode <= Opcode::round) || opcode == Opcode::logical_not;
    for (const DType type : {DType::f32, DType::bf16}) {
      INFO("opcode " << op << " " << std::string(hal::dtype_name(type)));
      const auto build = [&](GraphBuilder& b) {
        const Value x = b.input("x", type, {7, 33, 5}), y = b.input("y", type, {33, 1}),
                    z = b.input("z", type, {7, 1, 5});
        const Expr expr = unary                      ? Expr(opcode, {arg(0)})
                          : opcode == Opcode::select ? Expr(opcode, {arg(0) < arg(1), arg(1), arg(2)})
                                                     : Expr(opcode, {arg(0), arg(1)});
        b.output("out", b.map({x, y, z}, expr + 0.0 * arg(2)));
      };
      // pow, log and square roots of negative numbers are NaN on both sides.
      CHECK(worst(run(build, -3, 3), type) < (type == DType::f32 ? kF32 : kBf16));
    }
  }
}

TEST_CASE("host graph: exp over its whole range") {
  const auto build = [](GraphBuilder& b) { b.output("out", b.map({b.input("x", DType::f32, {100000})}, exp(arg(0)))); };
  const Run result = run(build, -120, 95);
  REQUIRE(result.text == "");
  double most = 0;
  for (std::size_t i = 0; i < 100000; ++i) {
    float ours = 0, expected = 0;
    std::memcpy(&ours, result.ours[0].data() + i * 4, 4);
    std::memcpy(&expected, result.expected[0].data() + i * 4, 4);
    if (ours == expected) { continue; }
    REQUIRE(std::isfinite(expected));
    REQUIRE(std::isfinite(ours));
    const float ulp = std::nextafter(expected, HUGE_VALF) - expected;
    most = std::max(most, static_cast<double>(std::fabs(ours - expected) / ulp));
  }
  CHECK(most <= 2);
}

TEST_CASE("host graph: special values come through a map as they must") {
  const float inf = HUGE_VALF, nan = std::nanf("");
  const std::vector<float> x{inf, -inf, nan, 0.0F, -0.0F, 1.0F, nan, 2.0F},
      y{1.0F, nan, 1.0F, -0.0F, 0.0F, nan, nan, 2.0F};
  for (const Expr& expr :
       {min(arg(0), arg(1)), max(arg(0), arg(1)), exp(arg(0)), logical_and(arg(0), arg(1)), abs(arg(0)),
        hal::graph::round(arg(0)), logical_not(arg(0)), equal(arg(0), arg(1)), not_equal(arg(0), arg(1))}) {
    const auto build = [&](GraphBuilder& b) { b.output("out", b.map({b.constant({8}, x), b.constant({8}, y)}, expr)); };
    CHECK(worst(run(build, 0, 1), DType::f32) < kF32);
  }
}

TEST_CASE("host graph: an extreme of a line with NaN anywhere in it is NaN, as in the reference") {
  constexpr std::size_t kLength = 200;
  const std::vector<std::size_t> places{0, 5, 63, 64, 130, kLength - 1};
  // Behind the lines with NaN: one without, one with infinities and one whose sum is beyond all floats.
  std::vector<float> lines((places.size() + 3) * kLength);
  for (std::size_t i = 0; i < lines.size(); ++i) { lines[i] = static_cast<float>(i % 37) - 18.0F; }
  for (std::size_t row = 0; row < places.size(); ++row) { lines[row * kLength + places[row]] = std::nanf(""); }
  lines[lines.size() - 2 * kLength] = std::numeric_limits<float>::infinity();
  lines[lines.size() - kLength - 1] = -std::numeric_limits<float>::infinity();
  for (std::size_t i = lines.size() - kLength; i < lines.size(); ++i) { lines[i] = i % 2 == 0 ? 3e38F : -3e38F; }
  for (const ReduceOp op : {ReduceOp::max, ReduceOp::min}) {
    const auto build = [&](GraphBuilder& b) {
      const auto rows = static_cast<std::int64_t>(lines.size() / kLength);
      b.output("out", b.reduce(b.constant({rows, kLength}, lines), op, {1}));
    };
    CHECK(worst(run(build, 0, 1), DType::f32) < kF32);
  }
}

TEST_CASE("host graph: every integer instruction is exact and wraps") {
  using hal::graph::Opcode;
  for (int op = static_cast<int>(Opcode::add); op <= static_cast<int>(Opcode::mod); ++op) {
    const auto opcode = static_cast<Opcode>(op);
    if ((opcode >= Opcode::exp && opcode <= Opcode::round) || opcode == Opcode::pow) { continue; }
    const bool unary = opcode == Opcode::neg || opcode == Opcode::abs || opcode == Opcode::logical_not;
    INFO("opcode " << op);
    for (const double range : {2147483648.0, 3.0}) {
      const auto build = [&](GraphBuilder& b) {
        const Value x = b.input("x", DType::i32, {9, 77}), y = b.input("y", DType::i32, {77});
        const Expr expr = unary                      ? Expr(opcode, {arg(0)})
                          : opcode == Opcode::select ? Expr(opcode, {arg(0) < arg(1), arg(1), arg(0)})
                                                     : Expr(opcode, {arg(0), arg(1)});
        b.output("out", b.map({x, y}, expr));
      };
      expect_exact(run(build, -range, range));
    }
  }
}

TEST_CASE("host graph: reductions along any axes") {
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min, ReduceOp::prod}) {
    for (const auto& axes : {std::vector<std::uint32_t>{0}, {1}, {2}, {0, 2}, {1, 2}, {0, 1, 2}, {3}, {0, 3}}) {
      for (const DType type : {DType::f32, DType::bf16, DType::i32}) {
        INFO("op " << static_cast<int>(op) << " first axis " << axes[0] << " " << std::string(hal::dtype_name(type)));
        const auto build = [&](GraphBuilder& b) {
          const Value x = b.input("x", type, {5, 7, 11, 1});
          const auto keep = hal::graph::KeepDims::yes;
          Value out = x;
          if (axes.size() == 1) { out = b.reduce(x, op, {axes[0]}); }
          if (axes.size() == 2) { out = b.reduce(x, op, {axes[0], axes[1]}, keep); }
          if (axes.size() == 3) { out = b.reduce(x, op, {axes[0], axes[1], axes[2]}); }
          b.output("out", out);
        };
        if (type == DType::i32) {
          expect_exact(run(build, -2e9, 2e9));
        } else {
          CHECK(worst(run(build, -2, 2), type) < (type == DType::f32 ? kF32 : kBf16));
        }
      }
    }
  }
}

TEST_CASE("host graph: views, pads, concatenations and conversions move the right elements") {
  for (const DType type : {DType::f32, DType::bf16, DType::i32, DType::u8, DType::boolean, DType::i8}) {
    INFO(std::string(hal::dtype_name(type)));
    const auto build = [&](GraphBuilder& b) {
      const Value x = b.input("x", type, {4, 6, 5}), column = b.input("column", type, {8, 1});
      b.output("transposed", b.transpose(x, {2, 0, 1}));
      b.output("backwards", b.view(x, {120}, 119, {-1}));
      b.output("windows", b.view(x, {4, 2, 3, 5}, 0, {30, 10, 5, 1}));
      b.output("repeated", b.broadcast(b.slice(x, {1, 2, 0}, {1, 3, 1}), {2, 3, 7}));
      b.output("padded", b.pad(x, {1, 0, 2}, {0, 3, 1}, 1));
      b.output("padded column", b.pad(column, {0, 1}, {1, 1}, 0));
      b.output("joined", b.concat({x, b.slice(x, {0, 0, 2}, {4, 6, 2}), x}, 2));
      b.output("joined columns", b.concat({column, column}, 1));
    };
    expect_exact(run(build, type == DType::boolean ? 0 : -100, type == DType::boolean ? 2 : 100));
  }
}

TEST_CASE("host graph: conversions round once and saturate") {
  const DType types[] = {DType::f32, DType::bf16, DType::i32, DType::u8, DType::boolean, DType::i8};
  for (const DType from : types) {
    const auto build = [&](GraphBuilder& b) {
      const Value x = b.input("x", from, {2000});
      for (const DType to : types) { b.output(std::string(hal::dtype_name(to)), b.convert(x, to)); }
    };
    for (const double range : {3.0, 300.0, 3e9}) { expect_exact(run(build, -range, range)); }
  }
}

TEST_CASE("host graph: gather and scatter, and an index that is outside") {
  for (const DType type : {DType::f32, DType::bf16, DType::i32}) {
    for (const auto mode : {hal::graph::ScatterMode::set, hal::graph::ScatterMode::add}) {
      const auto build = [&](GraphBuilder& b) {
        const std::vector<std::int32_t> where{5, 0, 5, 2};
        const Value x = b.input("x", type, {3, 6, 4}), updates = b.input("u", type, {3, 2, 2, 4});
        const Value indices = b.constant({2, 2}, where);
        b.output("gathered", b.gather(x, indices, 1));
        b.output("scattered", b.scatter(x, indices, updates, 1, mode));
      };
      expect_exact(run(build, -100, 100));
    }
  }
  const auto outside = [](GraphBuilder& b) {
    const std::vector<std::int32_t> where{1, 6};
    b.output("out", b.gather(b.input("x", DType::f32, {3, 6}), b.constant({2}, where), 1));
  };
  const Run result = run(outside, 0, 1);
  CHECK(result.code == HAL_OUT_OF_RANGE);
  CHECK(result.text.find("indices[1] is 6, the axis has 6 elements") != std::string::npos);
}

TEST_CASE("host graph: arguments at odd addresses and lanes of mode weak change nothing") {
  const auto build = [](GraphBuilder& b) {
    const Value x = b.input("x", DType::f32, {32, 64}), w = b.input("w", DType::f32, {64, 10});
    const Value logits = b.contract("nk,ko->no", x, w);
    const Value top = b.reduce(logits, ReduceOp::max, {1}, hal::graph::KeepDims::yes);
    const Value e = b.map({logits, top}, exp(arg(0) - arg(1)));
    b.output("p", b.map({e, b.reduce(e, ReduceOp::sum, {1}, hal::graph::KeepDims::yes)}, arg(0) / arg(1)));
    b.output("logits", logits);
  };
  const Run plain = run(build, -1, 1);
  CHECK(worst(plain, DType::f32) < 1e-5);
  CHECK(run(build, -1, 1, true).ours == plain.ours);
  CHECK(run(build, -1, 1, true, "mode=weak&seed=8").ours == plain.ours);
  CHECK(run(build, -1, 1, false, "mode=minimal").ours == plain.ours);
}

TEST_CASE("host graph: a graph that does not verify is refused with the field") {
  GraphBuilder builder("test");
  builder.output("out", builder.transpose(builder.input("x", DType::f64, {2, 3}), {1, 0}));
  auto bytes = builder.finish().value();
  bytes[sizeof(hal::graph::format::Header)] = std::byte{14};  // the first tensor's type
  std::fill_n(bytes.begin() + 16, 8, std::byte{0});
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0);
  const hal_image image{"hal.graph", bytes.data(), bytes.size(), nullptr};
  const hal_verdict verdict = host.ops().program_check(host.driver(), device->impl(), &image);
  CHECK(verdict.support == HAL_NO);
  CHECK(std::string(verdict.why).find("tensor 0 dtype is 14 (u64)") != std::string::npos);
  void* program = nullptr;
  hal_error* error = host.ops().program_load(host.driver(), device->impl(), &image, nullptr, 0, &program);
  CHECK(hal_error_describe(error).code == HAL_INVALID_IMAGE);
  hal_release(error);
}

TEST_CASE("host graph: graphs whose sizes come with their runs") {
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0);
  hal::kit::OpenGraphCheck(*device).run_all();
}
