// SPDX-License-Identifier: Apache-2.0
// For the files that write cases.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "graph/cases.hpp"
#include "graph/element.hpp"
#include "hal/graph.hpp"

namespace hal::graph {

// A case under construction. Inputs are filled as they are declared.
class Maker {
 public:
  Maker(std::vector<Case>& cases, std::string name) : cases_(cases), name_(std::move(name)), b(name_) {
    random_.seed(static_cast<std::uint32_t>(cases.size() + 1));
  }

  // Multiples of 1/8 from -4 to 4 (whole for integers, large for i64, 0 or 1 for bool): sums of products of them are
  // exact in f32.
  Value input(DType type, Shape shape) {
    const auto count = static_cast<std::size_t>(element_count(shape).value_or(0));
    std::vector<double> values(count);
    for (double& value : values) { value = draw(type); }
    return input(type, std::move(shape), values);
  }

  Value input(DType type, Shape shape, const std::vector<double>& values) {
    std::vector<std::byte>& bytes = inputs_.emplace_back(static_cast<std::size_t>(byte_count(type, shape).value_or(0)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      store_element(type, bytes.data(), static_cast<std::int64_t>(i), values[i]);
    }
    return b.input(fmt::format("x{}", inputs_.size() - 1), type, std::move(shape));
  }

  void finish(Value out) {
    b.output("out", out);
    finish();
  }
  // A case that the builder refuses would be a mistake in this file; value() then says so.
  void finish() { cases_.push_back({name_, b.finish().value(), std::move(inputs_), out_of_range}); }

  bool out_of_range = false;

 private:
  double draw(DType type) {
    const auto eighths = static_cast<int>(random_() % 65) - 32;
    if (type == DType::boolean) { return static_cast<double>(eighths & 1); }
    if (type == DType::u8) { return static_cast<double>(eighths + 32); }
    if (type == DType::i4) { return static_cast<double>((eighths + 32) % 16 - 8); }
    if (type == DType::i64) { return eighths * 0x1p40 + eighths; }  // products pass 64 bits and are exact in none
    return is_floating(type) ? eighths / 8.0 : static_cast<double>(eighths);
  }

  std::vector<Case>& cases_;
  std::string name_;
  std::vector<std::vector<std::byte>> inputs_;
  std::mt19937 random_;

 public:
  GraphBuilder b;
};

inline std::string named(std::string_view stem, DType type) { return fmt::format("{}.{}", stem, dtype_name(type)); }

}  // namespace hal::graph
