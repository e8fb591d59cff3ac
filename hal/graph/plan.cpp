// SPDX-License-Identifier: Apache-2.0
#include "graph/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <tuple>

namespace hal::graph {
namespace {

constexpr std::uint64_t kMaxArena = std::uint64_t{1} << 46U;

struct Life {
  std::uint32_t tensor = 0;
  std::uint32_t first = 0;  // the node that writes it
  std::uint32_t last = 0;   // the last node that reads it
  std::uint64_t bytes = 0;  // rounded up to the alignment
  std::uint64_t offset = kNotInArena;

  bool overlaps(const Life& other) const { return first <= other.last && other.first <= last; }
};

std::vector<Life> lives_of(const View& view, std::uint64_t alignment) {
  std::vector<Life> lives;
  std::vector<std::size_t> life_of(view.tensors().size());
  for (std::uint32_t i = 0; i < view.nodes().size(); ++i) {
    const Node& node = view.nodes()[i];
    for (const std::uint32_t input : node.inputs) {
      if (view.tensor(input).role == Role::intermediate) { lives[life_of[input]].last = i; }
    }
    const Tensor& out = view.tensor(node.output);
    if (out.role != Role::intermediate) { continue; }
    life_of[node.output] = lives.size();
    lives.push_back({node.output, i, i, (out.bytes + alignment - 1) / alignment * alignment, kNotInArena});
  }
  return lives;
}

std::uint64_t live_peak(const std::vector<Life>& lives, std::size_t nodes) {
  std::vector<std::uint64_t> born(nodes), dead(nodes);
  for (const Life& life : lives) {
    born[life.first] += life.bytes;
    dead[life.last] += life.bytes;
  }
  std::uint64_t live = 0;
  std::uint64_t peak = 0;
  for (std::size_t i = 0; i < nodes; ++i) {
    live += born[i];
    peak = std::max(peak, live);
    live -= dead[i];
  }
  return peak;
}

}  // namespace

Result<Plan> plan_memory(const View& view, std::uint64_t alignment) {
  if (!std::has_single_bit(alignment) || alignment > 4096) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("plan_memory: alignment is {}, expected a power of two from 1 to 4096", alignment));
  }
  std::vector<Life> lives = lives_of(view, alignment);
  Plan plan;
  plan.offsets.assign(view.tensors().size(), kNotInArena);
  // At most 2^16 tensors of 2^46 bytes do not overflow the sum.
  plan.live_bytes_peak = live_peak(lives, view.nodes().size());

  std::ranges::sort(lives, [](const Life& a, const Life& b) {
    return std::tuple(b.bytes, a.first, a.tensor) < std::tuple(a.bytes, b.first, b.tensor);
  });
  std::vector<std::size_t> placed;  // indices into lives, by rising offset
  for (std::size_t i = 0; i < lives.size(); ++i) {
    Life& life = lives[i];
    std::uint64_t offset = 0;
    for (const std::size_t other : placed) {
      const Life& there = lives[other];
      if (!there.overlaps(life)) { continue; }
      if (offset + life.bytes <= there.offset) { break; }
      offset = std::max(offset, there.offset + there.bytes);
    }
    if (offset + life.bytes > kMaxArena) {
      return Error(HAL_OUT_OF_RANGE, fmt::format("graph \"{}\": its intermediates need more than {} bytes at once",
                                                 view.name(), kMaxArena));
    }
    life.offset = offset;
    plan.offsets[life.tensor] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + life.bytes);
    placed.insert(std::ranges::upper_bound(placed, offset, {}, [&](std::size_t p) { return lives[p].offset; }), i);
  }
  return plan;
}

}  // namespace hal::graph
