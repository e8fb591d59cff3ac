// SPDX-License-Identifier: Apache-2.0
// What mode=weak keeps for a device: what its lanes did, for reports and replays, and freed memory that is not freed
// yet.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "driver_kit/perturb.hpp"

namespace hal::host {

class WeakState {
 public:
  // Of one lane: how often it took a step, how often a command overtook another, and a digest of the order of steps.
  struct Lane {
    std::uint64_t steps = 0, overtakes = 0, digest = 0xcbf29ce484222325U;
  };

  void note(std::uint64_t lane, std::uint64_t number, std::uint64_t pieces_left, bool overtakes);
  // Each lane of the device so far, as JSON members: "lanes":[...].
  std::string report() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, Lane> lanes_;
};

// How long an open window stays open that nobody waits for: from when its first command was seen, whatever comes behind
// that.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Patience(std::uint64_t ns) : length_(static_cast<std::int64_t>(ns)) {}

  // When the window is to be closed that begins with the command `first`, seen now.
  Clock::time_point end(std::uint64_t first, Clock::time_point now) {
    if (first != first_) {
      first_ = first;
      end_ = now + length_;
    }
    return end_;
  }

 private:
  std::chrono::nanoseconds length_;
  std::uint64_t first_ = 0;  // commands count from 1
  Clock::time_point end_;
};

// Freed memory, poisoned and kept for a while: who uses it after that reads poison, and who writes to it is found out
// when it is given back at last.
class Quarantine {
 public:
  struct Block {
    std::byte* begin;
    std::uint64_t bytes;
    int poison;
  };
  static constexpr std::size_t kBlocks = 32;
  static constexpr std::uint64_t kBytes = 64U << 20U;

  // Keeps the block. What has to go for it, oldest first, is handed to `release`, with the offset of a byte that
  // somebody wrote after the block was freed, if there is one. Freeing must not need memory, so the room is fixed.
  template <class Release>
  void keep(Block block, Release&& release) {
    Blocks gone;
    {
      const std::lock_guard lock(mutex_);
      poison(block);
      blocks_.add(block);
      bytes_ += block.bytes;
      while (blocks_.count > kBlocks || (bytes_ > kBytes && blocks_.count != 0)) {
        bytes_ -= blocks_.at.front().bytes;
        gone.add(blocks_.at.front());
        std::move(blocks_.at.begin() + 1, blocks_.at.begin() + static_cast<std::ptrdiff_t>(blocks_.count--),
                  blocks_.at.begin());
      }
    }
    for (const Block& old : gone.used()) { release(old, written(old)); }
  }

  // Gives everything back, as when memory runs out or the device closes.
  template <class Release>
  void drain(Release&& release) {
    Blocks gone;
    {
      const std::lock_guard lock(mutex_);
      gone = std::exchange(blocks_, {});
      bytes_ = 0;
    }
    for (const Block& old : gone.used()) { release(old, written(old)); }
  }

 private:
  struct Blocks {  // oldest first
    std::array<Block, kBlocks + 1> at{};
    std::size_t count = 0;
    void add(const Block& block) { at[count++] = block; }
    std::span<const Block> used() const { return std::span(at).first(count); }
  };
  static void poison(const Block& block);
  static std::optional<std::uint64_t> written(const Block& block);

  std::mutex mutex_;
  Blocks blocks_;
  std::uint64_t bytes_ = 0;
};

}  // namespace hal::host
