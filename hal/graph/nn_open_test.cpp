// SPDX-License-Identifier: Apache-2.0
// Running sums, resizing and padding along axes whose sizes come with the run, against loops over numbers.
#include <array>

#include "graph/nn_test_tools.hpp"
#include "graph/reference.hpp"
#include "graph/view.hpp"
#include "hal/nn.hpp"

namespace hal::graph {
namespace {

using namespace testing;
using Catch::Matchers::Contains;
using Layer = std::function<Value(GraphBuilder&, Value, std::int64_t)>;

// A layer over x [outer, m, inner] that becomes n, with symbols for those of the two that are open.
class Open {
 public:
  Open(DType type, Shape shape, std::optional<std::int64_t> m, std::optional<std::int64_t> n, const Layer& layer)
      : shape_(std::move(shape)), type_(type) {
    GraphBuilder b("open");
    shape_[1] = m ? *m : b.symbol("m");
    const Value x = b.input("x", type, shape_);
    open_m_ = !m;
    open_n_ = !n;
    b.output("y", layer(b, x, n ? *n : b.symbol("n")));
    bytes_ = b.finish().value();
  }
  Result<View> bind(std::int64_t m, std::int64_t n) const {
    std::vector<std::int64_t> extents;
    if (open_m_) { extents.push_back(m); }
    if (open_n_) { extents.push_back(n); }
    return View::verify_dynamic(bytes_).value().bind(extents);
  }
  std::vector<double> run(std::int64_t n, const Grid& x) const {
    const View bound = bind(x.shape[1], n).value();
    const std::vector<std::byte> in = x.bytes(type_);
    const std::vector<std::span<const std::byte>> inputs{in};
    const auto out = evaluate_reference(bound, inputs).value();
    const Tensor& y = bound.outputs()[0];
    std::vector<double> values(static_cast<std::size_t>(y.elements));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = load_element(y.dtype, out[0].data(), static_cast<std::int64_t>(i));
    }
    return values;
  }

 private:
  Shape shape_;
  DType type_;
  bool open_m_ = false, open_n_ = false;
  std::vector<std::byte> bytes_;
};

std::vector<double> closed(const Grid& x, DType type, std::int64_t n, const Layer& layer) {
  GraphBuilder b("closed");
  const Value y = layer(b, b.input("x", type, x.shape), n);
  const DType out = b.dtype(y);
  b.output("y", y);
  const auto bytes = testing::run(b, {x.bytes(type)})[0];
  std::vector<double> values(static_cast<std::size_t>(*element_count(b.shape(y))));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_element(out, bytes.data(), static_cast<std::int64_t>(i));
  }
  return values;
}

// Which of m elements the nearest to element i of n is, in whole numbers.
std::int64_t nearest_of(nn::Coordinates coordinates, nn::Nearest nearest, std::int64_t i, std::int64_t m,
                        std::int64_t n) {
  std::int64_t place = i * m, parts = n;
  if (coordinates == nn::Coordinates::half_pixel) { place = (2 * i + 1) * m - n, parts = 2 * n; }
  if (coordinates == nn::Coordinates::align_corners) {
    place = n == 1 ? 0 : i * (m - 1), parts = std::max<std::int64_t>(1, n - 1);
  }
  if (nearest == nn::Nearest::round_half_down) { place = 2 * place + parts - 1, parts = 2 * parts; }
  const std::int64_t down = place >= 0 ? place / parts : -((-place + parts - 1) / parts);
  return std::clamp<std::int64_t>(down, 0, m - 1);
}

constexpr std::array kCoordinates{nn::Coordinates::half_pixel, nn::Coordinates::align_corners,
                                  nn::Coordinates::asymmetric};
constexpr std::int64_t kMost = std::int64_t{1} << 24U;  // elements along an axis whose indices a run computes

}  // namespace

TEST_CASE("nn: a running sum along an open axis is that of each length") {
  for (const auto& [outer, inner] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {2, 3}}) {
    for (const bool exclusive : {false, true}) {
      for (const bool reverse : {false, true}) {
        const Open open(DType::f32, {outer, 0, inner}, {}, 1, [&](GraphBuilder& b, Value x, std::int64_t) {
          return nn::cumulative_sum(b, x, 1, {.exclusive = exclusive, .reverse = reverse});
        });
        for (const std::int64_t n : {1, 2, 15, 16, 17, 18, 31, 33, 255, 256, 257, 1025, 2100}) {
          CAPTURE(outer, exclusive, reverse, n);
          const Grid x = random_grid({outer, n, inner}, static_cast<unsigned>(n));
          Grid y(x.shape);
          for (std::int64_t o = 0; o < outer; ++o) {
            for (std::int64_t k = 0; k < inner; ++k) {
              double sum = 0;
              for (std::int64_t step = 0; step < n; ++step) {
                const std::int64_t i = reverse ? n - 1 - step : step;
                const double before = sum;
                sum += x[{o, i, k}];
                y[{o, i, k}] = exclusive ? before : sum;
              }
            }
          }
          CHECK(open.run(1, x) == y.values);  // multiples of 1/8: every order is exact
        }
      }
    }
  }
}

TEST_CASE("nn: a running sum has a last level that takes all that is left, open or not") {
  const Layer sum = [](GraphBuilder& b, Value x, std::int64_t) { return nn::cumulative_sum(b, x, 1); };
  const Open open(DType::i8, {1, 0, 1}, {}, 1, sum);
  constexpr std::int64_t kLong = 16 * 64 * 256 + 300;
  Grid x({1, kLong, 1});
  std::vector<double> expected;
  double total = 0;
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = static_cast<double>(i % 23) - 7;
    expected.push_back(total += x.values[i]);
  }
  CHECK(open.run(1, x) == expected);
  CHECK(closed(x, DType::i8, 1, sum) == expected);
}

TEST_CASE("nn: resize to or from an open size takes the elements that exact fractions name") {
  for (const auto coordinates : kCoordinates) {
    for (const auto nearest : {nn::Nearest::round_half_down, nn::Nearest::floor}) {
      const Layer resize = [&](GraphBuilder& b, Value x, std::int64_t n) {
        return nn::resize_nearest(b, x, {n}, coordinates, nearest);
      };
      const Open both(DType::f32, {2, 0, 3}, {}, {}, resize);
      for (const std::int64_t m : {1, 2, 3, 7, 16, 31}) {
        const Open to(DType::f32, {2, 0, 3}, m, {}, resize);
        for (const std::int64_t n : {1, 2, 3, 5, 8, 21, 300}) {
          CAPTURE(static_cast<int>(coordinates), static_cast<int>(nearest), m, n);
          const Grid x = random_grid({2, m, 3}, 5);
          std::vector<double> expected;
          each({2, n, 3}, [&](const Shape& at) {
            expected.push_back(x[{at[0], nearest_of(coordinates, nearest, at[1], m, n), at[2]}]);
          });
          CHECK(both.run(n, x) == expected);
          CHECK(to.run(n, x) == expected);
          CHECK(Open(DType::f32, {2, 0, 3}, {}, n, resize).run(n, x) == expected);
          CHECK(closed(x, DType::f32, n, resize) == expected);
        }
      }
    }
  }
}

TEST_CASE("nn: indices that a run computes are exact up to 2^24 elements, and a run with more is refused") {
  for (const auto coordinates : kCoordinates) {
    CAPTURE(static_cast<int>(coordinates));
    const Layer resize = [&](GraphBuilder& b, Value x, std::int64_t n) {
      return nn::resize_nearest(b, x, {n}, coordinates);
    };
    // The last bits of a place tell it from its neighbours.
    const Open open(DType::u8, {1, 0, 1}, {}, {}, resize);
    const std::array<std::pair<std::int64_t, std::int64_t>, 3> sizes{
        {{1'000'003, 4099}, {4099, 100'003}, {65'537, 65'536}}};
    for (const auto& [m, n] : sizes) {
      CAPTURE(m, n);
      Grid x({1, m, 1});
      for (std::size_t i = 0; i < x.values.size(); ++i) { x.values[i] = static_cast<double>(i % 251); }
      std::vector<double> expected;
      for (std::int64_t i = 0; i < n; ++i) {
        expected.push_back(static_cast<double>(nearest_of(coordinates, nn::Nearest::round_half_down, i, m, n) % 251));
      }
      CHECK(open.run(n, x) == expected);
    }
    CHECK(open.bind(kMost, 1));
    CHECK(open.bind(1, kMost));
    CHECK(open.bind(kMost + 1, 1).error().code() == HAL_INVALID_ARGUMENT);
    CHECK(open.bind(1, kMost + 1).error().code() == HAL_INVALID_ARGUMENT);
  }
  GraphBuilder b("closed end");
  CHECK_THAT(mistake(b, nn::resize_nearest(b, b.input("x", DType::u8, {1, b.symbol("m"), 1}), {kMost + 1})),
             Contains("resize_nearest: 16777217 elements along a dimension, the most is 2^24 where"));
}

TEST_CASE("nn: linear resize to or from open sizes mixes as with numbers") {
  for (const auto coordinates : kCoordinates) {
    for (const DType type : {DType::f32, DType::f64, DType::bf16}) {
      const Layer resize = [&](GraphBuilder& b, Value x, std::int64_t n) {
        return nn::resize_linear(b, x, {n}, coordinates);
      };
      const Open open(type, {2, 0, 2}, {}, {}, resize);
      for (const std::int64_t m : {1, 2, 5, 9}) {
        for (const std::int64_t n : {1, 2, 3, 9, 40}) {
          CAPTURE(static_cast<int>(coordinates), dtype_name(type), m, n);
          const Grid x = random_grid({2, m, 2}, 11);
          CHECK(difference(open.run(n, x), closed(x, type, n, resize), type == DType::bf16 ? 0.01 : 1e-6) == "");
        }
      }
      CHECK(open.bind(kMost, 1));
      CHECK(open.bind(1, kMost));
      CHECK(open.bind(kMost + 1, 1).error().code() == HAL_INVALID_ARGUMENT);
      CHECK(open.bind(1, kMost + 1).error().code() == HAL_INVALID_ARGUMENT);
    }
  }
}

TEST_CASE("nn: images that are open in each dimension, and sizes made of their own") {
  const auto padded = [](nn::PadMode mode) {
    return [mode](GraphBuilder& b, Value x, const Shape&) { return nn::pad(b, x, {0, 1, 4, 0}, {0, 3, 2, 0}, mode); };
  };
  const std::vector<std::function<Value(GraphBuilder&, Value, const Shape&)>> layers{
      [](GraphBuilder& b, Value x, const Shape& sizes) { return nn::resize_linear(b, x, sizes); },
      [](GraphBuilder& b, Value x, const Shape& sizes) { return nn::resize_nearest(b, x, sizes); },
      padded(nn::PadMode::edge),
      padded(nn::PadMode::wrap),
      padded(nn::PadMode::reflect),
      [](GraphBuilder& b, Value x, const Shape&) { return nn::cumulative_sum(b, x, 1); },
      [](GraphBuilder& b, Value x, const Shape&) { return nn::cumulative_sum(b, x, 2, {.reverse = true}); },
  };
  GraphBuilder b("image");
  const std::int64_t h = b.symbol("h"), w = b.symbol("w");
  const Value x = b.input("x", DType::f32, {1, h, w, 2});
  const Shape doubled{b.size(SizeOp::mul, h, 2), b.size(SizeOp::div, b.size(SizeOp::add, w, 1), 2)};
  b.output("same", nn::resize_nearest(b, x, {h, w}));
  for (std::size_t i = 0; i < layers.size(); ++i) { b.output("y" + std::to_string(i), layers[i](b, x, doubled)); }
  const auto bytes = b.finish().value();
  const View view = View::verify_dynamic(bytes).value();
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{3, 5}, {1, 1}, {4, 2}, {20, 33}}) {
    const Grid image = random_grid({1, rows, columns, 2}, 3);
    const auto in = image.bytes(DType::f32);
    const std::vector<std::span<const std::byte>> inputs{in};
    const View bound = view.bind(std::vector<std::int64_t>{rows, columns}).value();
    const auto found = evaluate_reference(bound, inputs).value();
    CHECK(found[0] == in);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      CAPTURE(rows, columns, i);
      GraphBuilder fixed("fixed");
      fixed.output("y", layers[i](fixed, fixed.input("x", DType::f32, image.shape), {2 * rows, (columns + 1) / 2}));
      const auto expected = testing::run(fixed, {in})[0];
      const auto ours = values_of<float>(found[i + 1]), theirs = values_of<float>(expected);
      CHECK(difference({ours.begin(), ours.end()}, {theirs.begin(), theirs.end()}) == "");
    }
  }
}

TEST_CASE("nn: pad modes along an open dimension are those of each size") {
  for (const auto mode : {nn::PadMode::edge, nn::PadMode::wrap, nn::PadMode::reflect}) {
    const Layer pad = [&](GraphBuilder& b, Value x, std::int64_t) { return nn::pad(b, x, {0, 7, 1}, {1, 4, 0}, mode); };
    const Open open(DType::i8, {2, 0, 2}, {}, 1, pad);
    for (const std::int64_t m : {1, 2, 3, 8, 300}) {
      CAPTURE(static_cast<int>(mode), m);
      const Grid x = random_grid({2, m, 2}, 6);
      CHECK(open.run(1, x) == closed(x, DType::i8, 1, pad));
    }
    CHECK(open.bind((1 << 24) - 11, 1));
    CHECK(open.bind((1 << 24) - 10, 1).error().code() == HAL_INVALID_ARGUMENT);
  }
}

}  // namespace hal::graph
