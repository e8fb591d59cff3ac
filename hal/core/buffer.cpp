// SPDX-License-Identifier: Apache-2.0
#include "core/buffer.hpp"

#include <fmt/format.h>

#include "core/annotation.hpp"
#include "core/api.hpp"

namespace hal::core {

Result<Ref<Buffer>> Buffer::make(Device& device, const std::shared_ptr<Pool>& pool, std::uint64_t bytes,
                                 const Timeline* lane) {
  if (bytes == 0) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("a buffer of 0 bytes was asked for on {}; the least is 1", device.uri()));
  }
  HAL_TRY(const hal_memory memory, pool->take(bytes, lane));
  auto* made = new Buffer;
  init(made->object, Kind::buffer, dispose);
  made->memory = memory;
  made->device_impl = device.impl();
  made->device = Ref<Device>::share(&device);
  made->pool = pool;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .bytes = bytes, .memory = &made->memory});
  }
  return Ref<Buffer>(made);
}

void Buffer::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Buffer*>(object);
  // Commands that are held back or that a lane has taken point to this object, also when FREE has returned its memory.
  self->device->instance().when_idle([self] {
    if (!self->returned) { self->pool->put(self->memory); }
    delete self;
  });
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_buffer_create(hal_device* device, std::uint64_t bytes, hal_buffer** out) {
  return guarded("hal_buffer_create", {device, out}, [&]() -> hal::Result<void> {
    Device& self = *cast(device);
    HAL_TRY(auto made, Buffer::make(self, self.pool(), bytes, nullptr));
    *out = made.take();
    return {};
  });
}

extern "C" hal_buffer_info hal_buffer_describe(const hal_buffer* buffer) {
  if (buffer == nullptr) { return {}; }
  return {buffer->memory.bytes, buffer->memory.host, buffer->memory.address,
          static_cast<const Buffer*>(buffer)->device.get()};
}

extern "C" hal_error* hal_buffer_export(hal_buffer* buffer, hal_remote* out) {
  return guarded("hal_buffer_export", {buffer, out}, [&]() -> hal::Result<void> {
    const Device& device = *cast(buffer)->device;
    if (device.driver().memory_export == nullptr) {
      return hal::Error(HAL_UNSUPPORTED,
                        fmt::format("buffer on {} cannot be exported: the device is no fabric port", device.uri()));
    }
    return hal::check(device.driver().memory_export(device.driver_self(), device.impl(), &buffer->memory, out));
  });
}
