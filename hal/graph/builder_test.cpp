// SPDX-License-Identifier: Apache-2.0
#include <halyard_catch.hpp>

#include <random>

#include "graph/print.hpp"
#include "graph/random_layers.hpp"
#include "graph/test_tensors.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
using Catch::Matchers::Contains;
using hal::DType;

// The text of the mistake that `make` builds in.
template <class Make>
std::string mistake(const Make& make) {
  GraphBuilder b("bad");
  b.output("out", make(b, b.input("x", DType::f32, {2, 3})));
  return refusal(b.finish(), HAL_INVALID_ARGUMENT);
}

}  // namespace

TEST_CASE("builder: a graph prints as what was built") {
  GraphBuilder b("classify");
  const Value x = b.input("x", DType::f32, {2, 3});
  const std::vector<float> weights(6, 1.0F);
  const Value w = b.constant({3, 2}, std::span<const float>(weights));
  b.name(w, "weights");
  const Value y = b.contract("nk,ko->no", x, w);
  const Value padded = b.pad(b.transpose(y, {1, 0}), {0, 1}, {0, 0}, 0.5);
  b.output("scores", b.map({b.reduce(padded, ReduceOp::sum, {1}, KeepDims::yes)}, max(arg(0), 0.0), DType::bf16));
  const auto bytes = b.finish().value();
  CHECK(print(View::verify(bytes).value()) == R"(graph "classify"
  input  %0 "x" f32[2, 3]
  output %1 "scores" bf16[2, 1]
  %2 "weights" f32[3, 2] = constant()
  %3 f32[2, 2] = contract(%0, %2) ab,bc->ac in f32
  %4 f32[2, 2] = view(%3) from 0 by [1, 2]
  %5 f32[2, 3] = pad(%4) low [0, 1] high [0, 0] with 0.5
  %6 f32[2, 1] = reduce(%5) sum over [1], kept in f32
  %1 "scores" bf16[2, 1] = map(%6) max(x0, 0)
  6 nodes, 7 tensors, 24 bytes of constants
)");
}

TEST_CASE("builder: parameters stand in the order of their declaration") {
  GraphBuilder b("order");
  const Value x = b.input("x", DType::f32, {1});
  b.output("first", b.map({x}, -arg(0)));
  const Value y = b.input("y", DType::i32, {1});
  b.output("second", y);
  b.output("third", x);
  b.output("fourth", x);
  const auto bytes = b.finish().value();
  const auto view = View::verify(bytes).value();
  std::string names;
  for (std::size_t i = 0; i < view.parameter_count(); ++i) { names += std::string(view.tensor(i).name) + " "; }
  CHECK(names == "x y first second third fourth ");
}

TEST_CASE("builder: constants are aligned and read in place") {
  GraphBuilder b("constants");
  const std::vector<float> one(3, 1.0F);
  const std::vector<float> two(5, 2.0F);
  b.output("a", b.constant({3}, std::span<const float>(one)));
  b.output("b", b.constant({5}, std::span<const float>(two)));
  const auto bytes = b.finish().value();
  const auto view = View::verify(bytes).value();
  int seen = 0;
  for (const Tensor& tensor : view.tensors()) {
    if (tensor.role != Role::constant) { continue; }
    CHECK(tensor.data.size() == tensor.bytes);
    CHECK((tensor.data.data() - bytes.data()) % 64 == 0);
    ++seen;
  }
  CHECK(seen == 2);
}

TEST_CASE("builder: the first mistake is kept, with its place, and the rest goes on") {
  GraphBuilder b("bad");
  const Value x = b.input("x", DType::f32, {2, 3});
  const Value wrong = b.reshape(x, {7});
  const Value more = b.map({wrong, x}, arg(0) + arg(1));
  b.output("y", b.reduce(more, ReduceOp::sum, {9}));
  const auto result = b.finish();
  const std::string text = refusal(result, HAL_INVALID_ARGUMENT);
  CHECK_THAT(text, Contains("graph \"bad\": reshape: [7] does not hold the elements of [2, 3]"));
  CHECK_THAT(text, Contains("builder_test.cpp:"));
}

TEST_CASE("builder: every operation refuses what it cannot mean") {
  const auto row = [](GraphBuilder& b) { return b.input("row", DType::f32, {4}); };
  CHECK_THAT(mistake([&](GraphBuilder& b, Value x) { return b.map({x, row(b)}, arg(0) + arg(1)); }),
             Contains("does not broadcast to [2, 3]") || Contains("does not broadcast to [2, 4]"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.map({x}, arg(1)); }),
             Contains("reads input 1, there are 1"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value) { return b.map({}, Expr(1.0)); }),
             Contains("input_count is 0, expected 1 to 8"));
  CHECK_THAT(
      mistake([](GraphBuilder& b, Value x) { return b.map({x, b.input("i", DType::i32, {3})}, arg(0) + arg(1)); }),
      Contains("mix floating and integer"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.map({x}, arg(0), DType::u8); }), Contains("type u8"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("mk,kn", x, x); }),
             Contains("expected the form"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("mk,kn->mn", x, x); }),
             Contains("elsewhere it is"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("mm,kn->mn", x, x); }),
             Contains("repeats label"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("mk,nk->mz", x, x); }),
             Contains("'z' is in neither"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("m,nk->mn", x, x); }), Contains("has 1 letters"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("M,nk->n", x, x); }), Contains("'M'"));
  CHECK_THAT(
      mistake([](GraphBuilder& b, Value x) { return b.contract("mk,nk->mn", x, b.input("w", DType::bf16, {2, 3})); }),
      Contains("has type bf16, the left operand f32"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.contract("mk,nk->mn", x, x, DType::i32); }),
             Contains("output has type i32"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.reduce(x, ReduceOp::sum, {2}); }), Contains("axis 2"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.reduce(x, ReduceOp::sum, {}); }),
             Contains("attributes.axes is 0x0"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.view(x, {3}, 0, {3}); }),
             Contains("reach elements 0 to 6, the input has 6"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.view(x, {3}, 1, {-1}); }), Contains("elements -1 to 1"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.view(x, {3}, 1, {-1, 2}); }), Contains("2 strides"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.view(x, {4, 4}, 0, {1LL << 62, 1LL << 62}); }),
             Contains("overflows"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.slice(x, {0, 2}, {1, 2}); }),
             Contains("slice: 2 elements from 2 along dimension 1"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.transpose(x, {0, 0}); }),
             Contains("each of the 2 axes once"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.broadcast(x, {3, 3}); }), Contains("does not repeat"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.gather(x, x, 0); }), Contains("expected i32"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.gather(x, b.input("i", DType::i32, {1}), 2); }),
             Contains("axis is 2"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) {
               return b.scatter(x, b.input("i", DType::i32, {1}), x, 0, ScatterMode::add);
             }),
             Contains("updates have shape [2, 3], expected [1, 3]"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.pad(x, {-1, 0}, {2, 0}, 0); }), Contains("low[0] is -1"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.pad(b.convert(x, DType::i32), {1, 0}, {0, 0}, 0.5); }),
             Contains("i32 cannot hold"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.concat({x, b.slice(x, {0, 0}, {1, 3})}, 1); }),
             Contains("does not join"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) { return b.concat({x, b.convert(x, DType::i32)}, 1); }),
             Contains("has type i32"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value) { return b.constant(DType::f32, {2}, {}); }),
             Contains("has 8 bytes, 0 were given"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value) { return b.input("big", DType::f32, {1LL << 50}); }), Contains("2^46"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value) { return b.input("zero", DType::f32, {0}); }),
             Contains("sizes begin at 1"));
  CHECK_THAT(mistake([](GraphBuilder&, Value) { return Value(); }), Contains("never made"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value) { return b.input("n", DType::u32, {1}); }),
             Contains("u32 and u64 belong to kernels"));
  const auto sum_in = [](DType accumulate) {
    return [=](GraphBuilder& b, Value x) {
      return b.reduce(x, ReduceOp::sum, {0}, KeepDims::no, ResultType::accumulated_in(accumulate));
    };
  };
  CHECK_THAT(mistake(sum_in(DType::i32)), Contains("accumulate is i32; f32 accumulates in f32 or f64"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) {
               return b.reduce(b.convert(x, DType::i64), ReduceOp::sum, {0}, KeepDims::no, DType::i32);
             }),
             Contains("has type i32, expected i64"));
  CHECK_THAT(mistake([](GraphBuilder& b, Value x) {
               return b.reduce(b.convert(x, DType::f64), ReduceOp::sum, {0}, KeepDims::no,
                               ResultType::accumulated_in(DType::f32));
             }),
             Contains("accumulate is f32; f64 accumulates in f64"));
}

TEST_CASE("builder: what only shows at the end") {
  GraphBuilder none("none");
  none.input("x", DType::f32, {1});
  CHECK_THAT(refusal(none.finish(), HAL_INVALID_ARGUMENT), Contains("has no output"));
  GraphBuilder twice("twice");
  twice.output("x", twice.input("x", DType::f32, {1}));
  CHECK_THAT(refusal(twice.finish(), HAL_INVALID_IMAGE), Contains("is \"x\", as another parameter's"));
  GraphBuilder unnamed("");
  unnamed.output("y", unnamed.input("x", DType::f32, {1}));
  CHECK_THAT(refusal(unnamed.finish(), HAL_INVALID_ARGUMENT), Contains("its name"));
  GraphBuilder odd("odd");
  odd.output("y\n", odd.input("x", DType::f32, {1}));
  CHECK_THAT(refusal(odd.finish(), HAL_INVALID_ARGUMENT), Contains("printable ASCII"));
}

TEST_CASE("builder: a shape stays where it is, and a value keeps its own behind a mistake") {
  GraphBuilder b("shapes");
  const Value x = b.input("x", DType::i8, {2, 3});
  const Shape& shape = b.shape(x);
  for (int i = 0; i < 100; ++i) { b.convert(x, DType::f32); }
  CHECK(shape == Shape{2, 3});
  const GraphBuilder moved = std::move(b);
  CHECK(&moved.shape(x) == &shape);
}

TEST_CASE("builder: behind a mistake every shape can be read, and nothing more is made") {
  GraphBuilder b("late");
  const Value x = b.input("x", DType::i8, {2, 3});
  CHECK_FALSE(b.failed());
  const Value bad = b.reshape(x, {5});
  CHECK(b.failed());
  CHECK(b.shape(bad) == Shape(kMaxRank, 1));
  CHECK(b.dtype(bad) == DType::f32);
  CHECK(b.shape(x) == Shape{2, 3});
  CHECK(b.dtype(x) == DType::i8);
  CHECK(b.shape(b.convert(x, DType::i32)) == Shape(kMaxRank, 1));
  CHECK(b.shape(Value()) == Shape(kMaxRank, 1));
  CHECK_THAT(refusal(b.finish(), HAL_INVALID_ARGUMENT), Contains("reshape: [5] does not hold the elements of [2, 3]"));
}

TEST_CASE("builder: more sizes than a graph may have are a mistake when they are made") {
  GraphBuilder b("sizes");
  std::int64_t n = 0;
  for (std::uint32_t i = 0; i <= kMaxSizes; ++i) {
    CHECK_FALSE(b.failed());
    n = b.symbol("n" + std::to_string(i));
  }
  CHECK(n == 1);
  CHECK_THAT(refusal(b.finish(), HAL_OUT_OF_RANGE), Contains("symbolic sizes, the most are 4096"));
  // The strides of a copy are sizes too.
  GraphBuilder late("late");
  Shape shape;
  for (std::uint32_t i = 0; i < kMaxSizes; ++i) { n = late.symbol("n" + std::to_string(i)); }
  const Value x = late.input("x", DType::f32, {n, n, 1 << 20, n, 1 << 20});
  late.output("y", x);
  CHECK_THAT(refusal(late.finish(), HAL_OUT_OF_RANGE), Contains("symbolic sizes, the most are 4096"));
}

TEST_CASE("builder: more tensors than a graph may have are a mistake when they are made") {
  GraphBuilder b("long");
  // One contraction for each tap of the first dimension.
  const Value x = b.input("x", DType::f32, {1, 1 << 30, 1, 1, 2}), f = b.input("f", DType::f32, {1 << 30, 1, 1, 1, 2});
  b.output("y", hal::nn::conv(b, x, f, {.groups = 2}));
  CHECK_THAT(refusal(b.finish(), HAL_OUT_OF_RANGE), Contains("more than 65536 tensors"));
}

TEST_CASE("builder: layers on whatever operands and options are built or refused") {
  std::mt19937 random(7);
  std::size_t built = 0, refused = 0;
  for (int i = 0; i < 6000; ++i) {
    std::vector<std::uint8_t> choices(64);
    for (std::uint8_t& choice : choices) { choice = static_cast<std::uint8_t>(random()); }
    const auto bytes = random_layers(choices);
    ++(bytes ? built : refused);
    if (!bytes) { CHECK_THAT(std::string(bytes.error().text()), Contains("graph \"layers\": ")); }
  }
  CHECK(built > 100);
  CHECK(refused > 1000);
}
