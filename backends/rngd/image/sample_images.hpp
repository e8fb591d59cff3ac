// SPDX-License-Identifier: Apache-2.0
// Small programs for tests and for the fuzz corpus.
#pragma once
#include <array>
#include <cstddef>
#include <vector>

#include "image/builder.hpp"

namespace rngd::image {

inline Instruction in(std::uint8_t index) { return {static_cast<std::uint8_t>(Expr::input), index, 0, 0, 0}; }
inline Instruction value(double constant) { return {static_cast<std::uint8_t>(Expr::constant), 0, 0, 0, constant}; }
inline Instruction step(Expr code) { return {static_cast<std::uint8_t>(code), 0, 0, 0, 0}; }

inline ContractAttributes matmul_attributes(Unit unit, std::uint8_t flags = 0, Dtype accumulate = Dtype::f32) {
  return {2,      2,      2,     static_cast<std::uint8_t>(unit), static_cast<std::uint8_t>(accumulate), flags, {},
          {0, 1}, {1, 2}, {0, 2}};
}

/// y[n,3] = relu(x[n,4] w[4,3] + b[3]).
inline std::vector<std::byte> dense_image(std::int64_t n, std::uint32_t pe_count = 1) {
  using D = std::array<std::int64_t, 2>;
  constexpr std::array<float, 12> kWeights{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  constexpr std::array<float, 3> kBias{-10, 0, 10};
  Builder b(pe_count);
  const auto x = b.input(Dtype::f32, D{n, 4}, "x");
  const auto y = b.output(Dtype::f32, D{n, 3}, "y");
  const auto w = b.constant(Dtype::f32, D{4, 3}, std::as_bytes(std::span(kWeights)), "w");
  const auto bias = b.constant(Dtype::f32, std::array<std::int64_t, 1>{3}, std::as_bytes(std::span(kBias)), "b");
  const auto product = b.sram(Dtype::f32, D{n, 3});
  b.contract(x, w, product, matmul_attributes(Unit::vector));
  b.map(std::array{product, bias}, y, Dtype::f32, std::array{in(0), in(1), step(Expr::add), value(0), step(Expr::max)});
  return b.finish();
}

/// Every kind of operation once.
inline std::vector<std::byte> every_op_image() {
  using D1 = std::array<std::int64_t, 1>;
  using D2 = std::array<std::int64_t, 2>;
  constexpr std::array<std::int32_t, 2> kIndices{2, 0};
  Builder b(2);
  const auto x = b.input(Dtype::bf16, D2{4, 4}, "x");
  const auto y = b.output(Dtype::f32, D2{2, 10}, "y");
  const auto sums = b.output(Dtype::f32, D1{4}, "sums");
  const auto indices = b.constant(Dtype::i32, D1{2}, std::as_bytes(std::span(kIndices)), "indices");
  const auto product = b.sram(Dtype::f32, D2{4, 4});
  b.contract(x, x, product, matmul_attributes(Unit::tensor));
  ReduceAttributes reduce{1, static_cast<std::uint8_t>(ReduceOp::sum), 0, static_cast<std::uint8_t>(Dtype::f32), 0};
  b.reduce(product, sums, reduce);
  ViewAttributes view{};
  view.strides[0] = 1;
  view.strides[1] = 4;
  const auto transposed = b.sram(Dtype::f32, D2{4, 4});
  b.view(product, transposed, view);
  const auto taken = b.sram(Dtype::f32, D2{2, 4});
  b.gather(transposed, indices, taken, 0);
  const auto scattered = b.sram(Dtype::f32, D2{4, 4});
  b.scatter(product, indices, taken, scattered, 0, ScatterMode::add);
  const auto taken_again = b.sram(Dtype::f32, D2{2, 4});
  b.gather(scattered, indices, taken_again, 0);
  PadAttributes pad{};
  pad.low[1] = 1;
  pad.high[1] = 1;
  pad.value = 0.5;
  const auto padded = b.sram(Dtype::f32, D2{2, 6});
  b.pad(taken_again, padded, pad);
  const auto whole = b.sram(Dtype::i32, D2{2, 6});
  b.convert(padded, whole);
  const auto back = b.sram(Dtype::f32, D2{2, 6});
  b.convert(whole, back);
  const auto copied = b.sram(Dtype::i32, D1{2});
  b.copy_constant(0, copied);
  const auto doubled = b.placed(Dtype::i32, D1{2}, Location::scratch, 64);
  b.map(std::array{copied}, doubled, Dtype::i32, std::array{in(0), in(0), step(Expr::add)});
  b.concat(std::array{taken, back}, y, 1);
  return b.finish();
}

}  // namespace rngd::image
