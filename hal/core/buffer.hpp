// SPDX-License-Identifier: Apache-2.0
// Counted bytes on a device.
#pragma once

#include <memory>

#include "core/device.hpp"
#include "core/pool.hpp"

namespace hal::core {

struct Buffer : hal_buffer {
  Ref<Device> device;
  std::shared_ptr<Pool> pool;
  bool returned = false;  // HAL_OP_FREE gave the memory back already

  static Result<Ref<Buffer>> make(Device& device, const std::shared_ptr<Pool>& pool, std::uint64_t bytes,
                                  const Timeline* lane);

 private:
  static void dispose(hal_object* object);
};

inline Buffer* cast(hal_buffer* handle) { return static_cast<Buffer*>(handle); }

}  // namespace hal::core
