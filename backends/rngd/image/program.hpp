// SPDX-License-Identifier: Apache-2.0
// A verified program. Parsing checks everything that execution relies on, so that the executor needs no checks beyond
// the bindings' sizes and the values of index tensors.
#pragma once
#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "image/format.hpp"

namespace rngd::image {

enum class Reason { format, version, verification };

/// Why bytes are not a program: the field, what it holds and at which byte.
struct Rejection {
  Reason reason;
  std::uint64_t offset;
  std::string text;
};

constexpr std::uint64_t element_bytes(Dtype type) {
  return type == Dtype::f32 || type == Dtype::i32 ? 4 : type == Dtype::bf16 ? 2 : 1;
}
constexpr bool is_float(Dtype type) { return type == Dtype::f32 || type == Dtype::bf16; }
const char* name_of(Dtype type);
const char* name_of(OpCode code);

struct Tensor {
  Dtype dtype;
  Location location;
  std::uint32_t rank;
  std::array<std::int64_t, kMaxRank> dims;
  std::uint64_t elements, bytes, offset;
  std::uint32_t binding;  // position among the bindings, for inputs and outputs
  std::string name;
  std::span<const std::int64_t> shape() const { return {dims.data(), rank}; }
};

struct Op {
  OpCode code;
  std::uint32_t output;
  std::vector<std::uint32_t> inputs;
  ContractAttributes contract;
  ReduceAttributes reduce;
  ViewAttributes view;
  AxisAttributes axis;
  PadAttributes pad;
  ConstantAttributes constant;
  Dtype map_compute;
  std::vector<Instruction> map;
};

struct Program {
  std::uint32_t pe_count, ir_version;
  std::uint64_t sram_bytes, scratch_bytes;
  std::vector<Tensor> tensors;
  std::vector<Op> ops;
  std::vector<std::uint32_t> bindings;  // tensor indices: inputs, then outputs
  std::uint32_t input_count;
  std::vector<std::byte> constants;
};

/// Verifies `bytes` and copies what is needed out of them. An IR version older than kIrVersion is refused unless
/// `accept_old_ir`, in which case the program loads (and, like the vendor's stack has been seen to do, times out when
/// run).
std::expected<Program, Rejection> parse(std::span<const std::byte> bytes, bool accept_old_ir = false);

/// Values that an expression step takes from the stack.
std::uint32_t arity(Expr code);

std::uint64_t hash(std::span<const std::byte> bytes);

}  // namespace rngd::image
