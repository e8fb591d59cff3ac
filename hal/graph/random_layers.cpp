// SPDX-License-Identifier: Apache-2.0
#include "graph/random_layers.hpp"

#include <array>
#include <limits>
#include <optional>
#include <string>

#include "hal/nn.hpp"

namespace hal::graph::testing {
namespace {

constexpr std::array kTypes{DType::f32, DType::f64, DType::f16, DType::bf16, DType::f8e4m3,  DType::f8e5m2, DType::i64,
                            DType::i32, DType::i8,  DType::i4,  DType::u8,   DType::boolean, DType::u32};
// Numbers that no size is, and sizes that no memory holds: none so small that it could be allocated.
constexpr std::array<std::int64_t, 8> kOdd{0,
                                           -1,
                                           std::int64_t{1} << 31U,
                                           std::int64_t{1} << 40U,
                                           std::int64_t{1} << 46U,
                                           std::int64_t{1} << 62U,
                                           std::numeric_limits<std::int64_t>::min(),
                                           std::numeric_limits<std::int64_t>::max()};

class Chooser {
 public:
  explicit Chooser(std::span<const std::uint8_t> choices) : choices_(choices) {}

  Result<std::vector<std::byte>> build() {
    for (std::uint32_t i = below(3); i > 0; --i) { symbols_.push_back(b_.symbol("n" + std::to_string(i))); }
    if (below(4) == 1) { type_ = kTypes[below(kTypes.size())]; }
    const Shape common = shape();
    for (std::uint32_t i = 0; i < 4; ++i) {
      values_.push_back(b_.input("x" + std::to_string(i), type(), operand(common)));
    }
    if (below(16) == 1) { values_.emplace_back(); }
    for (std::uint32_t i = 1 + below(5); i > 0; --i) { values_.push_back(layer()); }
    b_.output("y", values_.back());
    return b_.finish();
  }

 private:
  std::uint32_t below(std::uint32_t n) {
    if (choices_.empty()) { return 0; }
    const std::uint32_t choice = choices_.front() % n;
    choices_ = choices_.subspan(1);
    return choice;
  }
  bool maybe() { return below(2) == 1; }
  Value any() { return values_[below(static_cast<std::uint32_t>(values_.size()))]; }
  std::optional<Value> maybe_any() { return maybe() ? std::optional(any()) : std::nullopt; }
  DType type() { return below(4) == 1 ? kTypes[below(kTypes.size())] : type_; }
  nn::Axis axis() { return below(4) == 0 ? static_cast<nn::Axis>(below(14)) - 7 : -1; }

  std::int64_t number(std::int64_t least, std::int64_t most) {
    if (below(32) == 31) { return kOdd[below(kOdd.size())]; }
    return least + below(static_cast<std::uint32_t>(most - least + 1));
  }
  std::int64_t size() {
    if (symbols_.empty() || below(4) != 0) { return number(1, 6); }
    const std::int64_t symbol = symbols_[below(static_cast<std::uint32_t>(symbols_.size()))];
    return below(8) != 1 ? symbol : b_.size(static_cast<SizeOp>(2 + below(4)), symbol, number(1, 3));
  }
  Shape shape() {
    Shape sizes;
    for (std::uint32_t rank = below(8) == 0 ? below(10) : 1 + below(5); rank > 0; --rank) { sizes.push_back(size()); }
    return sizes;
  }
  // The shape of one operand: that of the others, their last dimension, none, or its own.
  Shape operand(const Shape& common) {
    switch (below(8)) {
      case 0:
        return shape();
      case 1:
        return common.empty() ? common : Shape{common.back()};
      case 2:
        return {};
      default:
        return common;
    }
  }
  // One option for each spatial dimension of x, or none, or however many.
  Shape list(Value x, std::int64_t least, std::int64_t most) {
    const std::size_t rank = b_.shape(x).size();
    Shape numbers;
    const std::uint32_t count = below(3) == 0 ? below(4) : rank < 2 ? 0 : static_cast<std::uint32_t>(rank - 2);
    for (std::uint32_t i = count; i > 0; --i) { numbers.push_back(number(least, most)); }
    return numbers;
  }
  // Whatever is given along every dimension of a value.
  Shape each(Value x, std::int64_t least, std::int64_t most) {
    Shape numbers;
    for (std::size_t i = b_.shape(x).size(); i > 0; --i) { numbers.push_back(number(least, most)); }
    return numbers;
  }
  nn::Affine affine() {
    const auto scale = maybe_any(), shift = maybe_any();
    return {.scale = scale, .shift = shift};
  }
  nn::Quantisation quantisation() {
    const Value scale = any();
    return {.scale = scale, .zero_point = maybe_any(), .axis = axis()};
  }
  Value pool() {
    const Value x = any();
    nn::Pool options;
    options.window = list(x, 1, 3);
    options.strides = list(x, 1, 3);
    options.pad_low = list(x, 0, 2);
    options.pad_high = list(x, 0, 2);
    options.dilation = list(x, 1, 2);
    options.count_padding = maybe();
    return maybe() ? nn::max_pool(b_, x, options) : nn::average_pool(b_, x, options);
  }

  Value convolution() {
    const Value x = any(), filters = any();
    const Shape strides = list(x, 1, 3), low = list(x, 0, 2), high = list(x, 0, 2), dilation = list(x, 1, 2);
    if (maybe()) { return nn::conv(b_, x, filters, {strides, low, high, dilation, number(1, 3)}); }
    return nn::conv_transpose(b_, x, filters, {strides, low, high, dilation, list(x, 0, 2)});
  }
  Value attention() {
    const Value q = any(), k = maybe() ? q : any();
    nn::Attention options;
    if (maybe()) { options.scale = 0.5; }
    options.causal = static_cast<nn::Causal>(below(3));
    options.mask = maybe_any();
    return nn::attention(b_, q, k, maybe() ? k : any(), options);
  }
  Value rotary() {
    const Value x = any();
    nn::Rotary options;
    options.pairs = maybe() ? nn::RotaryPairs::interleaved : nn::RotaryPairs::halves;
    options.dims = number(0, 6);
    options.offset = number(0, 3);
    options.positions = maybe_any();
    options.max_position = number(0, 6);
    return nn::rotary(b_, x, options);
  }
  Value resize() {
    const Value x = any();
    Shape sizes = list(x, 1, 6);
    for (std::int64_t& each : sizes) {
      if (below(4) == 1) { each = size(); }
    }
    const auto coordinates = static_cast<nn::Coordinates>(below(3));
    if (maybe()) { return nn::resize_linear(b_, x, sizes, coordinates); }
    return nn::resize_nearest(b_, x, sizes, coordinates, maybe() ? nn::Nearest::floor : nn::Nearest::round_half_down);
  }
  Value pad() {
    const Value x = any();
    const Shape low = each(x, 0, 3);
    return nn::pad(b_, x, low, each(x, 0, 3), static_cast<nn::PadMode>(below(4)), 0.5);
  }
  Value norm() {
    const Value x = any();
    switch (below(4)) {
      case 0:
        return nn::layer_norm(b_, x, affine(), below(6));
      case 1:
        return nn::rms_norm(b_, x, affine(), below(6));
      case 2:
        return nn::group_norm(b_, x, number(1, 3), affine());
      default: {
        const Value mean = any();
        return nn::batch_norm(b_, x, mean, any(), affine());
      }
    }
  }
  Value activation() {
    constexpr std::array kAll{nn::relu, nn::sigmoid, nn::tanh, nn::silu, nn::gelu, nn::gelu_tanh};
    return kAll[below(kAll.size())](b_, any(), nn::Site::current());
  }
  Value selection() {
    const Value x = any();
    switch (below(5)) {
      case 0:
        return nn::argmax(b_, x, axis());
      case 1:
        return nn::argmin(b_, x, axis());
      case 2: {
        const nn::TopK top = nn::top_k(b_, x, number(1, 3));
        values_.push_back(top.indices);
        return top.values;
      }
      default:
        return nn::cumulative_sum(b_, x, axis(), {.exclusive = maybe(), .reverse = maybe()});
    }
  }
  Value look_up() {
    const Value x = any();
    switch (below(4)) {
      case 0:
        return nn::embedding(b_, x, any());
      case 1:
        return nn::one_hot(b_, x, number(1, 5), type());
      case 2:
        return nn::bias_add(b_, x, any());
      default: {
        const Value weights = any();
        return nn::dense(b_, x, weights, any());
      }
    }
  }
  // What joins layers: shapes of their results, read as a program would.
  Value shaped() {
    const Value x = any();
    Shape shape = b_.shape(x);
    switch (below(5)) {
      case 0:
        return b_.reshape(x, list(x, 1, 6));
      case 1:
        if (!shape.empty()) { shape.insert(shape.begin(), 1); }
        return b_.reshape(x, std::move(shape));
      case 2:
        return b_.broadcast(x, b_.shape(any()));
      case 3: {
        Shape low = each(x, 0, 1);
        return b_.slice(x, std::move(low), each(x, 1, 3));
      }
      default:
        return b_.convert(x, type());
    }
  }

  Value layer() {
    switch (below(14)) {
      case 0:
      case 1:
        return convolution();
      case 2:
        return pool();
      case 3:
        return attention();
      case 4:
        return rotary();
      case 5:
        return resize();
      case 6:
        return pad();
      case 7:
        return norm();
      case 8:
        return activation();
      case 9:
        return selection();
      case 10:
        return look_up();
      case 11: {
        const Value x = any();
        return maybe() ? nn::quantise(b_, x, quantisation(), type()) : nn::dequantise(b_, x, quantisation(), type());
      }
      case 12: {
        const Value x = any();
        return maybe() ? nn::softmax(b_, x, axis()) : nn::log_softmax(b_, x, axis());
      }
      default:
        return shaped();
    }
  }

  std::span<const std::uint8_t> choices_;
  GraphBuilder b_{"layers"};
  DType type_ = DType::f32;  // of most operands
  std::vector<std::int64_t> symbols_;
  std::vector<Value> values_;
};

}  // namespace

Result<std::vector<std::byte>> random_layers(std::span<const std::uint8_t> choices) { return Chooser(choices).build(); }

}  // namespace hal::graph::testing
