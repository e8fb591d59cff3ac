// SPDX-License-Identifier: Apache-2.0
// A scalar expression over broadcast inputs, a block of elements at a time: each instruction is one loop over a block
// that stays in the first-level cache.
#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "graph/expression.hpp"
#include "graph/expression_kernels.hpp"
#include "graph/lines.hpp"
#include "graph/loops.hpp"
#include "graph/step.hpp"

namespace hal::host {

namespace {

using graph::Instruction;
using graph::Opcode;

constexpr std::size_t kBlock = 512;

Loops loops_of(const graph::View& view, const graph::Node& node) {
  std::vector<graph::Extents> strides;
  const graph::ShapeView shape = view.tensor(node.output).shape();
  for (const std::uint32_t input : node.inputs) {
    strides.push_back(*graph::broadcast_strides(view.tensor(input).shape(), shape));
  }
  return {shape, strides};
}

template <class T>
class MapStep final : public Step {
 public:
  MapStep(const graph::View& view, const graph::Node& node)
      : view_(view), node_(node), attributes_(node.as<graph::MapAttributes>()), loops_(loops_of(view, node)) {}

  std::uint64_t scratch_bytes() const override {
    return (node_.inputs.size() + attributes_.stack_depth) * kBlock * sizeof(T);
  }

  double cost_ns() const override {
    double per_element = 0.2;
    for (const Instruction& at : attributes_.code) {
      per_element += graph::is_floating_only(at.opcode) || at.opcode == Opcode::mod ? 3 : 0.2;
    }
    return static_cast<double>(loops_.total()) * per_element;
  }

  Result<void> run(const RunContext& context) const override {
    T* blocks = reinterpret_cast<T*>(context.scratch);
    std::size_t filled = 0;
    std::int64_t stored = 0;
    const graph::Tensor& out = view_.tensor(node_.output);
    const auto finish = [&] {
      const T* result = evaluate(blocks, filled);
      store_line(out.dtype, context.tensors[node_.output], stored, filled, result);
      stored += static_cast<std::int64_t>(filled);
      filled = 0;
    };
    loops_.each_line([&](const auto& at) {
      // A line may be longer than a block, and a block may hold many lines.
      for (std::int64_t done = 0; done < loops_.inner();) {
        const std::size_t count = std::min(kBlock - filled, static_cast<std::size_t>(loops_.inner() - done));
        for (std::size_t k = 0; k < node_.inputs.size(); ++k) {
          const std::int64_t stride = loops_.inner_stride(k);
          load_line(view_.tensor(node_.inputs[k]).dtype, context.tensors[node_.inputs[k]], at[k] + done * stride,
                    stride, count, blocks + k * kBlock + filled);
        }
        filled += count;
        done += static_cast<std::int64_t>(count);
        if (filled == kBlock) { finish(); }
      }
    });
    if (filled > 0) { finish(); }
    return {};
  }

 private:
  const T* evaluate(T* blocks, std::size_t count) const {
    std::array<const T*, graph::kMaxStackDepth + 3> stack{};
    T* slots = blocks + node_.inputs.size() * kBlock;
    std::size_t top = 0;
    for (const Instruction& at : attributes_.code) {
      if (at.opcode == Opcode::input) {
        stack[top++] = blocks + at.input * kBlock;
        continue;
      }
      T* slot = slots;
      if (at.opcode == Opcode::constant) {
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

  const graph::View& view_;
  const graph::Node& node_;
  const graph::MapAttributes& attributes_;
  Loops loops_;
};

}  // namespace

StepResult make_map(const graph::View& view, std::size_t i) {
  const graph::Node& node = view.nodes()[i];
  switch (node.as<graph::MapAttributes>().compute) {
    case DType::f64:
      return StepResult(std::make_unique<MapStep<double>>(view, node));
    case DType::i64:
      return StepResult(std::make_unique<MapStep<std::int64_t>>(view, node));
    case DType::i32:
      return StepResult(std::make_unique<MapStep<std::int32_t>>(view, node));
    default:
      return StepResult(std::make_unique<MapStep<float>>(view, node));
  }
}

}  // namespace hal::host
