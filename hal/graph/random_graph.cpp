// SPDX-License-Identifier: Apache-2.0
#include "graph/random_graph.hpp"

#include <algorithm>
#include <random>

#include "graph/element.hpp"
#include "graph/shape.hpp"
#include "hal/graph.hpp"

namespace hal::graph::testing {
namespace {

class Grower {
 public:
  explicit Grower(std::uint32_t seed) : b_("random"), random_(seed) {}

  RandomGraph grow(std::size_t size) {
    for (const DType type : {DType::f32, DType::f32, DType::bf16, DType::i32}) { add_input(type); }
    while (values_.size() < size) { values_.push_back(next()); }
    // The last ones, so that most of the graph is read; now and then one from the middle.
    for (std::size_t i = 0; i < 3; ++i) {
      b_.output(std::string(1, static_cast<char>('a' + i)), values_[size - 1 - i]);
    }
    b_.output("z", any());
    return {b_.finish().value(), std::move(inputs_)};
  }

 private:
  std::uint32_t below(std::size_t n) { return static_cast<std::uint32_t>(random_() % n); }
  Value any() { return values_[below(values_.size())]; }
  // Recent values more often: chains are what is fused.
  Value recent() { return values_[values_.size() - 1 - below(std::min<std::size_t>(values_.size(), 4))]; }

  void add_input(DType type) {
    Shape shape;
    for (std::size_t i = 0; i < 2 + below(2); ++i) { shape.push_back(1 + below(5)); }
    std::vector<std::byte> bytes(static_cast<std::size_t>(*byte_count(type, shape)));
    for (std::int64_t i = 0; i < *element_count(shape); ++i) {
      const double eighths = static_cast<double>(below(1025)) - 512;
      store_element(type, bytes.data(), i, is_floating(type) ? eighths / 8 : eighths);
    }
    inputs_.push_back(std::move(bytes));
    values_.push_back(b_.input("x" + std::to_string(inputs_.size()), type, std::move(shape)));
  }

  Value next() {
    const Value x = recent();
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        return unary(x);
      case 3:
      case 4:
        return binary(x, any());
      case 5:
      case 6:
        return view(x);
      case 7:
        return reduce(x);
      case 8:
        return contract(x);
      case 9:
        return b_.convert(x, below(2) == 0 ? DType::f32 : below(2) == 0 ? DType::bf16 : DType::i32);
      case 10:
        return join(x);
      default:
        return gather(x);
    }
  }

  Expr small(const Expr& x, bool floating) { return mod(floating ? floor(x) : x, 8.0); }

  Value unary(Value x) {
    const bool floating = is_floating(b_.dtype(x));
    if (b_.dtype(x) == DType::boolean) { return b_.map({x}, logical_not(arg(0)), DType::boolean); }
    switch (below(5)) {
      case 0:
        return b_.map({x}, arg(0) + 1.0);
      case 1:
        return b_.map({x}, abs(arg(0)) - max(arg(0), -3.0));
      case 2:
        return b_.map({x}, arg(0) < 2.0, DType::boolean);
      case 3:  // stored in the wider type, or rounded to the narrower one
        return b_.map({x}, -arg(0), floating ? below(2) == 0 ? DType::f32 : DType::bf16 : DType::i32);
      default:
        return b_.map({x}, small(arg(0) * arg(0), floating));
    }
  }

  Value binary(Value x, Value y) {
    if (is_floating(b_.dtype(x)) != is_floating(b_.dtype(y)) && b_.dtype(y) != DType::boolean) {
      y = b_.convert(y, b_.dtype(x) == DType::boolean ? DType::boolean : b_.dtype(x));
    }
    // Fit y to x: its first element, repeated, unless the shapes already go together.
    Shape both = b_.shape(x);
    if (!broadcast_strides(b_.shape(y), both)) { y = b_.view(y, Shape(both.size(), 1), 0, Shape(both.size(), 0)); }
    const bool truth = b_.dtype(x) == DType::boolean;
    switch (below(4)) {
      case 0:
        return truth ? b_.map({x, y}, logical_and(arg(0), arg(1)), DType::boolean) : b_.map({x, y}, arg(0) + arg(1));
      case 1:
        return b_.map({x, y}, max(arg(0), arg(1)), truth ? DType::boolean : b_.dtype(x));
      case 2:
        return b_.map({y, x}, select(arg(1) < arg(0), arg(1), arg(0)), truth ? DType::boolean : b_.dtype(x));
      default:
        return b_.map({x, y, x}, arg(2) - min(arg(0), arg(1)), truth ? DType::boolean : b_.dtype(x));
    }
  }

  Value view(Value x) {
    const Shape shape = b_.shape(x);
    Shape dense(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) { dense[i - 1] = dense[i] * shape[i]; }
    const std::int64_t count = *element_count(shape);
    if (shape.empty()) { return b_.broadcast(x, {3, 2}); }
    switch (below(6)) {
      case 0: {
        std::vector<std::uint32_t> order(shape.size());
        for (std::uint32_t i = 0; i < order.size(); ++i) { order[i] = i; }
        std::ranges::shuffle(order, random_);
        return b_.transpose(x, order);
      }
      case 1: {
        Shape low, size;
        for (const std::int64_t n : shape) {
          low.push_back(below(static_cast<std::size_t>(n)));
          size.push_back(1 + below(static_cast<std::size_t>(n - low.back())));
        }
        return b_.slice(x, low, size);
      }
      case 2:
        return b_.reshape(x, {count});
      case 3:
        if (count % 2 != 0) { return b_.reshape(x, {count, 1}); }
        return b_.reshape(x, {2, count / 2});
      case 4: {  // backwards along the last dimension
        Shape back = dense;
        back.back() = -1;
        return b_.view(x, shape, shape.back() - 1, back);
      }
      default:
        if (shape.size() >= 4 || shape.back() < 2) { return b_.broadcast(x, with_first(shape, 2)); }
        // Windows of two along the last dimension.
        Shape to = shape, strides = dense;
        --to.back();
        to.push_back(2);
        strides.push_back(1);
        return b_.view(x, to, 0, strides);
    }
  }

  static Shape with_first(Shape shape, std::int64_t size) {
    if (shape.size() >= 4) { return shape; }
    shape.insert(shape.begin(), size);
    return shape;
  }

  Value reduce(Value x) {
    const Shape shape = b_.shape(x);
    if (shape.empty()) { return unary(x); }
    const std::uint32_t axis = below(shape.size());
    const bool truth = b_.dtype(x) == DType::boolean;
    const ReduceOp op = below(2) == 0 && !truth ? ReduceOp::sum : ReduceOp::max;
    return b_.reduce(x, op, {axis}, below(2) == 0 ? KeepDims::yes : KeepDims::no);
  }

  // x times its own transpose, cut to small numbers before and behind.
  Value contract(Value x) {
    const Shape shape = b_.shape(x);
    if (b_.dtype(x) == DType::boolean || shape.empty()) { return unary(x); }
    const bool floating = is_floating(b_.dtype(x));
    const Value cut = b_.map({x}, small(arg(0), floating));
    const std::int64_t n = *element_count(shape) / shape.back();
    const Value matrix = b_.reshape(cut, {n, shape.back()});
    const Value sum = b_.contract("ik,jk->ij", matrix, matrix, floating ? DType::f32 : DType::i32);
    const Value row = b_.view(sum, {n}, 0, {1});
    const Value out = b_.map({sum, row}, small(arg(0) + arg(1), floating));
    // Not larger than what it was made of.
    return n > 8 ? b_.slice(out, {0, 0}, {8, 8}) : out;
  }

  Value join(Value x) {
    const Shape shape = b_.shape(x);
    if (shape.empty() || *element_count(shape) > 200) { return unary(x); }
    if (below(2) == 0) { return b_.concat({x, x}, below(shape.size())); }
    return b_.pad(x, Shape(shape.size(), 1), Shape(shape.size(), 0), b_.dtype(x) == DType::boolean ? 1 : 3);
  }

  Value gather(Value x) {
    const Shape shape = b_.shape(x);
    if (shape.empty()) { return unary(x); }
    const std::uint32_t axis = below(shape.size());
    std::vector<std::int32_t> indices(1 + below(3));
    for (auto& index : indices) { index = static_cast<std::int32_t>(below(static_cast<std::size_t>(shape[axis]))); }
    return b_.gather(
        x, b_.constant({static_cast<std::int64_t>(indices.size())}, std::span<const std::int32_t>(indices)), axis);
  }

  GraphBuilder b_;
  std::mt19937 random_;
  std::vector<Value> values_;
  std::vector<std::vector<std::byte>> inputs_;
};

}  // namespace

RandomGraph random_graph(std::uint32_t seed, std::size_t size) { return Grower(seed).grow(size); }

}  // namespace hal::graph::testing
