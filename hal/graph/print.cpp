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

std::string print_attributes(const View& view, const Node& node) {
  const std::string text = std::visit(AttributePrinter{view, node}, node.attributes);
  return text.empty() ? text : text.substr(1);
}

std::string print_type(const View& view, const Tensor& tensor) {
  return fmt::format("{}{}", dtype_name(tensor.dtype), print_shape(tensor.shape(), view.sizes()));
}

namespace {

std::string print_access(const View& view, const Access& access, ShapeView domain) {
  std::string text = fmt::format("%{}", access.tensor);
  const Tensor& tensor = view.tensor(access.tensor);
  std::int64_t walked = 1;
  for (const std::int64_t size : domain) { walked *= size; }
  if (walked == tensor.elements && is_dense(access, domain)) { return text; }
  if (access.offset != 0) { text += fmt::format(" from {}", access.offset); }
  return text + fmt::format(" by {}", print_shape(first(access.strides, domain.size())));
}

// The name of input k of an expression is xk; behind a sum, which is input 0 itself, x0 is the first of the others.
std::string print_code(const FusedStep& step) {
  if (step.op != Op::contract) { return print_expression(step.code); }
  std::string text = print_expression(step.code);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool input = text[i] == 'x' && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9' &&
                       (i == 0 || text[i - 1] < 'a' || text[i - 1] > 'z');
    if (!input) {
      out += text[i];
      continue;
    }
    const int number = text[++i] - '0';  // at most eight inputs
    out += number == 0 ? std::string("sum") : fmt::format("x{}", number - 1);
  }
  return out;
}

}  // namespace

std::string print_steps(const View& view, std::span<const FusedStep> steps, const Plan& plan) {
  std::string text =
      fmt::format("steps of a device that fuses all it may: {} of {} nodes\n", steps.size(), view.nodes().size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const FusedStep& step = steps[i];
    text += fmt::format("  step {}: node{} {} as {} %{} = ", i, step.nodes.size() == 1 ? "" : "s",
                        fmt::join(step.nodes, ", "), op_name(step.op), step.output);
    std::vector<std::string> reads;
    if (step.op == Op::contract) {
      for (std::size_t k = 0; k < 2; ++k) {
        const Tensor& own = view.tensor(view.nodes()[step.node].inputs[k]);
        reads.push_back(print_access(view, step.operands[k], own.shape()));
      }
      text += fmt::format("{}", fmt::join(reads, ", "));
    } else if (step.code.empty()) {
      for (const Access& access : step.inputs) {
        reads.push_back(step.op == Op::view ? print_access(view, access, step.domain)
                                            : fmt::format("%{}", access.tensor));
      }
      text += fmt::format("{}", fmt::join(reads, ", "));
    }
    if (!step.code.empty()) {
      text += fmt::format("{}{}{}", step.op == Op::contract ? "; then " : "", print_code(step),
                          step.inputs.empty() ? "" : " with ");
      std::vector<std::string> inputs;
      for (std::size_t k = 0; k < step.inputs.size(); ++k) {
        inputs.push_back(fmt::format("x{} = {}", k, print_access(view, step.inputs[k], step.domain)));
      }
      text += fmt::format("{}", fmt::join(inputs, ", "));
    }
    const std::uint64_t place = plan.offsets[step.output];
    if (place != kNotInArena) { text += fmt::format("  [{} to {}]", place, place + view.tensor(step.output).bytes); }
    text += '\n';
  }
  return text + fmt::format(
                    "  intermediates: {} bytes in one arena, {} alive at most, {} without reuse; {} step{} over an "
                    "operand\n",
                    plan.arena_bytes, plan.live_bytes_peak, plan.total_bytes, plan.in_place,
                    plan.in_place == 1 ? " writes" : "s write");
}

}  // namespace hal::graph
