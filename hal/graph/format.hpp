// SPDX-License-Identifier: Apache-2.0
// The bytes of hal.graph, version 2. Little-endian, every offset counted from the start of its section.
//
//   Header | tensors | nodes | attributes | constants | names | sizes
//
// The tensor table holds the inputs first, then the outputs, then the rest: tensor i is parameter i of the entry.
// Nodes stand in execution order. Every tensor but the inputs is written by exactly one node, before any node reads it.
// The constants section starts on a multiple of 64 bytes, and so does each constant in it. Reserved fields are 0.
// Nothing here may be trusted before View::verify() has read it; use View and not these structs.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hal/graph_types.hpp"

namespace hal::graph::format {

static_assert(std::endian::native == std::endian::little, "hal.graph is read in place on little-endian machines");

inline constexpr std::array<char, 4> kMagic{'H', 'A', 'L', 'G'};
inline constexpr std::uint16_t kVersionMajor = 2;  // a reader refuses any other
inline constexpr std::uint16_t kVersionMinor = 0;  // a reader refuses a newer one: it may hold unknown operations
inline constexpr std::uint64_t kConstantAlignment = 64;
inline constexpr std::uint32_t kMaxTensors = 1U << 16U;  // planning is quadratic; a stranger must not make it long
inline constexpr std::uint32_t kMaxNodes = 1U << 16U;
inline constexpr std::uint32_t kMaxNameBytes = 255;
inline constexpr std::int64_t kMaxTensorBytes = std::int64_t{1} << 46U;
inline constexpr std::uint64_t kNoConstant = ~std::uint64_t{0};

struct Section {
  std::uint64_t offset;  // from the first byte of the header
  std::uint64_t bytes;
};

enum class SectionKind : std::uint8_t { tensors = 0, nodes = 1, attributes = 2, constants = 3, names = 4, sizes = 5 };
inline constexpr std::size_t kSections = 6;

struct Header {
  std::array<char, 4> magic;
  std::uint16_t version_major;
  std::uint16_t version_minor;
  std::uint64_t total_bytes;
  std::uint64_t checksum;  // FNV-1a of everything behind the header; 0 = none
  std::uint32_t inputs;
  std::uint32_t outputs;
  std::uint32_t name_offset;  // the entry's name, in the names section
  std::uint32_t name_bytes;
  std::array<Section, kSections> sections;
};

struct TensorRecord {
  std::uint8_t dtype;
  std::uint8_t rank;
  std::uint8_t role;
  std::uint8_t reserved;
  std::uint32_t name_offset;
  std::uint32_t name_bytes;
  std::uint32_t reserved2;
  std::array<std::int64_t, kMaxRank> dims;  // the rest 0. At least 1, or -1 - i for entry i of the sizes
  std::uint64_t constant_offset;            // role constant: in the constants section; else kNoConstant
};

struct NodeRecord {
  std::uint8_t op;
  std::array<std::uint8_t, 3> reserved;
  std::uint32_t output;
  std::uint32_t inputs_offset;  // in the attributes section: input_count tensor numbers of 4 bytes
  std::uint32_t input_count;
  std::uint32_t attributes_offset;  // in the attributes section: the record of the operation below
  std::uint32_t attributes_bytes;   // exactly that record; 0 for convert and constant
};

struct ContractRecord {
  std::array<std::uint8_t, kMaxRank> left;  // unused labels are 0
  std::array<std::uint8_t, kMaxRank> right;
  std::array<std::uint8_t, kMaxRank> out;
  std::uint8_t accumulate;
  std::array<std::uint8_t, 7> reserved;
};

/// attributes_bytes / 16 of these, in postfix order.
struct InstructionRecord {
  std::uint8_t opcode;
  std::uint8_t input;
  std::array<std::uint8_t, 6> reserved;
  double constant;
};

struct ReduceRecord {
  std::uint32_t axes;
  std::uint8_t op;
  std::uint8_t keep_dims;
  std::uint8_t accumulate;
  std::uint8_t reserved;
};

struct ViewRecord {
  std::int64_t offset;
  std::array<std::int64_t, kMaxRank> strides;
  std::uint32_t symbolic;  // bit 0: the offset is the number of a size; bit 1 + i: strides[i] is
  std::uint32_t reserved;
};

struct GatherRecord {
  std::uint32_t axis;
  std::uint32_t reserved;
};

struct ScatterRecord {
  std::uint32_t axis;
  std::uint8_t mode;
  std::array<std::uint8_t, 3> reserved;
};

struct PadRecord {
  std::array<std::int64_t, kMaxRank> low;
  std::array<std::int64_t, kMaxRank> high;
  double value;
};

struct ConcatRecord {
  std::uint32_t axis;
  std::uint32_t reserved;
};

/// A size that is known when the graph runs. Operands are literals, or the numbers of earlier sizes.
struct SizeRecord {
  std::uint8_t op;
  std::uint8_t entries;  // bit 0: a is the number of a size; bit 1: b is
  std::array<std::uint8_t, 6> reserved;
  std::uint32_t name_offset;  // of a symbol, whose a and b are 0; else both 0
  std::uint32_t name_bytes;
  std::int64_t a;
  std::int64_t b;
};

static_assert(sizeof(Header) == 136 && offsetof(Header, total_bytes) == 8 && offsetof(Header, checksum) == 16 &&
              offsetof(Header, inputs) == 24 && offsetof(Header, name_offset) == 32 &&
              offsetof(Header, sections) == 40);
static_assert(sizeof(TensorRecord) == 88 && offsetof(TensorRecord, name_offset) == 4 &&
              offsetof(TensorRecord, dims) == 16 && offsetof(TensorRecord, constant_offset) == 80);
static_assert(sizeof(NodeRecord) == 24 && offsetof(NodeRecord, output) == 4 &&
              offsetof(NodeRecord, inputs_offset) == 8 && offsetof(NodeRecord, attributes_offset) == 16);
static_assert(sizeof(ContractRecord) == 32 && offsetof(ContractRecord, accumulate) == 24);
static_assert(sizeof(InstructionRecord) == 16 && offsetof(InstructionRecord, constant) == 8);
static_assert(sizeof(ReduceRecord) == 8 && sizeof(ViewRecord) == 80 && sizeof(SizeRecord) == 32 &&
              sizeof(GatherRecord) == 8);
static_assert(sizeof(ScatterRecord) == 8 && sizeof(PadRecord) == 136 && sizeof(ConcatRecord) == 8);

}  // namespace hal::graph::format
