// SPDX-License-Identifier: Apache-2.0
#include "graph/loops.hpp"

namespace hal::host {

namespace {

std::vector<std::vector<std::int64_t>> as_vectors(std::size_t rank, std::span<const graph::Extents> strides) {
  std::vector<std::vector<std::int64_t>> out;
  for (const graph::Extents& own : strides) {
    out.emplace_back(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(rank));
  }
  return out;
}

}  // namespace

Loops::Loops(graph::ShapeView shape, std::span<const graph::Extents> strides)
    : Loops(shape, as_vectors(shape.size(), strides)) {}

Loops::Loops(std::span<const std::int64_t> shape, const std::vector<std::vector<std::int64_t>>& strides)
    : operands_(strides.size()), strides_(strides.size()) {
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) { continue; }
    total_ *= shape[d];
    bool merges = !sizes_.empty();
    for (std::size_t k = 0; k < operands_ && merges; ++k) { merges = strides_[k].back() == strides[k][d] * shape[d]; }
    if (merges) {
      sizes_.back() *= shape[d];
      for (std::size_t k = 0; k < operands_; ++k) { strides_[k].back() = strides[k][d]; }
    } else {
      sizes_.push_back(shape[d]);
      for (std::size_t k = 0; k < operands_; ++k) { strides_[k].push_back(strides[k][d]); }
    }
  }
  if (sizes_.empty()) {
    sizes_.push_back(1);
    for (auto& own : strides_) { own.push_back(0); }
  }
}

}  // namespace hal::host
