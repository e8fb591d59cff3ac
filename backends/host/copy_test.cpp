// SPDX-License-Identifier: Apache-2.0
#include "copy.hpp"

#include <algorithm>
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

TEST_CASE("a fill repeats its pattern over every byte of the range and over no other, whichever stores it takes") {
  const auto check = [](std::size_t width, std::size_t offset, std::size_t bytes) {
    for (const auto fill : {hal::host::fill_bytes, hal::host::fill_past_caches}) {
      std::vector<std::byte> to(offset + bytes + 64, kGuard);
      // The bits above the pattern are not the pattern's.
      fill(to.data() + offset, bytes, 0xA1B2C3D4E5F60718U, width);
      bool right = true;
      for (std::size_t i = 0; i < to.size(); ++i) {
        const bool inside = i >= offset && i < offset + bytes;
        const auto wanted = static_cast<std::byte>(0xA1B2C3D4E5F60718U >> (8 * ((i - offset) % width)));
        right = right && to[i] == (inside ? wanted : kGuard);
      }
      INFO("width " << width << ", offset " << offset << ", " << bytes << " bytes");
      REQUIRE(right);
    }
  };
  for (const std::size_t width : {1U, 2U, 4U, 8U}) {
    for (const std::size_t offset : {0U, 1U, 7U, 33U}) {
      for (std::size_t count = 0; count < 300; count += width == 1 ? 1 : 3) { check(width, offset, count * width); }
      check(width, offset, 96 * 1024 + 8);  // large enough for the processor's own loop
    }
  }
}

TEST_CASE("a copy past the caches or within them copies every byte and no other, whatever the alignment") {
  const std::vector<std::byte> from = numbered(100'000);
  const auto copy = GENERATE(hal::host::copy_past_caches, hal::host::copy_within_caches);
  for (const std::size_t source : {0U, 1U, 17U}) {
    for (const std::size_t target : {0U, 3U, 64U, 4095U}) {
      for (const std::size_t bytes : {0U, 1U, 63U, 127U, 128U, 4096U, 16'384U, 16'385U, 40'000U, 90'001U}) {
        std::vector<std::byte> to(target + bytes + 64, kGuard);
        copy(to.data() + target, from.data() + source, bytes);
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

TEST_CASE("copies and fills of all sizes are whole, also those that threads share, wherever they begin") {
  hal::kit::LanePool pool(3, "copy-test");
  for (const std::size_t bytes :
       {std::size_t{1000}, (std::size_t{64} << 10U) + 1, (std::size_t{1} << 20U) + 3, (std::size_t{4} << 20U) + 5,
        (std::size_t{9} << 20U) + 4088, (std::size_t{33} << 20U) + 8}) {
    const std::vector<std::byte> from = numbered(bytes);
    for (const std::size_t offset : {0U, 3U, 4090U}) {
      std::vector<std::byte> to(offset + bytes + 64, kGuard);
      const auto guarded = [&] {
        const auto is_guard = [](std::byte one) { return one == kGuard; };
        const auto begin = to.begin() + static_cast<std::ptrdiff_t>(offset);
        return std::all_of(to.begin(), begin, is_guard) &&
               std::all_of(begin + static_cast<std::ptrdiff_t>(bytes), to.end(), is_guard);
      };
      INFO(bytes << " bytes at " << offset);
      hal::host::copy(pool, to.data() + offset, from.data(), bytes);
      REQUIRE(std::memcmp(to.data() + offset, from.data(), bytes) == 0);
      REQUIRE(guarded());
      const std::size_t whole = bytes & ~std::size_t{7};
      hal::host::fill(pool, to.data() + offset, whole, 0x1122334455667788U, 8);
      std::uint64_t wrong = 0;
      for (std::size_t i = 0; i < whole; i += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, to.data() + offset + i, 8);
        wrong += word != 0x1122334455667788U;
      }
      REQUIRE(wrong == 0);
      REQUIRE(std::memcmp(to.data() + offset + whole, from.data() + whole, bytes - whole) == 0);
      REQUIRE(guarded());
    }
  }
}
