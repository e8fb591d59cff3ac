// SPDX-License-Identifier: Apache-2.0
#include "core/buffer.hpp"

#include <fmt/format.h>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/range.hpp"

namespace hal::core {

Buffer::~Buffer() = default;

// An object without bytes. Made before the bytes, so that they need not be given back when the host has no memory for
// it.
Ref<Buffer> Buffer::blank(Device& device) {
  auto* made = Storage::make<Buffer>(device.instance().allocator());
  init(made->object, Kind::buffer, dispose);
  made->memory = {};
  made->device_impl = device.impl();
  made->usable_on = device.impl();
  made->device = Ref<Device>::share(&device);
  return Ref<Buffer>(made);
}

Result<Ref<Buffer>> Buffer::make(Device& device, const std::shared_ptr<Pool>& pool, std::uint64_t bytes,
                                 const Timeline* lane, std::span<const hal_point> waits, Ref<Timeline>& gate) {
  if (bytes == 0) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("a buffer of 0 bytes was asked for on {}; the least is 1", device.uri()));
  }
  Ref<Buffer> made = blank(device);
  HAL_TRY(Pool::Taken taken, pool->take(bytes, lane, waits));
  gate = std::move(taken.gate);
  made->block = taken.block;
  made->memory = taken.block->memory;
  made->memory.bytes = bytes;
  made->pool = pool;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .bytes = bytes, .memory = &made->memory});
  }
  return made;
}

Result<Ref<Buffer>> Buffer::import(Device& device, void* address, std::uint64_t bytes, hal_released_function released,
                                   void* user) {
  if (bytes == 0 || reinterpret_cast<std::uintptr_t>(address) + bytes < bytes) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("{} bytes at {} cannot be imported: {}", bytes, fmt::ptr(address),
                             bytes == 0 ? "the least is 1" : "they end beyond the address space"));
  }
  const hal_driver_ops& ops = device.driver();
  if (ops.memory_import == nullptr) {
    return Error(HAL_UNSUPPORTED, fmt::format("device {} does not take host memory: {}", device.uri(),
                                              device.supports("import.host").why));
  }
  Ref<Buffer> made = blank(device);
  HAL_CHECK(call_driver(device.loaded(), "memory_import", [&] {
    return ops.memory_import(device.driver_self(), device.impl(), address, bytes, &made->memory);
  }));
  made->memory.bytes = bytes;
  made->imported = true;
  made->released = released;
  made->released_user = user;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .bytes = bytes, .memory = &made->memory, .imported = true});
  }
  return made;
}

void Buffer::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Buffer*>(object);
  // Commands that are held back or that a lane has taken point to this object, also when FREE has returned its memory.
  // Memory that the host sees may be part of another device's copies; other memory is its own device's alone.
  const Device* only = self->memory.host == nullptr ? self->device.get() : nullptr;
  self->idle_.task = {[](void* of) { static_cast<Buffer*>(of)->end(); }, self};
  self->device->instance().when_idle(self->idle_, only);
}

void Buffer::end() {
  const hal_released_function call = released;
  void* user = released_user;
  if (block != nullptr && !is_returned()) { pool->put(*block); }
  if (range) { range->clear(); }
  if (imported) { device->driver().memory_unimport(device->driver_self(), device->impl(), &memory); }
  Storage::unmake(device->instance().allocator(), this);
  if (call != nullptr) { call(user); }
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_buffer_create(hal_device* device, std::uint64_t bytes, hal_buffer** out) {
  return guarded("hal_buffer_create", {device, out}, [&]() -> hal::Result<void> {
    Device& self = *cast(device);
    Ref<Timeline> none;
    HAL_TRY(auto made, Buffer::make(self, self.pool(), bytes, nullptr, {}, none));
    *out = made.take();
    return {};
  });
}

extern "C" hal_error* hal_buffer_import_host(hal_device* device, void* address, std::uint64_t bytes,
                                             hal_released_function released, void* user, hal_buffer** out) {
  return guarded("hal_buffer_import_host", {device, address, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Buffer::import(*cast(device), address, bytes, released, user));
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
    if (cast(buffer)->block == nullptr) {
      return hal::Error(HAL_INVALID_ARGUMENT,
                        "only a port's own memory can be exported to peers, no range and no imported memory");
    }
    return call_driver(device.loaded(), "memory_export", [&] {
      return device.driver().memory_export(device.driver_self(), device.impl(), &buffer->memory, out);
    });
  });
}
