// SPDX-License-Identifier: Apache-2.0
#include "image/verify_ops.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rngd::image {
namespace {

using Error = std::optional<AttributeError>;

Error error(std::uint64_t offset, std::string text) { return AttributeError{offset, std::move(text)}; }

std::string shape_text(const Tensor& tensor) {
  return fmt::format("{}[{}]", name_of(tensor.dtype), fmt::join(tensor.shape(), ","));
}

bool float_only(Expr code) { return (code >= Expr::exp && code <= Expr::round) || code == Expr::pow; }

bool same_shape(const Tensor& a, const Tensor& b) { return std::ranges::equal(a.shape(), b.shape()); }

template <class T>
Error take(std::span<const std::byte> attributes, T& value) {
  if (attributes.size() != sizeof(T)) {
    return error(0, fmt::format("attributes: {} bytes, expected {}", attributes.size(), sizeof(T)));
  }
  std::memcpy(&value, attributes.data(), sizeof value);
  return {};
}

Error same_dtype(const Program& program, const Op& op, std::size_t inputs) {
  const Tensor& out = program.tensors[op.output];
  for (std::size_t k = 0; k < inputs; ++k) {
    const Tensor& in = program.tensors[op.inputs[k]];
    if (in.dtype != out.dtype) {
      return error(0, fmt::format("inputs[{}]: {} and output {} differ in type", k, shape_text(in), shape_text(out)));
    }
  }
  return {};
}

Error verify_contract(const Program& program, std::span<const std::byte> bytes, Op& op) {
  if (Error bad = take(bytes, op.contract); bad) { return bad; }
  const ContractAttributes& at = op.contract;
  const Tensor &a = program.tensors[op.inputs[0]], &b = program.tensors[op.inputs[1]],
               &out = program.tensors[op.output];
  if (at.rank_a != a.rank || at.rank_b != b.rank || at.rank_out != out.rank) {
    return error(0, fmt::format("rank: {}, {} and {}, the tensors have {}, {} and {}", at.rank_a, at.rank_b,
                                at.rank_out, a.rank, b.rank, out.rank));
  }
  std::int64_t extent[32] = {};  // of each label; 0 unknown
  const auto labels = [&](const Tensor& tensor, const std::uint8_t* label, std::uint64_t offset,
                          bool introduces) -> Error {
    std::uint32_t seen = 0;
    for (std::uint32_t d = 0; d < tensor.rank; ++d) {
      if (label[d] > 31) { return error(offset + d, fmt::format("label: {} exceeds 31", label[d])); }
      if ((seen >> label[d] & 1u) != 0) {
        return error(offset + d, fmt::format("label: {} repeats in one operand", label[d]));
      }
      seen |= 1u << label[d];
      std::int64_t& known = extent[label[d]];
      if (known == 0 && !introduces) {
        return error(offset + d, fmt::format("label: {} of the output is in no input", label[d]));
      }
      if (known != 0 && known != tensor.dims[d]) {
        return error(offset + d, fmt::format("label: {} is {} long and {} long", label[d], known, tensor.dims[d]));
      }
      known = tensor.dims[d];
    }
    return {};
  };
  if (Error bad = labels(a, at.a, offsetof(ContractAttributes, a), true); bad) { return bad; }
  if (Error bad = labels(b, at.b, offsetof(ContractAttributes, b), true); bad) { return bad; }
  if (Error bad = labels(out, at.out, offsetof(ContractAttributes, out), false); bad) { return bad; }
  std::uint64_t work = 1;
  for (const std::int64_t e : extent) {
    if (e != 0 && static_cast<std::uint64_t>(e) > kMaxTensorBytes / work) {
      return error(offsetof(ContractAttributes, a), "labels: the iteration space exceeds 2^40");
    }
    work *= e == 0 ? 1 : static_cast<std::uint64_t>(e);
  }
  const auto unit = static_cast<Unit>(at.unit);
  const auto accumulate = static_cast<Dtype>(at.accumulate);
  const bool integer = !is_float(a.dtype);
  if (a.dtype != b.dtype) {
    return error(0, fmt::format("inputs: {} and {}; both must have one type", shape_text(a), shape_text(b)));
  }
  if (accumulate != (integer ? Dtype::i32 : Dtype::f32)) {
    return error(
        offsetof(ContractAttributes, accumulate),
        fmt::format("accumulate: type {}, the units accumulate floats in f32 and integers in i32", at.accumulate));
  }
  if (integer ? out.dtype != Dtype::i32 && out.dtype != a.dtype : !is_float(out.dtype)) {
    return error(offsetof(ContractAttributes, out),
                 fmt::format("output: {} cannot hold the sums of {}", shape_text(out), shape_text(a)));
  }
  if ((at.flags & ~kRoundOperands) != 0 || ((at.flags & kRoundOperands) != 0 && unit != Unit::tensor)) {
    return error(offsetof(ContractAttributes, flags),
                 fmt::format("flags: {:#x} is unknown or not for this unit", at.flags));
  }
  const bool tensor_ok = a.dtype == Dtype::bf16 || (a.dtype == Dtype::f32 && (at.flags & kRoundOperands) != 0);
  if (unit != Unit::vector && !(unit == Unit::tensor && tensor_ok)) {
    return error(offsetof(ContractAttributes, unit),
                 fmt::format("unit: {} cannot multiply {} (the tensor unit takes bf16, or f32 rounded to bf16)",
                             at.unit, name_of(a.dtype)));
  }
  return {};
}

Error verify_map(const Program& program, std::span<const std::byte> bytes, Op& op) {
  MapAttributes at{};
  if (bytes.size() < sizeof at) {
    return error(0, fmt::format("attributes: {} bytes, expected at least {}", bytes.size(), sizeof at));
  }
  std::memcpy(&at, bytes.data(), sizeof at);
  op.map_compute = static_cast<Dtype>(at.compute);
  if (op.map_compute != Dtype::f32 && op.map_compute != Dtype::i32) {
    return error(offsetof(MapAttributes, compute), fmt::format("compute: {}, must be f32 or i32", at.compute));
  }
  if (at.instruction_count == 0 || at.instruction_count > kMaxInstructions ||
      bytes.size() != sizeof at + at.instruction_count * sizeof(Instruction)) {
    return error(0, fmt::format("instruction_count: {} with {} bytes of attributes, 1 to {} allowed",
                                at.instruction_count, bytes.size(), kMaxInstructions));
  }
  op.map.resize(at.instruction_count);
  std::memcpy(op.map.data(), bytes.data() + sizeof at, op.map.size() * sizeof(Instruction));
  const Tensor& out = program.tensors[op.output];
  for (std::size_t k = 0; k < op.inputs.size(); ++k) {
    const Tensor& in = program.tensors[op.inputs[k]];
    bool fits = in.rank <= out.rank;
    for (std::uint32_t d = 0; fits && d < in.rank; ++d) {
      fits = in.dims[d] == 1 || in.dims[d] == out.dims[out.rank - in.rank + d];
    }
    if (!fits) {
      return error(0, fmt::format("inputs[{}]: {} does not broadcast to {}", k, shape_text(in), shape_text(out)));
    }
  }
  std::uint32_t depth = 0;
  for (std::size_t i = 0; i < op.map.size(); ++i) {
    const Instruction& step = op.map[i];
    const std::uint64_t offset = sizeof at + i * sizeof step;
    if (step.code < 1 || step.code > static_cast<std::uint8_t>(Expr::mod) || step.reserved0 != 0 ||
        step.reserved1 != 0) {
      return error(offset,
                   fmt::format("expression[{}]: code {} is unknown or a reserved field is not zero", i, step.code));
    }
    const auto code = static_cast<Expr>(step.code);
    if (code == Expr::input && step.input >= op.inputs.size()) {
      return error(offset + 1, fmt::format("expression[{}]: input {} of {}", i, step.input, op.inputs.size()));
    }
    const std::uint32_t operands = arity(code);
    if (depth < operands) {
      return error(offset, fmt::format("expression[{}]: needs {} values, the stack has {}", i, operands, depth));
    }
    depth = depth - operands + 1;
    if (op.map_compute == Dtype::i32 && float_only(code)) {
      return error(offset, fmt::format("expression[{}]: code {} has no meaning in i32", i, step.code));
    }
    if (op.map_compute == Dtype::i32 && code == Expr::constant &&
        !(step.constant >= -2147483648.0 && step.constant <= 2147483647.0 &&
          step.constant == std::trunc(step.constant))) {
      return error(offset, fmt::format("expression[{}]: constant {} is no i32", i, step.constant));
    }
    if (depth > kMaxStack) { return error(offset, fmt::format("expression[{}]: stack deeper than {}", i, kMaxStack)); }
  }
  if (depth != 1) { return error(sizeof at, fmt::format("expression: leaves {} values, must leave 1", depth)); }
  return {};
}

Error verify_reduce(const Program& program, std::span<const std::byte> bytes, Op& op) {
  if (Error bad = take(bytes, op.reduce); bad) { return bad; }
  const ReduceAttributes& at = op.reduce;
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  if ((at.axes >> in.rank) != 0) { return error(0, fmt::format("axes: {:#x} for rank {}", at.axes, in.rank)); }
  if (at.op < 1 || at.op > 4) { return error(offsetof(ReduceAttributes, op), fmt::format("op: {} is unknown", at.op)); }
  if (at.keep_dims > 1 || at.reserved != 0) {
    return error(offsetof(ReduceAttributes, keep_dims), "keep_dims: must be 0 or 1");
  }
  const bool integer = !is_float(in.dtype);
  if (static_cast<Dtype>(at.accumulate) != (integer ? Dtype::i32 : Dtype::f32) ||
      (integer ? out.dtype != Dtype::i32 && out.dtype != in.dtype : !is_float(out.dtype))) {
    return error(offsetof(ReduceAttributes, accumulate),
                 fmt::format("accumulate: type {} for {} into {}", at.accumulate, shape_text(in), shape_text(out)));
  }
  std::uint32_t d_out = 0;
  bool fits = true;
  for (std::uint32_t d = 0; d < in.rank; ++d) {
    const bool reduced = (at.axes >> d & 1u) != 0;
    if (reduced && at.keep_dims == 0) { continue; }
    fits = fits && d_out < out.rank && out.dims[d_out] == (reduced ? 1 : in.dims[d]);
    ++d_out;
  }
  if (!fits || d_out != out.rank) {
    return error(0, fmt::format("axes: {:#x} does not turn {} into {}", at.axes, shape_text(in), shape_text(out)));
  }
  return {};
}

Error verify_view(const Program& program, std::span<const std::byte> bytes, Op& op) {
  if (Error bad = take(bytes, op.view); bad) { return bad; }
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  // Lowest and highest element reached; 128 bits cannot overflow with 2^40 elements and 8 strides of 63 bits.
  __extension__ using Wide = __int128;
  Wide low = op.view.offset, high = op.view.offset;
  for (std::uint32_t d = 0; d < out.rank; ++d) {
    const Wide reach = Wide{out.dims[d] - 1} * op.view.strides[d];
    (reach < 0 ? low : high) += reach;
  }
  if (low < 0 || high >= static_cast<Wide>(in.elements)) {
    return error(0, fmt::format("strides: reach outside the {} elements of the input", in.elements));
  }
  return same_dtype(program, op, 1);
}

Error axis_of(std::span<const std::byte> bytes, Op& op, std::uint32_t rank) {
  if (Error bad = take(bytes, op.axis); bad) { return bad; }
  if (op.axis.axis >= rank) { return error(0, fmt::format("axis: {} for rank {}", op.axis.axis, rank)); }
  if (op.code == OpCode::scatter ? op.axis.mode != 1 && op.axis.mode != 2 : op.axis.mode != 0) {
    return error(4, fmt::format("mode: {} is unknown", op.axis.mode));
  }
  return {};
}

// gather: data[.., axis, ..] and indices of any shape give out[.. indices' shape ..].
bool gathered_shape(const Tensor& data, const Tensor& indices, std::uint32_t axis, const Tensor& out) {
  if (out.rank != data.rank - 1 + indices.rank) { return false; }
  for (std::uint32_t d = 0; d < out.rank; ++d) {
    const std::int64_t expected = d < axis                  ? data.dims[d]
                                  : d < axis + indices.rank ? indices.dims[d - axis]
                                                            : data.dims[d - indices.rank + 1];
    if (out.dims[d] != expected) { return false; }
  }
  return true;
}

Error verify_gather(const Program& program, std::span<const std::byte> bytes, Op& op) {
  const Tensor &data = program.tensors[op.inputs[0]], &indices = program.tensors[op.inputs[1]];
  if (Error bad = axis_of(bytes, op, data.rank); bad) { return bad; }
  if (indices.dtype != Dtype::i32) {
    return error(0, fmt::format("inputs[1]: indices are {}, must be i32", shape_text(indices)));
  }
  const Tensor& shaped = program.tensors[op.code == OpCode::gather ? op.output : op.inputs[2]];
  if (!gathered_shape(data, indices, op.axis.axis, shaped)) {
    return error(0, fmt::format("axis: {} at {} along axis {} do not give {}", shape_text(data), shape_text(indices),
                                op.axis.axis, shape_text(shaped)));
  }
  if (op.code == OpCode::gather) { return same_dtype(program, op, 1); }
  const Tensor& out = program.tensors[op.output];
  if (!same_shape(data, out) || shaped.dtype != out.dtype) {
    return error(0, fmt::format("output: {} with base {} and updates {}", shape_text(out), shape_text(data),
                                shape_text(shaped)));
  }
  return same_dtype(program, op, 1);
}

Error verify_pad(const Program& program, std::span<const std::byte> bytes, Op& op) {
  if (Error bad = take(bytes, op.pad); bad) { return bad; }
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  bool fits = in.rank == out.rank;
  for (std::uint32_t d = 0; fits && d < in.rank; ++d) {
    const std::int64_t low = op.pad.low[d], high = op.pad.high[d];
    fits = low >= 0 && high >= 0 && low <= out.dims[d] && high <= out.dims[d] && low + in.dims[d] + high == out.dims[d];
  }
  if (!fits) { return error(0, fmt::format("low, high: do not turn {} into {}", shape_text(in), shape_text(out))); }
  return same_dtype(program, op, 1);
}

Error verify_concat(const Program& program, std::span<const std::byte> bytes, Op& op) {
  const Tensor& out = program.tensors[op.output];
  if (Error bad = axis_of(bytes, op, out.rank); bad) { return bad; }
  std::int64_t total = 0;
  for (std::size_t k = 0; k < op.inputs.size(); ++k) {
    const Tensor& in = program.tensors[op.inputs[k]];
    bool fits = in.rank == out.rank;
    for (std::uint32_t d = 0; fits && d < in.rank; ++d) { fits = d == op.axis.axis || in.dims[d] == out.dims[d]; }
    if (!fits) {
      return error(0, fmt::format("inputs[{}]: {} does not fit {} along axis {}", k, shape_text(in), shape_text(out),
                                  op.axis.axis));
    }
    total += in.dims[op.axis.axis];  // at most 8 extents of 2^40
  }
  if (total != out.dims[op.axis.axis]) {
    return error(0, fmt::format("axis: the inputs add up to {}, the output has {}", total, out.dims[op.axis.axis]));
  }
  return same_dtype(program, op, op.inputs.size());
}

Error verify_convert(const Program& program, std::span<const std::byte> bytes, Op& op) {
  if (!bytes.empty()) { return error(0, fmt::format("attributes: {} bytes, expected none", bytes.size())); }
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  if (!same_shape(in, out)) {
    return error(0, fmt::format("output: {} has another shape than {}", shape_text(out), shape_text(in)));
  }
  return {};
}

Error verify_constant(const Program& program, std::span<const std::byte> bytes, Op& op) {
  if (Error bad = take(bytes, op.constant); bad) { return bad; }
  const Tensor& out = program.tensors[op.output];
  const std::uint64_t room = program.constants.size();
  if (out.bytes > room || op.constant.offset > room - out.bytes) {
    return error(
        0, fmt::format("offset: {} bytes at {} are outside the constants of {}", out.bytes, op.constant.offset, room));
  }
  return {};
}

}  // namespace

std::uint32_t arity(Expr code) {
  switch (code) {
    case Expr::input:
    case Expr::constant:
      return 0;
    case Expr::neg:
    case Expr::abs:
    case Expr::exp:
    case Expr::log:
    case Expr::sqrt:
    case Expr::rsqrt:
    case Expr::tanh:
    case Expr::erf:
    case Expr::sin:
    case Expr::cos:
    case Expr::floor:
    case Expr::ceil:
    case Expr::round:
    case Expr::logical_not:
      return 1;
    case Expr::select:
      return 3;
    default:
      return 2;
  }
}

std::optional<AttributeError> verify_op(const Program& program, std::span<const std::byte> attributes, Op& op) {
  const auto inputs = [&](std::size_t low, std::size_t high) -> Error {
    if (op.inputs.size() >= low && op.inputs.size() <= high) { return {}; }
    return error(0, fmt::format("input_count: {}, expected {} to {}", op.inputs.size(), low, high));
  };
  const auto check = [&](std::size_t low, std::size_t high, auto verify) -> Error {
    if (Error bad = inputs(low, high); bad) { return bad; }
    return verify(program, attributes, op);
  };
  switch (op.code) {
    case OpCode::contract:
      return check(2, 2, verify_contract);
    case OpCode::map:
      return check(0, kMaxMapInputs, verify_map);
    case OpCode::reduce:
      return check(1, 1, verify_reduce);
    case OpCode::view:
      return check(1, 1, verify_view);
    case OpCode::gather:
      return check(2, 2, verify_gather);
    case OpCode::scatter:
      return check(3, 3, verify_gather);
    case OpCode::pad:
      return check(1, 1, verify_pad);
    case OpCode::convert:
      return check(1, 1, verify_convert);
    case OpCode::constant:
      return check(0, 0, verify_constant);
    case OpCode::concat:
      return check(1, kMaxInputs, verify_concat);
  }
  return error(0, "code: unknown");
}

}  // namespace rngd::image
