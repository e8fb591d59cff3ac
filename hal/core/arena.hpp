// SPDX-License-Identifier: Apache-2.0
// Cuts one piece of memory into blocks of any size and joins what comes back. Knows offsets only, never touches a byte.
#pragma once

#include <array>
#include <cstdint>

#include "core/allocator.hpp"

namespace hal::core {

// Good fit in constant time: free blocks hang in lists by size (four for each power of two), and two neighbours that
// are both free become one at once.
class Arena {
 public:
  struct Block {
    std::uint64_t offset = 0, bytes = 0;
    Block *before = nullptr, *after = nullptr;   // by address
    Block *previous = nullptr, *next = nullptr;  // of its list, while free
    bool free = false;
  };

  // Offsets and sizes are multiples of `unit`, a power of two. Throws std::bad_alloc.
  Arena(const hal_allocator& from, std::uint64_t bytes, std::uint64_t unit);
  ~Arena();  // every block is back
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A block of at least `bytes`, or NULL if none is that large. Throws std::bad_alloc, and nothing has changed.
  Block* take(std::uint64_t bytes);
  void put(Block* block);

  std::uint64_t free_bytes() const { return free_bytes_; }
  std::uint64_t largest() const;

 private:
  static constexpr unsigned kSteps = 4, kLists = 64 * kSteps;
  static unsigned list_of(std::uint64_t bytes);
  void link(Block* block);
  void unlink(Block* block);

  const hal_allocator from_;
  const std::uint64_t unit_;
  std::uint64_t free_bytes_ = 0;
  std::array<std::uint64_t, kLists / 64> filled_{};  // a bit for each list that is not empty
  std::array<Block*, kLists> lists_{};
};

}  // namespace hal::core
