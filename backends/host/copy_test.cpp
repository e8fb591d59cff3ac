// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"

#include <cstring>
#include <halyard_catch.hpp>
#include <vector>

namespace {

constexpr std::byte kGuard{0xEE};

std::vector<std::byte> numbered(std::size_t bytes) {
  std::vector<std::byte> made(bytes);
  for (std::size_t i = 0; i < bytes; ++i) { made[i] = static_cast<std::byte>(i * 131 + i / 251); }
  return made;
}

}  // namespace

TEST_CASE("a fill repeats its pattern over every byte of the range and over no other") {
  for (const std::size_t width : {1U, 2U, 4U, 8U}) {
    for (const std::size_t offset : {0U, 1U, 7U, 33U}) {
      for (std::size_t count = 0; count < 300; count += width == 1 ? 1 : 3) {
        const std::size_t bytes = count * width;
        std::vector<std::byte> to(offset + bytes + 64, kGuard);
        // The bits above the pattern are not the pattern's.
        hal::host::fill_bytes(to.data() + offset, bytes, 0xA1B2C3D4E5F60718U, width);
        bool right = true;
        for (std::size_t i = 0; i < to.size(); ++i) {
          const bool inside = i >= offset && i < offset + bytes;
          const auto wanted = static_cast<std::byte>(0xA1B2C3D4E5F60718U >> (8 * ((i - offset) % width)));
          right = right && to[i] == (inside ? wanted : kGuard);
        }
        INFO("width " << width << ", offset " << offset << ", " << bytes << " bytes");
        REQUIRE(right);
      }
    }
  }
}

TEST_CASE("a copy past the caches copies every byte and no other, whatever the alignment") {
  const std::vector<std::byte> from = numbered(100'000);
  for (const std::size_t source : {0U, 1U, 17U}) {
    for (const std::size_t target : {0U, 3U, 64U, 4095U}) {
      for (const std::size_t bytes : {0U, 1U, 63U, 4096U, 16'384U, 16'385U, 40'000U, 90'001U}) {
        std::vector<std::byte> to(target + bytes + 64, kGuard);
        hal::host::copy_past_caches(to.data() + target, from.data() + source, bytes);
        INFO("from " << source << " to " << target << ", " << bytes << " bytes");
        REQUIRE(std::memcmp(to.data() + target, from.data() + source, bytes) == 0);
        bool guarded = true;
        for (std::size_t i = 0; i < target; ++i) { guarded = guarded && to[i] == kGuard; }
        for (std::size_t i = target + bytes; i < to.size(); ++i) { guarded = guarded && to[i] == kGuard; }
        REQUIRE(guarded);
      }
    }
  }
}

TEST_CASE("large copies are right while and after the faster way is found") {
  constexpr std::size_t kBytes = (16U << 20U) + 5;
  const std::vector<std::byte> from = numbered(kBytes);
  for (int i = 0; i < 8; ++i) {
    std::vector<std::byte> to(kBytes + 1, kGuard);
    hal::host::copy_bytes(to.data(), from.data(), kBytes);
    REQUIRE(std::memcmp(to.data(), from.data(), kBytes) == 0);
    REQUIRE(to[kBytes] == kGuard);
  }
}
