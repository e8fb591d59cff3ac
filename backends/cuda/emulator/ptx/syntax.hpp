// SPDX-License-Identifier: Apache-2.0
// PTX as the parser leaves it: names resolved to registers and symbols of their scope, operation names still text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hal::emulated_cuda {

enum class Type : std::uint8_t {
  none,
  pred,
  b8,
  b16,
  b32,
  b64,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f16,
  bf16,
  f16x2,
  bf16x2,
  f32,
  f64
};
enum class Space : std::uint8_t { generic, reg, param, shared, local, global, constant };

std::uint32_t size_of(Type type);   // bytes; 0 for none and pred
Type type_named(std::string_view);  // "f32" -> Type::f32; none when unknown

struct Register {
  std::string name;
  Type type = Type::none;
};

// A variable or parameter. `offset` is its place in its space; globals and constants get an address at load.
struct Symbol {
  std::string name;
  Space space = Space::global;
  Type type = Type::none;
  std::uint64_t count = 1;  // elements
  std::uint64_t bytes = 0;
  std::uint32_t align = 1;
  std::uint64_t offset = 0;
  bool external = false;              // extern .shared: starts where the static part ends, as long as the launch says
  std::vector<std::uint8_t> initial;  // bytes, at most `bytes`
};

enum class OperandKind : std::uint8_t { reg, special, integer, floating, symbol, address, vector, label, sink };

struct Operand {
  OperandKind kind = OperandKind::sink;
  bool negated = false;                  // !%p
  std::uint32_t index = 0;               // register, symbol (see `scope`) or label number
  bool module_scope = false;             // a symbol of the module,
  bool parameter = false;                // or a parameter; else a variable of the kernel
  OperandKind base = OperandKind::sink;  // address: reg, symbol or integer
  bool single = false;                   // a floating literal written as 0f...
  std::uint64_t bits = 0;                // literal; offset of an address
  std::string_view text;                 // special register, for messages
  std::vector<Operand> elements;         // vector; "d|p" pairs are two elements of a vector with `pair`
  bool pair = false;
};

struct Statement {
  std::uint32_t line = 0;
  std::string_view opcode;  // with modifiers, e.g. "ld.global.f32"
  bool guarded = false;
  bool guard_negated = false;
  std::uint32_t guard = 0;  // register
  std::vector<Operand> operands;
};

struct Kernel {
  std::string name;
  std::uint32_t line = 0;
  std::vector<Symbol> parameters;
  std::uint64_t parameter_bytes = 0;
  std::vector<Register> registers;
  std::vector<Symbol> variables;  // shared and local of this kernel
  std::vector<Statement> statements;
  std::vector<std::uint32_t> labels;                           // label number -> statement it stands before
  std::map<std::uint32_t, std::vector<std::uint32_t>> tables;  // .branchtargets: label number -> label numbers
  std::uint32_t max_threads[3] = {0, 0, 0};                    // .maxntid or .reqntid; 0: not given
  bool exact_threads = false;                                  // .reqntid
};

struct Syntax {
  std::uint32_t version = 0;  // 7.8 -> 78
  std::string target;         // "sm_80", "sm_100a"
  std::vector<Symbol> globals;
  std::vector<Kernel> kernels;
};

// Throws PtxError. The views inside point into `text`, which must outlive the result.
Syntax parse(std::string_view text);

}  // namespace hal::emulated_cuda
