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
  std::vector<std::uint32_t> tensors;  // one after the other in the same bytes
  std::size_t first = 0;               // the step that writes the first
  std::size_t last = 0;                // the last step that reads the last
  std::uint64_t bytes = 0;             // rounded up to the alignment
  std::uint64_t offset = kNotInArena;

  bool overlaps(const Life& other) const { return first <= other.last && other.first <= last; }
};

// What a node reads and writes, whatever it does in between.
struct Use {
  std::vector<std::uint32_t> reads;
  std::uint32_t output;
  std::uint32_t over = kNobody;  // the tensor that may be written over
  static constexpr std::uint32_t kNobody = ~std::uint32_t{0};
};

// The input that `step` may write over if it dies there.
std::uint32_t writes_over(const View& view, const FusedStep& step) {
  const Tensor& out = view.tensor(step.output);
  if (step.op != Op::map || out.role != Role::intermediate) { return Use::kNobody; }
  for (const Access& access : step.inputs) {
    const Tensor& in = view.tensor(access.tensor);
    const auto same = [&](const Access& other) { return other.tensor == access.tensor; };
    if (in.role == Role::intermediate && in.elements == out.elements && dtype_bits(in.dtype) == dtype_bits(out.dtype) &&
        is_dense(access, step.domain) && std::ranges::count_if(step.inputs, same) == 1) {
      return access.tensor;
    }
  }
  return Use::kNobody;
}

std::vector<Life> lives_of(const View& view, const std::vector<Use>& uses, std::uint64_t alignment,
                           std::uint32_t& in_place) {
  std::vector<std::size_t> last(view.tensors().size());
  for (std::size_t i = 0; i < uses.size(); ++i) {
    for (const std::uint32_t input : uses[i].reads) { last[input] = i; }
  }
  std::vector<Life> lives;
  std::vector<std::size_t> life_of(view.tensors().size());
  for (std::size_t i = 0; i < uses.size(); ++i) {
    const std::uint32_t output = uses[i].output;
    const Tensor& out = view.tensor(output);
    if (out.role != Role::intermediate) { continue; }
    const std::size_t end = std::max(i, last[output]);
    const std::uint64_t bytes = (out.bytes + alignment - 1) / alignment * alignment;
    if (uses[i].over != Use::kNobody && last[uses[i].over] == i) {
      Life& life = lives[life_of[uses[i].over]];
      life.tensors.push_back(output);
      life.last = end;
      life_of[output] = life_of[uses[i].over];
      ++in_place;
      continue;
    }
    life_of[output] = lives.size();
    lives.push_back({{output}, i, end, bytes, kNotInArena});
  }
  return lives;
}

std::uint64_t live_peak(const std::vector<Life>& lives, std::size_t steps) {
  std::vector<std::uint64_t> born(steps), dead(steps);
  for (const Life& life : lives) {
    born[life.first] += life.bytes;
    dead[life.last] += life.bytes;
  }
  std::uint64_t live = 0;
  std::uint64_t peak = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    live += born[i];
    peak = std::max(peak, live);
    live -= dead[i];
  }
  return peak;
}

Result<Plan> pack(const View& view, const std::vector<Use>& uses, std::uint64_t alignment) {
  if (!std::has_single_bit(alignment) || alignment > 4096) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("plan_memory: alignment is {}, expected a power of two from 1 to 4096", alignment));
  }
  Plan plan;
  std::vector<Life> lives = lives_of(view, uses, alignment, plan.in_place);
  plan.offsets.assign(view.tensors().size(), kNotInArena);
  // At most 2^16 tensors of 2^46 bytes do not overflow the sums.
  plan.live_bytes_peak = live_peak(lives, uses.size());
  for (const Use& use : uses) {
    const Tensor& out = view.tensor(use.output);
    if (out.role == Role::intermediate) { plan.total_bytes += (out.bytes + alignment - 1) / alignment * alignment; }
  }
  std::ranges::sort(lives, [](const Life& a, const Life& b) {
    return std::tuple(b.bytes, a.first, a.tensors[0]) < std::tuple(a.bytes, b.first, b.tensors[0]);
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
    for (const std::uint32_t tensor : life.tensors) { plan.offsets[tensor] = offset; }
    plan.arena_bytes = std::max(plan.arena_bytes, offset + life.bytes);
    placed.insert(std::ranges::upper_bound(placed, offset, {}, [&](std::size_t p) { return lives[p].offset; }), i);
  }
  return plan;
}

}  // namespace

Result<Plan> plan_memory(const View& view, std::span<const FusedStep> steps, const PlanOptions& options) {
  std::vector<Use> uses;
  for (const FusedStep& step : steps) {
    Use& use = uses.emplace_back(Use{{}, step.output, Use::kNobody});
    step.each_read([&](const Access& access) { use.reads.push_back(access.tensor); });
    if (options.in_place) { use.over = writes_over(view, step); }
  }
  return pack(view, uses, options.alignment);
}

Result<Plan> plan_memory(const View& view, std::uint64_t alignment) {
  std::vector<Use> uses;
  for (const Node& node : view.nodes()) { uses.push_back({node.inputs, node.output, Use::kNobody}); }
  return pack(view, uses, alignment);
}

}  // namespace hal::graph
