// SPDX-License-Identifier: Apache-2.0
// The matrix of primitives and element types.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "graph/case_maker.hpp"
#include "graph/cases.hpp"

namespace hal::graph {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

constexpr std::array kAll{DType::f64, DType::f32, DType::f16, DType::bf16, DType::f8e4m3, DType::f8e5m2,
                          DType::i64, DType::i32, DType::i8,  DType::i4,   DType::u8,     DType::boolean};

DType narrow_accumulator(DType type) {
  if (type == DType::f64 || type == DType::i64) { return type; }
  return is_floating(type) ? DType::f32 : DType::i32;
}
DType wide_accumulator(DType type) { return is_floating(type) ? DType::f64 : DType::i64; }

std::string titled(DType type, std::string_view what) { return fmt::format("{}.{}", dtype_name(type), what); }

void contractions(std::vector<Case>& cases, DType type) {
  Maker same(cases, titled(type, "contract"));
  const Value left = same.input(type, {5, 9});
  same.finish(same.b.contract("mk,kn->mn", left, same.input(type, {9, 3})));

  // Odd sizes and an order that is no matrix product as it lies.
  Maker mixed(cases, titled(type, "contract.mixed"));
  const Value a = mixed.input(type, {3, 2, 5});
  mixed.finish(mixed.b.contract("kbm,nbk->bnm", a, mixed.input(type, {7, 2, 3})));

  for (const DType accumulate : {narrow_accumulator(type), wide_accumulator(type)}) {
    if (accumulate == type) { continue; }
    Maker wide(cases, titled(type, fmt::format("contract.in_{}", dtype_name(accumulate))));
    const Value x = wide.input(type, {4, 33});
    wide.finish(wide.b.contract("mk,kn->mn", x, wide.input(type, {33, 5}), {accumulate, accumulate}));
  }
}

void maps(std::vector<Case>& cases, DType type) {
  const auto make = [&](const char* name, const Expr& expr, std::optional<DType> out = {}) {
    Maker m(cases, titled(type, fmt::format("map.{}", name)));
    const Value x = m.input(type, {3, 7});
    m.finish(m.b.map({x, m.input(type, {7})}, expr, out));
  };
  make("less", arg(0) < arg(1), DType::boolean);
  make("select", select(equal(arg(0), arg(1)), arg(0), arg(1)));
  make("extremes", select(logical_not(arg(1)), min(arg(0), arg(1)), max(arg(0), arg(1))));
  if (type == DType::boolean) {
    make("logic", logical_or(logical_and(arg(0), arg(1)), logical_not(arg(0))));
    return;
  }
  make("polynomial", arg(0) * arg(1) + arg(0) - 3.0 * arg(1));
  if (is_floating(type)) {
    make("functions", exp(arg(0) * 0.25) + tanh(arg(1)) * sin(arg(0)));
    make("quotient", arg(0) / (abs(arg(1)) + 1.0));
  } else {
    make("quotient", arg(0) / arg(1) + mod(arg(0), arg(1)));
    make("large", arg(0) * arg(1) * arg(0) * arg(1) * arg(0) * 1000003.0);
  }
}

void reductions(std::vector<Case>& cases, DType type) {
  constexpr std::array<std::pair<const char*, ReduceOp>, 4> kOps{
      {{"sum", ReduceOp::sum}, {"max", ReduceOp::max}, {"min", ReduceOp::min}, {"prod", ReduceOp::prod}}};
  for (const auto& [name, op] : kOps) {
    const bool selects = op == ReduceOp::max || op == ReduceOp::min;
    if (selects || type != DType::boolean) {
      Maker m(cases, titled(type, fmt::format("reduce.{}", name)));
      m.finish(m.b.reduce(m.input(type, {3, 5, 7}), op, {1}));
      Maker last(cases, titled(type, fmt::format("reduce.{}.last", name)));
      last.finish(last.b.reduce(last.input(type, {5, 3}), op, {1}, KeepDims::yes));
    }
    for (const DType accumulate : {narrow_accumulator(type), wide_accumulator(type)}) {
      if (accumulate == type) { continue; }
      Maker m(cases, titled(type, fmt::format("reduce.{}.in_{}", name, dtype_name(accumulate))));
      m.finish(m.b.reduce(m.input(type, {21, 3}), op, {0}, KeepDims::no, {accumulate, accumulate}));
    }
  }
}

void moves(std::vector<Case>& cases, DType type) {
  Maker transpose(cases, titled(type, "view.transpose"));
  transpose.finish(transpose.b.transpose(transpose.input(type, {3, 5, 7}), {2, 0, 1}));
  Maker windows(cases, titled(type, "view.windows"));
  windows.finish(windows.b.view(windows.input(type, {5, 5}), {3, 3, 3, 3}, 0, {5, 1, 5, 1}));
  Maker reverse(cases, titled(type, "view.reverse"));
  reverse.finish(reverse.b.view(reverse.input(type, {9}), {4}, 8, {-2}));

  for (const std::uint32_t axis : {0U, 1U, 2U}) {
    Maker gather(cases, titled(type, fmt::format("gather.axis{}", axis)));
    const Value x = gather.input(type, {3, 4, 3});
    gather.finish(gather.b.gather(x, gather.input(DType::i32, {2, 2}, {2, 0, 1, 2}), axis));
    for (const auto& [name, mode] : {std::pair{"set", ScatterMode::set}, {"add", ScatterMode::add}}) {
      if (mode == ScatterMode::add && type == DType::boolean) { continue; }
      Maker scatter(cases, titled(type, fmt::format("scatter.{}.axis{}", name, axis)));
      const Value base = scatter.input(type, {3, 5, 3});
      const Value indices = scatter.input(DType::i32, {3}, {2, 0, 2});
      Shape updates{3, 5, 3};
      updates[axis] = 3;
      scatter.finish(scatter.b.scatter(base, indices, scatter.input(type, updates), axis, mode));
    }
  }

  Maker pad(cases, titled(type, "pad"));
  const double fill = type == DType::boolean || type == DType::u8 ? 1.0 : is_floating(type) ? -0.5 : -5.0;
  pad.finish(pad.b.pad(pad.input(type, {3, 4}), {1, 2}, {2, 1}, fill));
  Maker join(cases, titled(type, "concat"));
  const Value a = join.input(type, {3, 3});
  const Value b = join.input(type, {3, 1});
  join.finish(join.b.concat({a, b, join.input(type, {3, 5})}, 1));

  Maker constant(cases, titled(type, "constant"));
  const std::vector<double> numbers{0, 1, 1, 0, 1};
  const Value c = constant.b.constant_from(type, {5}, numbers);
  constant.b.output("row", c);
  constant.b.output("chosen", constant.b.map({constant.input(type, {3, 5}), c}, select(arg(1), arg(0), arg(1))));
  constant.finish();
}

// Values at and around the limits of every type, ties of every rounding, and what is no number.
std::vector<double> odd_numbers(DType type) {
  std::vector<double> values{0, 1, -1, 2, 3, -7, -8, 7, 8, 15, 16, -9, 127, 128, -128, -129, 255, 256, 257, -255};
  if (type == DType::boolean) { return {0, 1, 1, 0, 1}; }
  if (is_floating(type)) {
    const std::vector<double> reals{
        -0.0,    0.5,        1.5,      2.5,        -0.75,        -1.99,        255.5,       3e9,       -3e9,
        kNan,    kInf,       -kInf,    1e-3,       1.00390625,   1.001953125,  1.005859375, 65504,     65519.99,
        65520,   1e30,       -1e-30,   16777217.0, 0.1,          3.3895e38,    -65536,      0x1p-14,   0x1p-24,
        0x1p-25, 0x1.8p-25,  0x1p-16,  0x1p-17,    0x1.8p-17,    0x1p-9,       0x1p-10,     0x1.8p-10, 448,
        464,     463.9,      479.9,    57344,      61439,        61440,        1e300,       -1e300,    0x1p-1074,
        0x1p62,  0x1p63,     -0x1p63,  -0x1p64,    2147483647.5, 2147483520.0, 1.0625,      1.1875,    1.125,
        1.375,   0x1.8p-149, 0x1p-126, 0x1p-127,   0x1.01p0,     0x1.03p0,     0x1.0008p0,  0x1.001p0};
    values.insert(values.end(), reals.begin(), reals.end());
  } else {
    const std::vector<double> wholes{65504,
                                     65519,
                                     65520,
                                     16777217,
                                     33554435,
                                     2147483647,
                                     2147483648,
                                     -2147483648.0,
                                     -2147483649.0,
                                     0x1p53,
                                     0x1.0000010000001p60,
                                     0x1p63,
                                     -0x1p63,
                                     0x1.000001p40,
                                     2147483583,
                                     4294967295.0};
    values.insert(values.end(), wholes.begin(), wholes.end());
  }
  return values;
}

void conversions(std::vector<Case>& cases, DType from) {
  std::vector<double> values = odd_numbers(from);
  // What only moves keeps its bits, whatever they mean.
  Maker m(cases, titled(from, "view.odd_numbers"));
  const auto count = static_cast<std::int64_t>(values.size());
  m.finish(m.b.view(m.input(from, {count}, values), {count}, count - 1, {-1}));

  // A device may take subnormals of f32 and bf16 as zeros where it computes.
  if (from == DType::f32 || from == DType::bf16) {
    std::erase_if(values, [](double value) { return value != 0 && std::fabs(value) < 0x1p-126; });
  }
  for (const DType to : kAll) {
    Maker convert(cases, titled(from, fmt::format("convert.{}", dtype_name(to))));
    convert.finish(convert.b.convert(convert.input(from, {static_cast<std::int64_t>(values.size())}, values), to));
  }
}

// What a driver may run as one step: an expression behind a sum of products, or in front of a sum. Every sum and
// product is exact in f32.
void expressions_around_sums(std::vector<Case>& cases, DType type) {
  const DType sums = narrow_accumulator(type);
  {  // bias of a column, bound, factor of each element that is read across
    Maker m(cases, titled(type, "behind.contract"));
    const Value x = m.input(type, {9, 6});
    const Value sum = m.b.contract("mk,kn->mn", x, m.input(type, {6, 8}), {sums, sums});
    const Value bias = m.input(type, {8}), factor = m.b.transpose(m.input(type, {8, 9}), {1, 0});
    m.finish(m.b.map({sum, bias, factor}, max(arg(0) + arg(1), 0.0) * arg(2), type));
  }
  {  // two expressions, one of them on the sums in another shape; batches
    Maker m(cases, titled(type, "behind.batched"));
    const Value x = m.input(type, {2, 8, 4});
    const Value sum = m.b.contract("bmk,bkn->bmn", x, m.input(type, {2, 4, 5}), {sums, sums});
    const Value lines = m.b.reshape(m.b.map({sum, m.input(type, {2, 1, 1})}, arg(0) - arg(1), sums), {16, 5});
    m.finish(m.b.map({lines, m.input(type, {16, 1})}, min(arg(0), arg(1) + 3.0)));
  }
  {  // the sum twice, and a product of no matrices
    Maker m(cases, titled(type, "behind.twice"));
    const Value x = m.input(type, {4, 3, 2});
    const Value sum = m.b.contract("akb,bkc->cab", x, m.input(type, {2, 3, 5}), {sums, sums});
    m.finish(m.b.map({sum}, arg(0) * 2.0 - abs(arg(0))));
  }
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max, ReduceOp::min}) {
    Maker m(cases, titled(type, fmt::format("before.reduce.{}", static_cast<int>(op))));
    const Value x = m.b.transpose(m.input(type, {6, 5, 4}), {2, 1, 0});
    const Value walked = m.b.map({x, m.input(type, {5, 1})}, (arg(0) - arg(1)) * arg(0), sums);
    m.finish(m.b.reduce(walked, op, {0, 2}, KeepDims::yes));
  }
}

// An expression in f32 is rounded to f32, though the sum behind it is wider.
void rounded_before_wide_sum(std::vector<Case>& cases) {
  std::vector<double> values(40);
  for (std::size_t i = 0; i < values.size(); ++i) { values[i] = 1.0 + static_cast<double>(i * i + 1) * 0x1p-23; }
  Maker m(cases, "f32.before.wide_sum");
  const Value x = m.input(DType::f32, {8, 5}, values);
  const Value squares = m.b.map({x, x}, arg(0) * arg(1));
  m.finish(m.b.reduce(squares, ReduceOp::sum, {1}, KeepDims::no, {DType::f64, DType::f64}));
}

}  // namespace

std::vector<Case> type_cases() {
  std::vector<Case> cases;
  for (const DType type : kAll) {
    contractions(cases, type);
    maps(cases, type);
    reductions(cases, type);
    moves(cases, type);
    conversions(cases, type);
    expressions_around_sums(cases, type);
  }
  rounded_before_wide_sum(cases);
  return cases;
}

}  // namespace hal::graph
