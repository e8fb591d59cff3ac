// SPDX-License-Identifier: Apache-2.0
#include "graph/print.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "graph/expression.hpp"
#include "graph/rules.hpp"

namespace hal::graph {
namespace {

constexpr std::array<std::string_view, 5> kReduceNames{"?", "sum", "max", "min", "prod"};

std::string letters(const Labels& labels, std::size_t rank) {
  std::string text;
  for (std::size_t i = 0; i < rank; ++i) {
    text += labels[i] < 26 ? static_cast<char>('a' + labels[i]) : static_cast<char>('A' + (labels[i] - 26));
  }
  return text;
}

ShapeView first(const Extents& extents, std::size_t count) { return {extents.data(), count}; }

struct AttributePrinter {
  const View& view;
  const Node& node;

  std::size_t rank_of(std::uint32_t tensor) const { return view.tensor(tensor).rank; }
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const ContractAttributes& a) const {
    return fmt::format(" {},{}->{} in {}", letters(a.left, rank_of(node.inputs[0])),
                       letters(a.right, rank_of(node.inputs[1])), letters(a.out, rank_of(node.output)),
                       dtype_name(a.accumulate));
  }
  std::string operator()(const MapAttributes& a) const { return " " + print_expression(a.code); }
  std::string operator()(const ReduceAttributes& a) const {
    std::vector<std::uint32_t> axes;
    for (std::uint32_t i = 0; i < kMaxRank; ++i) {
      if (((a.axes >> i) & 1U) != 0) { axes.push_back(i); }
    }
    return fmt::format(" {} over [{}]{} in {}", kReduceNames[std::to_underlying(a.op)], fmt::join(axes, ", "),
                       a.keep_dims ? ", kept" : "", dtype_name(a.accumulate));
  }
  std::string operator()(const ViewAttributes& a) const {
    return fmt::format(" from {} by {}", print_size(a.offset, view.sizes()),
                       print_shape(first(a.strides, rank_of(node.output)), view.sizes()));
  }
  std::string operator()(const GatherAttributes& a) const { return fmt::format(" on axis {}", a.axis); }
  std::string operator()(const ScatterAttributes& a) const {
    return fmt::format(" {} on axis {}", a.mode == ScatterMode::add ? "add" : "set", a.axis);
  }
  std::string operator()(const PadAttributes& a) const {
    const std::size_t rank = rank_of(node.output);
    return fmt::format(" low {} high {} with {}", print_shape(first(a.low, rank)), print_shape(first(a.high, rank)),
                       a.value);
  }
  std::string operator()(const ConcatAttributes& a) const { return fmt::format(" on axis {}", a.axis); }
};

std::string print_tensor(const View& view, std::uint32_t i) {
  const Tensor& tensor = view.tensor(i);
  const std::string name = tensor.name.empty() ? "" : fmt::format(" \"{}\"", tensor.name);
  return fmt::format("%{}{} {}{}", i, name, dtype_name(tensor.dtype), print_shape(tensor.shape(), view.sizes()));
}

}  // namespace

std::string print(const View& view) {
  std::string text = fmt::format("graph \"{}\"\n", view.name());
  for (std::uint32_t i = 0; i < view.parameter_count(); ++i) {
    const bool is_input = view.tensor(i).role == Role::input;
    text += fmt::format("  {:<6} {}\n", is_input ? "input" : "output", print_tensor(view, i));
  }
  std::uint64_t constant_bytes = 0;
  for (const Node& node : view.nodes()) {
    std::string inputs;
    for (const std::uint32_t input : node.inputs) { inputs += fmt::format("{}%{}", inputs.empty() ? "" : ", ", input); }
    text += fmt::format("  {} = {}({}){}\n", print_tensor(view, node.output), op_name(node.op), inputs,
                        std::visit(AttributePrinter{view, node}, node.attributes));
    if (node.op == Op::constant) { constant_bytes += view.tensor(node.output).bytes; }
  }
  text += fmt::format("  {} nodes, {} tensors, {} bytes of constants\n", view.nodes().size(), view.tensors().size(),
                      constant_bytes);
  return text;
}

}  // namespace hal::graph
