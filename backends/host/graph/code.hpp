// SPDX-License-Identifier: Apache-2.0
// The expression of a fused step, a block of elements at a time: each instruction is one loop over a block that stays
// in the first-level cache.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

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

  // Where the values of each input lie, for some elements of a line.
  using Operands = std::array<const T*, graph::kMaxMapInputs + 1>;

  T* block(T* scratch, std::size_t input) const { return scratch + input * kBlock; }

  // Elements of the step's own input k, `done` steps into a line that begins at `at`, into its block from `filled` on.
  void load(std::size_t k, std::span<std::byte* const> tensors, std::int64_t at, std::int64_t stride, std::int64_t done,
            std::size_t filled, std::size_t count, T* scratch) const {
    const graph::Access& access = step_.inputs[k];
    load_line(view_.tensor(access.tensor).dtype, tensors[access.tensor], access.offset + at + done * stride, stride,
              count, block(scratch, k + first_) + filled);
  }

  // Calls body(operands, done, count) for the blocks of one line. Elements that lie as they are computed in are read in
  // place; one that is the same for the whole line is spread over its block once.
  template <class Body>
  void each_block(const Loops& loops, std::span<const std::int64_t> at, std::span<std::byte* const> tensors, T* scratch,
                  Body&& body) const {
    Operands operands{};
    for (std::size_t k = 0; k < inputs_; ++k) { operands[k] = block(scratch, k); }
    for (std::int64_t done = 0; done < loops.inner();) {
      const std::size_t count = std::min(kBlock, static_cast<std::size_t>(loops.inner() - done));
      for (std::size_t k = 0; k < step_.inputs.size(); ++k) {
        const graph::Access& access = step_.inputs[k];
        const std::int64_t stride = loops.inner_stride(k);
        if (stride == 1 && view_.tensor(access.tensor).dtype == kType) {
          operands[k + first_] = reinterpret_cast<const T*>(tensors[access.tensor]) + access.offset + at[k] + done;
        } else if (stride != 0 || done == 0) {
          load(k, tensors, at[k], stride, done, 0, count, scratch);
        }
      }
      body(operands, done, count);
      done += static_cast<std::int64_t>(count);
    }
  }

  // The values at `count` elements; they lie at `to` if it is given, which may be one of the operands.
  const T* evaluate(const Operands& operands, T* scratch, std::size_t count, T* to = nullptr) const {
    std::array<const T*, graph::kMaxStackDepth + 3> stack{};
    T* slots = scratch + inputs_ * kBlock;
    std::size_t top = 0, left = step_.code.size();
    for (const graph::Instruction& at : step_.code) {
      --left;
      if (at.opcode == graph::Opcode::input) {
        stack[top++] = operands[at.input];
        continue;
      }
      T* slot = slots;
      if (at.opcode == graph::Opcode::constant) {
        slot += top * kBlock;
        std::fill_n(slot, count, static_cast<T>(at.constant));
      } else {
        top -= *graph::opcode_arity(at.opcode);
        slot = left == 0 && to != nullptr ? to : slots + top * kBlock;
        apply(at.opcode, stack[top], stack[top + 1], stack[top + 2], slot, count);
      }
      stack[top++] = slot;
    }
    if (to != nullptr && stack[0] != to) { std::memmove(to, stack[0], count * sizeof(T)); }
    return to != nullptr ? to : stack[0];
  }

  // The same for the first `count` elements of all blocks.
  const T* evaluate(T* scratch, std::size_t count) const {
    Operands operands{};
    for (std::size_t k = 0; k < inputs_; ++k) { operands[k] = block(scratch, k); }
    return evaluate(operands, scratch, count);
  }

  // The tensor type whose elements are computed in as they are stored.
  static constexpr DType kType = std::is_same_v<T, float>          ? DType::f32
                                 : std::is_same_v<T, double>       ? DType::f64
                                 : std::is_same_v<T, std::int32_t> ? DType::i32
                                                                   : DType::i64;

 private:
  const graph::View& view_;
  const graph::FusedStep& step_;
  std::size_t inputs_, first_;
};

}  // namespace hal::host
