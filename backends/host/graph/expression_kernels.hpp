// SPDX-License-Identifier: Apache-2.0
// The scalar instructions of map over runs of elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hal/graph_types.hpp"

namespace hal::host {

// out[i] = opcode(a[i], b[i], c[i]) for as many operands as the opcode takes; the others may be null. `out` may be any
// of the operands, but not overlap one in part.
void apply(graph::Opcode opcode, const float* a, const float* b, const float* c, float* out, std::size_t count);
void apply(graph::Opcode opcode, const double* a, const double* b, const double* c, double* out, std::size_t count);
void apply(graph::Opcode opcode, const std::int32_t* a, const std::int32_t* b, const std::int32_t* c, std::int32_t* out,
           std::size_t count);
void apply(graph::Opcode opcode, const std::int64_t* a, const std::int64_t* b, const std::int64_t* c, std::int64_t* out,
           std::size_t count);

// The same with one second operand for all: true if this is one of the opcodes that apply_same() knows.
constexpr bool is_same_operand_opcode(graph::Opcode opcode) {
  using graph::Opcode;
  return opcode == Opcode::add || opcode == Opcode::sub || opcode == Opcode::mul || opcode == Opcode::div;
}
void apply_same(graph::Opcode opcode, const float* a, float b, float* out, std::size_t count);

}  // namespace hal::host
