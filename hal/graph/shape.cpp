// SPDX-License-Identifier: Apache-2.0
#include "graph/shape.hpp"

#include <algorithm>

namespace hal::graph {

std::optional<std::int64_t> element_count(ShapeView shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 1 || __builtin_mul_overflow(count, size, &count)) { return std::nullopt; }
  }
  return count;
}

std::optional<std::int64_t> byte_count(DType type, ShapeView shape) {
  const std::optional<std::int64_t> count = element_count(shape);
  std::int64_t bits = dtype_bits(type);
  if (!count || bits == 0 || __builtin_mul_overflow(*count, bits, &bits)) { return std::nullopt; }
  return bits / 8 + (bits % 8 != 0 ? 1 : 0);
}

Extents row_major_strides(ShapeView shape) {
  Extents strides{};
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

std::optional<Extents> broadcast_strides(ShapeView from, ShapeView to) {
  if (from.size() > to.size()) { return std::nullopt; }
  const Extents dense = row_major_strides(from);
  const std::size_t missing = to.size() - from.size();
  Extents strides{};
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] == to[missing + i]) {
      strides[missing + i] = dense[i];
    } else if (from[i] != 1) {
      return std::nullopt;
    }
  }
  return strides;
}

Odometer::Odometer(ShapeView shape, std::span<const Extents> strides)
    : rank_(static_cast<std::uint32_t>(shape.size())), operands_(strides.size()) {
  std::ranges::copy(shape, shape_.begin());
  std::ranges::copy(strides, strides_.begin());
}

void Odometer::step() {
  for (std::size_t d = rank_; d-- > 0;) {
    if (++index_[d] < shape_[d]) {
      for (std::size_t k = 0; k < operands_; ++k) { positions_[k] += strides_[k][d]; }
      return;
    }
    for (std::size_t k = 0; k < operands_; ++k) { positions_[k] -= strides_[k][d] * (shape_[d] - 1); }
    index_[d] = 0;
  }
  live_ = false;
}

}  // namespace hal::graph
