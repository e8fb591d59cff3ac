// SPDX-License-Identifier: Apache-2.0
// Arithmetic on dense row-major shapes. Nothing here overflows on verified shapes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "hal/graph_types.hpp"

namespace hal::graph {

using ShapeView = std::span<const std::int64_t>;

/// The number of elements; 1 for a scalar. nullopt if a size is below 1 or the product does not fit.
std::optional<std::int64_t> element_count(ShapeView shape);

/// Bytes of a dense tensor, rounded up to whole bytes. nullopt if they do not fit or the type is unknown.
std::optional<std::int64_t> byte_count(DType type, ShapeView shape);

/// Is one of the sizes symbolic? The functions here take shapes without such, but for this one.
inline bool is_dynamic(ShapeView shape) { return std::ranges::any_of(shape, is_symbolic); }

/// Strides in elements of a dense tensor.
Extents row_major_strides(ShapeView shape);

/// Strides that read `from` as if it had shape `to`: 0 along repeated dimensions. Dimensions are matched from the last;
/// leading ones of `to` may be missing in `from`. nullopt if the shapes do not broadcast.
std::optional<Extents> broadcast_strides(ShapeView from, ShapeView to);

/// Steps through the indices of a shape in row-major order and keeps linear positions for several stride sets. For
/// references and slow paths: `for (Odometer at(shape, {{a, b}}); at.live(); at.step())`.
class Odometer {
 public:
  static constexpr std::size_t kMaxOperands = kMaxMapInputs;

  Odometer(ShapeView shape, std::span<const Extents> strides);
  bool live() const { return live_; }
  void step();
  std::int64_t position(std::size_t operand) const { return positions_[operand]; }
  const Extents& index() const { return index_; }

 private:
  std::uint32_t rank_;
  std::size_t operands_;
  bool live_ = true;
  Extents shape_{};
  Extents index_{};
  std::array<Extents, kMaxOperands> strides_{};
  std::array<std::int64_t, kMaxOperands> positions_{};
};

}  // namespace hal::graph
