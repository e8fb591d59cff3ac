// SPDX-License-Identifier: Apache-2.0
// Attention, positions, selection and running sums against loops over their definitions.
#include <algorithm>
#include <numeric>

#include "graph/nn_test_tools.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
namespace nn = hal::nn;
using Catch::Matchers::Contains;
using hal::DType;

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Heads {
  std::int64_t batch, heads, kv_heads, s, t, d, e;
};

// `extra(b, h, i, j)` is added to the scaled score; -inf hides the key.
std::vector<double> direct_attention(const Heads& n, const Grid& q, const Grid& k, const Grid& v, double scale,
                                     const std::function<double(const Shape&)>& extra) {
  std::vector<double> out;
  each({n.batch, n.heads, n.s}, [&](const Shape& at) {
    const std::int64_t kv = at[1] / (n.heads / n.kv_heads);
    std::vector<double> weights;
    for (std::int64_t j = 0; j < n.t; ++j) {
      double dot = 0;
      for (std::int64_t c = 0; c < n.d; ++c) { dot += q[{at[0], at[1], at[2], c}] * k[{at[0], kv, j, c}]; }
      weights.push_back(std::exp(dot * scale + extra({at[0], at[1], at[2], j})));
    }
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (std::int64_t c = 0; c < n.e; ++c) {
      double mixed = 0;
      for (std::int64_t j = 0; j < n.t; ++j) {
        if (sum != 0) { mixed += weights[static_cast<std::size_t>(j)] / sum * v[{at[0], kv, j, c}]; }
      }
      out.push_back(mixed);
    }
  });
  return out;
}

}  // namespace

TEST_CASE("nn: attention with full, grouped and single key heads") {
  for (const Heads& n : {Heads{2, 4, 4, 3, 5, 4, 3}, Heads{1, 6, 2, 4, 4, 2, 2}, Heads{2, 3, 1, 1, 7, 3, 4}}) {
    const Grid q = random_grid({n.batch, n.heads, n.s, n.d}, 1), k = random_grid({n.batch, n.kv_heads, n.t, n.d}, 2),
               v = random_grid({n.batch, n.kv_heads, n.t, n.e}, 3);
    const Shape shape{n.batch, n.heads, n.s, n.e};
    const double scale = 1 / std::sqrt(static_cast<double>(n.d));
    const auto check = [&](const nn::Attention& o, double own_scale, const std::function<double(const Shape&)>& extra,
                           const Grid* mask = nullptr, DType mask_type = DType::f32) {
      Trial trial;
      const Value qv = trial.input(q);
      const Value kv = trial.input(k);
      const Value vv = trial.input(v);
      nn::Attention options = o;
      if (mask != nullptr) { options.mask = trial.input(*mask, mask_type); }
      CHECK(difference(trial.run(nn::attention(trial.b, qv, kv, vv, options), shape),
                       direct_attention(n, q, k, v, own_scale, extra)) == "");
    };
    check({}, scale, [](const Shape&) { return 0.0; });
    check({.scale = 0.25}, 0.25, [](const Shape&) { return 0.0; });
    check({.causal = nn::Causal::from_start}, scale, [](const Shape& at) { return at[3] <= at[2] ? 0.0 : -kInf; });
    check({.causal = nn::Causal::from_end}, scale,
          [&](const Shape& at) { return at[3] <= at[2] + n.t - n.s ? 0.0 : -kInf; });
    const Grid bias = random_grid({n.heads, 1, n.t}, 4);
    check({}, scale, [&](const Shape& at) { return bias[{at[1], 0, at[3]}]; }, &bias);
    Grid seen = random_grid({n.batch, 1, n.s, n.t}, 5);
    for (double& x : seen.values) { x = x > 0 ? 1 : 0; }
    for (std::int64_t j = 0; j < n.t; ++j) { seen[{0, 0, 0, j}] = 0; }  // one query sees nothing
    check(
        {.causal = nn::Causal::from_end}, scale,
        [&](const Shape& at) {
          return seen[{at[0], 0, at[2], at[3]}] != 0 && at[3] <= at[2] + n.t - n.s ? 0.0 : -kInf;
        },
        &seen, DType::boolean);
  }
  Trial bad;
  const Value q = bad.input(random_grid({1, 3, 2, 2}, 1));
  const Value k = bad.input(random_grid({1, 2, 2, 2}, 1));
  CHECK_THAT(mistake(bad.b, nn::attention(bad.b, q, k, k)), Contains("kv_heads a divisor of heads"));
  Trial mask;
  const Value x = mask.input(random_grid({1, 2, 2, 2}, 1));
  CHECK_THAT(mistake(mask.b, nn::attention(mask.b, x, x, x, {.mask = mask.input(random_grid({3, 2}, 1))})),
             Contains("the mask is f32 [3, 2]") && Contains("[1, 2, 2, 2]"));
}

TEST_CASE("nn: rotary turns pairs, in halves or interleaved") {
  const Grid x = random_grid({2, 2, 5, 8}, 6);
  for (const auto pairs : {nn::RotaryPairs::halves, nn::RotaryPairs::interleaved}) {
    for (const std::int64_t dims : {8, 4}) {
      for (const bool given : {false, true}) {
        Grid positions({5});
        positions.values = {3, 0, 9, 9, 1};
        std::vector<double> expected = x.values;
        each({2, 2, 5, dims / 2}, [&](const Shape& at) {
          const double p = given ? positions[{at[2]}] : static_cast<double>(at[2] + 2);
          const double turn = p * std::pow(10000.0, -2.0 * static_cast<double>(at[3]) / static_cast<double>(dims));
          const bool halves = pairs == nn::RotaryPairs::halves;
          const Shape first{at[0], at[1], at[2], halves ? at[3] : 2 * at[3]};
          const Shape second{at[0], at[1], at[2], halves ? at[3] + dims / 2 : 2 * at[3] + 1};
          expected[x.place(first)] = x[first] * std::cos(turn) - x[second] * std::sin(turn);
          expected[x.place(second)] = x[first] * std::sin(turn) + x[second] * std::cos(turn);
        });
        Trial trial;
        const Value in = trial.input(x);
        nn::Rotary options{.pairs = pairs, .dims = dims == 8 ? 0 : dims, .offset = 2};
        if (given) {
          options.positions = trial.input(positions, DType::i32);
          options.max_position = 10;
        }
        CHECK(difference(trial.run(nn::rotary(trial.b, in, options), x.shape), expected) == "");
      }
    }
  }
  Trial odd;
  CHECK_THAT(mistake(odd.b, nn::rotary(odd.b, odd.input(x), {.dims = 3})), Contains("3 of the last dimension"));
  Trial none;
  const Value in = none.input(x);
  Grid p({5});
  CHECK_THAT(mistake(none.b, nn::rotary(none.b, in, {.positions = none.input(p, DType::i32)})),
             Contains("max_position"));
}

TEST_CASE("nn: tables that no memory holds are refused before they are filled") {
  GraphBuilder b("wide");
  const Value x = b.input("x", DType::f32, {1 << 24, 1 << 10});
  CHECK_THAT(mistake(b, nn::rotary(b, x)), Contains("rotary: a table of [16777216, 512] cosines"));
  GraphBuilder counted("counted");
  const Value rows = counted.input("x", DType::u8, {1, 1 << 30, 1});
  CHECK_THAT(mistake(counted, nn::max_pool(counted, rows, {.window = {2}, .strides = {1}, .pad_low = {1}})),
             Contains("max_pool: a table of [1073741824] counts"));
  GraphBuilder resized("resized");
  const Value image = resized.input("x", DType::f32, {1, 2, 1});
  CHECK_THAT(mistake(resized, nn::resize_linear(resized, image, {1 << 30})),
             Contains("a size from 1 to 2^28 for each"));
  GraphBuilder padded("padded");
  CHECK_THAT(mistake(padded, nn::pad(padded, padded.input("x", DType::f32, {2}), {1 << 30}, {0}, nn::PadMode::wrap)),
             Contains("pad: a table of [1073741826] indices"));
}

TEST_CASE("nn: causal attention over more pairs than a table holds is that of a table") {
  // The last queries see what a short attention from the end sees.
  constexpr std::int64_t kKeys = 8192, kQueries = 4096;
  GraphBuilder b("long");
  const Value q = b.input("q", DType::f32, {1, 1, kQueries, 1}), k = b.input("k", DType::f32, {1, 1, kKeys, 1});
  const Value all = nn::attention(b, q, k, k, {.causal = nn::Causal::from_end});
  b.output("last", b.slice(all, {0, 0, kQueries - 3, 0}, {1, 1, 3, 1}));
  const auto bytes = b.finish().value();
  CHECK(bytes.size() < 65536);
  GraphBuilder few("few");
  const Value last = few.slice(few.input("q", DType::f32, {1, 1, kQueries, 1}), {0, 0, kQueries - 3, 0}, {1, 1, 3, 1});
  const Value keys = few.input("k", DType::f32, {1, 1, kKeys, 1});
  few.output("last", nn::attention(few, last, keys, keys, {.causal = nn::Causal::from_end}));
  const auto queries = random_grid({1, 1, kQueries, 1}, 3).bytes(DType::f32);
  const auto values = random_grid({1, 1, kKeys, 1}, 4).bytes(DType::f32);
  CHECK(testing::run(b, {queries, values}) == testing::run(few, {queries, values}));
  // Whatever their number, a graph is built.
  GraphBuilder huge("huge");
  const Value many = huge.input("q", DType::f32, {1, 1, 1 << 20, 2}),
              more = huge.input("k", DType::f32, {1, 1, 1 << 21, 2});
  huge.output("y", nn::attention(huge, many, more, more, {.causal = nn::Causal::from_start}));
  CHECK(huge.finish());
}

TEST_CASE("nn: argmax and argmin along any axis take the first of equals") {
  for (const DType type : {DType::f32, DType::bf16, DType::i32}) {
    Grid x = random_grid({3, 4, 5}, 7);
    for (double& v : x.values) { v = std::trunc(v * 2); }
    for (std::size_t axis = 0; axis < 3; ++axis) {
      Shape shape = x.shape;
      shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
      std::vector<double> most, least;
      each(shape, [&](const Shape& at) {
        std::int64_t high = 0, low = 0;
        const auto value = [&](std::int64_t i) {
          Shape full = at;
          full.insert(full.begin() + static_cast<std::ptrdiff_t>(axis), i);
          return x[full];
        };
        for (std::int64_t i = 1; i < x.shape[axis]; ++i) {
          high = value(i) > value(high) ? i : high;
          low = value(i) < value(low) ? i : low;
        }
        most.push_back(static_cast<double>(high));
        least.push_back(static_cast<double>(low));
      });
      Trial a, b;
      CHECK(a.run(nn::argmax(a.b, a.input(x, type), static_cast<nn::Axis>(axis)), shape, DType::i32) == most);
      CHECK(b.run(nn::argmin(b.b, b.input(x, type), static_cast<nn::Axis>(axis) - 3), shape, DType::i32) == least);
    }
  }
  Trial bad;
  CHECK_THAT(mistake(bad.b, nn::argmax(bad.b, bad.input(random_grid({2, 3}, 1)), 2)), Contains("axis 2 of a tensor"));
}

TEST_CASE("nn: top_k is a stable sort, largest first") {
  for (const DType type : {DType::f32, DType::bf16, DType::i32}) {
    for (const auto& [n, k] : {std::pair{9, 4}, {5, 5}, {1, 1}, {100, 70}}) {
      Grid x = random_grid({3, n}, 8);
      for (double& v : x.values) { v = std::trunc(v * 2); }
      std::vector<double> values, indices;
      for (std::int64_t row = 0; row < 3; ++row) {
        std::vector<std::int64_t> order(static_cast<std::size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        std::ranges::stable_sort(order, [&](std::int64_t i, std::int64_t j) { return x[{row, i}] > x[{row, j}]; });
        for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) {
          values.push_back(x[{row, order[i]}]);
          indices.push_back(static_cast<double>(order[i]));
        }
      }
      Trial a, b;
      CHECK(a.run(nn::top_k(a.b, a.input(x, type), k).values, {3, k}, type) == values);
      CHECK(b.run(nn::top_k(b.b, b.input(x, type), k).indices, {3, k}, DType::i32) == indices);
    }
  }
  // Taken elements and elements that are already the lowest value are told apart; NaN comes first.
  Grid x({2, 4});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  x.values = {-kInf, 2, -kInf, -kInf, 1, nan, kInf, nan};
  Trial a, b;
  CHECK(a.run(nn::top_k(a.b, a.input(x), 4).indices, {2, 4}, DType::i32) ==
        std::vector<double>{1, 0, 2, 3, 1, 3, 2, 0});
  CHECK(difference(b.run(nn::top_k(b.b, b.input(x), 3).values, {2, 3}), {2, -kInf, -kInf, nan, nan, kInf}) == "");
  Trial bad;
  CHECK_THAT(mistake(bad.b, nn::top_k(bad.b, bad.input(x), 5).values), Contains("k is 5 for [2, 4], expected 1 to 4"));
}

TEST_CASE("nn: cumulative_sum along any axis, either way, with or without the element itself") {
  for (const Shape& shape : {Shape{1}, Shape{7}, Shape{3, 16}, Shape{17, 2}, Shape{2, 300, 3}}) {
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      for (const bool exclusive : {false, true}) {
        for (const bool reverse : {false, true}) {
          const Grid x = random_grid(shape, 9);
          Grid y(shape);
          each(shape, [&](const Shape& at) {
            double sum = 0;
            for (std::int64_t i = 0; i < shape[axis]; ++i) {
              const bool before = reverse ? i > at[axis] : i < at[axis];
              if (!before && !(i == at[axis] && !exclusive)) { continue; }
              Shape from = at;
              from[axis] = i;
              sum += x[from];
            }
            y[at] = sum;
          });
          Trial trial;
          CHECK(trial.run(nn::cumulative_sum(trial.b, trial.input(x), static_cast<nn::Axis>(axis),
                                             {.exclusive = exclusive, .reverse = reverse}),
                          shape) == y.values);
        }
      }
    }
  }
  Trial narrow, bytes;
  Grid ones({200});
  std::ranges::fill(ones.values, 1.0);
  std::vector<double> counted(200);
  std::iota(counted.begin(), counted.end(), 1.0);
  CHECK(bytes.run(nn::cumulative_sum(bytes.b, bytes.input(ones, DType::u8)), {200}, DType::i32) == counted);
  CHECK(narrow.run(nn::cumulative_sum(narrow.b, narrow.input(ones, DType::bf16)), {200}, DType::bf16) == counted);
}
