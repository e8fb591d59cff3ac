// SPDX-License-Identifier: Apache-2.0
// The oracle: what a graph means. Every element is computed in double precision or wider (integers exactly, wrapping at
// the bits that docs/graph.md says) and rounded to its tensor's type at each store. Plain loops, never optimised;
// nothing else may be compared with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/view.hpp"

namespace hal::graph {

struct ReferenceLimits {
  std::int64_t elements = std::int64_t{1} << 28U;       // of all tensors together; each takes 8 bytes
  std::int64_t multiply_adds = std::int64_t{1} << 40U;  // of any one contraction
};

/// Runs the graph. `inputs` are the input parameters in order, each exactly its tensor's bytes; the result holds the
/// outputs in order.
///
/// Errors  INVALID_ARGUMENT    the number of inputs, or the size of one, is wrong
///         OUT_OF_RANGE        an index of gather or scatter is outside; the node, the index and its place are named
///         OUT_OF_HOST_MEMORY  the graph is above the limits
Result<std::vector<std::vector<std::byte>>> evaluate_reference(const View& view,
                                                               std::span<const std::span<const std::byte>> inputs,
                                                               const ReferenceLimits& limits = {});

}  // namespace hal::graph
