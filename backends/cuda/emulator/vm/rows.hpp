// SPDX-License-Identifier: Apache-2.0
// The rows of a kernel under decoding: which registers, constants and special registers have a place in the row block.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "ptx/syntax.hpp"
#include "vm/instruction.hpp"

namespace hal::emulated_cuda {

bool is_float(Type type);
bool is_signed(Type type);
// "b32" for every 32-bit type and so on; "pred" for pred.
const char* bits_name(Type type);
const char* bits_name(std::uint32_t bytes);
// "u32" or "s32" (b32 counts as unsigned); floating types keep their name.
const char* number_name(Type type);

class Rows {
 public:
  Rows(Program& program, const Syntax& module, const Kernel& kernel, std::span<const std::uint64_t> addresses);

  // The row of an operand that an instruction of `type` reads. Throws PtxError when it does not fit.
  std::uint32_t source(const Operand& operand, Type type, std::uint32_t line);
  // The row of a destination register of exactly this size; kNoRow for "_".
  std::uint32_t destination(const Operand& operand, Type type, std::uint32_t line);
  // The row of a predicate register.
  std::uint32_t predicate(const Operand& operand, std::uint32_t line);
  std::uint32_t register_row(std::uint32_t index);
  std::uint32_t constant(std::uint64_t bits, std::uint32_t size);
  std::uint32_t temporary(std::uint32_t size);
  std::uint32_t special(Special which);
  // The address that a variable has in its own space.
  std::uint64_t address(const Operand& operand, std::uint32_t line) const;
  const Symbol& symbol(const Operand& operand) const;
  Type register_type(const Operand& operand) const { return kernel_.registers[operand.index].type; }

 private:
  std::uint32_t allocate(std::uint32_t bytes_per_lane);

  Program& program_;
  const Syntax& module_;
  const Kernel& kernel_;
  std::span<const std::uint64_t> addresses_;
  std::vector<std::uint32_t> registers_;
  std::vector<std::uint64_t> variables_;  // offsets of the kernel's shared and local variables
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> constants_;
};

}  // namespace hal::emulated_cuda
