// SPDX-License-Identifier: Apache-2.0
#include "core/arena.hpp"

#include <cstring>
#include <halyard_catch.hpp>
#include <random>
#include <vector>

using hal::core::Arena;

TEST_CASE("arena: blocks do not overlap, neighbours join, and everything comes back") {
  for (const std::uint64_t unit : {64U, 256U, 4096U}) {
    constexpr std::uint64_t kBytes = 1U << 20U;
    Arena arena(hal::core::c_library(), kBytes, unit);
    std::vector<Arena::Block*> taken;
    std::vector<bool> used(kBytes / unit, false);
    std::mt19937_64 random(unit);
    for (int step = 0; step < 20'000; ++step) {
      if (taken.empty() || random() % 5 < 3) {
        const std::uint64_t bytes = 1 + random() % (random() % 8 == 0 ? 100'000 : 3 * unit);
        const std::uint64_t largest = arena.largest();
        Arena::Block* block = arena.take(bytes);
        // Good fit is exact about failure: a block is refused only if none is that large.
        REQUIRE((block != nullptr) == ((bytes + unit - 1) / unit * unit <= largest));
        if (block == nullptr) { continue; }
        REQUIRE(block->bytes >= bytes);
        REQUIRE(block->offset % unit == 0);
        for (std::uint64_t at = block->offset / unit; at < (block->offset + block->bytes) / unit; ++at) {
          REQUIRE_FALSE(used[at]);
          used[at] = true;
        }
        taken.push_back(block);
      } else {
        const std::size_t which = random() % taken.size();
        Arena::Block* block = taken[which];
        for (std::uint64_t at = block->offset / unit; at < (block->offset + block->bytes) / unit; ++at) {
          used[at] = false;
        }
        taken[which] = taken.back();
        taken.pop_back();
        arena.put(block);
      }
    }
    for (Arena::Block* block : taken) { arena.put(block); }
    CHECK(arena.free_bytes() == kBytes);
    CHECK(arena.largest() == kBytes);  // in one piece again
  }
}
