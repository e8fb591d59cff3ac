// SPDX-License-Identifier: Apache-2.0
// The expression of a fused step, a block of elements at a time: each instruction is one loop over a block that stays
// in the first-level cache.
#pragma once

#include <algorithm>
#include <array>

#include "graph/expression.hpp"
#include "graph/expression_kernels.hpp"
#include "graph/fuse.hpp"
#include "graph/lines.hpp"
#include "graph/loops.hpp"

namespace hal::host {

// The loops of a step's inputs, and of what else walks its domain: operand k is inputs[k].
inline Loops loops_of(const graph::FusedStep& step, std::span<const graph::Extents> more = {}) {
  std::vector<graph::Extents> strides;
  for (const graph::Access& access : step.inputs) { strides.push_back(access.strides); }
  strides.insert(strides.end(), more.begin(), more.end());
  return {step.domain, strides};
}

template <class T>
class Code {
 public:
  static constexpr std::size_t kBlock = 512;

  // `first` inputs come before the step's own: 1 for the sum of a contraction.
  Code(const graph::View& view, const graph::FusedStep& step, std::size_t first = 0)
      : view_(view), step_(step), inputs_(step.inputs.size() + first), first_(first) {}

  std::size_t scratch_elements() const { return (inputs_ + step_.stack_depth) * kBlock; }

  double cost_ns() const {
    double per_element = 0.2;
    for (const graph::Instruction& at : step_.code) {
      per_element += graph::is_floating_only(at.opcode) || at.opcode == graph::Opcode::mod ? 3 : 0.2;
    }
    return per_element;
  }

  T* block(T* scratch, std::size_t input) const { return scratch + input * kBlock; }

  // Elements of the step's own input k, `done` steps into a line that begins at `at`, into its block from `filled` on.
  void load(std::size_t k, std::span<std::byte* const> tensors, std::int64_t at, std::int64_t stride, std::int64_t done,
            std::size_t filled, std::size_t count, T* scratch) const {
    const graph::Access& access = step_.inputs[k];
    load_line(view_.tensor(access.tensor).dtype, tensors[access.tensor], access.offset + at + done * stride, stride,
              count, block(scratch, k + first_) + filled);
  }

  // The values at the first `count` elements of all blocks.
  const T* evaluate(T* scratch, std::size_t count) const {
    std::array<const T*, graph::kMaxStackDepth + 3> stack{};
    T* slots = scratch + inputs_ * kBlock;
    std::size_t top = 0;
    for (const graph::Instruction& at : step_.code) {
      if (at.opcode == graph::Opcode::input) {
        stack[top++] = block(scratch, at.input);
        continue;
      }
      T* slot = slots;
      if (at.opcode == graph::Opcode::constant) {
        slot += top * kBlock;
        std::fill_n(slot, count, static_cast<T>(at.constant));
      } else {
        top -= *graph::opcode_arity(at.opcode);
        slot += top * kBlock;
        apply(at.opcode, stack[top], stack[top + 1], stack[top + 2], slot, count);
      }
      stack[top++] = slot;
    }
    return stack[0];
  }

 private:
  const graph::View& view_;
  const graph::FusedStep& step_;
  std::size_t inputs_, first_;
};

}  // namespace hal::host
