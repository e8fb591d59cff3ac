// SPDX-License-Identifier: Apache-2.0
// Convolution, pooling, resizing and padding against loops over their definitions.
#include "graph/nn_test_tools.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
namespace nn = hal::nn;
using Catch::Matchers::Contains;
using hal::DType;

std::int64_t entry(const Shape& list, std::size_t i, std::int64_t missing) { return list.empty() ? missing : list[i]; }

// y[n, i, o] = sum of x[n, i * stride + t * dilation - low, c] f[t, c, o]
Grid direct_conv(const Grid& x, const Grid& f, const nn::Conv& o) {
  const std::size_t spatial = x.shape.size() - 2;
  const std::int64_t in = f.shape[spatial], out = f.shape.back();
  Shape shape{x.shape[0]};
  Shape taps(f.shape.begin(), f.shape.end() - 2);
  for (std::size_t d = 0; d < spatial; ++d) {
    shape.push_back((x.shape[d + 1] + entry(o.pad_low, d, 0) + entry(o.pad_high, d, 0) -
                     (taps[d] - 1) * entry(o.dilation, d, 1) - 1) /
                        entry(o.strides, d, 1) +
                    1);
  }
  shape.push_back(out);
  Grid y(shape);
  each(shape, [&](const Shape& at) {
    const std::int64_t group = at.back() / (out / o.groups);
    double sum = 0;
    each(taps, [&](const Shape& tap) {
      for (std::int64_t c = 0; c < in; ++c) {
        Shape from{at[0]}, weight = tap;
        for (std::size_t d = 0; d < spatial; ++d) {
          from.push_back(at[d + 1] * entry(o.strides, d, 1) + tap[d] * entry(o.dilation, d, 1) -
                         entry(o.pad_low, d, 0));
        }
        from.push_back(group * in + c);
        weight.push_back(c);
        weight.push_back(at.back());
        sum += x.or_zero(from) * f[weight];
      }
    });
    y[at] = sum;
  });
  return y;
}

void check_conv(const Shape& x_shape, const Shape& f_shape, const nn::Conv& options) {
  CAPTURE(x_shape, f_shape);
  const Grid x = random_grid(x_shape, 1), f = random_grid(f_shape, 2);
  const Grid expected = direct_conv(x, f, options);
  Trial trial;
  const Value in = trial.input(x);
  CHECK(difference(trial.run(nn::conv(trial.b, in, trial.input(f), options), expected.shape), expected.values) == "");
}

}  // namespace

TEST_CASE("nn: conv over one, two and three dimensions is the direct sum") {
  check_conv({2, 9, 3}, {4, 3, 5}, {});
  check_conv({1, 9, 2}, {3, 2, 2}, {.strides = {2}, .pad_low = {2}, .pad_high = {1}, .dilation = {3}});
  check_conv({1, 1, 2}, {1, 2, 2}, {});
  check_conv({2, 5, 6, 3}, {3, 2, 3, 4},
             {.strides = {2, 1}, .pad_low = {1, 0}, .pad_high = {1, 2}, .dilation = {1, 2}});
  check_conv({1, 4, 5, 3, 2}, {2, 3, 2, 2, 3}, {});
  check_conv({2, 4, 5, 4, 1}, {2, 2, 3, 1, 2},
             {.strides = {1, 2, 1}, .pad_low = {1, 1, 0}, .pad_high = {0, 1, 1}, .dilation = {2, 1, 1}});
}

TEST_CASE("nn: conv in groups, up to one for each channel") {
  check_conv({2, 7, 4}, {3, 2, 6}, {.groups = 2});
  check_conv({1, 5, 5, 6}, {3, 3, 1, 6}, {.pad_low = {1, 1}, .pad_high = {1, 1}, .groups = 6});
  check_conv({2, 4, 4, 4}, {2, 2, 2, 8}, {.strides = {2, 2}, .groups = 2});
  // Three dimensions with groups take one contraction a tap.
  check_conv({1, 4, 3, 4, 4}, {3, 2, 2, 2, 6}, {.pad_low = {1, 0, 1}, .dilation = {1, 2, 1}, .groups = 2});
  check_conv({2, 3, 3, 3, 3}, {1, 2, 3, 1, 3}, {.groups = 3});
}

TEST_CASE("nn: conv_transpose adds every input's taps") {
  struct Row {
    Shape x, f;
    nn::ConvTranspose options;
  };
  const std::vector<Row> rows{
      {{2, 5, 3}, {4, 3, 2}, {}},
      {{1, 4, 2}, {3, 2, 2}, {.strides = {3}, .pad_low = {1}, .pad_high = {2}, .dilation = {2}}},
      {{1, 4, 2}, {2, 2, 2}, {.strides = {3}, .output_pad = {2}}},
      {{1, 3, 4, 2}, {3, 3, 2, 3}, {.strides = {2, 2}, .pad_low = {1, 1}, .pad_high = {1, 1}, .output_pad = {1, 0}}},
      {{1, 2, 3, 2, 1}, {2, 2, 3, 1, 2}, {.strides = {1, 2, 2}}},
  };
  for (const Row& row : rows) {
    const Grid x = random_grid(row.x, 3), f = random_grid(row.f, 4);
    const std::size_t spatial = row.x.size() - 2;
    const nn::ConvTranspose& o = row.options;
    Shape shape{row.x[0]};
    for (std::size_t d = 0; d < spatial; ++d) {
      shape.push_back((row.x[d + 1] - 1) * entry(o.strides, d, 1) + (row.f[d] - 1) * entry(o.dilation, d, 1) + 1 -
                      entry(o.pad_low, d, 0) - entry(o.pad_high, d, 0) + entry(o.output_pad, d, 0));
    }
    shape.push_back(row.f.back());
    Grid y(shape);
    each(row.x, [&](const Shape& at) {
      each(Shape(row.f.begin(), row.f.end() - 2), [&](const Shape& tap) {
        for (std::int64_t out = 0; out < row.f.back(); ++out) {
          Shape to{at[0]}, weight = tap;
          bool inside = true;
          for (std::size_t d = 0; d < spatial; ++d) {
            to.push_back(at[d + 1] * entry(o.strides, d, 1) + tap[d] * entry(o.dilation, d, 1) -
                         entry(o.pad_low, d, 0));
            inside = inside && to.back() >= 0 && to.back() < shape[d + 1];
          }
          to.push_back(out);
          weight.push_back(at.back());
          weight.push_back(out);
          if (inside) { y[to] += x[at] * f[weight]; }
        }
      });
    });
    CAPTURE(row.x, row.f);
    Trial trial;
    const Value in = trial.input(x);
    CHECK(difference(trial.run(nn::conv_transpose(trial.b, in, trial.input(f), o), shape), y.values) == "");
  }
}

TEST_CASE("nn: pools of every rank, with padding that never wins") {
  struct Row {
    Shape x;
    nn::Pool options;
  };
  const std::vector<Row> rows{
      {{2, 7, 3}, {.window = {3}}},
      {{1, 6, 2}, {.window = {3}, .strides = {1}, .pad_low = {2}, .pad_high = {1}, .dilation = {2}}},
      {{2, 5, 6, 2}, {.window = {2, 3}, .strides = {2, 1}, .pad_low = {1, 1}, .pad_high = {0, 1}}},
      {{1, 5, 5, 1}, {.window = {2, 2}, .pad_low = {1, 1}, .count_padding = true}},
      {{1, 3, 4, 5, 2}, {.window = {2, 2, 3}, .strides = {1, 2, 1}, .pad_high = {1, 0, 1}}},
  };
  for (const Row& row : rows) {
    Grid x = random_grid(row.x, 5);
    for (double& v : x.values) { v -= 10; }  // zeros of padding would win
    const nn::Pool& o = row.options;
    const std::size_t spatial = row.x.size() - 2;
    Shape shape{row.x[0]};
    for (std::size_t d = 0; d < spatial; ++d) {
      shape.push_back((row.x[d + 1] + entry(o.pad_low, d, 0) + entry(o.pad_high, d, 0) -
                       (o.window[d] - 1) * entry(o.dilation, d, 1) - 1) /
                          entry(o.strides, d, o.window[d]) +
                      1);
    }
    shape.push_back(row.x.back());
    std::vector<double> largest, mean;
    each(shape, [&](const Shape& at) {
      double sum = 0, most = -1e300;
      int inside = 0, all = 0;
      each(o.window, [&](const Shape& tap) {
        Shape from{at[0]};
        for (std::size_t d = 0; d < spatial; ++d) {
          from.push_back(at[d + 1] * entry(o.strides, d, o.window[d]) + tap[d] * entry(o.dilation, d, 1) -
                         entry(o.pad_low, d, 0));
        }
        from.push_back(at.back());
        ++all;
        bool in = true;
        for (std::size_t d = 0; d < from.size(); ++d) { in = in && from[d] >= 0 && from[d] < x.shape[d]; }
        if (!in) { return; }
        ++inside;
        sum += x[from];
        most = std::max(most, x[from]);
      });
      largest.push_back(most);
      mean.push_back(sum / (o.count_padding ? all : inside));
    });
    CAPTURE(row.x);
    Trial a, b;
    CHECK(difference(a.run(nn::max_pool(a.b, a.input(x), o), shape), largest) == "");
    CHECK(difference(b.run(nn::average_pool(b.b, b.input(x), o), shape), mean) == "");
  }
  Trial whole;
  Grid x({1, 2, 1});
  x.values = {-5, -6};
  CHECK(whole.run(nn::max_pool(whole.b, whole.input(x, DType::i32), {.window = {2}, .strides = {1}, .pad_low = {1}}),
                  {1, 2, 1}, DType::i32) == std::vector<double>{-5, -5});
}

TEST_CASE("nn: mistakes in windows say which") {
  const Grid x = random_grid({1, 4, 4, 6}, 6), f = random_grid({3, 3, 6, 6}, 7);
  const auto conv_mistake = [&](const nn::Conv& o) {
    Trial trial;
    const Value in = trial.input(x);
    return mistake(trial.b, nn::conv(trial.b, in, trial.input(f), o));
  };
  CHECK_THAT(conv_mistake({.groups = 4}), Contains("4 groups of 6 channels in"));
  CHECK_THAT(conv_mistake({.groups = 2}), Contains("expected 3 channels in for each of 2 groups"));
  CHECK_THAT(conv_mistake({.strides = {1}}), Contains("strides is [1], expected 2 numbers"));
  CHECK_THAT(conv_mistake({.pad_low = {0, -1}}), Contains("pad_low is [0, -1]"));
  CHECK_THAT(conv_mistake({.dilation = {2, 1}}), Contains("do not fit [1, 4, 4, 6]"));
  Trial pool;
  CHECK_THAT(mistake(pool.b, nn::max_pool(pool.b, pool.input(x), {.window = {1, 1}, .pad_low = {1, 0}})),
             Contains("nothing but padding"));
  Trial none;
  CHECK_THAT(mistake(none.b, nn::average_pool(none.b, none.input(x), {})), Contains("no window was given"));
  Trial gone;
  const Value in = gone.input(x);
  CHECK_THAT(mistake(gone.b, nn::conv_transpose(gone.b, in, gone.input(f), {.pad_low = {6, 0}})),
             Contains("leaves nothing"));
  Trial flat;
  const Value line = flat.input(random_grid({3, 4}, 1));
  CHECK_THAT(mistake(flat.b, nn::conv(flat.b, line, line)), Contains("x is [3, 4], expected [n, w, c], [n, h, w, c]"));
}

TEST_CASE("nn: a pool may have more taps than can be walked") {
  constexpr std::int64_t kTapsInAll = std::int64_t{1} << 40U;
  for (const std::int64_t inside : {4, 0}) {
    GraphBuilder b("long");
    const Value x = b.input("x", DType::f32, {1, 4, 1});
    const nn::Pool options{.window = {kTapsInAll}, .pad_low = {kTapsInAll - inside}};
    const Value y = nn::average_pool(b, x, options);
    if (inside == 0) {
      CHECK_THAT(mistake(b, y), Contains("nothing but padding"));
      continue;
    }
    CHECK(b.shape(y) == Shape{1, 1, 1});
    CHECK(b.shape(nn::max_pool(b, x, options)) == Shape{1, 1, 1});
    b.output("y", y);
    CHECK(b.finish());
  }
}

TEST_CASE("nn: a mistake within a layer of windows is the error, and what it leaves void is not looked into") {
  const auto refused = [](const Shape& x_shape, const Shape& f_shape, auto&& layer) {
    GraphBuilder b("within");
    const Value x = b.input("x", DType::f32, x_shape), f = b.input("f", DType::f32, f_shape);
    return mistake(b, layer(b, x, f));
  };
  constexpr std::int64_t kFar = std::int64_t{1} << 45U;
  for (const std::size_t spatial : {1U, 2U, 3U}) {
    CAPTURE(spatial);
    const Shape far(spatial, kFar), steps(spatial, std::int64_t{1} << 38U), twos(spatial, 2), nines(spatial, 9);
    const Shape x(spatial + 2, 4);
    Shape full(spatial + 2, 2), grouped = full;
    full[spatial] = 4;
    CHECK_THAT(refused(x, full, [&](auto& b, Value v, Value f) { return nn::conv(b, v, f, {.pad_low = far}); }),
               Contains("a tensor f32 ["));
    CHECK_THAT(refused(x, grouped,
                       [&](auto& b, Value v, Value f) { return nn::conv(b, v, f, {.pad_low = far, .groups = 2}); }),
               Contains("a tensor f32 ["));
    CHECK_THAT(refused(x, grouped,
                       [&](auto& b, Value v, Value f) { return nn::conv(b, v, f, {.dilation = nines, .groups = 2}); }),
               Contains("do not fit"));
    CHECK_THAT(refused(x, full,
                       [&](auto& b, Value v, Value f) {
                         return nn::conv_transpose(b, v, f, {.strides = spatial == 1 ? far : steps});
                       }),
               Contains(spatial == 1 ? "becomes too large" : "a tensor f32 ["));
    CHECK_THAT(
        refused(x, full, [&](auto& b, Value v, Value) { return nn::max_pool(b, v, {.window = twos, .pad_low = far}); }),
        Contains("a tensor f32 ["));
    CHECK_THAT(
        refused(x, full,
                [&](auto& b, Value v, Value) { return nn::average_pool(b, v, {.window = twos, .pad_high = far}); }),
        Contains("a tensor f32 ["));
  }
}

TEST_CASE("nn: windows after a mistake keep the first error") {
  for (const std::size_t spatial : {1U, 2U, 3U}) {
    CAPTURE(spatial);
    const Shape ones(spatial, 1), twos(spatial, 2);
    Shape x_shape(spatial + 2, 4), full(spatial + 2, 2), grouped = full;
    full[spatial] = 4;
    using Layer = std::function<Value(GraphBuilder&, Value, Value, Value)>;
    for (const Layer& layer : {
             Layer([&](auto& b, Value x, Value f, Value) { return nn::conv(b, x, f); }),
             Layer([&](auto& b, Value x, Value f, Value) { return nn::conv(b, x, f, {.pad_low = ones}); }),
             Layer([&](auto& b, Value x, Value, Value g) { return nn::conv(b, x, g, {.groups = 2}); }),
             Layer(
                 [&](auto& b, Value x, Value, Value g) { return nn::conv(b, x, g, {.pad_high = ones, .groups = 2}); }),
             Layer([&](auto& b, Value x, Value f, Value) { return nn::conv_transpose(b, x, f); }),
             Layer([&](auto& b, Value x, Value f, Value) {
               return nn::conv_transpose(b, x, f, {.strides = twos, .pad_low = ones, .output_pad = ones});
             }),
             Layer(
                 [&](auto& b, Value x, Value, Value) { return nn::max_pool(b, x, {.window = twos, .pad_low = ones}); }),
             Layer([&](auto& b, Value x, Value, Value) { return nn::max_pool(b, x, {.window = twos}); }),
             Layer([&](auto& b, Value x, Value, Value) {
               return nn::average_pool(b, x, {.window = twos, .pad_high = ones});
             }),
         }) {
      GraphBuilder b("late");
      const Value x = b.input("x", DType::f32, x_shape), f = b.input("f", DType::f32, full),
                  g = b.input("g", DType::f32, grouped);
      b.reshape(x, {3});
      CHECK(b.failed());
      const Value y = layer(b, x, f, g);
      layer(b, y, f, g);
      layer(b, x, y, y);
      CHECK_THAT(mistake(b, y), Contains("reshape: [3] does not hold the elements of"));
    }
  }
}

TEST_CASE("nn: resize picks or mixes neighbours") {
  const auto place = [](nn::Coordinates c, std::int64_t i, double m, double n) {
    const auto at = static_cast<double>(i);
    return c == nn::Coordinates::half_pixel      ? (at + 0.5) * m / n - 0.5
           : c == nn::Coordinates::align_corners ? (n == 1 ? 0 : at * (m - 1) / (n - 1))
                                                 : at * m / n;
  };
  for (const auto c : {nn::Coordinates::half_pixel, nn::Coordinates::align_corners, nn::Coordinates::asymmetric}) {
    for (const Shape& size : {Shape{6, 10}, Shape{2, 3}, Shape{3, 7}, Shape{1, 1}}) {
      const Grid x = random_grid({2, 3, 5, 2}, 8);
      const Shape shape{2, size[0], size[1], 2};
      std::vector<double> near, floor, linear;
      each(shape, [&](const Shape& at) {
        const double v = place(c, at[1], 3, static_cast<double>(size[0]));
        const double u = place(c, at[2], 5, static_cast<double>(size[1]));
        const auto pick = [&](double y, double z) {
          const auto inside = [](double p, std::int64_t n) {
            return std::min(n - 1, std::max<std::int64_t>(0, static_cast<std::int64_t>(p)));
          };
          return x[{at[0], inside(y, 3), inside(z, 5), at[3]}];
        };
        near.push_back(pick(std::ceil(v - 0.5), std::ceil(u - 0.5)));
        floor.push_back(pick(std::floor(v), std::floor(u)));
        const double cv = std::min(2.0, std::max(0.0, v)), cu = std::min(4.0, std::max(0.0, u));
        const double a = cv - std::floor(cv), b = cu - std::floor(cu);
        linear.push_back((1 - a) * ((1 - b) * pick(cv, cu) + b * pick(cv, cu + 1)) +
                         a * ((1 - b) * pick(cv + 1, cu) + b * pick(cv + 1, cu + 1)));
      });
      Trial r, s, t;
      CHECK(difference(r.run(nn::resize_nearest(r.b, r.input(x), size, c), shape), near) == "");
      CHECK(difference(s.run(nn::resize_nearest(s.b, s.input(x), size, c, nn::Nearest::floor), shape), floor) == "");
      CHECK(difference(t.run(nn::resize_linear(t.b, t.input(x), size, c), shape), linear) == "");
    }
  }
  Trial bad;
  CHECK_THAT(mistake(bad.b, nn::resize_linear(bad.b, bad.input(random_grid({1, 2, 2}, 1)), {2, 2})),
             Contains("to sizes [2, 2]"));
  // A mistake in one dimension is the mistake; the next dimensions go on with nothing.
  for (const bool linear : {false, true}) {
    GraphBuilder b("large");
    const Value x = b.input("x", DType::f32, {1, 2, 2, std::int64_t{1} << 42U});
    const Shape sizes{8, 9};
    CHECK_THAT(mistake(b, linear ? nn::resize_linear(b, x, sizes) : nn::resize_nearest(b, x, sizes)),
               Contains("the most is 2^46 bytes"));
  }
}

TEST_CASE("nn: pad modes are numpy's") {
  const Grid x = random_grid({3, 4}, 9);
  const Shape low{2, 7}, high{5, 1};
  const auto inside = [](nn::PadMode mode, std::int64_t at, std::int64_t n) {
    while (at < 0 || at >= n) {
      if (mode == nn::PadMode::edge) {
        at = at < 0 ? 0 : n - 1;
      } else if (mode == nn::PadMode::wrap) {
        at += at < 0 ? n : -n;
      } else {
        at = at < 0 ? -at : 2 * (n - 1) - at;
      }
    }
    return at;
  };
  for (const auto mode : {nn::PadMode::edge, nn::PadMode::wrap, nn::PadMode::reflect}) {
    std::vector<double> expected;
    each({10, 12},
         [&](const Shape& at) { expected.push_back(x[{inside(mode, at[0] - 2, 3), inside(mode, at[1] - 7, 4)}]); });
    Trial trial;
    CHECK(trial.run(nn::pad(trial.b, trial.input(x), low, high, mode), {10, 12}) == expected);
  }
  Trial constant;
  Grid one({1});
  one.values = {3};
  CHECK(constant.run(nn::pad(constant.b, constant.input(one), {1}, {2}, nn::PadMode::constant, 7), {4}) ==
        std::vector<double>{7, 3, 7, 7});
  Trial lonely;
  CHECK(lonely.run(nn::pad(lonely.b, lonely.input(one), {1}, {2}, nn::PadMode::reflect), {4}) ==
        std::vector<double>{3, 3, 3, 3});
  Trial bad;
  CHECK_THAT(mistake(bad.b, nn::pad(bad.b, bad.input(one), {-1}, {0}, nn::PadMode::wrap)), Contains("-1 and 0"));
}
