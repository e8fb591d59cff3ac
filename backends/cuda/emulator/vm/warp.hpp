// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vm/instruction.hpp"

namespace hal::emulated_cuda {

enum class FaultKind : std::uint8_t { none, illegal_address, misaligned_address, trap, deadlock, cancelled };

struct Fault {
  FaultKind kind = FaultKind::none;
  std::uint32_t line = 0;  // of the PTX text
  std::uint64_t address = 0;
  std::uint32_t cta[3] = {0, 0, 0};
  std::uint32_t thread = 0;  // linear in the block
};

// A stretch of addresses that kernels may use, and where its bytes are.
struct MemoryRange {
  std::uint64_t begin = 0;
  std::uint64_t length = 0;
  std::byte* bytes = nullptr;
};

// Finds the live allocation around an address. Called from executor threads.
class MemoryResolver {
 public:
  virtual ~MemoryResolver() = default;
  virtual bool find(std::uint64_t address, MemoryRange& range) const = 0;
};

// One per executor thread and launch.
struct Machine {
  static constexpr std::uint32_t kCached = 16;
  const MemoryResolver* memory = nullptr;
  MemoryRange cache[kCached];  // by instruction: an instruction mostly stays in one allocation
  const std::byte* parameters = nullptr;
  std::uint32_t parameter_bytes = 0;
  std::byte* shared = nullptr;
  std::uint64_t shared_bytes = 0;
  std::byte* local = nullptr;
  std::uint64_t local_bytes = 0;  // of each thread
  std::uint32_t cta[3] = {0, 0, 0};
  Fault fault;
  std::atomic<bool>* stop = nullptr;
  std::atomic<std::uint64_t> fence{0};

  void fail(FaultKind kind, std::uint32_t line, std::uint64_t address, std::uint32_t thread);

  [[gnu::always_inline]] std::byte* translate(std::uint64_t address, std::uint64_t bytes, std::uint32_t slot) {
    const MemoryRange& range = cache[slot % kCached];
    const std::uint64_t at = address - range.begin;
    if (at < range.length && range.length - at >= bytes) [[likely]] { return range.bytes + at; }
    return translate_slow(address, bytes, slot);
  }
  std::byte* translate_slow(std::uint64_t address, std::uint64_t bytes, std::uint32_t slot);  // null: no such memory
};

enum class SplitState : std::uint8_t { ready, at_barrier, converging };

// Lanes that run together.
struct Split {
  std::uint32_t pc = 0;
  std::uint32_t mask = 0;
  SplitState state = SplitState::ready;
  std::uint32_t barrier = 0;
};

struct Warp {
  std::byte* rows = nullptr;
  Machine* machine = nullptr;
  std::uint32_t first_thread = 0;  // linear thread of lane 0
  std::uint32_t live = 0;
  std::uint32_t split_count = 0;
  std::uint32_t turn = 0;  // how often patience ran out: then another split goes first
  Split splits[kLanes];

  template <class T>
  [[gnu::always_inline]] T* row(std::uint32_t offset) {
    return reinterpret_cast<T*>(rows + offset);
  }
  [[gnu::always_inline]] std::uint32_t& predicate(std::uint32_t offset) { return *row<std::uint32_t>(offset); }
};

}  // namespace hal::emulated_cuda
