// SPDX-License-Identifier: Apache-2.0
// The oracle against numbers worked out by hand.
#include "graph/reference.hpp"

#include <array>
#include <halyard_catch.hpp>

#include "graph/cases.hpp"
#include "graph/test_tensors.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
using hal::DType;
using Floats = std::vector<float>;
using Ints = std::vector<std::int32_t>;

const Floats kSix{1, 2, 3, 4, 5, 6};  // [2, 3] unless said otherwise

// Builds a graph of one f32 input [2, 3] holding 1 to 6 and gives its output.
template <class Build>
Floats of_six(const Build& build) {
  GraphBuilder b("six");
  b.output("y", build(b, b.input("x", DType::f32, {2, 3})));
  return values_of<float>(run(b, {bytes_of(kSix)})[0]);
}

}  // namespace

TEST_CASE("reference: contract") {
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.contract("mk,nk->mn", x, x); }) == Floats{14, 32, 32, 77});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.contract("mk,mk->m", x, x); }) == Floats{14, 77});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.contract("mk,mn->nk", x, x); }) ==
        Floats{17, 22, 27, 22, 29, 36, 27, 36, 45});
  // j is only in the left operand: it is summed first.
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.contract("mj,mk->k", x, x); }) == Floats{66, 87, 108});
}

TEST_CASE("reference: contract of i32 wraps") {
  GraphBuilder b("wrap");
  const Value x = b.input("x", DType::i32, {2});
  b.output("y", b.contract("k,k->", x, x));
  // 2 * 65537^2 = 2 * (2^32 + 2^17 + 1)
  CHECK(values_of<std::int32_t>(run(b, {bytes_of(Ints{65537, 65537})})[0]) == Ints{262146});
}

TEST_CASE("reference: map broadcasts and rounds once") {
  CHECK(of_six([](GraphBuilder& b, Value x) {
          const Floats row{10, 20, 30};
          return b.map({x, b.constant({3}, std::span<const float>(row))}, arg(0) + arg(1));
        }) == Floats{11, 22, 33, 14, 25, 36});
  GraphBuilder b("once");
  const Value x = b.input("x", DType::bf16, {1});
  // 1 + 2^-8 is no bf16; in one rounding the sum below stays above the tie and goes up to 1 + 2^-7.
  b.output("y", b.map({x}, arg(0) + 0.00390625 + 0.0000001));
  CHECK(values_of<std::uint16_t>(run(b, {bytes_of(std::vector<std::uint16_t>{0x3F80})})[0])[0] == 0x3F81);
}

TEST_CASE("reference: reduce") {
  const auto over = [](ReduceOp op, std::initializer_list<std::uint32_t> axes, KeepDims keep = KeepDims::no) {
    return of_six([&](GraphBuilder& b, Value x) { return b.reduce(x, op, axes, keep); });
  };
  CHECK(over(ReduceOp::sum, {1}) == Floats{6, 15});
  CHECK(over(ReduceOp::sum, {0}, KeepDims::yes) == Floats{5, 7, 9});
  CHECK(over(ReduceOp::max, {0, 1}) == Floats{6});
  CHECK(over(ReduceOp::min, {1}) == Floats{1, 4});
  CHECK(over(ReduceOp::prod, {0}) == Floats{4, 10, 18});
}

TEST_CASE("reference: view") {
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.transpose(x, {1, 0}); }) == Floats{1, 4, 2, 5, 3, 6});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.slice(x, {0, 1}, {2, 2}); }) == Floats{2, 3, 5, 6});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.view(x, {3}, 5, {-2}); }) == Floats{6, 4, 2});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.broadcast(b.slice(x, {0, 0}, {2, 1}), {2, 2, 2}); }) ==
        Floats{1, 1, 4, 4, 1, 1, 4, 4});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.view(x, {2, 3}, 0, {1, 1}); }) == Floats{1, 2, 3, 2, 3, 4});
}

TEST_CASE("reference: gather and scatter") {
  const auto at = [](GraphBuilder& b, const Ints& indices) {
    return b.constant({static_cast<std::int64_t>(indices.size())}, std::span<const std::int32_t>(indices));
  };
  CHECK(of_six([&](GraphBuilder& b, Value x) { return b.gather(x, at(b, {2, 0}), 1); }) == Floats{3, 1, 6, 4});
  CHECK(of_six([&](GraphBuilder& b, Value x) { return b.gather(x, at(b, {1, 1}), 0); }) == Floats{4, 5, 6, 4, 5, 6});
  const Floats updates{10, 20, 30, 40};
  const auto scatter = [&](ScatterMode mode) {
    return of_six([&](GraphBuilder& b, Value x) {
      return b.scatter(x, at(b, {2, 2}), b.constant({2, 2}, std::span<const float>(updates)), 1, mode);
    });
  };
  CHECK(scatter(ScatterMode::set) == Floats{1, 2, 20, 4, 5, 40});  // the last one stays
  CHECK(scatter(ScatterMode::add) == Floats{1, 2, 33, 4, 5, 76});
}

TEST_CASE("reference: pad, concat, convert, constant") {
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.pad(x, {1, 0}, {0, 1}, 9); }) ==
        Floats{9, 9, 9, 9, 1, 2, 3, 9, 4, 5, 6, 9});
  CHECK(of_six([](GraphBuilder& b, Value x) { return b.concat({x, b.slice(x, {0, 0}, {2, 1})}, 1); }) ==
        Floats{1, 2, 3, 1, 4, 5, 6, 4});
  GraphBuilder b("convert");
  b.output("y", b.convert(b.input("x", DType::f32, {5}), DType::i32));
  b.output("c", b.constant({2}, std::span<const std::int32_t>(Ints{7, -7})));
  const auto out = run(b, {bytes_of(Floats{-1.9F, 2.5F, 3e9F, -3e9F, std::numeric_limits<float>::quiet_NaN()})});
  CHECK(values_of<std::int32_t>(out[0]) == Ints{-1, 2, 2147483647, -2147483647 - 1, 0});
  CHECK(values_of<std::int32_t>(out[1]) == Ints{7, -7});
}

TEST_CASE("reference: refusals") {
  using Catch::Matchers::Contains;
  GraphBuilder b("refusals");
  const Value x = b.input("x", DType::f32, {2, 3});
  const Value i = b.input("i", DType::i32, {2});
  const Value y = b.gather(x, i, 1);
  b.name(y, "taken");
  b.output("y", b.map({y}, arg(0)));
  const auto bytes = b.finish().value();
  const auto view = View::verify(bytes).value();
  const auto evaluate = [&](const std::vector<std::vector<std::byte>>& inputs, const ReferenceLimits& limits = {}) {
    const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
    return evaluate_reference(view, spans, limits);
  };
  const auto six = bytes_of(kSix);
  CHECK_THAT(refusal(evaluate({six}), HAL_INVALID_ARGUMENT), Contains("has 2 inputs, 1 were given"));
  CHECK_THAT(refusal(evaluate({six, six}), HAL_INVALID_ARGUMENT), Contains("input 1 (\"i\") has 8 bytes, 24"));
  CHECK_THAT(refusal(evaluate({six, bytes_of(Ints{0, 3})}), HAL_OUT_OF_RANGE),
             Contains("node 0 (gather \"taken\"): indices[1] is 3, the axis has 3"));
  CHECK_THAT(refusal(evaluate({six, bytes_of(Ints{-1, 0})}), HAL_OUT_OF_RANGE), Contains("indices[0] is -1"));
  CHECK_THAT(
      refusal(evaluate({six, bytes_of(Ints{0, 0})}, {.elements = 10, .multiply_adds = 1}), HAL_OUT_OF_HOST_MEMORY),
      Contains("more than 10 elements"));
}

TEST_CASE("reference: integers of 64 bits are exact, and narrow ones wrap") {
  GraphBuilder b("integers");
  const Value x = b.input("x", DType::i64, {2});
  const Value n = b.input("n", DType::i4, {3});
  b.output("product", b.map({x}, arg(0) * arg(0)));
  b.output("sum", b.reduce(x, ReduceOp::sum, {0}));
  b.output("nibbles", b.map({n}, arg(0) + 1.0));
  b.output("dot", b.contract("k,k->", x, x));
  const auto bytes = b.finish().value();
  const std::int64_t odd = (std::int64_t{1} << 53U) + 1;  // no double
  const auto longs = bytes_of(std::vector<std::int64_t>{odd, -3});
  const std::vector<std::byte> nibbles{std::byte{0x87}, std::byte{0x0F}};
  const std::array<std::span<const std::byte>, 2> inputs{longs, nibbles};
  const auto outputs = evaluate_reference(View::verify(bytes).value(), inputs).value();
  const auto wide = static_cast<std::uint64_t>(odd);
  CHECK(outputs[0] == bytes_of(std::vector<std::int64_t>{static_cast<std::int64_t>(wide * wide), 9}));
  CHECK(outputs[1] == bytes_of(std::vector<std::int64_t>{odd - 3}));
  CHECK(outputs[2] == std::vector<std::byte>{std::byte{0x98}, std::byte{0x00}});
  CHECK(outputs[3] == bytes_of(std::vector<std::int64_t>{static_cast<std::int64_t>(wide * wide + 9)}));
}
