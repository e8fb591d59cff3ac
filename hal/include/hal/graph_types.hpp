// SPDX-License-Identifier: Apache-2.0
// The words of tensor graphs: operations, scalar instructions and the attributes of each operation. What GraphBuilder
// writes and what graph::View hands to a driver are these same types; the numbers are those of the hal.graph format.
#pragma once

#include <array>
#include <cstdint>
#include <variant>
#include <vector>

#include "hal/dtype.hpp"

namespace hal::graph {

inline constexpr std::uint32_t kMaxRank = 8;
inline constexpr std::uint32_t kMaxLabels = 32;  // of a contraction
inline constexpr std::uint32_t kMaxMapInputs = 8;
inline constexpr std::uint32_t kMaxNodeInputs = 64;  // concat takes the most
inline constexpr std::uint32_t kMaxInstructions = 1024;
inline constexpr std::uint32_t kMaxStackDepth = 32;

inline constexpr std::uint32_t kMaxSizes = 4096;  // entries in a graph's table of symbolic sizes

/// Sizes, outermost first. Every tensor is dense, row-major and contiguous. Empty is a scalar. A size may be symbolic:
/// a number that stands for one that is known when the graph runs.
using Shape = std::vector<std::int64_t>;

/// How a symbolic size comes about. Division rounds down; its divisor is at least 1.
enum class SizeOp : std::uint8_t { symbol = 1, add = 2, sub = 3, mul = 4, div = 5 };

// Symbolic sizes are numbers far from any size, offset or stride, and far from each other: arithmetic on one that
// should have been made with GraphBuilder::size() does not hit another by accident.
inline constexpr std::int64_t kSymbolicBase = -(std::int64_t{1} << 50U);
inline constexpr std::int64_t kSymbolicStep = 1'000'003;
constexpr std::int64_t symbolic_size(std::size_t entry) {
  return kSymbolicBase - static_cast<std::int64_t>(entry) * kSymbolicStep;
}
constexpr bool is_symbolic(std::int64_t size) {
  return size <= kSymbolicBase && size > kSymbolicBase - kMaxSizes * kSymbolicStep &&
         (kSymbolicBase - size) % kSymbolicStep == 0;
}
constexpr std::size_t size_entry(std::int64_t symbolic) {
  return static_cast<std::size_t>((kSymbolicBase - symbolic) / kSymbolicStep);
}

/// The primitives. Everything else is lowered to them (hal/nn.hpp).
enum class Op : std::uint8_t {
  contract = 1,  // out[..] = sum a[..] * b[..]: an einsum of two operands
  map = 2,       // a scalar expression at each element, inputs broadcast
  reduce = 3,
  view = 4,  // any strided reading of one tensor: transpose, slice, broadcast, windows
  gather = 5,
  scatter = 6,
  pad = 7,
  convert = 8,   // to nearest even; floating to integer truncates and saturates, NaN gives 0; to bool: not 0
  constant = 9,  // its output has role constant; the bytes are in the graph's constant section
  concat = 10,
};

enum class ReduceOp : std::uint8_t { sum = 1, max = 2, min = 3, prod = 4 };
enum class ScatterMode : std::uint8_t { set = 1, add = 2 };
enum class Role : std::uint8_t { input = 1, output = 2, constant = 3, intermediate = 4 };

/// Postfix code of map: operands are pushed, an operation pops its operands (the last one on top) and pushes its
/// result. It is computed in the widest of f64, f32, i64 and i32 that its inputs and output ask for (see
/// MapAttributes). Floating: rounded once at the store. Integer: each step wraps. Comparisons and logic give 1 or 0.
enum class Opcode : std::uint8_t {
  input = 1,     // pushes element of input `input`
  constant = 2,  // pushes `constant`
  add = 3,
  sub = 4,
  mul = 5,
  div = 6,  // integers truncate; x / 0 is 0
  min = 7,  // NaN if either is NaN, as max
  max = 8,
  neg = 9,
  abs = 10,
  exp = 11,  // from here to `erf` and from `sin` to `round`: floating only
  log = 12,
  sqrt = 13,
  rsqrt = 14,
  tanh = 15,
  erf = 16,
  sin = 17,
  cos = 18,
  floor = 19,
  ceil = 20,
  round = 21,  // to nearest, ties to even
  eq = 22,
  ne = 23,
  lt = 24,
  le = 25,
  gt = 26,
  ge = 27,
  logical_and = 28,  // not 0 is true, NaN too
  logical_or = 29,
  logical_not = 30,
  select = 31,  // select(c, a, b): a if c is not 0, else b
  pow = 32,     // floating only
  mod = 33,     // sign of the dividend (C's fmod and %); integer x mod 0 is 0
  size = 34,    // pushes the value of size `constant` of the graph; a bound graph has a `constant` instead
};

struct Instruction {
  Opcode opcode{};
  std::uint8_t input = 0;  // of Opcode::input
  double constant = 0;     // of Opcode::constant
  friend bool operator==(const Instruction&, const Instruction&) = default;
};

using Labels = std::array<std::uint8_t, kMaxRank>;  // the first `rank` count
using Extents = std::array<std::int64_t, kMaxRank>;

/// One label (0 to 31) for each dimension. A label in an operand and not in out is summed; none repeats in one operand.
struct ContractAttributes {
  Labels left{};
  Labels right{};
  Labels out{};
  DType accumulate{};  // f32 or f64 for floating operands, i32 or i64 (wrapping) for others; f64 and i64 need their own
};

struct MapAttributes {
  std::vector<Instruction> code;
  // What the code is computed in; derived from the types of inputs and output, not stored. f64 if one of them is f64,
  // else f32 if one is floating, else i64 if one is i64, else i32.
  DType compute = DType::f32;
  bool integer = false;           // compute is i32 or i64
  std::uint32_t stack_depth = 0;  // most values on the stack at once; derived
};

struct ReduceAttributes {
  std::uint32_t axes = 0;  // bit i: dimension i of the input is reduced
  ReduceOp op{};
  bool keep_dims = false;  // reduced dimensions stay, with size 1
  DType accumulate{};
};

/// out[i...] = x[offset + sum of i_k * strides_k], x read as one line of elements. Strides may be 0 or negative.
struct ViewAttributes {
  std::int64_t offset = 0;
  Extents strides{};  // in elements, one for each dimension of out; these and the offset may be symbolic
};

/// out = x taken along `axis`: the axis gives way to the dimensions of the i32 indices. An index that is negative or
/// not below the axis' size fails the run with OUT_OF_RANGE.
struct GatherAttributes {
  std::uint32_t axis = 0;
};

/// Inputs base, indices (i32), updates (base's shape with the axis replaced by the dimensions of indices). out is base
/// with each slice indices[j] set to, or increased by, updates[j]. Of several `set`s to one place the last in row-major
/// order of the indices stays. A bad index fails as in gather.
struct ScatterAttributes {
  std::uint32_t axis = 0;
  ScatterMode mode{};
};

struct PadAttributes {
  Extents low{};  // elements before and after, not negative
  Extents high{};
  double value = 0;
};

struct ConcatAttributes {
  std::uint32_t axis = 0;
};

/// monostate: convert and constant have none.
using Attributes = std::variant<std::monostate, ContractAttributes, MapAttributes, ReduceAttributes, ViewAttributes,
                                GatherAttributes, ScatterAttributes, PadAttributes, ConcatAttributes>;

}  // namespace hal::graph
