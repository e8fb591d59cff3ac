// SPDX-License-Identifier: Apache-2.0
#include "core/device_memory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/api.hpp"
#include "core/device.hpp"
#include "core/pool.hpp"

namespace hal::core {
namespace {

// Of a request, in a sum that is not to wrap over several that no device could meet.
std::uint64_t countable(std::uint64_t bytes) { return std::min(bytes, std::uint64_t{1} << 50U); }

}  // namespace

void DeviceMemory::set_budget(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  budget_ = bytes;
}

Result<void> DeviceMemory::ask(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t used = held_ + asked_;
  if (budget_ != 0 && (used > budget_ || bytes > budget_ - used)) {
    const std::uint64_t left = budget_ > used ? budget_ - used : 0;
    return Error(
        HAL_OUT_OF_DEVICE_MEMORY,
        fmt::format("{} bytes were asked for; the budget of {} has {} bytes free, the largest block has at most "
                    "{}; {} are held on {}",
                    bytes, budget_, left, left, used, device_.uri()));
  }
  asked_ += countable(bytes);
  return {};
}

void DeviceMemory::answered(std::uint64_t bytes, bool given) {
  const std::lock_guard lock(mutex_);
  asked_ -= countable(bytes);
  if (!given) { return; }
  held_ += bytes;
  peak_ = std::max(peak_, held_);
}

void DeviceMemory::give_back(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  held_ -= bytes;
}

// What is kept for the next buffer may be what is missing; on the host its memory is the host's.
bool DeviceMemory::worth_trimming(const Error& error) {
  return error.code() == HAL_OUT_OF_DEVICE_MEMORY || error.code() == HAL_OUT_OF_HOST_MEMORY;
}

bool DeviceMemory::trim_all() {
  Block* list = nullptr;
  {
    const std::lock_guard lock(mutex_);
    for (Pool* pool : pools_) { pool->shed(list); }
  }
  free_blocks(list);
  return list != nullptr;
}

void DeviceMemory::free_blocks(Block* list) {
  while (list != nullptr) {
    Block* next = list->next;
    device_.driver().memory_free(device_.driver_self(), device_.impl(), &list->memory);
    give_back(list->bytes);
    Storage::unmake(device_.instance().allocator(), list);
    list = next;
  }
}

void DeviceMemory::join(Pool& pool) {
  const std::lock_guard lock(mutex_);
  pools_.push_back(&pool);
}

void DeviceMemory::leave(Pool& pool) {
  const std::lock_guard lock(mutex_);
  std::erase(pools_, &pool);
}

hal_pool_stats DeviceMemory::stats() const {
  hal_pool_stats sum{};
  const std::lock_guard lock(mutex_);
  for (Pool* pool : pools_) {
    const hal_pool_stats one = pool->stats();
    for (auto field : {&hal_pool_stats::used_bytes, &hal_pool_stats::cached_bytes, &hal_pool_stats::allocations,
                       &hal_pool_stats::hits, &hal_pool_stats::cooling_bytes, &hal_pool_stats::waste_bytes,
                       &hal_pool_stats::waits, &hal_pool_stats::trims, &hal_pool_stats::failures}) {
      sum.*field += one.*field;
    }
    sum.largest_free_bytes = std::max(sum.largest_free_bytes, one.largest_free_bytes);
  }
  sum.peak_bytes = peak_;
  sum.limit_bytes = budget_;
  return sum;
}

}  // namespace hal::core
