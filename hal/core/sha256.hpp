// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), so that a key of the program cache stands for its contents.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hal::core {

using Digest = std::array<std::byte, 32>;

class Sha256 {
 public:
  void add(std::span<const std::byte> bytes);
  // A part with its length, so that parts cannot run into each other.
  void add_part(std::string_view text);
  void add_part(std::span<const std::byte> bytes);
  Digest finish();

 private:
  void block(const std::byte* bytes);

  std::array<std::uint32_t, 8> state_{0x6a09e667U, 0xbb67ae85U, 0x3c6ef372U, 0xa54ff53aU,
                                      0x510e527fU, 0x9b05688cU, 0x1f83d9abU, 0x5be0cd19U};
  std::array<std::byte, 64> open_{};
  std::uint64_t bytes_ = 0;
};

Digest sha256(std::span<const std::byte> bytes);
std::string hex(std::span<const std::byte> bytes);

}  // namespace hal::core
