// SPDX-License-Identifier: Apache-2.0
// The postfix code of map: what each instruction takes, whether code is sound, and what it means.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hal/graph_types.hpp"

namespace hal::graph {

/// Operands an instruction pops: 0 to 3; nullopt if the value names no instruction.
std::optional<std::uint32_t> opcode_arity(Opcode opcode);

/// "add", "rsqrt"; "?" if the value names no instruction.
std::string_view opcode_name(Opcode opcode);

/// exp to erf, sin to round, and pow have no meaning on integers.
bool is_floating_only(Opcode opcode);

struct ExpressionFault {
  std::uint32_t instruction;  // its index; the code's length if the fault shows at the end
  std::string text;
};

/// Sound code has known instructions, inputs below input_count, never pops from an empty stack nor pushes past
/// kMaxStackDepth, and leaves one value. Code that is computed in i32 or i64 has no floating-only instruction, and its
/// constants are whole and fit that type. On success `stack_depth` is the most values held at once.
std::optional<ExpressionFault> check_expression(std::span<const Instruction> code, std::uint32_t input_count,
                                                DType compute, std::uint32_t* stack_depth);
inline std::optional<ExpressionFault> check_expression(std::span<const Instruction> code, std::uint32_t input_count,
                                                       bool integer, std::uint32_t* stack_depth) {
  return check_expression(code, input_count, integer ? DType::i32 : DType::f32, stack_depth);
}

/// The meaning of sound code at one element, in double precision: the oracle for floating maps.
double evaluate_expression(std::span<const Instruction> code, std::span<const double> inputs);

/// The meaning of sound integer code at one element: exact, each step wrapping at 32 or 64 bits.
std::int32_t evaluate_expression(std::span<const Instruction> code, std::span<const std::int32_t> inputs);
std::int64_t evaluate_expression(std::span<const Instruction> code, std::span<const std::int64_t> inputs);

/// Infix text, `max(x0 + x1, 0)`.
std::string print_expression(std::span<const Instruction> code);

}  // namespace hal::graph
