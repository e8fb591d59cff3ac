// SPDX-License-Identifier: Apache-2.0
// What the tests of lowerings share: small tensors in double, to be walked by plain loops.
#pragma once

#include <cmath>
#include <functional>
#include <halyard_catch.hpp>
#include <random>

#include "graph/element.hpp"
#include "graph/test_tensors.hpp"

namespace hal::graph::testing {

struct Grid {
  Shape shape;
  std::vector<double> values;

  explicit Grid(Shape s) : shape(std::move(s)) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) { count *= size; }
    values.resize(static_cast<std::size_t>(count));
  }
  std::size_t place(const Shape& at) const {
    std::int64_t i = 0;
    for (std::size_t d = 0; d < shape.size(); ++d) { i = i * shape[d] + at[d]; }
    return static_cast<std::size_t>(i);
  }
  double& operator[](const Shape& at) { return values[place(at)]; }
  double operator[](const Shape& at) const { return values[place(at)]; }
  /// 0 outside.
  double or_zero(const Shape& at) const {
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (at[d] < 0 || at[d] >= shape[d]) { return 0; }
    }
    return (*this)[at];
  }
  std::vector<std::byte> bytes(DType type) const {
    std::vector<std::byte> out(static_cast<std::size_t>(*byte_count(type, shape)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      store_element(type, out.data(), static_cast<std::int64_t>(i), values[i]);
    }
    return out;
  }
};

/// Calls body with every index of a shape, last dimension fastest.
inline void each(const Shape& shape, const std::function<void(const Shape&)>& body) {
  Shape at(shape.size(), 0);
  for (;;) {
    body(at);
    std::size_t d = shape.size();
    for (; d > 0; --d) {
      if (++at[d - 1] < shape[d - 1]) { break; }
      at[d - 1] = 0;
    }
    if (d == 0) { return; }
  }
}

/// Multiples of 1/8 from -2 to 2, the same for the same seed.
inline Grid random_grid(Shape shape, unsigned seed) {
  Grid grid(std::move(shape));
  std::mt19937 random(seed);
  for (double& value : grid.values) { value = (static_cast<int>(random() % 33) - 16) / 8.0; }
  return grid;
}

/// A graph with inputs, run by the reference.
class Trial {
 public:
  GraphBuilder b{"trial"};
  Value input(const Grid& grid, DType type = DType::f32) {
    inputs_.push_back(grid.bytes(type));
    return b.input("x" + std::to_string(inputs_.size()), type, grid.shape);
  }
  /// The values of `out`, as doubles; checks its shape and type.
  std::vector<double> run(Value out, const Shape& shape, DType type = DType::f32) {
    CHECK(b.shape(out) == shape);
    CHECK(b.dtype(out) == type);
    b.output("y", out);
    const auto bytes = testing::run(b, inputs_)[0];
    std::vector<double> values(static_cast<std::size_t>(*element_count(shape)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = load_element(type, bytes.data(), static_cast<std::int64_t>(i));
    }
    return values;
  }

 private:
  std::vector<std::vector<std::byte>> inputs_;
};

/// "" if all agree within `tolerance` of max(1, |expected|); NaN agrees with NaN.
inline std::string difference(const std::vector<double>& found, const std::vector<double>& expected,
                              double tolerance = 1e-6) {
  if (found.size() != expected.size()) { return "another size"; }
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i]))) { continue; }
    if (std::fabs(found[i] - expected[i]) <= tolerance * std::max(1.0, std::fabs(expected[i]))) { continue; }
    return "[" + std::to_string(i) + "]: found " + std::to_string(found[i]) + ", expected " +
           std::to_string(expected[i]);
  }
  return "";
}

inline std::string mistake(GraphBuilder& b, Value out) {
  b.output("out", out);
  return refusal(b.finish(), HAL_INVALID_ARGUMENT);
}

}  // namespace hal::graph::testing
