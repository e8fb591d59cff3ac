// SPDX-License-Identifier: Apache-2.0
// An einsum as a driver wants it: loops with strides, sorted into the four groups of a batched matrix product.
//
//   for batch: for m: for n: out[batch, m, n] = sum over k of left[batch, m, k] * right[batch, k, n]
//
// A summed label that only one operand has is a k loop with stride 0 in the other. Neighbouring loops of a group are
// merged where all three operands allow it, and loops of size 1 are dropped, so most einsums end with at most one loop
// a group.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "graph/view.hpp"

namespace hal::graph {

/// Strides in elements; 0 where an operand does not have the loop.
struct Loop {
  std::int64_t size = 1;
  std::int64_t left = 0;
  std::int64_t right = 0;
  std::int64_t out = 0;
  friend bool operator==(const Loop&, const Loop&) = default;
};

/// One loop for each group; a group without loops is {1, 0, 0, 0}.
struct Matmul {
  Loop batch, m, n, k;
};

struct Contraction {
  std::vector<Loop> batch, m, n, k;  // outermost first, by falling stride of out (k: of left, then right)

  std::int64_t batch_size() const { return size_of(batch); }
  std::int64_t m_size() const { return size_of(m); }
  std::int64_t n_size() const { return size_of(n); }
  std::int64_t k_size() const { return size_of(k); }

  /// Multiplications and additions.
  std::int64_t multiply_adds() const { return batch_size() * m_size() * n_size() * k_size(); }

  /// The whole as one strided batched product, if every group has at most one loop.
  std::optional<Matmul> matmul() const;

 private:
  static std::int64_t size_of(const std::vector<Loop>& loops);
};

/// `node` must be a contract node of `view`.
Contraction classify_contraction(const View& view, const Node& node);
/// With operands that are read by other strides, one for each of their dimensions (graph/fuse.hpp).
Contraction classify_contraction(const View& view, const Node& node, const Extents& left, const Extents& right);

}  // namespace hal::graph
