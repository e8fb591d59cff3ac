// SPDX-License-Identifier: Apache-2.0
// From the slice of a command to an address. The core has checked ranges and owners before a driver sees the command.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hal/driver.h"

namespace hal::kit {

// Where plain loads and stores reach the slice; nullptr if it lies in memory that the host cannot address.
inline std::byte* host_address(const hal_slice& slice) {
  if (slice.buffer == nullptr) { return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(slice.offset)); }
  auto* base = static_cast<std::byte*>(slice.buffer->memory.host);
  return base == nullptr ? nullptr : base + slice.offset;
}

// The device's own address of the slice; 0 for host memory and for memory without one.
inline std::uint64_t device_address(const hal_slice& slice) {
  if (slice.buffer == nullptr || slice.buffer->memory.address == 0) { return 0; }
  return slice.buffer->memory.address + slice.offset;
}

// Where the slice begins inside the driver's own allocation, `slice.buffer->memory.impl`.
inline std::uint64_t offset_in_allocation(const hal_slice& slice) { return slice.buffer->memory.offset + slice.offset; }

}  // namespace hal::kit
