// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <shared_mutex>
#include <utility>

#include "cuda_abi.hpp"
#include "vm/warp.hpp"

namespace hal::emulated_cuda {

enum class MemoryKind : std::uint8_t { unknown, device, pinned, registered };

struct Allocation {
  std::uint64_t begin = 0;
  std::uint64_t length = 0;
  std::byte* bytes = nullptr;  // where the emulator reaches them
  MemoryKind kind = MemoryKind::unknown;
};

// The memory of the emulated device. Device addresses come from a reservation without access rights; the bytes are a
// second mapping of the same memory file that only the emulator uses. So host code that touches a device pointer
// faults, as it does on a real machine. Fresh memory is poisoned with all ones. All functions may be called from any
// thread.
class DeviceMemory final : public MemoryResolver {
 public:
  static constexpr std::uint64_t kAlignment = 512;

  explicit DeviceMemory(std::uint64_t capacity);
  ~DeviceMemory() override;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  bool usable() const { return base_ != nullptr; }
  std::uint64_t capacity() const { return capacity_; }
  std::uint64_t used() const;

  std::uint64_t allocate(std::uint64_t bytes);  // 0: no room
  bool release(std::uint64_t address);          // the begin of a device allocation
  void* allocate_host(std::uint64_t bytes);     // null: no room
  bool release_host(void* pointer);
  cuda::abi::CUresult register_host(void* pointer, std::uint64_t bytes);
  bool unregister_host(void* pointer);

  // The allocation around an address; kind unknown if there is none.
  Allocation around(std::uint64_t address) const;
  bool find(std::uint64_t address, MemoryRange& range) const override;

 private:
  std::uint64_t capacity_ = 0;
  std::byte* base_ = nullptr;     // of the inaccessible reservation: the device addresses
  std::byte* backing_ = nullptr;  // of the emulator's own mapping
  int file_ = -1;
  mutable std::shared_mutex mutex_;
  // By first address. What is free is of the same kind, so that it goes from one to the other without memory.
  std::map<std::uint64_t, Allocation> live_, free_;
  std::uint64_t used_ = 0;
};

}  // namespace hal::emulated_cuda
