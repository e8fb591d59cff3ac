// SPDX-License-Identifier: Apache-2.0
#include "hal/nn.hpp"

#include <cmath>
#include <halyard_catch.hpp>
#include <random>

#include "graph/test_tensors.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
namespace nn = hal::nn;
using hal::DType;

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) { value = static_cast<float>(static_cast<int>(random() % 33) - 16) / 8.0F; }
  return values;
}

// One image layout for the direct loops below.
struct Image {
  std::int64_t n, h, w, c;
  std::vector<float> values;
  float at(std::int64_t i, std::int64_t y, std::int64_t x, std::int64_t k) const {
    if (y < 0 || x < 0 || y >= h || x >= w) { return 0; }
    return values[static_cast<std::size_t>(((i * h + y) * w + x) * c + k)];
  }
};

std::vector<float> direct_conv2d(const Image& x, const Image& taps, const nn::Conv2d& o) {
  std::vector<float> out;
  const std::int64_t oh = (x.h + o.pad_low[0] + o.pad_high[0] - (taps.n - 1) * o.dilation[0] - 1) / o.strides[0] + 1;
  const std::int64_t ow = (x.w + o.pad_low[1] + o.pad_high[1] - (taps.h - 1) * o.dilation[1] - 1) / o.strides[1] + 1;
  for (std::int64_t i = 0; i < x.n; ++i) {
    for (std::int64_t y = 0; y < oh; ++y) {
      for (std::int64_t z = 0; z < ow; ++z) {
        for (std::int64_t k = 0; k < taps.c; ++k) {
          float sum = 0;
          for (std::int64_t dy = 0; dy < taps.n; ++dy) {
            for (std::int64_t dx = 0; dx < taps.h; ++dx) {
              for (std::int64_t c = 0; c < x.c; ++c) {
                sum += x.at(i, y * o.strides[0] + dy * o.dilation[0] - o.pad_low[0],
                            z * o.strides[1] + dx * o.dilation[1] - o.pad_low[1], c) *
                       taps.at(dy, dx, c, k);
              }
            }
          }
          out.push_back(sum);
        }
      }
    }
  }
  return out;
}

std::string mistake(GraphBuilder& b, Value out) {
  b.output("out", out);
  return refusal(b.finish(), HAL_INVALID_ARGUMENT);
}

}  // namespace

TEST_CASE("nn: conv2d is the direct sum, for every option") {
  const std::vector<nn::Conv2d> options{
      {},
      {.strides = {1, 1}, .pad_low = {1, 1}, .pad_high = {1, 1}, .dilation = {1, 1}},
      {.strides = {2, 3}, .pad_low = {0, 1}, .pad_high = {2, 0}, .dilation = {1, 1}},
      {.strides = {1, 2}, .pad_low = {2, 2}, .pad_high = {2, 2}, .dilation = {2, 3}},
  };
  for (const nn::Conv2d& o : options) {
    const Image x{2, 7, 8, 3, random_values(2 * 7 * 8 * 3, 1)};
    const Image taps{3, 2, 3, 4, random_values(3 * 2 * 3 * 4, 2)};
    GraphBuilder b("conv");
    const Value input = b.input("x", DType::f32, {2, 7, 8, 3});
    b.output("y", nn::conv2d(b, input, b.constant({3, 2, 3, 4}, std::span<const float>(taps.values)), o));
    CHECK(values_of<float>(run(b, {bytes_of(x.values)})[0]) == direct_conv2d(x, taps, o));
  }
}

TEST_CASE("nn: pools leave out what does not fit") {
  const std::vector<float> x = random_values(1 * 5 * 4 * 2, 3);
  const Image image{1, 5, 4, 2, x};
  GraphBuilder b("pools");
  const Value input = b.input("x", DType::f32, {1, 5, 4, 2});
  b.output("max", nn::max_pool2d(b, input));
  b.output("average", nn::average_pool2d(b, input, {.window = {3, 2}, .strides = {2, 1}}));
  const auto out = run(b, {bytes_of(x)});
  std::vector<float> largest, mean;
  for (std::int64_t y = 0; y < 2; ++y) {
    for (std::int64_t z = 0; z < 2; ++z) {
      for (std::int64_t c = 0; c < 2; ++c) {
        largest.push_back(std::max({image.at(0, 2 * y, 2 * z, c), image.at(0, 2 * y, 2 * z + 1, c),
                                    image.at(0, 2 * y + 1, 2 * z, c), image.at(0, 2 * y + 1, 2 * z + 1, c)}));
      }
    }
  }
  for (std::int64_t y = 0; y < 2; ++y) {
    for (std::int64_t z = 0; z < 3; ++z) {
      for (std::int64_t c = 0; c < 2; ++c) {
        double sum = 0;
        for (std::int64_t dy = 0; dy < 3; ++dy) {
          for (std::int64_t dx = 0; dx < 2; ++dx) { sum += static_cast<double>(image.at(0, 2 * y + dy, z + dx, c)); }
        }
        mean.push_back(static_cast<float>(sum / 6));
      }
    }
  }
  CHECK(values_of<float>(out[0]) == largest);
  const auto found = values_of<float>(out[1]);
  REQUIRE(found.size() == mean.size());
  for (std::size_t i = 0; i < mean.size(); ++i) { CHECK(found[i] == Approx(mean[i]).margin(1e-6)); }
}

TEST_CASE("nn: softmax sums to one and survives large values") {
  GraphBuilder b("softmax");
  b.output("y", nn::softmax(b, b.input("x", DType::f32, {2, 3})));
  const auto y = values_of<float>(run(b, {bytes_of<float>({1, 2, 3, 10000, 10000, -10000})})[0]);
  CHECK(y[0] == Approx(0.0900306));
  CHECK(y[2] == Approx(0.6652409));
  CHECK(y[3] == Approx(0.5));
  CHECK(y[5] == 0);
}

TEST_CASE("nn: argmax takes the first of equals, and a NaN before anything") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  GraphBuilder b("argmax");
  b.output("y", nn::argmax(b, b.input("x", DType::f32, {4, 3})));
  const auto y = values_of<std::int32_t>(run(b, {bytes_of<float>({1, 5, 5, -3, -2, -1, 9, nan, nan, -1, -1, -2})})[0]);
  CHECK(y == std::vector<std::int32_t>{1, 2, 1, 0});
  GraphBuilder whole("argmax");
  whole.output("y", nn::argmax(whole, whole.input("x", DType::i32, {3})));
  CHECK(values_of<std::int32_t>(run(whole, {bytes_of<std::int32_t>({-7, 3, 3})})[0]) == std::vector<std::int32_t>{1});
}

TEST_CASE("nn: argmax in bf16 finds indices that bf16 cannot hold") {
  GraphBuilder b("argmax");
  b.output("y", nn::argmax(b, b.input("x", DType::bf16, {1000})));
  std::vector<std::uint16_t> x(1000, 0x3F80);
  x[777] = 0x4000;
  CHECK(values_of<std::int32_t>(run(b, {bytes_of(x)})[0]) == std::vector<std::int32_t>{777});
}

TEST_CASE("nn: dense takes any number of leading dimensions") {
  GraphBuilder b("dense");
  const Value x = b.input("x", DType::f32, {1, 2, 2});
  const std::vector<float> weights{1, 2, 3, 4, 5, 6};
  const std::vector<float> bias{10, 20, 30};
  b.output("y", nn::relu(b, nn::dense(b, x, b.constant({2, 3}, std::span<const float>(weights)),
                                      b.constant({3}, std::span<const float>(bias)))));
  CHECK(values_of<float>(run(b, {bytes_of<float>({1, 0, -10, 1})})[0]) == std::vector<float>{11, 22, 33, 4, 5, 6});
}

TEST_CASE("nn: mistakes are sentences with numbers") {
  using Catch::Matchers::Contains;
  {
    GraphBuilder b("bad");
    const Value x = b.input("x", DType::f32, {2, 3});
    CHECK_THAT(mistake(b, nn::max_pool2d(b, x)), Contains("expected [n, h, w, c]") && Contains("nn_test.cpp"));
  }
  {
    GraphBuilder b("bad");
    const Value x = b.input("x", DType::f32, {1, 2, 2, 1});
    CHECK_THAT(mistake(b, nn::max_pool2d(b, x, {.window = {3, 3}, .strides = {1, 1}})),
               Contains("do not fit [1, 2, 2, 1]"));
  }
  {
    GraphBuilder b("bad");
    const Value x = b.input("x", DType::f32, {1, 2, 2, 3});
    CHECK_THAT(mistake(b, nn::conv2d(b, x, b.input("w", DType::f32, {1, 1, 4, 1}))), Contains("label"));
  }
  {
    GraphBuilder b("bad");
    const Value x = b.input("x", DType::f32, {1, 9, 9, 1});
    const Value w = b.input("w", DType::f32, {2, 2, 1, 1});
    const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
    CHECK_THAT(
        mistake(b,
                nn::conv2d(b, x, w, {.strides = {1, 1}, .pad_low = {0, 0}, .pad_high = {0, 0}, .dilation = {huge, 1}})),
        Contains("do not fit"));
  }
  {
    GraphBuilder b("bad");
    CHECK_THAT(mistake(b, nn::softmax(b, b.input("x", DType::f32, {}))), Contains("scalar"));
  }
}
