// SPDX-License-Identifier: Apache-2.0
// Where intermediates live: one arena, each tensor at an offset for as long as it is needed.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/view.hpp"

namespace hal::graph {

inline constexpr std::uint64_t kNotInArena = ~std::uint64_t{0};

struct Plan {
  std::uint64_t arena_bytes = 0;
  std::uint64_t live_bytes_peak = 0;   // a lower bound for any plan: the most bytes alive at one node
  std::vector<std::uint64_t> offsets;  // by tensor; kNotInArena for parameters, constants and tensors nobody writes
};

/// Packs the intermediates, large ones first, each at the lowest offset that is free while it lives. A node's output
/// never shares bytes with its inputs, so nodes need no in-place form. An intermediate that is written but never read
/// still has its place at the node that writes it. The same view and alignment always give the same plan.
///
/// Errors  INVALID_ARGUMENT  alignment is not a power of two from 1 to 4096
///         OUT_OF_RANGE      the arena would pass 2^46 bytes
Result<Plan> plan_memory(const View& view, std::uint64_t alignment = 64);

}  // namespace hal::graph
