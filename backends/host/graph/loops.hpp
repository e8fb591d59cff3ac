// SPDX-License-Identifier: Apache-2.0
// Nested loops over strided operands, with as few and as long loops as possible.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/shape.hpp"

namespace hal::host {

// One operand for each stride set. Dimensions of size 1 are gone and neighbours that every operand walks as one are
// merged; at least one loop is left. The last loop is the innermost.
class Loops {
 public:
  Loops(graph::ShapeView shape, std::span<const graph::Extents> strides);
  // The same with up to kMost dimensions: strides[k] has one for each of them.
  Loops(std::span<const std::int64_t> sizes, const std::vector<std::vector<std::int64_t>>& strides);
  static constexpr std::size_t kMost = 2 * graph::kMaxRank;

  std::size_t operands() const { return operands_; }
  std::int64_t inner() const { return sizes_.back(); }
  std::int64_t inner_stride(std::size_t operand) const { return strides_[operand].back(); }
  std::int64_t total() const { return total_; }

  // Calls body(positions) for every run of the innermost loop, in row-major order.
  template <class Body>
  void each_line(Body&& body) const {
    std::array<std::int64_t, graph::kMaxMapInputs + 1> at{};
    const std::size_t outer = sizes_.size() - 1;
    if (outer == 0) { return body(at); }
    std::array<std::int64_t, kMost> index{};
    for (;;) {
      body(at);
      std::size_t d = outer;
      for (; d > 0; --d) {
        for (std::size_t k = 0; k < operands_; ++k) { at[k] += strides_[k][d - 1]; }
        if (++index[d - 1] < sizes_[d - 1]) { break; }
        for (std::size_t k = 0; k < operands_; ++k) { at[k] -= strides_[k][d - 1] * sizes_[d - 1]; }
        index[d - 1] = 0;
      }
      if (d == 0) { return; }
    }
  }

 private:
  std::size_t operands_;
  std::int64_t total_ = 1;
  std::vector<std::int64_t> sizes_;
  std::vector<std::vector<std::int64_t>> strides_;  // by operand
};

}  // namespace hal::host
