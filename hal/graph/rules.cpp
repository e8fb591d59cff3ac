// SPDX-License-Identifier: Apache-2.0
#include "graph/rules.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "graph/expression.hpp"
#include "graph/format.hpp"
#include "graph/sizes.hpp"

namespace hal::graph {
namespace {

using Verdict = std::optional<Violation>;
using Inputs = std::span<const TensorType>;
using Part = Violation::Part;

Violation at_node(std::size_t place, std::string field, std::string text) {
  return {Part::node, static_cast<std::uint32_t>(place), std::move(field), std::move(text)};
}

Violation at_attribute(std::size_t place, std::string field, std::string text) {
  return {Part::attributes, static_cast<std::uint32_t>(place), "attributes." + std::move(field), std::move(text)};
}

Violation at_input(std::size_t i, std::string text) {
  return {Part::input, static_cast<std::uint32_t>(i), fmt::format("inputs[{}]", i), std::move(text)};
}

Violation at_output(std::string text) { return {Part::output, 0, "output", std::move(text)}; }

Verdict expect_shape(ShapeView expected, const TensorType& output) {
  if (may_equal(expected, output.shape)) { return {}; }
  return at_output(fmt::format("has shape {}, expected {}", print_shape(output.shape), print_shape(expected)));
}

Verdict expect_type(DType expected, const TensorType& output) {
  if (expected == output.dtype) { return {}; }
  return at_output(fmt::format("has type {}, expected {}", dtype_name(output.dtype), dtype_name(expected)));
}

Verdict expect_rank(std::size_t rank) {
  if (rank <= kMaxRank) { return {}; }
  return at_output(fmt::format("would have rank {}, the most is {}", rank, kMaxRank));
}

Verdict expect_index_type(const TensorType& indices) {
  if (indices.dtype == DType::i32) { return {}; }
  return at_input(1, fmt::format("indices have type {}, expected i32", dtype_name(indices.dtype)));
}

template <class Record>
Verdict expect_axis(std::uint32_t axis, const TensorType& x) {
  if (axis < x.shape.size()) { return {}; }
  return at_attribute(
      offsetof(Record, axis), "axis",
      fmt::format("is {}, the tensor {} has axes below {}", axis, print_shape(x.shape), x.shape.size()));
}

Verdict expect_accumulator(DType accumulate, DType operand, std::size_t place) {
  const bool floating = is_floating(operand);
  const DType wide = floating ? DType::f64 : DType::i64;
  const DType narrow = operand == wide ? wide : floating ? DType::f32 : DType::i32;
  if (accumulate == wide || accumulate == narrow) { return {}; }
  return at_attribute(place, "accumulate",
                      fmt::format("is {}; {} accumulates in {}", dtype_name(accumulate), dtype_name(operand),
                                  narrow == wide ? std::string(dtype_name(wide))
                                                 : fmt::format("{} or {}", dtype_name(narrow), dtype_name(wide))));
}

// A fill value must be one that the type can hold: whole and in range for integers.
bool value_fits(DType type, double value) {
  if (is_floating(type)) { return true; }
  if (type == DType::boolean) { return value == 0 || value == 1; }
  const bool is_signed = type == DType::i64 || type == DType::i32 || type == DType::i8 || type == DType::i4;
  const int bits = static_cast<int>(dtype_bits(type));
  const double low = is_signed ? -std::ldexp(1.0, bits - 1) : 0.0;
  const double high = std::ldexp(1.0, is_signed ? bits - 1 : bits);
  return value >= low && value < high && std::trunc(value) == value;
}

// Adds `more` to a size; a sum with something symbolic in it is any symbolic size. False if it overflows.
bool join(std::int64_t& size, std::int64_t more) {
  if (is_symbolic(size) || (is_symbolic(more))) {
    size = more == 0 ? size : symbolic_size(0);
    return true;
  }
  return !__builtin_add_overflow(size, more, &size);
}

// Could `from` be read as `to`?
bool broadcasts(ShapeView from, ShapeView to) {
  if (from.size() > to.size()) { return false; }
  const std::size_t missing = to.size() - from.size();
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] != 1 && !may_equal(from[i], to[missing + i])) { return false; }
  }
  return true;
}

struct LabelTable {
  std::array<std::int64_t, kMaxLabels> sizes{};
  std::uint32_t operands = 0;  // bit per label seen in left or right
};

// Takes the labels of one operand into the table.
Verdict read_labels(LabelTable& table, const Labels& labels, ShapeView shape, std::size_t place, const char* name,
                    bool is_output) {
  std::uint32_t own = 0;
  for (std::size_t i = 0; i < kMaxRank; ++i) {
    const std::uint32_t label = labels[i];
    const std::string field = fmt::format("{}[{}]", name, i);
    if (i >= shape.size()) {
      if (label == 0) { continue; }
      return at_attribute(place + i, field, fmt::format("is {} behind the last dimension, expected 0", label));
    }
    if (label >= kMaxLabels) {
      return at_attribute(place + i, field, fmt::format("is label {}, labels are 0 to {}", label, kMaxLabels - 1));
    }
    const std::uint32_t bit = std::uint32_t{1} << label;
    if ((own & bit) != 0) {
      return at_attribute(place + i, field, fmt::format("repeats label {} in one operand", label));
    }
    own |= bit;
    if (is_output && (table.operands & bit) == 0) {
      return at_attribute(place + i, field, fmt::format("is label {}, which neither operand has", label));
    }
    if ((table.operands & bit) != 0 && !may_equal(table.sizes[label], shape[i])) {
      return at_attribute(
          place + i, field,
          fmt::format("gives label {} size {}, elsewhere it is {}", label, shape[i], table.sizes[label]));
    }
    // A number says more than a symbol, which must then turn out to be it.
    if ((table.operands & bit) == 0 || is_symbolic(table.sizes[label])) { table.sizes[label] = shape[i]; }
  }
  if (!is_output) { table.operands |= own; }
  return {};
}

Verdict check_contract(const ContractAttributes& a, Inputs inputs, const TensorType& out) {
  using Record = format::ContractRecord;
  const DType type = inputs[0].dtype;
  if (inputs[1].dtype != type) {
    return at_input(
        1, fmt::format("has type {}, the left operand {}; convert one", dtype_name(inputs[1].dtype), dtype_name(type)));
  }
  if (auto wrong = expect_accumulator(a.accumulate, type, offsetof(Record, accumulate))) { return wrong; }
  if (out.dtype != type && out.dtype != a.accumulate) {
    return at_output(fmt::format("has type {}, expected {} (the operands') or {} (the accumulator's)",
                                 dtype_name(out.dtype), dtype_name(type), dtype_name(a.accumulate)));
  }
  LabelTable table;
  if (auto wrong = read_labels(table, a.left, inputs[0].shape, offsetof(Record, left), "left", false)) { return wrong; }
  if (auto wrong = read_labels(table, a.right, inputs[1].shape, offsetof(Record, right), "right", false)) {
    return wrong;
  }
  return read_labels(table, a.out, out.shape, offsetof(Record, out), "out", true);
}

Verdict check_map(MapAttributes& a, Inputs inputs, const TensorType& out) {
  bool floating = is_floating(out.dtype);
  bool integer = !floating && !is_mask(out.dtype);
  bool wide = out.dtype == DType::f64 || out.dtype == DType::i64;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!broadcasts(inputs[i].shape, out.shape)) {
      return at_input(i, fmt::format("has shape {}, which does not broadcast to {}", print_shape(inputs[i].shape),
                                     print_shape(out.shape)));
    }
    floating = floating || is_floating(inputs[i].dtype);
    integer = integer || (!is_floating(inputs[i].dtype) && !is_mask(inputs[i].dtype));
    wide = wide || inputs[i].dtype == DType::f64 || inputs[i].dtype == DType::i64;
  }
  if (floating && integer) {
    return at_node(offsetof(format::NodeRecord, inputs_offset), "inputs",
                   "and output mix floating and integer types; convert first (u8 and bool go with either)");
  }
  if (floating && out.dtype == DType::u8) {
    return at_output("has type u8 and the map computes in floating point; make it bool or convert");
  }
  a.integer = !floating;
  a.compute = floating ? (wide ? DType::f64 : DType::f32) : wide ? DType::i64 : DType::i32;
  const auto count = static_cast<std::uint32_t>(inputs.size());
  if (auto fault = check_expression(a.code, count, a.compute, &a.stack_depth)) {
    return at_attribute(fault->instruction * sizeof(format::InstructionRecord),
                        fmt::format("code[{}]", fault->instruction), fault->text);
  }
  return {};
}

Verdict check_reduce(const ReduceAttributes& a, Inputs inputs, const TensorType& out) {
  using Record = format::ReduceRecord;
  const TensorType& x = inputs[0];
  if (a.axes == 0 || (a.axes >> x.shape.size()) != 0) {
    return at_attribute(offsetof(Record, axes), "axes",
                        fmt::format("is {:#x}, expected one or more of the {} lowest bits", a.axes, x.shape.size()));
  }
  if (a.op < ReduceOp::sum || a.op > ReduceOp::prod) {
    return at_attribute(offsetof(Record, op), "op",
                        fmt::format("is {}, expected 1 (sum) to 4 (prod)", std::to_underlying(a.op)));
  }
  if (auto wrong = expect_accumulator(a.accumulate, x.dtype, offsetof(Record, accumulate))) { return wrong; }
  const bool selects = a.op == ReduceOp::max || a.op == ReduceOp::min;
  if (out.dtype != a.accumulate && (out.dtype != x.dtype || (x.dtype == DType::boolean && !selects))) {
    return at_output(fmt::format("has type {}, expected {} or the input's {} (bool: for max and min only)",
                                 dtype_name(out.dtype), dtype_name(a.accumulate), dtype_name(x.dtype)));
  }
  Shape expected;
  for (std::size_t i = 0; i < x.shape.size(); ++i) {
    const bool reduced = ((a.axes >> i) & 1U) != 0;
    if (!reduced) {
      expected.push_back(x.shape[i]);
    } else if (a.keep_dims) {
      expected.push_back(1);
    }
  }
  return expect_shape(expected, out);
}

Verdict check_view(const ViewAttributes& a, Inputs inputs, const TensorType& out) {
  using Record = format::ViewRecord;
  if (auto wrong = expect_type(inputs[0].dtype, out)) { return wrong; }
  // What is symbolic is checked when the graph is bound.
  const bool open = is_dynamic(inputs[0].shape) || is_dynamic(out.shape) || is_symbolic(a.offset) ||
                    is_dynamic({a.strides.data(), out.shape.size()});
  const std::int64_t elements = element_count(inputs[0].shape).value_or(0);
  std::int64_t low = a.offset;
  std::int64_t high = a.offset;
  for (std::size_t i = 0; i < kMaxRank; ++i) {
    const std::size_t place = offsetof(Record, strides) + i * sizeof(std::int64_t);
    const std::string field = fmt::format("strides[{}]", i);
    if (i >= out.shape.size()) {
      if (a.strides[i] == 0) { continue; }
      return at_attribute(place, field, fmt::format("is {} behind the last dimension, expected 0", a.strides[i]));
    }
    if (open) { continue; }
    std::int64_t reach = 0;
    std::int64_t& side = a.strides[i] < 0 ? low : high;
    if (__builtin_mul_overflow(a.strides[i], out.shape[i] - 1, &reach) || __builtin_add_overflow(side, reach, &side)) {
      return at_attribute(place, field, fmt::format("is {}, which overflows over size {}", a.strides[i], out.shape[i]));
    }
  }
  if (!open && (low < 0 || high >= elements)) {
    return at_attribute(
        offsetof(Record, offset), "offset",
        fmt::format("{} and the strides reach elements {} to {}, the input has {}", a.offset, low, high, elements));
  }
  return {};
}

// The shape of x with the axis replaced by the dimensions of the indices.
Shape taken_shape(ShapeView x, ShapeView indices, std::uint32_t axis) {
  Shape shape(x.begin(), x.begin() + axis);
  shape.insert(shape.end(), indices.begin(), indices.end());
  shape.insert(shape.end(), x.begin() + axis + 1, x.end());
  return shape;
}

Verdict check_gather(const GatherAttributes& a, Inputs inputs, const TensorType& out) {
  if (auto wrong = expect_index_type(inputs[1])) { return wrong; }
  if (auto wrong = expect_axis<format::GatherRecord>(a.axis, inputs[0])) { return wrong; }
  if (auto wrong = expect_type(inputs[0].dtype, out)) { return wrong; }
  const Shape expected = taken_shape(inputs[0].shape, inputs[1].shape, a.axis);
  if (auto wrong = expect_rank(expected.size())) { return wrong; }
  return expect_shape(expected, out);
}

Verdict check_scatter(const ScatterAttributes& a, Inputs inputs, const TensorType& out) {
  using Record = format::ScatterRecord;
  const TensorType& base = inputs[0];
  if (auto wrong = expect_index_type(inputs[1])) { return wrong; }
  if (auto wrong = expect_axis<Record>(a.axis, base)) { return wrong; }
  if (a.mode != ScatterMode::set && a.mode != ScatterMode::add) {
    return at_attribute(offsetof(Record, mode), "mode",
                        fmt::format("is {}, expected 1 (set) or 2 (add)", std::to_underlying(a.mode)));
  }
  if (a.mode == ScatterMode::add && base.dtype == DType::boolean) {
    return at_attribute(offsetof(Record, mode), "mode", "add has no meaning on bool");
  }
  if (inputs[2].dtype != base.dtype) {
    return at_input(2, fmt::format("updates have type {}, expected the base's {}", dtype_name(inputs[2].dtype),
                                   dtype_name(base.dtype)));
  }
  const Shape expected = taken_shape(base.shape, inputs[1].shape, a.axis);
  if (!may_equal(expected, inputs[2].shape)) {
    return at_input(
        2, fmt::format("updates have shape {}, expected {}", print_shape(inputs[2].shape), print_shape(expected)));
  }
  if (auto wrong = expect_type(base.dtype, out)) { return wrong; }
  return expect_shape(base.shape, out);
}

Verdict check_pad(const PadAttributes& a, Inputs inputs, const TensorType& out) {
  using Record = format::PadRecord;
  const TensorType& x = inputs[0];
  Shape expected = x.shape;
  const auto add = [&](const Extents& extents, std::size_t i, std::size_t place, const char* name) -> Verdict {
    const bool used = i < x.shape.size();
    const bool sound = used ? extents[i] >= 0 && join(expected[i], extents[i]) : extents[i] == 0;
    if (sound) { return {}; }
    return at_attribute(place + i * sizeof(std::int64_t), fmt::format("{}[{}]", name, i),
                        fmt::format("is {}, expected {}", extents[i], used ? "0 or more, without overflow" : "0"));
  };
  for (std::size_t i = 0; i < kMaxRank; ++i) {
    if (auto wrong = add(a.low, i, offsetof(Record, low), "low")) { return wrong; }
    if (auto wrong = add(a.high, i, offsetof(Record, high), "high")) { return wrong; }
  }
  if (!value_fits(x.dtype, a.value)) {
    return at_attribute(offsetof(Record, value), "value",
                        fmt::format("is {}, which {} cannot hold", a.value, dtype_name(x.dtype)));
  }
  if (auto wrong = expect_type(x.dtype, out)) { return wrong; }
  return expect_shape(expected, out);
}

Verdict check_concat(const ConcatAttributes& a, Inputs inputs, const TensorType& out) {
  if (auto wrong = expect_axis<format::ConcatRecord>(a.axis, inputs[0])) { return wrong; }
  if (auto wrong = expect_type(inputs[0].dtype, out)) { return wrong; }
  Shape expected = inputs[0].shape;
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    Shape other = inputs[i].shape;
    if (inputs[i].dtype != inputs[0].dtype) {
      return at_input(
          i, fmt::format("has type {}, inputs[0] has {}", dtype_name(inputs[i].dtype), dtype_name(inputs[0].dtype)));
    }
    if (other.size() == expected.size() && join(expected[a.axis], other[a.axis])) {
      other[a.axis] = expected[a.axis];
      if (may_equal(other, expected)) { continue; }
    }
    return at_input(i, fmt::format("has shape {}, which does not join {} on axis {}", print_shape(inputs[i].shape),
                                   print_shape(inputs[0].shape), a.axis));
  }
  return expect_shape(expected, out);
}

struct InputRange {
  std::uint32_t least, most;
};

std::optional<InputRange> input_range(Op op) {
  switch (op) {
    case Op::contract:
    case Op::gather:
      return InputRange{2, 2};
    case Op::map:
      return InputRange{1, kMaxMapInputs};
    case Op::reduce:
    case Op::view:
    case Op::pad:
    case Op::convert:
      return InputRange{1, 1};
    case Op::scatter:
      return InputRange{3, 3};
    case Op::constant:
      return InputRange{0, 0};
    case Op::concat:
      return InputRange{1, kMaxNodeInputs};
  }
  return {};
}

}  // namespace

std::optional<Violation> check_node(Op op, Attributes& attributes, std::span<const TensorType> inputs,
                                    const TensorType& output) {
  const std::optional<InputRange> range = input_range(op);
  if (!range) {
    return at_node(offsetof(format::NodeRecord, op), "op",
                   fmt::format("is {}, operations are 1 to 10", std::to_underlying(op)));
  }
  if (inputs.size() < range->least || inputs.size() > range->most) {
    return at_node(offsetof(format::NodeRecord, input_count), "input_count",
                   range->least == range->most
                       ? fmt::format("is {}, expected {}", inputs.size(), range->least)
                       : fmt::format("is {}, expected {} to {}", inputs.size(), range->least, range->most));
  }
  switch (op) {
    case Op::contract:
      return check_contract(std::get<ContractAttributes>(attributes), inputs, output);
    case Op::map:
      return check_map(std::get<MapAttributes>(attributes), inputs, output);
    case Op::reduce:
      return check_reduce(std::get<ReduceAttributes>(attributes), inputs, output);
    case Op::view:
      return check_view(std::get<ViewAttributes>(attributes), inputs, output);
    case Op::gather:
      return check_gather(std::get<GatherAttributes>(attributes), inputs, output);
    case Op::scatter:
      return check_scatter(std::get<ScatterAttributes>(attributes), inputs, output);
    case Op::pad:
      return check_pad(std::get<PadAttributes>(attributes), inputs, output);
    case Op::concat:
      return check_concat(std::get<ConcatAttributes>(attributes), inputs, output);
    case Op::convert:
      return expect_shape(inputs[0].shape, output);
    case Op::constant:
      return {};
  }
  return {};
}

std::string print_shape(ShapeView shape) { return print_shape(shape, {}); }

}  // namespace hal::graph
