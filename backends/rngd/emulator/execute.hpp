// SPDX-License-Identifier: Apache-2.0
// Runs a verified program on memory. Pure: no clock, no queues. The number of PEs never changes a result.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "image/program.hpp"

namespace rngd::emulator {

/// Where the tensors lie. Every pointer reaches the bytes that parse() has promised.
struct ProgramMemory {
  std::span<std::byte* const> bindings;  // inputs, then outputs
  const std::byte* constants;
  std::byte* sram;
  std::byte* scratch;
};

/// A bad value in an index tensor, the only thing that can go wrong in a verified program.
struct ExecutionFault {
  bool failed = false;
  std::uint32_t op = 0;
  std::int64_t index = 0;
  std::uint64_t limit = 0;
};

ExecutionFault execute(const image::Program& program, const ProgramMemory& memory);

/// What one operation costs, whatever the data.
struct Work {
  std::uint64_t tensor_macs = 0;   // on the contraction engine
  std::uint64_t vector_lanes = 0;  // element operations on the vector engine
  std::uint64_t bytes_moved = 0;   // by the tensor DMA or the fetch and commit units
  std::uint64_t hbm_bytes = 0;     // the part of it that leaves the chip
};
Work work_of(const image::Program& program, const image::Op& op);

// One function per operation; pointers are the tensors' first bytes.
struct OpMemory {
  std::byte* out;
  std::span<const std::byte* const> in;
};
void run_contract(const image::Program&, const image::Op&, const OpMemory&);
void run_map(const image::Program&, const image::Op&, const OpMemory&);
void run_reduce(const image::Program&, const image::Op&, const OpMemory&);
void run_view(const image::Program&, const image::Op&, const OpMemory&);
ExecutionFault run_gather(const image::Program&, const image::Op&, const OpMemory&);
ExecutionFault run_scatter(const image::Program&, const image::Op&, const OpMemory&);
void run_pad(const image::Program&, const image::Op&, const OpMemory&);
void run_convert(const image::Program&, const image::Op&, const OpMemory&);
void run_concat(const image::Program&, const image::Op&, const OpMemory&);

}  // namespace rngd::emulator
