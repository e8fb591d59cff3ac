// SPDX-License-Identifier: Apache-2.0
#include "graph/cases.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "graph/case_maker.hpp"
#include "graph/expression.hpp"
#include "graph/reference.hpp"
#include "hal/graph.hpp"
#include "hal/nn.hpp"

namespace hal::graph {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::array kTypes{DType::f32, DType::bf16, DType::i32};

void contractions(std::vector<Case>& cases) {
  struct Einsum {
    const char* name;
    const char* text;
    Shape left, right;
  };
  const std::vector<Einsum> einsums{
      {"matmul", "mk,kn->mn", {5, 7}, {7, 3}},
      {"tile", "mk,kn->mn", {33, 65}, {65, 17}},
      {"transposed", "km,nk->nm", {7, 5}, {3, 7}},
      {"batched", "bmk,bkn->bmn", {2, 3, 4}, {2, 4, 5}},
      {"batch_last", "mkb,knb->mnb", {3, 4, 2}, {4, 5, 2}},
      {"matvec", "mk,k->m", {6, 9}, {9}},
      {"dot", "k,k->", {11}, {11}},
      {"outer", "m,n->mn", {4}, {6}},
      {"elementwise", "mn,mn->mn", {4, 6}, {4, 6}},
      {"scalars", ",->", {}, {}},
      {"two_sums", "nyxhwc,hwco->nyxo", {2, 3, 3, 2, 2, 3}, {2, 2, 3, 4}},
      {"lone_left", "mkj,kn->mn", {3, 4, 2}, {4, 5}},
      {"lone_right", "mk,knj->mn", {3, 4}, {4, 5, 2}},
      {"mixed_order", "abcd,ecbf->fdae", {2, 3, 2, 3}, {2, 2, 3, 2}},
      {"ones", "amk,kn->amn", {1, 1, 4}, {4, 1}},
  };
  for (const Einsum& einsum : einsums) {
    for (const DType type : kTypes) {
      Maker m(cases, named(fmt::format("contract.{}", einsum.name), type));
      const Value left = m.input(type, einsum.left);
      m.finish(m.b.contract(einsum.text, left, m.input(type, einsum.right)));
    }
  }
  Maker wide(cases, "contract.wide_out.bf16");
  const Value left = wide.input(DType::bf16, {6, 40});
  wide.finish(wide.b.contract("mk,kn->mn", left, wide.input(DType::bf16, {40, 6}), DType::f32));

  Maker wraps(cases, "contract.wraps.i32");
  const std::vector<double> large(4, 65537.0);
  const Value a = wraps.input(DType::i32, {2, 2}, large);
  wraps.finish(wraps.b.contract("mk,kn->mn", a, wraps.input(DType::i32, {2, 2}, large)));
}

void unary_and_binary_maps(std::vector<Case>& cases) {
  for (int code = std::to_underlying(Opcode::add); code <= std::to_underlying(Opcode::mod); ++code) {
    const auto opcode = static_cast<Opcode>(code);
    for (const DType type : kTypes) {
      if (type == DType::i32 && is_floating_only(opcode)) { continue; }
      Maker m(cases, named(fmt::format("map.{}", opcode_name(opcode)), type));
      // Roots, logarithms and powers of positive numbers only; the special values have their own cases.
      const bool positive =
          opcode == Opcode::log || opcode == Opcode::sqrt || opcode == Opcode::rsqrt || opcode == Opcode::pow;
      const Value x = m.input(type, {7, 9});
      const Value y = m.input(type, {7, 9});
      const Value z = m.input(type, {7, 9});
      const Expr first = positive ? abs(arg(0)) + 0.125 : arg(0);
      // No divisor near zero, or one rounding decides everything.
      const bool divides = opcode == Opcode::div || opcode == Opcode::mod;
      const Expr second = divides && type != DType::i32 ? select(arg(1) < 0.0, arg(1) - 0.5, arg(1) + 0.5) : arg(1);
      switch (*opcode_arity(opcode)) {
        case 1:
          m.finish(m.b.map({x}, Expr(opcode, {first})));
          break;
        case 2:
          m.finish(m.b.map({x, y}, Expr(opcode, {first, second})));
          break;
        default:
          m.finish(m.b.map({x, y, z}, Expr(opcode, {first, second, arg(2)})));
          break;
      }
    }
  }
}

void other_maps(std::vector<Case>& cases) {
  for (const DType type : kTypes) {
    Maker broadcast(cases, named("map.broadcast", type));
    const Value full = broadcast.input(type, {3, 4, 5});
    const Value row = broadcast.input(type, {5});
    const Value column = broadcast.input(type, {4, 1});
    const Value scalar = broadcast.input(type, {});
    broadcast.finish(broadcast.b.map({full, row, column, scalar}, (arg(0) + arg(1)) * arg(2) - arg(3)));

    Maker grows(cases, named("map.broadcast_both", type));
    const Value down = grows.input(type, {6, 1});
    grows.finish(grows.b.map({down, grows.input(type, {1, 7})}, max(arg(0), arg(1))));

    Maker eight(cases, named("map.eight_inputs", type));
    std::vector<Value> inputs;
    Expr sum = arg(0);
    for (std::uint8_t i = 0; i < kMaxMapInputs; ++i) {
      inputs.push_back(eight.input(type, {13}));
      if (i != 0) { sum = sum + arg(i) * static_cast<double>(i); }
    }
    eight.finish(eight.b.map(inputs, sum));

    // x + (x + (x + ...)): all values are pushed before the first addition.
    Maker deep(cases, named("map.deep_stack", type));
    const Value x = deep.input(type, {5});
    Expr nested = arg(0);
    for (std::uint32_t i = 1; i < kMaxStackDepth; ++i) { nested = arg(0) + nested; }
    deep.finish(deep.b.map({x}, nested));

    Maker mask(cases, named("map.to_bool", type));
    const Value a = mask.input(type, {4, 8});
    mask.finish(mask.b.map({a, mask.input(type, {4, 8})}, arg(0) < arg(1), DType::boolean));

    Maker masked(cases, named("map.from_bool", type));
    const Value values = masked.input(type, {4, 8});
    masked.finish(masked.b.map({values, masked.input(DType::boolean, {4, 8})}, select(arg(1), arg(0), -arg(0))));
  }
  Maker mixed(cases, "map.mixed.bf16");
  const Value x = mixed.input(DType::bf16, {4, 8});
  mixed.finish(mixed.b.map({x, mixed.input(DType::f32, {8})}, arg(0) * arg(1), DType::f32));

  const std::vector<double> odd{kNan, kInf, -kInf, 0.0, -0.0, 1.0, -1.0, 3.5};
  std::vector<double> left, right;
  for (const double a : odd) {
    for (const double b : odd) {
      left.push_back(a);
      right.push_back(b);
    }
  }
  const std::vector<std::pair<const char*, Expr>> special{
      {"min", min(arg(0), arg(1))},
      {"max", max(arg(0), arg(1))},
      {"less", arg(0) < arg(1)},
      {"not_equal", not_equal(arg(0), arg(1))},
      {"and", logical_and(arg(0), arg(1))},
      {"select", select(arg(0), arg(1), 7.0)},
      {"relu", max(arg(0), 0.0)},
  };
  for (const auto& [name, expr] : special) {
    Maker m(cases, fmt::format("map.special.{}.f32", name));
    const Value a = m.input(DType::f32, {8, 8}, left);
    m.finish(m.b.map({a, m.input(DType::f32, {8, 8}, right)}, expr));
  }
  Maker round(cases, "map.special.round.f32");
  round.finish(round.b.map({round.input(DType::f32, {6}, {0.5, 1.5, 2.5, -0.5, -1.5, -2.5})}, graph::round(arg(0))));

  Maker integers(cases, "map.special.divide.i32");
  const double low = std::numeric_limits<std::int32_t>::min();
  const Value a = integers.input(DType::i32, {6}, {7, -7, low, 5, low, 0});
  const Value b = integers.input(DType::i32, {6}, {2, 2, -1, 0, 1, 0});
  integers.b.output("quotient", integers.b.map({a, b}, arg(0) / arg(1)));
  integers.b.output("rest", integers.b.map({a, b}, mod(arg(0), arg(1))));
  integers.b.output("product", integers.b.map({a, b}, arg(0) * arg(1) * 65537.0 * 65537.0));
  integers.b.output("magnitude", integers.b.map({a}, abs(arg(0))));
  integers.finish();
}

void reductions(std::vector<Case>& cases) {
  constexpr std::array<std::pair<const char*, ReduceOp>, 4> kOps{
      {{"sum", ReduceOp::sum}, {"max", ReduceOp::max}, {"min", ReduceOp::min}, {"prod", ReduceOp::prod}}};
  for (const auto& [name, op] : kOps) {
    for (const DType type : kTypes) {
      const auto make = [&](const char* axes_name, std::initializer_list<std::uint32_t> axes, KeepDims keep) {
        Maker m(cases, named(fmt::format("reduce.{}.{}", name, axes_name), type));
        m.finish(m.b.reduce(m.input(type, {4, 3, 5}), op, axes, keep));
      };
      make("last", {2}, KeepDims::no);
      make("first", {0}, KeepDims::no);
      make("middle_kept", {1}, KeepDims::yes);
      make("outer_two", {0, 2}, KeepDims::no);
      make("all", {0, 1, 2}, KeepDims::no);
    }
  }
  Maker long_sum(cases, "reduce.sum.long.f32");
  long_sum.finish(long_sum.b.reduce(long_sum.input(DType::f32, {2, 3000}), ReduceOp::sum, {1}));
  Maker wide(cases, "reduce.sum.wide_out.bf16");
  wide.finish(wide.b.reduce(wide.input(DType::bf16, {3, 500}), ReduceOp::sum, {1}, KeepDims::no, DType::f32));
  Maker wraps(cases, "reduce.prod.wraps.i32");
  wraps.finish(wraps.b.reduce(wraps.input(DType::i32, {4}, {65537, 65537, 3, -5}), ReduceOp::prod, {0}));
  Maker nan(cases, "reduce.max.nan.f32");
  nan.finish(nan.b.reduce(nan.input(DType::f32, {2, 3}, {1, kNan, 2, -kInf, -kInf, -kInf}), ReduceOp::max, {1}));
}

void views(std::vector<Case>& cases) {
  for (const DType type : {DType::f32, DType::bf16, DType::i32, DType::boolean}) {
    Maker transpose(cases, named("view.transpose", type));
    transpose.finish(transpose.b.transpose(transpose.input(type, {3, 4, 5}), {2, 0, 1}));
    Maker slice(cases, named("view.slice", type));
    slice.finish(slice.b.slice(slice.input(type, {6, 7}), {2, 3}, {3, 4}));
    Maker broadcast(cases, named("view.broadcast", type));
    broadcast.finish(broadcast.b.broadcast(broadcast.input(type, {3, 1}), {2, 3, 4}));
    Maker reverse(cases, named("view.reverse", type));
    reverse.finish(reverse.b.view(reverse.input(type, {4, 6}), {4, 3}, 23, {-6, -2}));
    Maker windows(cases, named("view.windows", type));
    windows.finish(windows.b.view(windows.input(type, {5, 5}), {3, 3, 3, 3}, 0, {5, 1, 5, 1}));
    Maker reshape(cases, named("view.reshape", type));
    reshape.finish(reshape.b.reshape(reshape.input(type, {4, 6}), {2, 3, 4}));
    Maker scalar(cases, named("view.scalar", type));
    scalar.finish(scalar.b.view(scalar.input(type, {4, 6}), {}, 11, {}));
    Maker deep(cases, named("view.rank8", type));
    deep.finish(deep.b.transpose(deep.input(type, {2, 1, 2, 1, 2, 1, 2, 3}), {7, 6, 5, 4, 3, 2, 1, 0}));
  }
}

void moves(std::vector<Case>& cases) {
  for (const DType type : kTypes) {
    for (const std::uint32_t axis : {0U, 1U, 2U}) {
      Maker gather(cases, named(fmt::format("gather.axis{}", axis), type));
      const Value x = gather.input(type, {3, 4, 3});
      gather.finish(gather.b.gather(x, gather.input(DType::i32, {2, 2}, {2, 0, 1, 2}), axis));
      for (const auto& [name, mode] : {std::pair{"set", ScatterMode::set}, {"add", ScatterMode::add}}) {
        Maker scatter(cases, named(fmt::format("scatter.{}.axis{}", name, axis), type));
        const Value base = scatter.input(type, {3, 4, 3});
        const Value indices = scatter.input(DType::i32, {3}, {2, 0, 2});
        Shape updates{3, 4, 3};
        updates[axis] = 3;
        scatter.finish(scatter.b.scatter(base, indices, scatter.input(type, updates), axis, mode));
      }
    }
    Maker one(cases, named("gather.scalar_index", type));
    const Value x = one.input(type, {5, 3});
    one.finish(one.b.gather(x, one.input(DType::i32, {}, {4}), 0));

    Maker pad(cases, named("pad.both", type));
    pad.finish(pad.b.pad(pad.input(type, {3, 4}), {1, 2}, {2, 0}, is_floating(type) ? -0.5 : -5.0));
    Maker join(cases, named("concat.three", type));
    const Value a = join.input(type, {2, 3, 2});
    const Value b = join.input(type, {2, 1, 2});
    join.finish(join.b.concat({a, b, join.input(type, {2, 4, 2})}, 1));
    Maker twice(cases, named("concat.same_twice", type));
    const Value same = twice.input(type, {2, 3});
    twice.finish(twice.b.concat({same, same}, 0));
  }
  Maker infinite(cases, "pad.infinite.f32");
  infinite.finish(infinite.b.pad(infinite.input(DType::f32, {3}), {1}, {1}, -kInf));
  for (const double bad : {-1.0, 3.0, 2147483647.0}) {
    Maker gather(cases, fmt::format("gather.bad_index.{}.f32", bad));
    const Value x = gather.input(DType::f32, {3, 2});
    gather.out_of_range = true;
    gather.finish(gather.b.gather(x, gather.input(DType::i32, {2}, {0, bad}), 0));
    Maker scatter(cases, fmt::format("scatter.bad_index.{}.f32", bad));
    const Value base = scatter.input(DType::f32, {3, 2});
    const Value indices = scatter.input(DType::i32, {2}, {0, bad});
    scatter.out_of_range = true;
    scatter.finish(scatter.b.scatter(base, indices, scatter.input(DType::f32, {2, 2}), 0, ScatterMode::set));
  }
}

void conversions(std::vector<Case>& cases) {
  const std::vector<double> reals{0.0,        -0.0,       0.5,         1.5,         2.5,   -0.75, -1.99,
                                  255.5,      3e9,        -3e9,        kNan,        kInf,  -kInf, 2147483520.0,
                                  1e-3,       1.00390625, 1.001953125, 1.005859375, 65504, 1e30,  -1e-30,
                                  16777217.0, 0.1,        -257.0,      3.3895e38};
  const std::vector<double> wholes{0,    1,        -1,         255,           256,        257,
                                   -257, 16777217, 2147483647, -2147483648.0, 2147483583, 33554435};
  for (const DType from : {DType::f32, DType::bf16, DType::i32, DType::boolean}) {
    for (const DType to : {DType::f32, DType::bf16, DType::i32, DType::boolean}) {
      Maker m(cases, fmt::format("convert.{}_to_{}", dtype_name(from), dtype_name(to)));
      const auto shape_of = [](const std::vector<double>& values) {
        return Shape{static_cast<std::int64_t>(values.size())};
      };
      const Value x = from == DType::boolean ? m.input(from, {9})
                      : is_floating(from)    ? m.input(from, shape_of(reals), reals)
                                             : m.input(from, shape_of(wholes), wholes);
      m.finish(m.b.convert(x, to));
    }
  }
}

void shapes_of_graphs(std::vector<Case>& cases) {
  Maker constants(cases, "constant.three");
  const std::vector<float> row{1, 2, 3};
  const std::vector<std::int32_t> whole{-1, 0, 7};
  const Value c = constants.b.constant({3}, std::span<const float>(row));
  constants.b.output("row", c);
  constants.b.output("whole", constants.b.constant({3}, std::span<const std::int32_t>(whole)));
  constants.b.output("sum", constants.b.map({constants.input(DType::f32, {2, 3}), c}, arg(0) + arg(1)));
  constants.finish();

  Maker pass(cases, "graph.input_is_output");
  const Value through = pass.input(DType::f32, {4});
  pass.b.output("same", through);
  pass.b.output("again", through);
  pass.finish();

  Maker diamond(cases, "graph.diamond");
  const Value x = diamond.input(DType::f32, {6, 6});
  const Value left = diamond.b.map({x}, arg(0) * 2.0);
  const Value right = diamond.b.transpose(x, {1, 0});
  diamond.b.output("left", left);  // an output that is read again
  const Value product = diamond.b.contract("mk,kn->mn", left, right);
  diamond.b.map({product}, exp(arg(0)));  // never read
  diamond.b.output("product", product);
  diamond.finish();

  Maker chain(cases, "graph.chain");
  Value v = chain.input(DType::f32, {32});
  for (int i = 0; i < 20; ++i) { v = chain.b.map({v}, arg(0) * 0.5 + 1.0); }
  chain.finish(v);
}

void layers(std::vector<Case>& cases) {
  for (const DType type : {DType::f32, DType::bf16}) {
    Maker dense(cases, named("nn.dense", type));
    const Value x = dense.input(type, {2, 3, 8});
    const Value weights = dense.input(type, {8, 5});
    dense.finish(nn::dense(dense.b, x, weights, dense.input(type, {5})));
    Maker softmax(cases, named("nn.softmax", type));
    softmax.finish(nn::softmax(softmax.b, softmax.input(type, {4, 10})));
    Maker conv(cases, named("nn.conv2d", type));
    const Value image = conv.input(type, {2, 8, 8, 3});
    conv.finish(nn::conv2d(conv.b, image, conv.input(type, {3, 3, 3, 4}),
                           {.strides = {1, 1}, .pad_low = {1, 1}, .pad_high = {1, 1}, .dilation = {1, 1}}));
    Maker strided(cases, named("nn.conv2d_strided", type));
    const Value large = strided.input(type, {1, 9, 7, 2});
    strided.finish(nn::conv2d(strided.b, large, strided.input(type, {2, 3, 2, 3}),
                              {.strides = {2, 1}, .pad_low = {0, 1}, .pad_high = {1, 0}, .dilation = {2, 1}}));
    Maker average(cases, named("nn.average_pool2d", type));
    average.finish(nn::average_pool2d(average.b, average.input(type, {2, 6, 6, 3})));
  }
  for (const DType type : kTypes) {
    Maker pool(cases, named("nn.max_pool2d", type));
    pool.finish(nn::max_pool2d(pool.b, pool.input(type, {2, 7, 6, 3}), {.window = {3, 2}, .strides = {2, 2}}));
    Maker argmax(cases, named("nn.argmax", type));
    argmax.finish(nn::argmax(argmax.b, argmax.input(type, {7, 10})));
    Maker relu(cases, named("nn.relu", type));
    relu.finish(nn::relu(relu.b, relu.input(type, {40})));
  }
  for (const DType type : {DType::f32, DType::bf16}) {
    Maker norm(cases, named("nn.layer_norm", type));
    const Value x = norm.input(type, {3, 24});
    const Value scale = norm.input(type, {24});
    norm.finish(nn::layer_norm(norm.b, x, {.scale = scale, .shift = norm.input(type, {24})}));
    Maker attention(cases, named("nn.attention", type));
    const Value q = attention.input(type, {1, 4, 5, 8});
    const Value k = attention.input(type, {1, 2, 6, 8});
    const Value v = attention.input(type, {1, 2, 6, 3});
    const Value mask = attention.input(DType::boolean, {5, 6});
    attention.finish(nn::attention(attention.b, q, k, v, {.scale = {}, .causal = nn::Causal::from_end, .mask = mask}));
    Maker rotary(cases, named("nn.rotary", type));
    rotary.finish(nn::rotary(rotary.b, rotary.input(type, {2, 5, 8})));
    Maker gelu(cases, named("nn.gelu", type));
    gelu.finish(nn::gelu(gelu.b, gelu.input(type, {33})));
    Maker grouped(cases, named("nn.conv_groups", type));
    const Value series = grouped.input(type, {2, 9, 4});
    grouped.finish(nn::conv(grouped.b, series, grouped.input(type, {3, 2, 6}), {.pad_low = {1}, .groups = 2}));
    Maker resized(cases, named("nn.resize_linear", type));
    resized.finish(nn::resize_linear(resized.b, resized.input(type, {1, 3, 4, 2}), {5, 3}));
    Maker sums(cases, named("nn.cumulative_sum", type));
    sums.finish(nn::cumulative_sum(sums.b, sums.input(type, {3, 40}), -1, {.exclusive = true, .reverse = true}));
    Maker top(cases, named("nn.top_k", type));
    const nn::TopK best = nn::top_k(top.b, top.input(type, {3, 12}), 4);
    top.b.output("indices", best.indices);
    top.finish(best.values);
  }
  Maker nan(cases, "nn.argmax.nan.f32");
  nan.finish(nn::argmax(nan.b, nan.input(DType::f32, {2, 3}, {1, kNan, 2, 5, 5, 1})));
}

}  // namespace

std::vector<Case> graph_cases() {
  std::vector<Case> cases;
  contractions(cases);
  unary_and_binary_maps(cases);
  other_maps(cases);
  reductions(cases);
  views(cases);
  moves(cases);
  conversions(cases);
  shapes_of_graphs(cases);
  layers(cases);
  return cases;
}

Result<std::vector<std::vector<std::byte>>> expected_outputs(const Case& test) {
  HAL_TRY(const View view, View::verify(test.bytes));
  std::vector<std::span<const std::byte>> inputs(test.inputs.begin(), test.inputs.end());
  return evaluate_reference(view, inputs);
}

}  // namespace hal::graph
