// SPDX-License-Identifier: Apache-2.0
// Keeps freed memory for the next allocation, by size class, and knows by point when a block may be used again.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "core/arena.hpp"
#include "core/object.hpp"
#include "core/timeline.hpp"
#include "hal/result.hpp"

namespace hal::core {

class Device;

// Memory in the hands of one buffer, or waiting for the next.
struct Block {
  hal_memory memory{};          // as the driver gave it, or as it was cut from the pool's first piece
  std::uint64_t bytes = 0;      // a size class
  std::uint64_t asked = 0;      // what its buffer asked for
  Arena::Block* cut = nullptr;  // NULL: the driver's own allocation
  Block *previous = nullptr, *next = nullptr;
  // While work still uses it. The lane is compared and may be followed under the pool's lock: its entry goes first.
  Timeline* lane = nullptr;
  std::uint64_t number = 0, ticket = 0;
};

// A few hundred lists of blocks, one for each size class, and which of them hold something.
class BlockLists {
 public:
  void push_front(Block& block);
  void push_back(Block& block);
  void remove(Block& block);
  Block* first(std::uint64_t bytes) const { return lists_[list_of(bytes)].first; }
  Block* largest() const;  // one of the largest class that holds something
  template <class Each>
  void each(Each look) {  // who may remove the block
    for (const List& list : lists_) {
      for (Block *block = list.first, *next = nullptr; block != nullptr; block = next) {
        next = block->next;
        look(*block);
      }
    }
  }
  // The first block of at least `bytes` for which `fits` is true, the smallest class and its oldest first.
  template <class Fits>
  Block* find(std::uint64_t bytes, Fits fits) const {
    for (Block* block = first_from(list_of(bytes)); block != nullptr;) {
      if (block->bytes >= bytes && fits(*block)) { return block; }
      block = block->next != nullptr ? block->next : first_from(list_of(block->bytes) + 1);
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kLists = 512;
  Block* first_from(std::size_t list) const;
  static std::size_t list_of(std::uint64_t bytes);
  struct List {
    Block *first, *last;
  };
  std::array<List, kLists> lists_{};
  std::array<std::uint64_t, kLists / 64> filled_{};
};

class Pool : public std::enable_shared_from_this<Pool> {
 public:
  Pool(Device& device, const hal_pool_desc& desc);
  ~Pool();
  Result<void> take_initial();  // what the description says is taken at once

  struct Taken {
    Block* block = nullptr;
    Ref<Timeline> gate;  // reaches 1 when the block may be used; empty: in the order of the call that was asked for
  };
  // A block of at least `bytes` for work on `lane` that waits for `waits`, or for anybody if lane is NULL: that asks a
  // device's own pool only, which has no limit and no first piece.
  Result<Taken> take(std::uint64_t bytes, const Timeline* lane, std::span<const hal_point> waits);
  void put(Block& block);
  // As put(), once `lane` has completed `number`; the same lane may take it before. What that needs is made by
  // prepare_return(), which may throw.
  struct Return;
  std::unique_ptr<Return> prepare_return();
  void put_after(Block& block, const Ref<Timeline>& lane, std::uint64_t number,
                 std::unique_ptr<Return> prepared) noexcept;
  void trim(std::uint64_t keep);
  // Moves everything that is ready to `list`, for DeviceMemory::free_blocks().
  void shed(Block*& list);
  hal_pool_stats stats();
  // Ends a pool whose last owner has let go, on the engine if that may be a driver's call; `device` is its own.
  static void end(Pool* pool, const Ref<Device>& device) noexcept;

 private:
  // With the lock held:
  Block* take_ready(std::uint64_t wanted);
  Block* take_protected(std::uint64_t wanted, const Timeline* lane, std::span<const hal_point> waits);
  Block* take_behind(std::uint64_t wanted, const Timeline* lane, std::uint64_t number);
  Block* take_cached(std::uint64_t wanted, const Timeline* lane, std::span<const hal_point> waits);
  bool fits(std::uint64_t wanted, Block*& surplus);
  void shed_above(std::uint64_t keep, Block*& list);
  void warm(Block& block, std::uint64_t asked);
  void make_ready(Block& block);
  void hand_out(Block& block, std::uint64_t asked);
  void end_use(Block& block);
  void look();
  Block* find_cooling(std::uint64_t bytes, std::uint64_t ticket) const;

  Result<void> allocate(std::uint64_t bytes, hal_memory& out);
  void cooled(std::uint64_t bytes, std::uint64_t ticket);
  Result<Block*> grow(std::uint64_t wanted, std::uint64_t asked);
  Result<Taken> behind_work(std::uint64_t wanted, std::uint64_t asked, const Timeline* asking,
                            std::span<const hal_point> waits, Error refused);
  Error over_limit(std::uint64_t asked) const;

  Device& device_;
  const std::string label_;
  const std::uint64_t limit_, keep_, initial_;
  const bool prefault_;
  std::uint64_t unit_ = 1;
  std::mutex mutex_;
  BlockLists ready_, cooling_;
  std::optional<Arena> arena_;
  hal_memory arena_memory_{};
  std::uint64_t next_ticket_ = 1;
  hal_pool_stats stats_{};
  // Trimming, and then the end: each keeps what it needs until it has run.
  Task task_;
  bool trim_posted_ = false;
  Ref<Device> kept_device_;
  std::shared_ptr<Pool> kept_self_;
};

struct Pool::Return : Waiter {
  Ref<Device> device;  // before the pool, which goes first
  std::shared_ptr<Pool> pool;
  std::uint64_t bytes = 0, ticket = 0;
};

// Sizes are rounded up so that at most an eighth is lost and unequal buffers can share blocks.
std::uint64_t size_class(std::uint64_t bytes);

// Touches every page, so that nobody faults on it later.
void populate(void* address, std::uint64_t bytes);

}  // namespace hal::core

struct hal_pool {
  hal_object object;
};

namespace hal::core {

struct PoolHandle : hal_pool {
  Ref<Device> device;
  std::shared_ptr<Pool> pool;
};

}  // namespace hal::core
