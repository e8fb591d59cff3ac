// SPDX-License-Identifier: Apache-2.0
// "rngd.image", version 1: the program container of the emulated RNGD card. Our own format (grade D). It is not EDF,
// Furiosa's executable format, which is not public and which nothing here reads or imitates.
//
// One header, then sections anywhere in the file, each aligned to 8 bytes (constants to 64). Operation codes, element
// types and expression codes have hal.graph's values, so that a compiler translates node by node.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rngd::image {

inline constexpr char kMagic[8] = {'R', 'N', 'G', 'D', 'I', 'M', 'G', '1'};
inline constexpr std::uint32_t kAbi = 1;           // of this layout
inline constexpr std::uint32_t kIrVersion = 1;     // of the operations' meaning; older ones are refused
inline constexpr std::uint32_t kArchitecture = 2;  // second generation TCP, emulated
inline constexpr std::uint32_t kMaxRank = 8, kMaxMapInputs = 8, kMaxInputs = 64, kMaxTensors = 65536, kMaxOps = 65536;
inline constexpr std::uint32_t kMaxInstructions = 1024, kMaxStack = 32;
inline constexpr std::uint64_t kMaxTensorBytes = 1ull << 40;
inline constexpr std::uint64_t kSramBytesPerPe = 32ull << 20;  // [ISCA], grade C

enum class Dtype : std::uint8_t {  // the ones executed; values of hal_dtype
  f32 = 2,
  bf16 = 4,
  i32 = 8,
  u8 = 11,
  boolean = 12,
};

enum class OpCode : std::uint8_t {
  contract = 1,
  map = 2,
  reduce = 3,
  view = 4,
  gather = 5,
  scatter = 6,
  pad = 7,
  convert = 8,
  constant = 9,
  concat = 10,
};

enum class Location : std::uint8_t {
  input = 1,     // binding
  output = 2,    // binding
  constant = 3,  // constants section, resident in HBM
  sram = 4,      // on-chip, shared by the PEs of the partition
  scratch = 5,   // the scratch binding in HBM, for what does not fit on chip
};

enum class SectionKind : std::uint32_t { tensors = 1, ops = 2, attributes = 3, constants = 4, bindings = 5, names = 6 };
inline constexpr std::uint32_t kSectionKinds = 6;

struct Section {
  std::uint32_t kind, reserved;
  std::uint64_t offset, bytes;
};

struct Header {
  char magic[8];
  std::uint32_t abi, ir_version, architecture, pe_count;
  std::uint64_t file_bytes;
  std::uint64_t sram_bytes, scratch_bytes;  // what the tensors of those locations need
  std::uint32_t section_count, reserved;
  std::uint64_t hash;  // FNV-1a of every byte after the header
  Section sections[kSectionKinds];
};

struct TensorRecord {
  std::uint8_t dtype, rank, location, reserved0;
  std::uint32_t name_offset, name_bytes, reserved1;
  std::int64_t dims[kMaxRank];
  std::uint64_t offset;  // within its location; a binding's must be 0
  std::uint64_t bytes;
};

struct OpRecord {
  std::uint8_t code, flags, reserved[2];
  std::uint32_t output;
  std::uint32_t input_offset, input_count;          // in the attributes section: tensor indices, u32 each
  std::uint32_t attribute_offset, attribute_bytes;  // in the attributes section
};

/// The bindings section: one tensor index (u32) per positional argument, inputs first, then outputs.

/// Which unit contracts. Public facts: the contraction engine multiplies i4 to i9, f8 and bf16 and accumulates in i32
/// or f32 [BOOK, OPT; grade A]; it has no f32 or i32 multiplier. f32 and i32 contractions therefore run on the vector
/// engine (4-way f32, 8-way i32 a slice [ISCA; grade C]), exact but slower, unless `kRoundOperands` asks for bf16.
enum class Unit : std::uint8_t { tensor = 1, vector = 2 };
enum ContractFlag : std::uint8_t { kRoundOperands = 1 };

struct ContractAttributes {
  std::uint8_t rank_a, rank_b, rank_out, unit, accumulate, flags, reserved[2];
  std::uint8_t a[kMaxRank], b[kMaxRank], out[kMaxRank];  // labels 0..31
};

enum class Expr : std::uint8_t {
  input = 1,
  constant = 2,
  add = 3,
  sub = 4,
  mul = 5,
  div = 6,
  min = 7,
  max = 8,
  neg = 9,
  abs = 10,
  exp = 11,
  log = 12,
  sqrt = 13,
  rsqrt = 14,
  tanh = 15,
  erf = 16,
  sin = 17,
  cos = 18,
  floor = 19,
  ceil = 20,
  round = 21,
  eq = 22,
  ne = 23,
  lt = 24,
  le = 25,
  gt = 26,
  ge = 27,
  logical_and = 28,
  logical_or = 29,
  logical_not = 30,
  select = 31,
  pow = 32,
  mod = 33,
};
struct Instruction {
  std::uint8_t code, input;
  std::uint16_t reserved0;
  std::uint32_t reserved1;
  double constant;
};
struct MapAttributes {  // followed by Instruction[instruction_count]
  std::uint16_t instruction_count;
  std::uint8_t compute, reserved0;  // Dtype of the arithmetic: f32 or i32
  std::uint32_t reserved1;
};

enum class ReduceOp : std::uint8_t { sum = 1, max = 2, min = 3, prod = 4 };
struct ReduceAttributes {
  std::uint32_t axes;  // bit per axis of the input
  std::uint8_t op, keep_dims, accumulate, reserved;
};
struct ViewAttributes {
  std::int64_t offset, strides[kMaxRank];  // elements of the input
};
enum class ScatterMode : std::uint32_t { set = 1, add = 2 };
struct AxisAttributes {  // gather, scatter and concat; mode only for scatter, else 0
  std::uint32_t axis, mode;
};
struct PadAttributes {
  std::int64_t low[kMaxRank], high[kMaxRank];
  double value;
};
struct ConstantAttributes {
  std::uint64_t offset;  // in the constants section
};

static_assert(sizeof(Section) == 24 && sizeof(Header) == 208 && offsetof(Header, sections) == 64);
static_assert(sizeof(TensorRecord) == 96 && sizeof(OpRecord) == 24);
static_assert(sizeof(ContractAttributes) == 32 && sizeof(Instruction) == 16 && sizeof(MapAttributes) == 8);
static_assert(sizeof(ReduceAttributes) == 8 && sizeof(ViewAttributes) == 72 && sizeof(AxisAttributes) == 8);
static_assert(sizeof(PadAttributes) == 136 && sizeof(ConstantAttributes) == 8);

}  // namespace rngd::image
