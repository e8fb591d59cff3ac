// SPDX-License-Identifier: Apache-2.0
// The decoded form of a kernel: what the executor runs. A warp is 32 lanes; each PTX register is a row of 32 values in
// the warp's row block, immediates and special registers are rows too, so that every operand is a byte offset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ptx/syntax.hpp"

namespace hal::emulated_cuda {

inline constexpr std::uint32_t kLanes = 32;
inline constexpr std::uint32_t kNoRow = 0xffffffffu;

struct Warp;
struct Instruction;

// Runs one instruction for the lanes of `mask` (never 0).
using Handler = void (*)(Warp& warp, const Instruction& instruction, std::uint32_t mask);

enum class Control : std::uint8_t {
  none,      // only rows change
  memory,    // may fault
  branch,    // target
  exit,      // the lanes are done
  trap,      // the kernel fails
  barrier,   // row 0: barrier number, row 1: thread count (kNoRow: all)
  converge,  // lanes of the member mask (row `member`) must be here together, then run() is called
};

struct Instruction {
  Handler run = nullptr;
  std::uint32_t rows[6] = {kNoRow, kNoRow, kNoRow, kNoRow, kNoRow, kNoRow};  // destination first
  std::uint32_t guard = kNoRow;                                              // predicate row
  bool guard_negated = false;
  Control control = Control::none;
  std::uint8_t lanes_of_vector = 1;  // ld/st .v2, .v4: how many rows follow from rows[1] on
  std::uint8_t table = 0;            // lop3
  std::uint32_t member = kNoRow;
  std::uint32_t target = 0;
  std::uint32_t line = 0;  // of the PTX text
  std::int64_t displacement = 0;
};

// Rows that the launch fills in.
enum class Special : std::uint8_t {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  laneid,
  warpid,
  nwarpid,
  smid,
  nsmid,
  gridid,
  lanemask_eq,
  lanemask_lt,
  lanemask_le,
  lanemask_gt,
  lanemask_ge,
  dynamic_smem_size,
  total_smem_size,
  count
};
inline constexpr std::size_t kSpecials = static_cast<std::size_t>(Special::count);

struct ConstantRow {
  std::uint32_t row = 0;
  std::uint32_t size = 4;  // bytes per lane
  std::uint64_t bits = 0;
};

struct ParameterInfo {
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

struct Program {
  std::string name;
  std::vector<Instruction> code;
  std::uint32_t row_bytes = 0;
  std::vector<ConstantRow> constants;
  std::uint32_t special_rows[kSpecials];  // kNoRow: not used
  std::vector<ParameterInfo> parameters;
  std::uint32_t parameter_bytes = 0;
  std::uint32_t shared_bytes = 0;  // static part; extern arrays start here
  std::uint32_t local_bytes = 0;   // of each thread
  std::uint32_t registers = 0;     // 32-bit units, as an upper bound of what a compiler would use
  std::uint32_t max_threads[3] = {0, 0, 0};
  bool exact_threads = false;
};

// Generic addresses of the two spaces that are no device memory. Above any address a process can have.
inline constexpr std::uint64_t kSharedWindow = 0x0100'0000'0000'0000ull;
inline constexpr std::uint64_t kLocalWindow = 0x0200'0000'0000'0000ull;
inline constexpr std::uint64_t kWindowBytes = 1ull << 32;

}  // namespace hal::emulated_cuda
