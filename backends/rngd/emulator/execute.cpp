// SPDX-License-Identifier: Apache-2.0
#include "emulator/execute.hpp"

#include <cstring>

#include "emulator/numbers.hpp"

namespace rngd::emulator {

using image::Location;
using image::Op;
using image::OpCode;
using image::Program;
using image::Tensor;

ExecutionFault execute(const Program& program, const ProgramMemory& memory) {
  const ScopedNumberRules rules;
  const auto at = [&](std::uint32_t index) -> std::byte* {
    const Tensor& tensor = program.tensors[index];
    switch (tensor.location) {
      case Location::input:
      case Location::output:
        return memory.bindings[tensor.binding];
      case Location::constant:
        return const_cast<std::byte*>(memory.constants) + tensor.offset;  // parse(): never an output
      case Location::sram:
        return memory.sram + tensor.offset;
      case Location::scratch:
        return memory.scratch + tensor.offset;
    }
    return nullptr;
  };
  std::vector<const std::byte*> inputs;
  for (std::size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    inputs.clear();
    for (const std::uint32_t input : op.inputs) { inputs.push_back(at(input)); }
    const OpMemory operands{at(op.output), inputs};
    ExecutionFault fault;
    switch (op.code) {
      case OpCode::contract:
        run_contract(program, op, operands);
        break;
      case OpCode::map:
        run_map(program, op, operands);
        break;
      case OpCode::reduce:
        run_reduce(program, op, operands);
        break;
      case OpCode::view:
        run_view(program, op, operands);
        break;
      case OpCode::gather:
        fault = run_gather(program, op, operands);
        break;
      case OpCode::scatter:
        fault = run_scatter(program, op, operands);
        break;
      case OpCode::pad:
        run_pad(program, op, operands);
        break;
      case OpCode::convert:
        run_convert(program, op, operands);
        break;
      case OpCode::constant:
        std::memcpy(operands.out, memory.constants + op.constant.offset, program.tensors[op.output].bytes);
        break;
      case OpCode::concat:
        run_concat(program, op, operands);
        break;
    }
    if (fault.failed) {
      fault.op = static_cast<std::uint32_t>(i);
      return fault;
    }
  }
  return {};
}

Work work_of(const Program& program, const Op& op) {
  const Tensor& out = program.tensors[op.output];
  Work work;
  const auto touch = [&](const Tensor& tensor) {
    work.bytes_moved += tensor.bytes;
    work.hbm_bytes += tensor.location == Location::sram ? 0 : tensor.bytes;
  };
  touch(out);
  for (const std::uint32_t input : op.inputs) { touch(program.tensors[input]); }
  switch (op.code) {
    case OpCode::contract: {
      std::uint64_t macs = 1;
      std::uint32_t seen = 0;
      const auto count = [&](const std::uint8_t* labels, const Tensor& tensor) {
        for (std::uint32_t d = 0; d < tensor.rank; ++d) {
          if ((seen >> labels[d] & 1u) == 0) { macs *= static_cast<std::uint64_t>(tensor.dims[d]); }
          seen |= 1u << labels[d];
        }
      };
      count(op.contract.a, program.tensors[op.inputs[0]]);
      count(op.contract.b, program.tensors[op.inputs[1]]);
      const bool tensor_unit = static_cast<image::Unit>(op.contract.unit) == image::Unit::tensor;
      (tensor_unit ? work.tensor_macs : work.vector_lanes) = macs;
      break;
    }
    case OpCode::map:
      work.vector_lanes = out.elements * op.map.size();
      break;
    case OpCode::reduce:
      work.vector_lanes = program.tensors[op.inputs[0]].elements;
      break;
    case OpCode::convert:
      work.vector_lanes = out.elements;
      break;
    default:
      break;  // data movement only
  }
  return work;
}

}  // namespace rngd::emulator
