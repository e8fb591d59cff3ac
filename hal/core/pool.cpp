// SPDX-License-Identifier: Apache-2.0
#include "core/pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/device.hpp"

namespace hal::core {

std::uint64_t size_class(std::uint64_t bytes) {
  constexpr std::uint64_t kLeast = 64, kLargest = std::uint64_t{1} << 62U;
  if (bytes <= kLeast) { return kLeast; }
  if (bytes > kLargest) { return bytes; }  // no device has it; the driver says so
  const std::uint64_t step = std::max(std::bit_floor(bytes - 1) / 8, kLeast);
  return (bytes + step - 1) / step * step;
}

Pool::~Pool() {
  for (const auto& [bytes, block] : ready_) {
    device_.driver().memory_free(device_.driver_self(), device_.impl(), &block);
  }
}

void Pool::free_blocks(const std::vector<hal_memory>& blocks) {
  for (const hal_memory& block : blocks) {
    device_.driver().memory_free(device_.driver_self(), device_.impl(), &block);
  }
}

// A block from the cache: one that is ready, or one that only `lane` itself still uses.
bool Pool::take_cached(std::uint64_t wanted, const Timeline* lane, hal_memory& out) {
  if (const auto found = ready_.find(wanted); found != ready_.end()) {
    out = found->second;
    ready_.erase(found);
  } else {
    const auto cooling = std::find_if(cooling_.begin(), cooling_.end(), [&](const Cooling& entry) {
      return lane != nullptr && entry.lane == lane && size_class(entry.block.bytes) == wanted;
    });
    if (cooling == cooling_.end()) { return false; }
    out = cooling->block;
    cooling_.erase(cooling);
  }
  stats_.cached_bytes -= wanted;
  ++stats_.hits;
  return true;
}

// The driver is never called with our lock held: what it does to allocate may bring it back into the core.
Result<hal_memory> Pool::take(std::uint64_t bytes, const Timeline* lane) {
  const std::uint64_t wanted = size_class(bytes);
  hal_memory block{};
  bool cached = false;
  std::vector<hal_memory> surplus;
  {
    const std::lock_guard lock(mutex_);
    ++stats_.allocations;
    cached = take_cached(wanted, lane, block);
    if (!cached && limit_ != 0 && stats_.used_bytes + stats_.cached_bytes + wanted > limit_) {
      surplus = trim_locked(limit_ > stats_.used_bytes + wanted ? limit_ - stats_.used_bytes - wanted : 0);
      if (stats_.used_bytes + stats_.cached_bytes + wanted > limit_) {
        const Error full(
            HAL_OUT_OF_DEVICE_MEMORY,
            fmt::format("pool of {} was asked for {} bytes; its limit of {} has {} in use and {} that work still holds",
                        device_.uri(), bytes, limit_, stats_.used_bytes, stats_.cached_bytes));
        for (const hal_memory& kept : surplus) {
          ready_.emplace(size_class(kept.bytes), kept), stats_.cached_bytes += size_class(kept.bytes);
        }
        return full;
      }
    }
    stats_.used_bytes += wanted;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.used_bytes);
  }
  if (!cached) {
    free_blocks(surplus);
    hal_error* error = device_.driver().memory_allocate(device_.driver_self(), device_.impl(), wanted, &block);
    if (error != nullptr && hal_error_describe(error).code == HAL_OUT_OF_DEVICE_MEMORY) {
      {
        const std::lock_guard lock(mutex_);
        surplus = trim_locked(0);  // our own cache may be what is missing
      }
      if (!surplus.empty()) {
        hal_release(error);
        free_blocks(surplus);
        error = device_.driver().memory_allocate(device_.driver_self(), device_.impl(), wanted, &block);
      }
    }
    if (error != nullptr) {
      const std::lock_guard lock(mutex_);
      stats_.used_bytes -= wanted;
      return Error::adopt(error).while_doing(fmt::format("allocating {} bytes on {}", bytes, device_.uri()));
    }
  }
  block.bytes = bytes;
  return block;
}

// The driver gets back what it gave: a block of its class, not of the bytes that the buffer showed.
hal_memory Pool::whole(const hal_memory& block) {
  hal_memory out = block;
  out.bytes = size_class(block.bytes);
  return out;
}

void Pool::put(const hal_memory& shown) {
  const hal_memory block = whole(shown);
  const std::lock_guard lock(mutex_);
  stats_.used_bytes -= block.bytes;
  stats_.cached_bytes += block.bytes;
  ready_.emplace(block.bytes, block);
}

void Pool::put_after(const hal_memory& shown, const Ref<Timeline>& lane, std::uint64_t number) {
  const hal_memory block = whole(shown);
  std::uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    stats_.used_bytes -= block.bytes;
    stats_.cached_bytes += block.bytes;
    ticket = next_ticket_++;
    cooling_.push_back({block, lane.get(), ticket});
  }
  // Captured in this order so that the pool goes before its device.
  lane->when(
      number,
      [device = Ref<Device>::share(&device_), self = shared_from_this(), ticket](const hal_error*) {
        const std::lock_guard lock(self->mutex_);
        const auto found = std::find_if(self->cooling_.begin(), self->cooling_.end(),
                                        [&](const Cooling& entry) { return entry.ticket == ticket; });
        if (found == self->cooling_.end()) { return; }  // its own lane took it again
        self->ready_.emplace(found->block.bytes, found->block);
        self->cooling_.erase(found);
      },
      Timeline::Until::physical);
}

std::vector<hal_memory> Pool::trim_locked(std::uint64_t keep) {
  std::vector<hal_memory> surplus;
  while (stats_.cached_bytes > keep && !ready_.empty()) {
    const auto largest = std::prev(ready_.end());
    stats_.cached_bytes -= largest->first;
    surplus.push_back(largest->second);
    ready_.erase(largest);
  }
  return surplus;
}

void Pool::trim(std::uint64_t keep) {
  std::vector<hal_memory> surplus;
  {
    const std::lock_guard lock(mutex_);
    surplus = trim_locked(keep);
  }
  free_blocks(surplus);
}

hal_pool_stats Pool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_pool_create(hal_device* device, std::uint64_t limit_bytes, hal_pool** out) {
  return guarded("hal_pool_create", {device, out}, [&]() -> hal::Result<void> {
    auto* made = new PoolHandle;
    init(made->object, Kind::pool, [](hal_object* object) { delete reinterpret_cast<PoolHandle*>(object); });
    made->device = Ref<Device>::share(cast(device));
    // The last owner may be a driver's call into the core, and freeing memory would call that driver back.
    made->pool = std::shared_ptr<Pool>(new Pool(*made->device, limit_bytes), [kept = made->device](Pool* pool) {
      if (Engine::on_core_thread()) {
        kept->instance().engine().post([kept, pool] { delete pool; });
      } else {
        delete pool;
      }
    });
    if (Observer* observer = cast(device)->instance().observer()) {
      announce(*observer, made->object, {.device = cast(device)});
    }
    *out = made;
    return {};
  });
}

extern "C" hal_pool_stats hal_pool_describe(const hal_pool* pool) {
  return pool != nullptr ? static_cast<const PoolHandle*>(pool)->pool->stats() : hal_pool_stats{};
}

extern "C" void hal_pool_trim(hal_pool* pool, std::uint64_t keep_bytes) {
  if (pool != nullptr) { static_cast<PoolHandle*>(pool)->pool->trim(keep_bytes); }
}
