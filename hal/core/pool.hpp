// SPDX-License-Identifier: Apache-2.0
// Keeps freed memory for the next allocation, by size class, and knows by point when a block may be used again.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/object.hpp"
#include "core/timeline.hpp"
#include "hal/result.hpp"

namespace hal::core {

class Device;

class Pool : public std::enable_shared_from_this<Pool> {
 public:
  Pool(Device& device, std::uint64_t limit) : device_(device), limit_(limit) {}
  ~Pool();

  // A block of at least `bytes`. A block that `lane` itself still uses is taken too: the queue's own order protects it.
  Result<hal_memory> take(std::uint64_t bytes, const Timeline* lane);
  void put(const hal_memory& block);
  // As put(), once `lane` has completed `number`; the same lane may take it before.
  void put_after(const hal_memory& block, const Ref<Timeline>& lane, std::uint64_t number);
  void trim(std::uint64_t keep);
  hal_pool_stats stats() const;

 private:
  struct Cooling {
    hal_memory block;
    const Timeline* lane;  // compared, never followed
    std::uint64_t ticket;
  };
  bool take_cached(std::uint64_t wanted, const Timeline* lane, hal_memory& out);  // with the lock held
  std::vector<hal_memory> trim_locked(std::uint64_t keep);
  void free_blocks(const std::vector<hal_memory>& blocks);
  static hal_memory whole(const hal_memory& block);

  Device& device_;
  const std::uint64_t limit_;
  mutable std::mutex mutex_;
  std::multimap<std::uint64_t, hal_memory> ready_;
  std::vector<Cooling> cooling_;
  std::uint64_t next_ticket_ = 1;
  hal_pool_stats stats_{};
};

// Sizes are rounded up so that at most an eighth is lost and unequal buffers can share blocks.
std::uint64_t size_class(std::uint64_t bytes);

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
