// SPDX-License-Identifier: Apache-2.0
// What mode=weak keeps for a device: what its lanes did, for reports and replays, and freed memory that is not freed
// yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>

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
  // somebody wrote after the block was freed, if there is one.
  template <class Release>
  void keep(Block block, Release&& release) {
    std::deque<Block> gone;
    {
      const std::lock_guard lock(mutex_);
      poison(block);
      blocks_.push_back(block);
      bytes_ += block.bytes;
      while (blocks_.size() > kBlocks || (bytes_ > kBytes && !blocks_.empty())) {
        bytes_ -= blocks_.front().bytes;
        gone.push_back(blocks_.front());
        blocks_.pop_front();
      }
    }
    for (const Block& old : gone) { release(old, written(old)); }
  }

  // Gives everything back, as when memory runs out or the device closes.
  template <class Release>
  void drain(Release&& release) {
    std::deque<Block> gone;
    {
      const std::lock_guard lock(mutex_);
      gone.swap(blocks_);
      bytes_ = 0;
    }
    for (const Block& old : gone) { release(old, written(old)); }
  }

 private:
  static void poison(const Block& block);
  static std::optional<std::uint64_t> written(const Block& block);

  std::mutex mutex_;
  std::deque<Block> blocks_;
  std::uint64_t bytes_ = 0;
};

}  // namespace hal::host
