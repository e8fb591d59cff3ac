// SPDX-License-Identifier: Apache-2.0
#include <numbers>

#include "graph/nn_test_tools.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
namespace nn = hal::nn;
using Catch::Matchers::Contains;
using hal::DType;

// Mean of f over the elements that share an index but for `axes`.
double fold(const Grid& x, const Shape& at, const std::vector<std::size_t>& axes,
            const std::function<double(double, double)>& f, double start) {
  Shape sizes;
  for (const std::size_t axis : axes) { sizes.push_back(x.shape[axis]); }
  double sum = start;
  each(sizes, [&](const Shape& inner) {
    Shape full = at;
    for (std::size_t i = 0; i < axes.size(); ++i) { full[axes[i]] = inner[i]; }
    sum = f(sum, x[full]);
  });
  return sum;
}

// (x - mean) / sqrt(variance + epsilon) over `axes`, by the definition.
double normal(const Grid& x, const Shape& at, const std::vector<std::size_t>& axes, double epsilon) {
  double count = 1;
  for (const std::size_t axis : axes) { count *= static_cast<double>(x.shape[axis]); }
  const double mean = fold(x, at, axes, [](double s, double v) { return s + v; }, 0) / count;
  const double variance = fold(x, at, axes, [&](double s, double v) { return s + (v - mean) * (v - mean); }, 0) / count;
  return (x[at] - mean) / std::sqrt(variance + epsilon);
}

}  // namespace

TEST_CASE("nn: activations are their formulas") {
  using F = double (*)(double);
  using Layer = Value (*)(GraphBuilder&, Value, nn::Site);
  const std::vector<std::pair<Layer, F>> layers{
      {nn::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {nn::tanh, [](double x) { return std::tanh(x); }},
      {nn::silu, [](double x) { return x / (1 + std::exp(-x)); }},
      {nn::gelu, [](double x) { return x / 2 * std::erfc(-x / std::numbers::sqrt2); }},
      {nn::gelu_tanh,
       [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }},
  };
  Grid x = random_grid({3, 5}, 1);
  x.values[0] = 30;
  x.values[1] = -30;
  x.values[2] = 100;
  x.values[3] = -0.0;
  for (const auto& [layer, f] : layers) {
    for (const auto& [type, tolerance] : {std::pair{DType::f32, 2e-6}, {DType::bf16, 8e-3}}) {
      Trial trial;
      std::vector<double> expected;
      for (const double v : x.values) { expected.push_back(f(v)); }
      CHECK(difference(trial.run(layer(trial.b, trial.input(x, type), nn::Site::current()), x.shape, type), expected,
                       tolerance) == "");
    }
  }
}

TEST_CASE("nn: softmax and log_softmax along any axis") {
  for (const Shape& shape : {Shape{6}, Shape{2, 7}, Shape{3, 4, 5}, Shape{2, 1, 3}}) {
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      const Grid x = random_grid(shape, 2);
      std::vector<double> soft, logs;
      each(shape, [&](const Shape& at) {
        const double sum = fold(x, at, {axis}, [](double s, double v) { return s + std::exp(v); }, 0);
        soft.push_back(std::exp(x[at]) / sum);
        logs.push_back(x[at] - std::log(sum));
      });
      const auto from_last = static_cast<nn::Axis>(axis) - static_cast<nn::Axis>(shape.size());
      Trial trial, log_trial;
      CHECK(difference(trial.run(nn::softmax(trial.b, trial.input(x), from_last), shape), soft) == "");
      CHECK(difference(
                log_trial.run(nn::log_softmax(log_trial.b, log_trial.input(x), static_cast<nn::Axis>(axis)), shape),
                logs) == "");
    }
  }
  // Where softmax is 0 in f32, its logarithm is still exact.
  Grid far({2});
  far.values = {0, -1000};
  Trial trial;
  CHECK(difference(trial.run(nn::log_softmax(trial.b, trial.input(far)), {2}), {0, -1000}) == "");
}

TEST_CASE("nn: layer_norm and rms_norm over the last dimensions") {
  const Grid x = random_grid({2, 3, 4}, 3);
  for (const std::uint32_t axes : {1U, 2U, 3U}) {
    const Shape tail(x.shape.end() - axes, x.shape.end());
    const Grid scale = random_grid(tail, 4), shift = random_grid(tail, 5);
    std::vector<std::size_t> folded;
    for (std::size_t d = 3 - axes; d < 3; ++d) { folded.push_back(d); }
    std::vector<double> layer, rms, bare;
    double count = 1;
    for (const std::int64_t size : tail) { count *= static_cast<double>(size); }
    each(x.shape, [&](const Shape& at) {
      const Shape own(at.end() - axes, at.end());
      bare.push_back(normal(x, at, folded, 1e-5));
      layer.push_back(bare.back() * scale[own] + shift[own]);
      const double power = fold(x, at, folded, [](double s, double v) { return s + v * v; }, 0) / count;
      rms.push_back(x[at] / std::sqrt(power + 1e-6) * scale[own]);
    });
    Trial a, c, d;
    const Value ax = a.input(x);
    const Value scale_of_a = a.input(scale);
    CHECK(difference(a.run(nn::layer_norm(a.b, ax, {.scale = scale_of_a, .shift = a.input(shift)}, axes), x.shape),
                     layer) == "");
    CHECK(difference(c.run(nn::layer_norm(c.b, c.input(x), {}, axes), x.shape), bare) == "");
    const Value dx = d.input(x);
    CHECK(difference(d.run(nn::rms_norm(d.b, dx, {.scale = d.input(scale)}, axes), x.shape), rms) == "");
  }
  // Differences to the mean, not sums of squares: a large mean loses nothing.
  Grid shifted({1, 4});
  shifted.values = {4096, 4097, 4098, 4099};
  Trial trial;
  CHECK(difference(trial.run(nn::layer_norm(trial.b, trial.input(shifted)), {1, 4}),
                   {-1.341635, -0.447212, 0.447212, 1.341635}, 1e-5) == "");
}

TEST_CASE("nn: batch_norm and group_norm with channels last") {
  const Grid x = random_grid({2, 3, 2, 6}, 6);
  const Grid mean = random_grid({6}, 7), scale = random_grid({6}, 8), shift = random_grid({6}, 9);
  Grid variance = random_grid({6}, 10);
  for (double& v : variance.values) { v = v * v + 0.25; }
  Trial batch;
  std::vector<double> expected;
  each(x.shape, [&](const Shape& at) {
    const Shape c{at[3]};
    expected.push_back((x[at] - mean[c]) / std::sqrt(variance[c] + 1e-5) * scale[c] + shift[c]);
  });
  const Value in = batch.input(x);
  const Value m = batch.input(mean);
  const Value v = batch.input(variance);
  const Value s = batch.input(scale);
  CHECK(difference(batch.run(nn::batch_norm(batch.b, in, m, v, {.scale = s, .shift = batch.input(shift)}), x.shape),
                   expected) == "");

  for (const std::int64_t groups : {1, 2, 3, 6}) {
    expected.clear();
    const std::int64_t channels = 6 / groups;
    // As [n, s, g, c], where the group is what is folded.
    Grid parts({2, 6, groups, channels});
    parts.values = x.values;
    each(parts.shape, [&](const Shape& at) {
      const Shape c{at[2] * channels + at[3]};
      expected.push_back(normal(parts, at, {1, 3}, 1e-5) * scale[c] + shift[c]);
    });
    Trial trial;
    const Value y = trial.input(x);
    const Value g = trial.input(scale);
    CHECK(difference(trial.run(nn::group_norm(trial.b, y, groups, {.scale = g, .shift = trial.input(shift)}), x.shape),
                     expected) == "");
  }
  Trial bad;
  CHECK_THAT(mistake(bad.b, nn::group_norm(bad.b, bad.input(x), 4)), Contains("4 groups") && Contains("[2, 3, 2, 6]"));
  Trial none;
  CHECK_THAT(mistake(none.b, nn::layer_norm(none.b, none.input(x), {}, 5)), Contains("last 5 dimensions"));
}

TEST_CASE("nn: embedding takes rows, one_hot makes them") {
  Trial trial;
  const Grid table = random_grid({5, 3}, 11);
  Grid indices({2, 2});
  indices.values = {4, 0, 0, 3};
  const Value t = trial.input(table);
  std::vector<double> expected;
  each({2, 2, 3}, [&](const Shape& at) {
    expected.push_back(table[{static_cast<std::int64_t>(indices[{at[0], at[1]}]), at[2]}]);
  });
  CHECK(trial.run(nn::embedding(trial.b, t, trial.input(indices, DType::i32)), {2, 2, 3}) == expected);

  for (const DType type : {DType::f32, DType::bf16, DType::i32, DType::boolean}) {
    Grid some({4});
    some.values = {1, -1, 3, 2};
    Trial hot;
    CHECK(hot.run(nn::one_hot(hot.b, hot.input(some, DType::i32), 3, type), {4, 3}, type) ==
          std::vector<double>{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  }
  Trial bad;
  CHECK_THAT(mistake(bad.b, nn::one_hot(bad.b, bad.input(indices, DType::i32), 0)), Contains("depth is 0"));
  Trial wrong;
  CHECK_THAT(mistake(wrong.b, nn::one_hot(wrong.b, wrong.input(table), 4)), Contains("expected i32"));
}

TEST_CASE("nn: a mistake inside a layer is that mistake") {
  GraphBuilder b("norm");
  const Value x = b.input("x", DType::f32, {2, 3, 4});
  CHECK_THAT(mistake(b, nn::layer_norm(b, x, {.scale = b.input("scale", DType::f32, {3})})),
             Contains("has shape [3], which does not broadcast to [2, 3, 4]"));
  for (const bool is_scale : {true, false}) {
    GraphBuilder groups("groups");
    const Value y = groups.input("y", DType::f32, {2, 3, 4}), five = groups.input("five", DType::f32, {5});
    const nn::Affine affine = is_scale ? nn::Affine{.scale = five} : nn::Affine{.shift = five};
    CHECK_THAT(mistake(groups, nn::group_norm(groups, y, 2, affine)),
               Contains(is_scale ? "group_norm: the scale is [5], expected [4]"
                                 : "group_norm: the shift is [5], expected [4]"));
  }
}

TEST_CASE("nn: quantise rounds halves to even and saturates") {
  Grid x({2, 4});
  x.values = {0.5, 1.5, -2.5, 1000, -1000, 0.26, -0.25, std::numeric_limits<double>::quiet_NaN()};
  Grid scale({}), zero({});
  scale.values = {0.5};
  zero.values = {3};
  const auto expected = [&](double low, double high) {
    std::vector<double> out;
    for (const double v : x.values) {
      out.push_back(std::isnan(v) ? 0 : std::min(high, std::max(low, std::nearbyint(v / 0.5) + 3)));
    }
    return out;
  };
  for (const auto& [type, low, high] : {std::tuple{DType::i8, -128.0, 127.0}, {DType::u8, 0.0, 255.0}}) {
    Trial trial;
    const Value in = trial.input(x);
    const Value s = trial.input(scale);
    CHECK(trial.run(nn::quantise(trial.b, in, {.scale = s, .zero_point = trial.input(zero, DType::i32)}, type), {2, 4},
                    type) == expected(low, high));
  }
  // One scale a column.
  Grid columns({4});
  columns.values = {0.5, 1, 2, 4};
  Trial trial;
  const Value in = trial.input(x);
  CHECK(trial.run(nn::quantise(trial.b, in, {.scale = trial.input(columns)}, DType::i8), {2, 4}, DType::i8) ==
        std::vector<double>{1, 2, -1, 127, -128, 0, 0, 0});
}

TEST_CASE("nn: dequantise takes off the zero point and scales") {
  Grid q({2, 3});
  q.values = {-128, 127, 0, 5, -7, 1};
  Grid rows({2}), zeros({2});
  rows.values = {0.5, 2};
  zeros.values = {-128, 1};
  std::vector<double> expected;
  each(q.shape, [&](const Shape& at) { expected.push_back((q[at] - zeros[{at[0]}]) * rows[{at[0]}]); });
  for (const DType out : {DType::f32, DType::bf16}) {
    Trial trial;
    const Value in = trial.input(q, DType::i8);
    const Value s = trial.input(rows);
    CHECK(trial.run(
              nn::dequantise(trial.b, in, {.scale = s, .zero_point = trial.input(zeros, DType::i8), .axis = 0}, out),
              {2, 3}, out) == expected);
  }
  Trial whole;
  Grid scale({});
  scale.values = {0.25};
  const Value in = whole.input(q, DType::i8);
  std::vector<double> quarter;
  for (const double v : q.values) { quarter.push_back(v / 4); }
  CHECK(whole.run(nn::dequantise(whole.b, in, {.scale = whole.input(scale)}), {2, 3}) == quarter);

  Trial bad;
  const Value x = bad.input(q, DType::i8);
  CHECK_THAT(mistake(bad.b, nn::dequantise(bad.b, x, {.scale = bad.input(rows), .axis = 1})),
             Contains("2 scales along axis 1 of [2, 3]"));
  Trial wrong;
  const Value y = wrong.input(q);
  CHECK_THAT(mistake(wrong.b, nn::quantise(wrong.b, y, {.scale = wrong.input(scale)}, DType::i32)),
             Contains("i8, u8 or i4"));
}

TEST_CASE("nn: quantise and dequantise by row, however many tensors there are before") {
  for (int before = 0; before < 40; ++before) {
    GraphBuilder b("rows");
    const Value x = b.input("x", DType::f32, {5, 4, 5}), s = b.input("s", DType::f32, {4});
    const Value z = b.input("z", DType::i8, {4});
    for (int i = 0; i < before; ++i) { b.input("x" + std::to_string(i), DType::f32, {1}); }
    const Value q = nn::quantise(b, x, {.scale = s, .zero_point = z, .axis = 1}, DType::i8);
    CHECK(b.shape(q) == Shape{5, 4, 5});
    b.output("y", nn::dequantise(b, q, {.scale = s, .zero_point = z, .axis = 1}));
    CHECK(b.finish());
  }
}

TEST_CASE("nn: as many scales as an axis may have are as many when the graph is bound, or it is refused") {
  // The sizes of the axis, the scale and the zero point: 0 is n, -1 is m.
  for (const auto& sizes : {Shape{0, 3, 3}, Shape{3, 0, 0}, Shape{0, -1, -1}, Shape{0, 0, 3}, Shape{3, 3, 0}}) {
    GraphBuilder b("open");
    const std::int64_t n = b.symbol("n"), m = b.symbol("m");
    const auto size = [&](std::size_t i) { return sizes[i] == 0 ? n : sizes[i] == -1 ? m : sizes[i]; };
    const Value x = b.input("x", DType::f32, {2, size(0), 2}), s = b.input("s", DType::f32, {size(1)});
    const Value z = b.input("z", DType::i32, {size(2)});
    const Value y = nn::quantise(b, x, {.scale = s, .zero_point = z, .axis = 1}, DType::i8);
    b.output("y", nn::dequantise(b, y, {.scale = s, .zero_point = z, .axis = 1}));
    const auto bytes = b.finish().value();
    const View view = View::verify_dynamic(bytes).value();
    for (const auto& [ns, ms] : {std::pair{3, 3}, {2, 2}, {4, 4}, {1, 1}, {3, 4}, {3, 2}, {3, 1}, {1, 3}}) {
      INFO(sizes[0] << " " << sizes[1] << " " << sizes[2] << ": " << ns << " " << ms);
      std::vector<std::int64_t> extents;
      for (std::size_t i = 0; i < 3; ++i) { extents.push_back(sizes[i] == 0 ? ns : sizes[i] == -1 ? ms : 3); }
      const bool same = extents[0] == extents[1] && extents[1] == extents[2];
      const auto bound = view.bind(std::vector<std::int64_t>{ns, ms});
      CHECK(bool(bound) == same);
      if (!bound || !same) { continue; }
      const auto rows = static_cast<std::size_t>(extents[0]);
      std::vector<float> x_values(rows * 4, 3), scales, expected;
      std::vector<std::int32_t> zeros;
      for (std::size_t i = 0; i < rows; ++i) {
        scales.push_back(static_cast<float>(1U << i));
        zeros.push_back(static_cast<std::int32_t>(i));
      }
      for (std::size_t i = 0; i < rows * 4; ++i) {
        expected.push_back(std::nearbyint(3 / scales[i / 2 % rows]) * scales[i / 2 % rows]);
      }
      const auto inputs = {bytes_of(x_values), bytes_of(scales), bytes_of(zeros)};
      const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
      CHECK(values_of<float>(evaluate_reference(*bound, spans).value()[0]) == expected);
    }
  }
  GraphBuilder b("wrong");
  const Value x = b.input("x", DType::f32, {b.symbol("n"), 4});
  CHECK_THAT(mistake(b, nn::quantise(b, x, {.scale = b.input("s", DType::f32, {5})}, DType::i8)),
             Contains("5 scales along axis 1"));
}

TEST_CASE("nn: quantise to i4 and back: an odd number of half bytes, one scale a row, both ends") {
  Grid x({3, 5});
  x.values = {-100, -8,   -7.5,  -0.5, 0.5,                                        // scale 1
              1.75, 1.25, -1.25, 3.5,  3.75,                                       // scale 0.5
              14,   16,   -16,   -19,  std::numeric_limits<double>::quiet_NaN()};  // scale 2
  Grid scales({3}), zeros({3});
  scales.values = {1, 0.5, 2};
  zeros.values = {0, 1, -1};
  // Halves to even, then the zero point, then what -8 to 7 can hold; NaN becomes 0.
  const std::vector<double> whole{-8, -8, -8, 0, 0, 5, 3, -1, 7, 7, 6, 7, -8, -8, 0};
  Trial to;
  const Value in = to.input(x), scale = to.input(scales);
  CHECK(to.run(nn::quantise(to.b, in, {.scale = scale, .zero_point = to.input(zeros, DType::i8), .axis = 0}, DType::i4),
               {3, 5}, DType::i4) == whole);

  Grid q({3, 5});
  q.values = whole;
  std::vector<double> real;
  each(q.shape, [&](const Shape& at) { real.push_back((q[at] - zeros[{at[0]}]) * scales[{at[0]}]); });
  Trial back;
  const Value halves = back.input(q, DType::i4), by = back.input(scales);
  CHECK(back.run(nn::dequantise(back.b, halves, {.scale = by, .zero_point = back.input(zeros, DType::i4), .axis = 0}),
                 {3, 5}) == real);
}

TEST_CASE("nn: layers on symbolic sizes work, or say that they need a number") {
  GraphBuilder b("symbolic");
  const std::int64_t n = b.symbol("n"), c = b.symbol("c");
  const Value image = b.input("image", DType::f32, {n, 4, 4, 2});
  const Value rows = b.input("rows", DType::f32, {n, c});
  const Value filters = b.input("filters", DType::f32, {3, 3, 2, 3});
  b.output("conv", nn::conv(b, image, filters, {.pad_low = {1, 1}, .pad_high = {1, 1}}));
  b.output("pool", nn::max_pool(b, image, {.window = {2, 2}}));
  b.output("soft", nn::softmax(b, rows));
  b.output("norm", nn::layer_norm(b, rows));
  const auto bytes = b.finish().value();
  const View view = View::verify_dynamic(bytes).value();
  for (const std::int64_t size : {1, 3}) {
    const View bound = view.bind(std::vector<std::int64_t>{size, 5}).value();
    const Grid x = random_grid({size, 4, 4, 2}, 1), y = random_grid({size, 5}, 2), f = random_grid({3, 3, 2, 3}, 3);
    const std::vector<std::vector<std::byte>> inputs{x.bytes(DType::f32), y.bytes(DType::f32), f.bytes(DType::f32)};
    const auto found =
        evaluate_reference(bound, std::vector<std::span<const std::byte>>(inputs.begin(), inputs.end())).value();
    const auto fixed = [&](const std::function<Value(GraphBuilder&, Value, Value, Value)>& layer) {
      GraphBuilder own("fixed");
      const Value i = own.input("image", DType::f32, x.shape);
      const Value r = own.input("rows", DType::f32, y.shape);
      own.output("y", layer(own, i, r, own.input("filters", DType::f32, f.shape)));
      return testing::run(own, inputs)[0];
    };
    CHECK(found[0] == fixed([](GraphBuilder& g, Value i, Value, Value w) {
            return nn::conv(g, i, w, {.pad_low = {1, 1}, .pad_high = {1, 1}});
          }));
    CHECK(found[1] ==
          fixed([](GraphBuilder& g, Value i, Value, Value) { return nn::max_pool(g, i, {.window = {2, 2}}); }));
    CHECK(found[2] == fixed([](GraphBuilder& g, Value, Value r, Value) { return nn::softmax(g, r); }));
    const auto norm =
        values_of<float>(fixed([](GraphBuilder& g, Value, Value r, Value) { return nn::layer_norm(g, r); }));
    const auto ours = values_of<float>(found[3]);
    CHECK(difference({ours.begin(), ours.end()}, {norm.begin(), norm.end()}) == "");
  }
  const auto refused = [](const std::function<Value(GraphBuilder&, Value)>& layer) {
    GraphBuilder own("refused");
    const std::int64_t s = own.symbol("s");
    return mistake(own, layer(own, own.input("x", DType::f32, {2, s, s})));
  };
  CHECK_THAT(refused([](GraphBuilder& g, Value x) { return nn::top_k(g, x, 1025).values; }),
             Contains("expected 1 to 1024"));
  CHECK_THAT(refused([](GraphBuilder& g, Value x) { return nn::max_pool(g, x, {.window = {2}, .pad_low = {2}}); }),
             Contains("max_pool: dimension 1 is symbolic, and padding 2 and 0 around windows of 2"));
  CHECK_THAT(refused([](GraphBuilder& g, Value x) {
               return nn::average_pool(g, x, {.window = {2}, .pad_high = {1}, .dilation = {2}});
             }),
             Contains("may leave one with nothing but padding"));
  CHECK_THAT(refused([](GraphBuilder& g, Value x) { return nn::rotary(g, x); }),
             Contains("rotary: the size of dimension 2"));
  CHECK_THAT(refused([](GraphBuilder& g, Value x) { return nn::group_norm(g, x, 1); }),
             Contains("group_norm: the size of dimension 2"));
  CHECK_THAT(refused([](GraphBuilder& g, Value x) {
               const Value four = g.reshape(x, {2, 1, g.shape(x)[1], g.shape(x)[2]});
               const Value heads = g.reshape(x, {2, g.shape(x)[1], 1, g.shape(x)[2]});
               const Value three = g.input("k", DType::f32, {2, 3, 1, g.shape(x)[2]});
               nn::attention(g, heads, g.broadcast(four, {2, 1, g.shape(x)[1], g.shape(x)[2]}), four);  // is fine
               return nn::attention(g, heads, three, three);
             }),
             Contains("attention: the size of dimension 1 of q is symbolic"));
}

TEST_CASE("nn: sequences and images whose length is open are those of each length") {
  using Layer = std::function<Value(GraphBuilder&, Value)>;
  struct Open {
    const char* name;
    Shape shape;  // 0: the symbol
    std::vector<std::int64_t> lengths;
    Layer layer;
  };
  const auto attend = [](nn::Causal causal) {
    return [causal](GraphBuilder& g, Value x) { return nn::attention(g, x, x, x, {.causal = causal}); };
  };
  const auto turn = [](nn::Rotary options) {
    options.max_position = 9;
    return [options](GraphBuilder& g, Value x) { return nn::rotary(g, x, options); };
  };
  const std::vector<Open> all{
      {"causal", {2, 2, 0, 4}, {1, 2, 7}, attend(nn::Causal::from_start)},
      {"causal from the end", {1, 1, 0, 4}, {1, 5}, attend(nn::Causal::from_end)},
      {"rotary", {2, 0, 6}, {1, 4, 9}, turn({})},
      {"rotary of pairs", {0, 6}, {1, 9}, turn({.pairs = nn::RotaryPairs::interleaved, .dims = 4, .offset = 3})},
      {"running sum", {0, 40, 3}, {1, 4}, [](GraphBuilder& g, Value x) { return nn::cumulative_sum(g, x, 1); }},
      {"running sum, turned",
       {3, 17, 0},
       {1, 4},
       [](GraphBuilder& g, Value x) { return nn::cumulative_sum(g, x, 1, {.exclusive = true, .reverse = true}); }},
      {"group norm", {2, 0, 3, 4}, {1, 6}, [](GraphBuilder& g, Value x) { return nn::group_norm(g, x, 2); }},
      {"convolution",
       {2, 0, 5, 4},
       {3, 8},
       [](GraphBuilder& g, Value x) {
         const std::vector<float> taps(3 * 2 * 2 * 6, 0.5F);
         return nn::conv(g, x, g.constant({3, 2, 2, 6}, taps),
                         {.strides = {2, 1}, .pad_low = {1, 0}, .pad_high = {1, 0}, .dilation = {1, 2}, .groups = 2});
       }},
      {"convolution in space",
       {1, 3, 0, 4, 2},
       {2, 5},
       [](GraphBuilder& g, Value x) {
         const std::vector<float> taps(2 * 2 * 2 * 1 * 2, 0.25F);
         return nn::conv(g, x, g.constant({2, 2, 2, 1, 2}, taps), {.groups = 2});
       }},
      {"largest of windows",
       {1, 0, 2},
       {3, 8},
       [](GraphBuilder& g, Value x) { return nn::max_pool(g, x, {.window = {3}}); }},
      {"mean of windows",
       {1, 0, 2},
       {3, 8},
       [](GraphBuilder& g, Value x) { return nn::average_pool(g, x, {.window = {3}, .strides = {1}}); }},
      {"largest of padded windows",
       {1, 0, 5, 2},
       {1, 2, 8},
       [](GraphBuilder& g, Value x) {
         return nn::max_pool(g, x, {.window = {3, 2}, .strides = {2, 1}, .pad_low = {2, 0}, .pad_high = {2, 0}});
       }},
      {"mean of padded windows",
       {1, 4, 0, 2},
       {1, 2, 9},
       [](GraphBuilder& g, Value x) {
         return nn::average_pool(g, x, {.window = {2, 3}, .strides = {2, 2}, .pad_low = {1, 2}, .pad_high = {1, 1}});
       }},
      {"mean of windows and their padding",
       {1, 0, 2},
       {1, 7},
       [](GraphBuilder& g, Value x) {
         return nn::average_pool(g, x, {.window = {3}, .pad_low = {1}, .pad_high = {2}, .count_padding = true});
       }},
      {"mean of channels that are open",
       {1, 6, 0},
       {1, 3},
       [](GraphBuilder& g, Value x) { return nn::average_pool(g, x, {.window = {4}, .pad_low = {2}}); }},
      {"argmax",
       {2, 0, 3},
       {1, 2, 255, 256, 257, 700},
       [](GraphBuilder& g, Value x) { return g.convert(nn::argmax(g, x, 1), DType::f32); }},
      {"argmin of a long line",
       {0},
       {65535, 65537, 70000},
       [](GraphBuilder& g, Value x) {  // the last is the least
         const Value least = g.constant({1}, std::vector<float>{-9});
         return g.convert(nn::argmin(g, g.concat({x, least}, 0)), DType::f32);
       }},
      {"the largest of bytes",
       {2, 0},
       {3, 300},
       [](GraphBuilder& g, Value x) {
         return g.convert(nn::argmax(g, g.convert(g.map({x}, arg(0) * 8.0), DType::i8)), DType::f32);
       }},
      {"top-k", {2, 0}, {3, 5, 400}, [](GraphBuilder& g, Value x) { return nn::top_k(g, x, 3).values; }},
      {"places of top-k",
       {0, 0},
       {3, 40},
       [](GraphBuilder& g, Value x) { return g.convert(nn::top_k(g, x, 3).indices, DType::f32); }},
      {"attention with heads that are open",
       {2, 0, 3, 4},
       {1, 5},
       [](GraphBuilder& g, Value x) { return nn::attention(g, x, x, x); }},
      {"attention with one head for all",
       {2, 0, 3, 4},
       {1, 5},
       [](GraphBuilder& g, Value x) {
         const Value one = g.slice(x, {0, 0, 0, 0}, {2, 1, 3, 4});
         return nn::attention(g, x, one, one);
       }},
      {"attention with elements that are open",
       {1, 2, 3, 0},
       {1, 6},
       [](GraphBuilder& g, Value x) { return nn::attention(g, x, x, x, {.causal = nn::Causal::from_start}); }},
  };
  for (const Open& one : all) {
    GraphBuilder open("open");
    Shape shape = one.shape;
    std::ranges::replace(shape, 0, open.symbol("n"));
    open.output("y", one.layer(open, open.input("x", DType::f32, shape)));
    const auto bytes = open.finish();
    if (!bytes) { FAIL(one.name << ": " << bytes.error().what()); }
    const View view = View::verify_dynamic(*bytes).value();
    for (const std::int64_t length : one.lengths) {
      INFO(one.name << " of " << length);
      std::ranges::replace(shape = one.shape, 0, length);
      const std::vector<std::byte> x = random_grid(shape, 4).bytes(DType::f32);
      const View bound = view.bind(std::vector<std::int64_t>{length}).value();
      const std::vector<std::span<const std::byte>> inputs{x};
      const auto found = values_of<float>(evaluate_reference(bound, inputs).value()[0]);
      GraphBuilder closed("closed");
      closed.output("y", one.layer(closed, closed.input("x", DType::f32, shape)));
      const auto expected = values_of<float>(testing::run(closed, {x})[0]);
      CHECK(difference({found.begin(), found.end()}, {expected.begin(), expected.end()}) == "");
    }
  }
}

TEST_CASE("nn: a run with fewer elements than top-k takes, or more than an index holds, is refused when it is bound") {
  GraphBuilder b("top");
  b.output("y", nn::top_k(b, b.input("x", DType::f32, {2, b.symbol("n")}), 3).values);
  const auto bytes = b.finish().value();
  const View top = View::verify_dynamic(bytes).value();
  CHECK(top.bind(std::vector<std::int64_t>{3}));
  CHECK(top.bind(std::vector<std::int64_t>{2}).error().code() == HAL_INVALID_ARGUMENT);
  GraphBuilder long_one("argmax");
  long_one.output("y", nn::argmax(long_one, long_one.input("x", DType::f32, {long_one.symbol("n")})));
  const auto most = long_one.finish().value();
  const View line = View::verify_dynamic(most).value();
  CHECK(line.bind(std::vector<std::int64_t>{std::int64_t{1} << 24U}));
  CHECK(line.bind(std::vector<std::int64_t>{(std::int64_t{1} << 24U) + 1}).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("nn: causal attention over queries and keys of two open lengths") {
  for (const nn::Causal causal : {nn::Causal::from_start, nn::Causal::from_end}) {
    const auto build = [&](std::int64_t s, std::int64_t t) {
      GraphBuilder b("attend");
      if (s == 0) { s = b.symbol("s"), t = b.symbol("t"); }
      const Value q = b.input("q", DType::f32, {1, 2, s, 4}), k = b.input("k", DType::f32, {1, 1, t, 4});
      b.output("y", nn::attention(b, q, k, k, {.causal = causal}));
      return b.finish().value();
    };
    const auto bytes = build(0, 0);
    const View open = View::verify_dynamic(bytes).value();
    for (const auto& [s, t] : {std::pair<std::int64_t, std::int64_t>{1, 6}, {3, 5}, {5, 3}, {4, 4}, {6, 1}}) {
      INFO(s << " queries, " << t << " keys");
      const auto q = random_grid({1, 2, s, 4}, 5).bytes(DType::f32), k = random_grid({1, 1, t, 4}, 6).bytes(DType::f32);
      const std::vector<std::span<const std::byte>> inputs{q, k};
      const auto fixed = build(s, t);
      const View bound = open.bind(std::vector<std::int64_t>{s, t}).value();
      CHECK(evaluate_reference(bound, inputs).value() ==
            evaluate_reference(View::verify(fixed).value(), inputs).value());
    }
  }
}

TEST_CASE("nn: a symbolic length needs the most positions that rotary may meet, and is held to it") {
  GraphBuilder b("rotary");
  const Value x = b.input("x", DType::f32, {b.symbol("s"), 4});
  CHECK_THAT(mistake(b, nn::rotary(b, x)), Contains("rotary: the size of dimension 0 is symbolic; max_position"));
  GraphBuilder held("rotary");
  held.output("y", nn::rotary(held, held.input("x", DType::f32, {held.symbol("s"), 4}), {.max_position = 5}));
  const auto bytes = held.finish().value();
  const View view = View::verify_dynamic(bytes).value();
  CHECK(view.bind(std::vector<std::int64_t>{5}));
  CHECK(view.bind(std::vector<std::int64_t>{6}).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("nn: rotary takes positions of any shape that may turn out to fit x, and names one that does not") {
  for (const auto pairs : {nn::RotaryPairs::halves, nn::RotaryPairs::interleaved}) {
    for (const std::int64_t dims : {0, 2}) {
      INFO(static_cast<int>(pairs) << " " << dims);
      const nn::Rotary options{.pairs = pairs, .dims = dims, .max_position = 9};
      const auto with = [&](Value positions) {
        nn::Rotary given = options;
        given.positions = positions;
        return given;
      };
      const std::vector<std::int32_t> at{3, 0, 8, 8, 1};
      const auto x_bytes = random_grid({2, 5, 4}, 3).bytes(DType::f32);
      GraphBuilder fixed("fixed");
      const Value x = fixed.input("x", DType::f32, {2, 5, 4});
      fixed.output("y", nn::rotary(fixed, x, with(fixed.input("p", DType::i32, {5}))));
      const auto expected = run(fixed, {x_bytes, bytes_of(at)})[0];

      GraphBuilder open("open");
      const Value rows = open.input("x", DType::f32, {2, open.symbol("s"), 4});
      open.output("y", nn::rotary(open, rows, with(open.input("p", DType::i32, {5}))));
      const auto bytes = open.finish().value();
      const View view = View::verify_dynamic(bytes).value();
      const auto inputs = {x_bytes, bytes_of(at)};
      const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
      CHECK(evaluate_reference(view.bind(std::vector<std::int64_t>{5}).value(), spans).value()[0] == expected);
      CHECK_FALSE(view.bind(std::vector<std::int64_t>{4}));

      // One x for several rows of positions.
      GraphBuilder one("one"), two("two");
      const std::vector<std::int32_t> both{3, 0, 8, 8, 1, 2, 2, 0, 7, 5};
      const Value single = one.input("x", DType::f32, {1, 5, 4});
      one.output("y", nn::rotary(one, single, with(one.input("p", DType::i32, {2, 5}))));
      const Value twice = two.broadcast(two.input("x", DType::f32, {1, 5, 4}), {2, 5, 4});
      two.output("y", nn::rotary(two, twice, with(two.input("p", DType::i32, {2, 5}))));
      const auto part = random_grid({1, 5, 4}, 3).bytes(DType::f32);
      CHECK(run(one, {part, bytes_of(both)}) == run(two, {part, bytes_of(both)}));

      for (const auto& [type, shape] : {std::pair{DType::i32, Shape{4}}, {DType::i32, {1, 2, 5}}, {DType::f32, {5}}}) {
        GraphBuilder wrong("wrong");
        const Value in = wrong.input("x", DType::f32, {2, 5, 4});
        CHECK_THAT(mistake(wrong, nn::rotary(wrong, in, with(wrong.input("p", type, shape)))),
                   Contains("rotary: positions are") && Contains("expected i32 that broadcasts with x [2, 5, 4]"));
      }
    }
  }
}

TEST_CASE("nn: attention takes sizes as equal that may become so") {
  const auto build = [](const std::vector<std::int64_t>& sizes, bool masked) {
    // Batches of q, k, v and the mask, then the lengths of k and v.
    GraphBuilder b("attention");
    const auto size = [&](std::size_t i) { return sizes[i] == 0 ? b.symbol("n" + std::to_string(i)) : sizes[i]; };
    const Value q = b.input("q", DType::f32, {size(0), 2, 3, 4});
    const Value k = b.input("k", DType::f32, {size(1), 2, size(4), 4});
    const Value v = b.input("v", DType::f32, {size(2), 2, size(5), 5});
    nn::Attention options{.causal = nn::Causal::from_start};
    if (masked) { options.mask = b.input("mask", DType::f32, {size(3), 1, 3, size(4)}); }
    b.output("y", nn::attention(b, q, k, v, options));
    return b.finish();
  };
  for (const bool masked : {false, true}) {
    std::vector<std::vector<std::byte>> inputs{
        random_grid({2, 2, 3, 4}, 1).bytes(DType::f32), random_grid({2, 2, 6, 4}, 2).bytes(DType::f32),
        random_grid({2, 2, 6, 5}, 3).bytes(DType::f32), random_grid({2, 1, 3, 6}, 4).bytes(DType::f32)};
    inputs.resize(masked ? 4 : 3);
    const std::vector<std::span<const std::byte>> spans(inputs.begin(), inputs.end());
    const auto closed = build({2, 2, 2, 2, 6, 6}, masked).value();
    const auto expected = evaluate_reference(View::verify(closed).value(), spans).value();
    for (unsigned open = 1; open < 64; ++open) {
      if (!masked && ((open >> 3U) & 1U) != 0) { continue; }
      INFO(open);
      std::vector<std::int64_t> sizes{2, 2, 2, 2, 6, 6};
      std::vector<std::int64_t> extents;
      for (const unsigned i : {0U, 1U, 4U, 2U, 5U, 3U}) {  // as the symbols are made
        if (((open >> i) & 1U) == 0) { continue; }
        extents.push_back(sizes[i]);
        sizes[i] = 0;
      }
      const auto bytes = build(sizes, masked);
      REQUIRE(bytes);
      const View view = View::verify_dynamic(*bytes).value();
      CHECK(evaluate_reference(view.bind(extents).value(), spans).value() == expected);
      if (extents.size() == 1) {  // one that is longer than the others' number
        ++extents[0];
        CHECK_FALSE(view.bind(extents));
      }
    }
  }
}
