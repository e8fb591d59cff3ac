// SPDX-License-Identifier: Apache-2.0
// Counted bytes on a device.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "core/device.hpp"
#include "core/pool.hpp"

namespace hal::core {

class Range;

// What holds the bytes decides how they go: a pool's block, a range of mapped addresses, or memory of the caller's.
struct Buffer : hal_buffer {
  // device_impl if commands may use it without another look, else NULL: a range has to be asked what is mapped, and
  // what HAL_OP_FREE gave back nothing may use.
  std::atomic<const void*> usable_on{nullptr};
  std::atomic<bool> returned{false};
  bool is_returned() const { return returned.load(std::memory_order_relaxed); }
  // False if it has been given back already.
  bool give_back() {
    if (returned.exchange(true, std::memory_order_acq_rel)) { return false; }
    usable_on.store(nullptr, std::memory_order_relaxed);  // only whoever gave it back writes, until it is taken back
    return true;
  }
  void take_back() {
    usable_on.store(range == nullptr ? device_impl : nullptr, std::memory_order_relaxed);
    returned.store(false, std::memory_order_release);
  }

  Ref<Device> device;
  std::shared_ptr<Pool> pool;
  Block* block = nullptr;
  std::unique_ptr<Range> range;
  bool imported = false;
  hal_released_function released = nullptr;
  void* released_user = nullptr;

  // `gate` reaches 1 when work may use the buffer; empty if the order of the call is enough.
  static Result<Ref<Buffer>> make(Device& device, const std::shared_ptr<Pool>& pool, std::uint64_t bytes,
                                  const Timeline* lane, std::span<const hal_point> waits, Ref<Timeline>& gate);
  static Result<Ref<Buffer>> import(Device& device, void* address, std::uint64_t bytes, hal_released_function released,
                                    void* user);
  static Result<Ref<Buffer>> reserve(Device& device, std::uint64_t bytes);

 private:
  friend struct Storage;
  Buffer() = default;
  ~Buffer();
  static Ref<Buffer> blank(Device& device);
  static void dispose(hal_object* object);
  void end();

  Idle idle_;
};

inline Buffer* cast(hal_buffer* handle) { return static_cast<Buffer*>(handle); }

}  // namespace hal::core
