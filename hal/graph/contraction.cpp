// SPDX-License-Identifier: Apache-2.0
#include "graph/contraction.hpp"

#include <algorithm>
#include <array>
#include <tuple>

namespace hal::graph {
namespace {

// The loop of each label, with the stride of every tensor that has it.
struct LabelLoop {
  Loop loop;
  bool in_left = false, in_right = false, in_out = false;
};

// Outer and inner are one loop when stepping the inner to its end is one step of the outer, for all three tensors.
bool merges(const Loop& outer, const Loop& inner) {
  return outer.left == inner.left * inner.size && outer.right == inner.right * inner.size &&
         outer.out == inner.out * inner.size;
}

void finish_group(std::vector<Loop>& loops) {
  std::erase_if(loops, [](const Loop& loop) { return loop.size == 1; });
  std::ranges::sort(loops, [](const Loop& a, const Loop& b) {
    return std::tuple(b.out, b.left, b.right, b.size) < std::tuple(a.out, a.left, a.right, a.size);
  });
  std::vector<Loop> merged;
  for (const Loop& loop : loops) {
    if (!merged.empty() && merges(merged.back(), loop)) {
      const std::int64_t outer = merged.back().size;
      merged.back() = loop;
      merged.back().size *= outer;
    } else {
      merged.push_back(loop);
    }
  }
  loops = std::move(merged);
}

}  // namespace

std::int64_t Contraction::size_of(const std::vector<Loop>& loops) {
  std::int64_t size = 1;
  for (const Loop& loop : loops) { size *= loop.size; }
  return size;
}

std::optional<Matmul> Contraction::matmul() const {
  if (std::max({batch.size(), m.size(), n.size(), k.size()}) > 1) { return std::nullopt; }
  const auto only = [](const std::vector<Loop>& loops) { return loops.empty() ? Loop{} : loops[0]; };
  return Matmul{only(batch), only(m), only(n), only(k)};
}

Contraction classify_contraction(const View& view, const Node& node) {
  return classify_contraction(view, node, row_major_strides(view.tensor(node.inputs[0]).shape()),
                              row_major_strides(view.tensor(node.inputs[1]).shape()));
}

Contraction classify_contraction(const View& view, const Node& node, const Extents& left, const Extents& right) {
  const auto& attributes = node.as<ContractAttributes>();
  std::array<LabelLoop, kMaxLabels> labels{};
  const auto read = [&](std::uint32_t tensor, const Labels& names, const Extents& strides, std::int64_t Loop::* stride,
                        bool LabelLoop::* has) {
    const ShapeView shape = view.tensor(tensor).shape();
    for (std::size_t i = 0; i < shape.size(); ++i) {
      LabelLoop& label = labels[names[i]];
      label.loop.size = shape[i];
      label.loop.*stride = strides[i];
      label.*has = true;
    }
  };
  read(node.inputs[0], attributes.left, left, &Loop::left, &LabelLoop::in_left);
  read(node.inputs[1], attributes.right, right, &Loop::right, &LabelLoop::in_right);
  read(node.output, attributes.out, row_major_strides(view.tensor(node.output).shape()), &Loop::out,
       &LabelLoop::in_out);

  Contraction out;
  for (const LabelLoop& label : labels) {
    if (!label.in_left && !label.in_right) { continue; }
    std::vector<Loop>& group = !label.in_out                     ? out.k
                               : label.in_left && label.in_right ? out.batch
                               : label.in_left                   ? out.m
                                                                 : out.n;
    group.push_back(label.loop);
  }
  for (std::vector<Loop>* group : {&out.batch, &out.m, &out.n, &out.k}) { finish_group(*group); }
  return out;
}

}  // namespace hal::graph
