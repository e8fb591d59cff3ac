// SPDX-License-Identifier: Apache-2.0
#include "graph/probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "graph/element.hpp"
#include "graph/expression.hpp"
#include "hal/graph.hpp"

namespace hal::graph {
namespace {

// Postfix code as the builder's expressions.
Expr expression(std::span<const Instruction> code) {
  std::vector<Expr> stack;
  for (const Instruction& at : code) {
    if (at.opcode == Opcode::input) {
      stack.push_back(arg(at.input));
      continue;
    }
    if (at.opcode == Opcode::constant) {
      stack.emplace_back(at.constant);
      continue;
    }
    const auto take = [&] {
      Expr top = std::move(stack.back());
      stack.pop_back();
      return top;
    };
    const Expr last = take();
    const std::uint32_t operands = opcode_arity(at.opcode).value_or(1);
    if (operands == 1) {
      stack.push_back(Expr(at.opcode, {last}));
      continue;
    }
    const Expr middle = take();
    if (operands == 2) {
      stack.push_back(Expr(at.opcode, {middle, last}));
      continue;
    }
    const Expr bottom = take();
    stack.push_back(Expr(at.opcode, {bottom, middle, last}));
  }
  return stack.back();
}

class Rebuilder {
 public:
  explicit Rebuilder(const View& view) : view_(view), b_(std::string(view.name())), values_(view.tensors().size()) {}

  Result<std::vector<std::byte>> run(std::span<const std::uint32_t> wanted) {
    std::vector<bool> needed(view_.tensors().size());
    for (const std::uint32_t tensor : wanted) { needed[tensor] = true; }
    for (std::size_t i = view_.nodes().size(); i-- > 0;) {
      const Node& node = view_.nodes()[i];
      if (!needed[node.output]) { continue; }
      for (const std::uint32_t input : node.inputs) { needed[input] = true; }
    }
    std::set<std::string, std::less<>> names;
    for (std::uint32_t i = 0; i < view_.inputs().size(); ++i) {
      const Tensor& tensor = view_.tensor(i);
      names.emplace(tensor.name);
      values_[i] = b_.input(std::string(tensor.name), tensor.dtype, shape_of(i));
    }
    for (const Node& node : view_.nodes()) {
      if (needed[node.output]) { values_[node.output] = make(node); }
    }
    for (const std::uint32_t tensor : wanted) {
      std::string name(view_.tensor(tensor).name);
      if (name.empty()) { name = fmt::format("%{}", tensor); }
      while (!names.insert(name).second) { name += '\''; }
      b_.output(name, values_[tensor]);
    }
    return b_.finish();
  }

 private:
  Shape shape_of(std::uint32_t i) const { return {view_.tensor(i).shape().begin(), view_.tensor(i).shape().end()}; }

  static Shape list(const Extents& extents, std::size_t rank) {
    return {extents.begin(), extents.begin() + static_cast<std::ptrdiff_t>(rank)};
  }

  Value make(const Node& node) {
    const Tensor& out = view_.tensor(node.output);
    std::vector<Value> in;
    for (const std::uint32_t input : node.inputs) { in.push_back(values_[input]); }
    switch (node.op) {
      case Op::contract: {
        const auto& a = node.as<ContractAttributes>();
        std::string letters(kMaxLabels, ' ');
        char next = 'a';
        const auto spell = [&](const Labels& labels, std::size_t rank) {
          std::string text;
          for (std::size_t d = 0; d < rank; ++d) {
            char& letter = letters[labels[d]];
            if (letter == ' ') { letter = next++; }  // two operands have at most 16
            text += letter;
          }
          return text;
        };
        std::string einsum = spell(a.left, view_.tensor(node.inputs[0]).rank) + ",";
        einsum += spell(a.right, view_.tensor(node.inputs[1]).rank) + "->";
        einsum += spell(a.out, out.rank);
        return b_.contract(einsum, in[0], in[1], ResultType(out.dtype, a.accumulate));
      }
      case Op::map:
        return b_.map(in, expression(node.as<MapAttributes>().code), out.dtype);
      case Op::reduce: {
        const auto& a = node.as<ReduceAttributes>();
        std::vector<std::uint32_t> axes;
        for (std::uint32_t d = 0; d < kMaxRank; ++d) {
          if (((a.axes >> d) & 1U) != 0) { axes.push_back(d); }
        }
        return b_.reduce(in[0], a.op, axes, a.keep_dims ? KeepDims::yes : KeepDims::no,
                         ResultType(out.dtype, a.accumulate));
      }
      case Op::view: {
        const auto& a = node.as<ViewAttributes>();
        return b_.view(in[0], shape_of(node.output), a.offset, list(a.strides, out.rank));
      }
      case Op::gather:
        return b_.gather(in[0], in[1], node.as<GatherAttributes>().axis);
      case Op::scatter: {
        const auto& a = node.as<ScatterAttributes>();
        return b_.scatter(in[0], in[1], in[2], a.axis, a.mode);
      }
      case Op::pad: {
        const auto& a = node.as<PadAttributes>();
        return b_.pad(in[0], list(a.low, out.rank), list(a.high, out.rank), a.value);
      }
      case Op::convert:
        return b_.convert(in[0], out.dtype);
      case Op::constant:
        return b_.constant(out.dtype, shape_of(node.output), out.data);
      case Op::concat:
        return b_.concat(in, node.as<ConcatAttributes>().axis);
    }
    return {};
  }

  const View& view_;
  GraphBuilder b_;
  std::vector<Value> values_;
};

std::uint64_t next_random(std::uint64_t& state) {
  state = state * 6364136223846793005U + 1442695040888963407U;
  return state >> 33U;
}

}  // namespace

Result<std::vector<std::byte>> showing(const View& view, std::span<const std::uint32_t> tensors) {
  return Rebuilder(view).run(tensors);
}

std::vector<std::vector<std::byte>> random_inputs(const View& view, std::uint64_t seed) {
  // The smallest axis that an input indexes, looked for backwards through views.
  std::vector<std::int64_t> axis(view.tensors().size(), 0);
  const auto narrow = [&](std::uint32_t tensor, std::int64_t size) {
    axis[tensor] = axis[tensor] == 0 ? size : std::min(axis[tensor], size);
  };
  for (std::size_t i = view.nodes().size(); i-- > 0;) {
    const Node& node = view.nodes()[i];
    if (node.op == Op::gather) {
      narrow(node.inputs[1], view.tensor(node.inputs[0]).dims[node.as<GatherAttributes>().axis]);
    }
    if (node.op == Op::scatter) {
      narrow(node.inputs[1], view.tensor(node.inputs[0]).dims[node.as<ScatterAttributes>().axis]);
    }
    if (node.op == Op::view && axis[node.output] != 0) { narrow(node.inputs[0], axis[node.output]); }
  }
  std::uint64_t state = seed * 2 + 1;
  std::vector<std::vector<std::byte>> out;
  for (std::uint32_t t = 0; t < view.inputs().size(); ++t) {
    const Tensor& tensor = view.tensor(t);
    std::vector<std::byte>& bytes = out.emplace_back(tensor.bytes);
    for (std::int64_t i = 0; i < tensor.elements; ++i) {
      const auto draw = static_cast<double>(next_random(state) % 33) - 16;
      double value = is_floating(tensor.dtype) ? draw / 8 : draw;
      if (is_mask(tensor.dtype)) { value = draw < 0 ? 0 : 1; }
      if (axis[t] != 0) { value = static_cast<double>(next_random(state) % static_cast<std::uint64_t>(axis[t])); }
      store_element(tensor.dtype, bytes.data(), i, value);
    }
  }
  return out;
}

}  // namespace hal::graph
