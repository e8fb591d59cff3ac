// SPDX-License-Identifier: Apache-2.0
// FNV-1a with 64 bits: finds a damaged file, not a forged one; verify() checks everything in either case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hal::graph {

/// Never 0, which means "no checksum" in the format.
inline std::uint64_t checksum(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const std::byte byte : bytes) { hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001B3U; }
  return hash != 0 ? hash : 1;
}

}  // namespace hal::graph
