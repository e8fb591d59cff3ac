// SPDX-License-Identifier: Apache-2.0
// The expression of a fused step, a block of elements at a time: each instruction is one loop over a block that stays
// in the first-level cache.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <vector>

#include "graph/expression.hpp"
#include "graph/expression_kernels.hpp"
#include "graph/fuse.hpp"
#include "graph/lines.hpp"
#include "graph/loops.hpp"
#include "graph/step.hpp"

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
  static constexpr std::size_t kBlock = 1024;

  // `loops` are the step's, or those and more behind; `first` inputs come before the step's own: 1 for the sum of a
  // contraction.
  Code(const graph::View& view, const graph::FusedStep& step, const Loops& loops, std::size_t first = 0)
      : step_(step), loops_(loops), inputs_(step.inputs.size() + first), first_(first) {
    operations_.reserve(step.code.size());
    for (const graph::Instruction& at : step.code) {
      const auto arity = static_cast<std::uint8_t>(graph::opcode_arity(at.opcode).value_or(0));
      operations_.push_back({at.opcode, arity, at.input, kNoInput, static_cast<T>(at.constant)});
      if (at.opcode == graph::Opcode::input) { spread_ |= bit(at.input); }
    }
    if constexpr (std::is_same_v<T, float>) {
      // An input that is only ever the second operand of such operations need not be spread where it is the same.
      std::uint64_t otherwise = 0;
      for (std::size_t i = 0; i < operations_.size(); ++i) {
        if (operations_[i].opcode != graph::Opcode::input) { continue; }
        const std::uint8_t input = operations_[i].input;
        if (i + 1 < operations_.size() && is_same_operand_opcode(operations_[i + 1].opcode)) {
          operations_[i + 1].second = input;
        } else {
          otherwise |= bit(input);
        }
      }
      spread_ = otherwise;
    }
    for (std::size_t k = 0; k < step.inputs.size(); ++k) {
      const graph::Access& access = step.inputs[k];
      const DType type = view.tensor(access.tensor).dtype;
      const std::int64_t stride = loops.inner_stride(k);
      const bool single = stride == 0 && (spread_ & bit(k + first)) == 0;
      if (stride == 0) { same_ |= bit(k + first); }
      readings_.push_back({access.offset, stride, access.tensor, type, stride == 1 && type == kType, single});
    }
  }

  std::size_t scratch_elements() const { return (inputs_ + step_.stack_depth) * kBlock; }

  double cost_ns() const {
    double per_element = 0.2;
    for (const graph::Instruction& at : step_.code) {
      per_element += graph::is_floating_only(at.opcode) || at.opcode == graph::Opcode::mod ? 3 : 0.2;
    }
    return per_element;
  }

  const Loops& loops() const { return loops_; }

  std::uint64_t blocks() const {
    const auto inner = static_cast<std::uint64_t>(loops_.inner());
    return static_cast<std::uint64_t>(loops_.total()) / inner * ((inner + kBlock - 1) / kBlock);
  }

  // Where the values of each input lie, for some elements of a line.
  struct Operands {
    std::array<const T*, graph::kMaxMapInputs + 1> at;
    std::uint64_t same = 0;  // a bit for each input that has one value for all of them
  };

  T* block(T* scratch, std::size_t input) const { return scratch + input * kBlock; }

  // Elements of the step's own input k, `done` steps into a line that begins at `at`, into its block from `filled` on.
  void load(std::size_t k, std::span<std::byte* const> tensors, std::int64_t at, std::int64_t done, std::size_t filled,
            std::size_t count, T* scratch) const {
    const Reading& from = readings_[k];
    load_line(from.type, tensors[from.tensor], from.offset + at + done * from.stride, from.stride, count,
              block(scratch, k + first_) + filled);
  }

  // Calls body(operands, done, count) for the blocks of one line. Elements that lie as they are computed in are read in
  // place; one that is the same for the whole line is spread over its block once, if it has to be.
  template <class Body>
  void each_block(std::span<const std::int64_t> at, const RunContext& context, T* scratch, Body&& body) const {
    const std::span<std::byte* const> tensors = context.tensors;
    Operands operands = blocks_of(scratch);
    operands.same = same_;
    const auto inner = static_cast<std::size_t>(loops_.inner());
    for (std::size_t k = 0; k < readings_.size(); ++k) {
      const Reading& from = readings_[k];
      if (from.in_place) {
        operands.at[k + first_] = place(from, tensors) + at[k];
      } else if (from.single && from.type == kType) {
        *block(scratch, k + first_) = place(from, tensors)[at[k]];
      } else if (from.stride == 0) {
        load(k, tensors, at[k], 0, 0, from.single ? 1 : std::min(kBlock, inner), scratch);
      }
    }
    for (std::size_t done = 0;;) {
      const std::size_t count = std::min(kBlock, inner - done);
      for (std::size_t k = 0; k < readings_.size(); ++k) {
        const Reading& from = readings_[k];
        if (from.stride != 0 && !from.in_place) {
          load(k, tensors, at[k], static_cast<std::int64_t>(done), 0, count, scratch);
        }
      }
      if (context.ahead != nullptr) { context.ahead->call(); }
      body(operands, static_cast<std::int64_t>(done), count);
      done += count;
      if (done == inner) { return; }
      for (std::size_t k = 0; k < readings_.size(); ++k) {
        if (readings_[k].in_place) { operands.at[k + first_] += count; }
      }
    }
  }

  // The values at `count` elements; they lie at `to` if it is given, which may be one of the operands.
  const T* evaluate(const Operands& operands, T* scratch, std::size_t count, T* to = nullptr) const {
    std::array<const T*, graph::kMaxStackDepth + 3> stack;  // NOLINT: nothing is read before it is pushed
    T* slots = scratch + inputs_ * kBlock;
    std::size_t top = 0, left = operations_.size();
    for (const Operation& at : operations_) {
      --left;
      if (at.opcode == graph::Opcode::input) {
        stack[top++] = operands.at[at.input];
        continue;
      }
      T* slot = slots;
      if (at.opcode == graph::Opcode::constant) {
        slot += top * kBlock;
        std::fill_n(slot, count, at.constant);
      } else {
        top -= at.arity;
        slot = left == 0 && to != nullptr ? to : slots + top * kBlock;
        const T* b = at.arity > 1 ? stack[top + 1] : nullptr;
        bool done = false;
        if constexpr (std::is_same_v<T, float>) {
          done = at.second != kNoInput && (operands.same & bit(at.second)) != 0;
          if (done) { apply_same(at.opcode, stack[top], *b, slot, count); }
        }
        if (!done) { apply(at.opcode, stack[top], b, at.arity > 2 ? stack[top + 2] : nullptr, slot, count); }
      }
      stack[top++] = slot;
    }
    if (to != nullptr && stack[0] != to) { std::memmove(to, stack[0], count * sizeof(T)); }
    return to != nullptr ? to : stack[0];
  }

  // The same for the first `count` elements of all blocks.
  const T* evaluate(T* scratch, std::size_t count) const { return evaluate(blocks_of(scratch), scratch, count); }

  // The tensor type whose elements are computed in as they are stored.
  static constexpr DType kType = std::is_same_v<T, float>          ? DType::f32
                                 : std::is_same_v<T, double>       ? DType::f64
                                 : std::is_same_v<T, std::int32_t> ? DType::i32
                                                                   : DType::i64;

 private:
  static constexpr std::uint8_t kNoInput = 255;
  struct Operation {
    graph::Opcode opcode;
    std::uint8_t arity, input;
    std::uint8_t second;  // the input that is its second operand, if is_same_operand_opcode()
    T constant;
  };

  // What has to be known of an input of the step's own to read it.
  struct Reading {
    std::int64_t offset, stride;  // in elements; from one to the next of a line
    std::uint32_t tensor;
    DType type;
    bool in_place;  // not copied to its block
    bool single;    // the same for a line, and one element of its block is enough
  };

  // Of elements that are stored as they are computed in.
  static const T* place(const Reading& from, std::span<std::byte* const> tensors) {
    return reinterpret_cast<const T*>(tensors[from.tensor]) + from.offset;
  }

  static constexpr std::uint64_t bit(std::size_t input) { return std::uint64_t{1} << input; }

  Operands blocks_of(T* scratch) const {
    Operands operands;
    for (std::size_t k = 0; k < inputs_; ++k) { operands.at[k] = block(scratch, k); }
    return operands;
  }

  const graph::FusedStep& step_;
  Loops loops_;
  std::size_t inputs_, first_;
  std::vector<Operation> operations_;
  std::vector<Reading> readings_;  // by the step's own inputs
  std::uint64_t same_ = 0;         // a bit for each input that is the same for a line
  std::uint64_t spread_ = 0;       // a bit for each input whose block has to be full even if its value is the same
};

}  // namespace hal::host
