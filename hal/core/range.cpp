// SPDX-License-Identifier: Apache-2.0
#include "core/range.hpp"

#include <fmt/format.h>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/buffer.hpp"

namespace hal::core {

Result<std::uint64_t> granularity(Device& device) {
  std::uint64_t unit = 0;
  const hal_driver_ops& ops = device.driver();
  if (ops.range_map == nullptr || ops.number == nullptr ||
      ops.number(device.driver_self(), device.impl(), "virtual.granularity", &unit) == 0 || unit == 0) {
    return Error(HAL_UNSUPPORTED, fmt::format("device {} has no virtual memory: {}", device.uri(),
                                              device.supports("virtual-memory").why));
  }
  return unit;
}

// ---------------------------------------------------------------------------------------------------------- physical

Ref<Physical> Physical::blank(Device& device) {
  auto* made = Storage::make<Physical>(device.instance().allocator());
  init(made->object, Kind::physical, dispose);
  made->impl = nullptr;
  made->device_impl = device.impl();
  made->device = Ref<Device>::share(&device);
  return Ref<Physical>(made);
}

Result<Ref<Physical>> Physical::create(Device& device, std::uint64_t bytes) {
  HAL_TRY(const std::uint64_t unit, granularity(device));
  if (bytes == 0 || bytes % unit != 0) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("physical memory of {} bytes was asked for on {}; it comes in multiples of {}", bytes,
                             device.uri(), unit));
  }
  Ref<Physical> made = blank(device);
  HAL_CHECK(device.memory().take(bytes, [&] {
    return call_driver(device.loaded(), "physical_create", [&] {
      return device.driver().physical_create(device.driver_self(), device.impl(), bytes, &made->impl);
    });
  }));
  made->bytes = bytes;
  made->counted = true;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .bytes = bytes});
  }
  return made;
}

Result<Ref<Physical>> Physical::import(Device& device, int fd, std::uint64_t bytes) {
  if (device.driver().physical_import_fd == nullptr) {
    return Error(HAL_UNSUPPORTED,
                 fmt::format("device {} takes no descriptors: {}", device.uri(), device.supports("share.fd").why));
  }
  HAL_TRY(const std::uint64_t unit, granularity(device));
  if (bytes == 0 || bytes % unit != 0) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("{} bytes of descriptor {} were to be imported on {}; it takes "
                                                   "multiples of {}",
                                                   bytes, fd, device.uri(), unit));
  }
  Ref<Physical> made = blank(device);
  HAL_CHECK(call_driver(device.loaded(), "physical_import_fd", [&] {
    return device.driver().physical_import_fd(device.driver_self(), device.impl(), fd, bytes, &made->impl);
  }));
  made->bytes = bytes;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .bytes = bytes});
    tell(observer, [&](Observer& told) { told.shared(*made, fd); });
  }
  return made;
}

void Physical::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Physical*>(object);
  // The last owner may be a driver's call into the core.
  if (Engine::on_core_thread()) {
    self->end_ = {[](void* of) { static_cast<Physical*>(of)->end(); }, self};
    self->device->instance().engine().post(self->end_);
  } else {
    self->end();
  }
}

void Physical::end() {
  if (impl != nullptr) { device->driver().physical_free(device->driver_self(), device->impl(), impl); }
  if (counted) { device->memory().give_back(bytes); }
  Storage::unmake(device->instance().allocator(), this);
}

// ------------------------------------------------------------------------------------------------------------- range

struct Range::Settling : Idle {
  Settling(Range& of, std::uint64_t at, std::uint64_t which)
      : range(of), offset(at), id(which), alive(Ref<Buffer>::share(&of.buffer_)) {
    task = {[](void* self) {
              const std::unique_ptr<Settling> mine(static_cast<Settling*>(self));
              mine->range.settle(mine->offset, mine->id);
            },
            this};
  }
  Range& range;
  std::uint64_t offset, id;
  Ref<Buffer> alive;
};

Result<void> Range::aligned(std::uint64_t offset, std::uint64_t bytes) const {
  if (offset % unit_ != 0 || bytes % unit_ != 0 || bytes == 0) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("{} of a range on {}: both ends must be multiples of {}, and not the same",
                             span_text(offset, bytes), buffer_.device->uri(), unit_));
  }
  if (offset > buffer_.memory.bytes || bytes > buffer_.memory.bytes - offset) {
    return Error(HAL_OUT_OF_RANGE, fmt::format("{} of a range of {} on {}", span_text(offset, bytes),
                                               buffer_.memory.bytes, buffer_.device->uri()));
  }
  return {};
}

// No mapping lies across an end; with `all`, mappings fill the bytes. With the lock held.
Result<void> Range::whole(std::uint64_t offset, std::uint64_t bytes, bool all) const {
  std::uint64_t at = offset;
  auto found = mappings_.upper_bound(offset);
  if (found != mappings_.begin()) { --found; }
  for (; found != mappings_.end() && found->first < offset + bytes; ++found) {
    const std::uint64_t end = found->first + found->second.bytes;
    if (end <= offset || found->second.going) { continue; }
    if (found->first < offset || end > offset + bytes) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("bytes {} to {} of the range cut the mapping of {} to {}", offset,
                                                     offset + bytes, found->first, end));
    }
    if (all && found->first != at) { break; }
    at = end;
  }
  if (all && at != offset + bytes) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("bytes {} to {} of the range: nothing is mapped at {}", offset, offset + bytes, at));
  }
  return {};
}

Result<void> Range::map(std::uint64_t offset, Physical& physical, std::uint64_t from, std::uint64_t bytes,
                        hal_access access) {
  Device& device = *buffer_.device;
  if (physical.device.get() != &device) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("the range is of {}, the memory of {}; export and import it",
                                                   device.uri(), owner_text(*physical.device, device)));
  }
  if (access != HAL_ACCESS_READ && access != HAL_ACCESS_READ_WRITE) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("access is {}; READ or READ_WRITE", static_cast<int>(access)));
  }
  HAL_CHECK(aligned(offset, bytes));
  if (from % unit_ != 0) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("'from' is {}; it must be a multiple of {}", from, unit_));
  }
  if (from > physical.bytes || bytes > physical.bytes - from) {
    return Error(HAL_OUT_OF_RANGE, fmt::format("{} of physical memory of {}", span_text(from, bytes), physical.bytes));
  }
  const std::lock_guard lock(mutex_);
  auto next = mappings_.upper_bound(offset);
  for (auto near : {next, next == mappings_.begin() ? mappings_.end() : std::prev(next)}) {
    if (near == mappings_.end() || near->first >= offset + bytes || near->first + near->second.bytes <= offset) {
      continue;
    }
    if (near->second.going) {
      return Error(HAL_BUSY, fmt::format("bytes {} to {} of the range were unmapped, and work submitted before still "
                                         "uses them; wait for it",
                                         near->first, near->first + near->second.bytes));
    }
    return Error(HAL_INVALID_ARGUMENT, fmt::format("bytes {} to {} of the range are mapped already", near->first,
                                                   near->first + near->second.bytes));
  }
  const auto made =
      mappings_.emplace(offset, Mapping{bytes, access, access, false, next_id_++, Ref<Physical>::share(&physical)});
  Result<void> mapped;
  try {
    mapped = call_driver(device.loaded(), "range_map", [&] {
      return device.driver().range_map(device.driver_self(), device.impl(), &buffer_.memory, offset, physical.impl,
                                       from, bytes, access);
    });
  } catch (...) {
    mappings_.erase(made.first);
    throw;
  }
  if (!mapped) {
    mappings_.erase(made.first);
    return std::move(mapped).error().while_doing(fmt::format("mapping {} bytes on {}", bytes, device.uri()));
  }
  tell(device.instance().observer(), [&](Observer& told) { told.mapped(buffer_, offset, physical, from, bytes); });
  return {};
}

Result<void> Range::protect(std::uint64_t offset, std::uint64_t bytes, hal_access access) {
  if (access != HAL_ACCESS_NONE && access != HAL_ACCESS_READ && access != HAL_ACCESS_READ_WRITE) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("access is {}; NONE, READ or READ_WRITE", static_cast<int>(access)));
  }
  HAL_CHECK(aligned(offset, bytes));
  Device& device = *buffer_.device;
  Settlings changed;
  {
    const std::lock_guard lock(mutex_);
    HAL_CHECK(whole(offset, bytes, true));
    for (auto at = mappings_.lower_bound(offset); at != mappings_.end() && at->first < offset + bytes; ++at) {
      changed.push_back(std::make_unique<Settling>(*this, at->first, at->second.id));
    }
    for (const auto& one : changed) {
      const std::uint64_t begin = one->offset;
      Mapping& mapping = mappings_.at(begin);
      if (access > mapping.given) {  // more rights hurt nobody, and the next submission may need them
        HAL_CHECK(call_driver(device.loaded(), "range_protect", [&] {
          return device.driver().range_protect(device.driver_self(), device.impl(), &buffer_.memory, begin,
                                               mapping.bytes, access);
        }));
        mapping.given = access;
      }
      mapping.access = access;
    }
  }
  settle_when_idle(std::move(changed));
  return {};
}

Result<void> Range::unmap(std::uint64_t offset, std::uint64_t bytes) {
  HAL_CHECK(aligned(offset, bytes));
  Settlings changed;
  {
    const std::lock_guard lock(mutex_);
    HAL_CHECK(whole(offset, bytes, false));
    for (auto at = mappings_.lower_bound(offset); at != mappings_.end() && at->first < offset + bytes; ++at) {
      if (!at->second.going) { changed.push_back(std::make_unique<Settling>(*this, at->first, at->second.id)); }
    }
    for (const auto& one : changed) {
      Mapping& mapping = mappings_.at(one->offset);
      mapping.going = true;
      tell(buffer_.device->instance().observer(),
           [&](Observer& told) { told.unmapped(buffer_, one->offset, mapping.bytes); });
    }
  }
  settle_when_idle(std::move(changed));
  return {};
}

void Range::settle_when_idle(Settlings changed) noexcept {
  for (std::unique_ptr<Settling>& one : changed) { buffer_.device->instance().when_idle(*one.release()); }
}

// Brings the device to what new work sees. Nothing that was submitted before the change is left.
void Range::settle(std::uint64_t offset, std::uint64_t id) {
  Ref<Physical> gone;  // after the lock
  Device& device = *buffer_.device;
  const std::lock_guard lock(mutex_);
  const auto found = mappings_.find(offset);
  if (found == mappings_.end() || found->second.id != id) { return; }
  Mapping& mapping = found->second;
  if (mapping.going) {
    device.driver().range_unmap(device.driver_self(), device.impl(), &buffer_.memory, offset, mapping.bytes);
    gone = std::move(mapping.physical);
    mappings_.erase(found);
  } else if (mapping.access < mapping.given) {
    const Result<void> done = call_driver(device.loaded(), "range_protect", [&] {
      return device.driver().range_protect(device.driver_self(), device.impl(), &buffer_.memory, offset, mapping.bytes,
                                           mapping.access);
    });
    if (done) {
      mapping.given = mapping.access;
    } else {
      device.instance().log(HAL_LOG_WARNING, "core", done.error().what().data());
    }
  }
}

Result<void> Range::allows(std::uint64_t offset, std::uint64_t bytes, bool writes) const {
  const std::lock_guard lock(mutex_);
  std::uint64_t at = offset;
  auto found = mappings_.upper_bound(offset);
  if (found != mappings_.begin()) { --found; }
  for (; found != mappings_.end() && at < offset + bytes && found->first <= at; ++found) {
    const Mapping& mapping = found->second;
    if (mapping.going || found->first + mapping.bytes <= at) { continue; }
    if (mapping.access < (writes ? HAL_ACCESS_READ_WRITE : HAL_ACCESS_READ)) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("byte {} of the range may not be {}: bytes {} to {} are mapped {}", at,
                               writes ? "written" : "read", found->first, found->first + mapping.bytes,
                               mapping.access == HAL_ACCESS_NONE ? "without access" : "read-only"));
    }
    at = found->first + mapping.bytes;
  }
  if (at >= offset + bytes) { return {}; }
  return Error(HAL_INVALID_ARGUMENT, fmt::format("nothing is mapped at byte {} of the range", at));
}

void Range::clear() {
  Device& device = *buffer_.device;
  for (const auto& [offset, mapping] : mappings_) {
    device.driver().range_unmap(device.driver_self(), device.impl(), &buffer_.memory, offset, mapping.bytes);
  }
  mappings_.clear();
  device.driver().range_release(device.driver_self(), device.impl(), &buffer_.memory);
}

Result<Ref<Buffer>> Buffer::reserve(Device& device, std::uint64_t bytes) {
  HAL_TRY(const std::uint64_t unit, granularity(device));
  if (bytes == 0 || bytes % unit != 0) {
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("a range of {} bytes was asked for on {}; it comes in multiples of {}", bytes, device.uri(), unit));
  }
  Ref<Buffer> made = blank(device);
  auto range = std::make_unique<Range>(*made, unit);
  HAL_CHECK(call_driver(device.loaded(), "range_reserve", [&] {
    return device.driver().range_reserve(device.driver_self(), device.impl(), bytes, &made->memory);
  }));
  made->memory.bytes = bytes;
  made->range = std::move(range);
  made->usable_on = nullptr;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->object, {.device = &device, .bytes = bytes, .memory = &made->memory});
  }
  return made;
}

}  // namespace hal::core

using namespace hal::core;

namespace {

hal::Result<Range*> range_of(hal_buffer* buffer) {
  if (cast(buffer)->range) { return cast(buffer)->range.get(); }
  return hal::Error(HAL_INVALID_ARGUMENT, "the buffer is no range; hal_virtual_create() makes one");
}

}  // namespace

extern "C" hal_error* hal_virtual_create(hal_device* device, std::uint64_t bytes, hal_buffer** out) {
  return guarded("hal_virtual_create", {device, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Buffer::reserve(*cast(device), bytes));
    *out = made.take();
    return {};
  });
}

extern "C" hal_error* hal_virtual_map(hal_buffer* range, std::uint64_t offset, hal_physical* physical,
                                      std::uint64_t from, std::uint64_t bytes, hal_access access) {
  return guarded("hal_virtual_map", {range, physical}, [&]() -> hal::Result<void> {
    HAL_TRY(Range * self, range_of(range));
    return self->map(offset, *cast(physical), from, bytes, access);
  });
}

extern "C" hal_error* hal_virtual_protect(hal_buffer* range, std::uint64_t offset, std::uint64_t bytes,
                                          hal_access access) {
  return guarded("hal_virtual_protect", {range}, [&]() -> hal::Result<void> {
    HAL_TRY(Range * self, range_of(range));
    return self->protect(offset, bytes, access);
  });
}

extern "C" hal_error* hal_virtual_unmap(hal_buffer* range, std::uint64_t offset, std::uint64_t bytes) {
  return guarded("hal_virtual_unmap", {range}, [&]() -> hal::Result<void> {
    HAL_TRY(Range * self, range_of(range));
    return self->unmap(offset, bytes);
  });
}

extern "C" hal_error* hal_physical_create(hal_device* device, std::uint64_t bytes, hal_physical** out) {
  return guarded("hal_physical_create", {device, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Physical::create(*cast(device), bytes));
    *out = made.take();
    return {};
  });
}

extern "C" hal_error* hal_physical_export_fd(hal_physical* physical, int* out) {
  return guarded("hal_physical_export_fd", {physical, out}, [&]() -> hal::Result<void> {
    const Device& device = *cast(physical)->device;
    if (device.driver().physical_export_fd == nullptr) {
      return hal::Error(HAL_UNSUPPORTED, fmt::format("device {} gives no descriptors: {}", device.uri(),
                                                     device.supports("share.fd").why));
    }
    HAL_CHECK(call_driver(device.loaded(), "physical_export_fd", [&] {
      return device.driver().physical_export_fd(device.driver_self(), device.impl(), physical->impl, out);
    }));
    tell(device.instance().observer(), [&](Observer& told) { told.shared(*physical, *out); });
    return {};
  });
}

extern "C" hal_error* hal_physical_import_fd(hal_device* device, int fd, std::uint64_t bytes, hal_physical** out) {
  return guarded("hal_physical_import_fd", {device, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Physical::import(*cast(device), fd, bytes));
    *out = made.take();
    return {};
  });
}
