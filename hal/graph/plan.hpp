// SPDX-License-Identifier: Apache-2.0
// Where intermediates live: one arena, each tensor at an offset for as long as it is needed.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/fuse.hpp"
#include "graph/view.hpp"

namespace hal::graph {

inline constexpr std::uint64_t kNotInArena = ~std::uint64_t{0};

struct Plan {
  std::uint64_t arena_bytes = 0;
  std::uint64_t live_bytes_peak = 0;   // the most bytes alive at one step; without in_place a lower bound for any plan
  std::uint64_t total_bytes = 0;       // of all intermediates: what the arena would be without reuse
  std::uint32_t in_place = 0;          // steps that write over an operand
  std::vector<std::uint64_t> offsets;  // by tensor; kNotInArena for parameters, constants and tensors nobody writes
};

struct PlanOptions {
  std::uint64_t alignment = 64;
  /// A map may write over an intermediate that dies there, if it reads that intermediate once, element by element in
  /// order, and elements are as wide. Only for devices whose maps read an element before they write it.
  bool in_place = false;
};

/// Packs the intermediates, large ones first, each at the lowest offset that is free while it lives. Otherwise a step's
/// output never shares bytes with what it reads. The same steps and options always give the same plan.
///
/// Errors  INVALID_ARGUMENT  alignment is not a power of two from 1 to 4096
///         OUT_OF_RANGE      the arena would pass 2^46 bytes
Result<Plan> plan_memory(const View& view, std::span<const FusedStep> steps, const PlanOptions& options = {});

/// The same with every node a step of its own. An intermediate that is written but never read still has its place at
/// the node that writes it.
Result<Plan> plan_memory(const View& view, std::uint64_t alignment = 64);

}  // namespace hal::graph
