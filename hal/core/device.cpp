// SPDX-License-Identifier: Apache-2.0
#include "core/device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/cache.hpp"
#include "core/file_digest.hpp"
#include "core/pool.hpp"

namespace hal::core {

Device::Device(Instance& instance, LoadedDriver& driver, std::string uri, const hal_device_traits& traits)
    : instance_(instance),
      driver_(driver),
      uri_(std::move(uri)),
      traits_(traits),
      memory_(*this),
      pool_(std::allocate_shared<Pool>(FromHost<Pool>(instance.allocator()), *this, hal_pool_desc{})) {
  init(object, Kind::device, dispose);
  retain(instance.object);
  for (const char** text : {&traits_.info.name, &traits_.info.vendor, &traits_.info.reason}) {
    *text = *text != nullptr ? *text : "";
  }
}

Device::~Device() {
  pool_.reset();
  driver().device_close(driver_self(), impl());
  release(instance_.object);
}

void Device::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Device*>(object);
  self->instance_.closed(*self);
  if (Engine::on_core_thread()) {
    self->end_ = {[](void* of) {
                    auto* gone = static_cast<Device*>(of);
                    Storage::unmake(gone->instance_.allocator(), gone);
                  },
                  self};
    self->instance_.engine().post(self->end_);
  } else {
    Storage::unmake(self->instance_.allocator(), self);
  }
}

// What a driver's table has no entries for it cannot have, whatever it says.
hal_verdict Device::supports(const char* feature) const {
  const struct {
    const char* name;
    bool there;
    const char* why;
  } entries[] = {
      {"virtual-memory", driver().range_map != nullptr, "the driver has no virtual memory"},
      {"import.host", driver().memory_import != nullptr, "the driver does not take the caller's host memory"},
      {"share.fd", driver().physical_export_fd != nullptr, "the driver does not share memory by descriptor"},
  };
  for (const auto& entry : entries) {
    if (!entry.there && std::strcmp(feature, entry.name) == 0) { return {HAL_NO, entry.why}; }
  }
  const hal_verdict verdict = driver().supports(driver_self(), impl(), feature);
  return {verdict.support, verdict.why != nullptr ? verdict.why : ""};
}

const std::string& Device::identity() const {
  // Not std::call_once(): memory may end the making early.
  const std::lock_guard lock(identity_mutex_);
  if (identity_.empty()) {
    const std::optional<Digest> digest = file_digest(driver_.path);
    const std::string file = digest ? hex(*digest) : "unknown";
    const char* key = driver().program_key != nullptr ? driver().program_key(driver_self(), impl()) : "";
    identity_ = fmt::format("driver {} {}, border {}.{}, device {}, {}", driver_.name, file, driver().abi_major,
                            driver().abi_minor, traits_.info.name, key != nullptr ? key : "");
  }
  return identity_;
}

const char* Device::keep(std::string text) const {
  const std::lock_guard lock(texts_mutex_);
  constexpr std::size_t kMost = 4096;  // whoever feeds it ever new images cannot fill memory
  if (texts_.size() >= kMost && !texts_.contains(text)) {
    return "the device has given too many different reasons to keep another";
  }
  return texts_.insert(std::move(text)).first->c_str();
}

hal_device_info Device::describe() const {
  hal_device_info info = traits_.info;
  info.uri = uri_.c_str();
  info.driver = driver_.name.c_str();
  info.memory_bytes = traits_.memory_bytes;
  info.usable = 1;
  return info;
}

}  // namespace hal::core

using namespace hal::core;

namespace {

// "program.cache.<what>"; all are 0 without a cache.
bool cache_number(const Device& device, std::string_view name, std::uint64_t& out) {
  constexpr std::string_view kHead = "program.cache.";
  if (!name.starts_with(kHead)) { return false; }
  const ProgramCache* cache = device.instance().cache();
  const std::pair<std::string_view, std::atomic<std::uint64_t> ProgramCache::*> numbers[] = {
      {"hits", &ProgramCache::hits},
      {"misses", &ProgramCache::misses},
      {"rejected", &ProgramCache::rejected},
      {"written", &ProgramCache::written}};
  for (const auto& [known, member] : numbers) {
    if (name.substr(kHead.size()) != known) { continue; }
    out = cache != nullptr ? (cache->*member).load() : 0;
    return true;
  }
  return false;
}

}  // namespace

extern "C" hal_error* hal_instance_create(const hal_instance_desc* desc, hal_instance** out) {
  return guarded("hal_instance_create", {out}, [&]() -> hal::Result<void> {
    hal_instance_desc defaults{};
    defaults.struct_size = sizeof defaults;
    if (desc != nullptr) {
      constexpr std::array kKnown{offsetof(hal_instance_desc, layers), offsetof(hal_instance_desc, allocator),
                                  offsetof(hal_instance_desc, cache), sizeof(hal_instance_desc)};
      if (std::find(kKnown.begin(), kKnown.end(), desc->struct_size) == kKnown.end()) {
        return hal::Error(HAL_INVALID_ARGUMENT,
                          fmt::format("hal_instance_desc.struct_size is {}; this library knows {}", desc->struct_size,
                                      fmt::join(kKnown, ", ")));
      }
      std::memcpy(&defaults, desc, desc->struct_size);
      if (const hal_allocator* given = defaults.allocator;
          given != nullptr && (given->allocate == nullptr || given->deallocate == nullptr)) {
        return hal::Error(HAL_INVALID_ARGUMENT, fmt::format("hal_instance_desc.allocator has no {}()",
                                                            given->allocate == nullptr ? "allocate" : "deallocate"));
      }
    }
    HAL_TRY(auto made, Instance::create(defaults));
    *out = made.take();
    return {};
  });
}

extern "C" std::uint32_t hal_instance_device_count(const hal_instance* instance) {
  return instance != nullptr ? cast(instance)->device_count() : 0;
}

extern "C" hal_error* hal_instance_device(const hal_instance* instance, std::uint32_t i, hal_device_info* out) {
  return guarded("hal_instance_device", {instance, out}, [&]() -> hal::Result<void> {
    HAL_TRY(*out, cast(instance)->device(i));
    return {};
  });
}

extern "C" const char* hal_instance_report(const hal_instance* instance) {
  return instance != nullptr ? cast(instance)->report() : "";
}

extern "C" std::uint64_t hal_instance_findings(const hal_instance* instance) {
  const Observer* observer = instance != nullptr ? cast(instance)->observer() : nullptr;
  return observer != nullptr ? observer->findings() : 0;
}

extern "C" hal_error* hal_device_open(hal_instance* instance, const char* uri, hal_device** out) {
  return guarded("hal_device_open", {instance, uri, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, cast(instance)->open(uri));
    *out = made.take();
    return {};
  });
}

extern "C" hal_device_info hal_device_describe(const hal_device* device) {
  return device != nullptr ? cast(device)->describe() : hal_device_info{"", "", "", "", "the handle is NULL", 0, 0, 0};
}

extern "C" hal_verdict hal_device_supports(hal_device* device, const char* feature) {
  if (device == nullptr || feature == nullptr) { return {HAL_NO, "the handle or the name is NULL"}; }
  return cast(device)->supports(feature);
}

extern "C" hal_error* hal_device_number(hal_device* device, const char* name, std::uint64_t* out) {
  return guarded("hal_device_number", {device, name, out}, [&]() -> hal::Result<void> {
    const Device& self = *cast(device);
    if (std::strcmp(name, "memory.bytes") == 0) {
      *out = self.traits().memory_bytes;
    } else if (cache_number(self, name, *out)) {
      // of the instance's cache
    } else if (std::strcmp(name, "queue.limit") == 0) {
      *out = self.instance().pending_limit();
    } else if (self.driver().number == nullptr ||
               self.driver().number(self.driver_self(), self.impl(), name, out) == 0) {
      return hal::Error(HAL_NOT_FOUND, fmt::format("device {} declares no number '{}'", self.uri(), name));
    }
    return {};
  });
}

extern "C" hal_error* hal_device_report(hal_device* device, char** out) {
  return guarded("hal_device_report", {device, out}, [&]() -> hal::Result<void> {
    const Device& self = *cast(device);
    if (self.driver().report == nullptr) {
      return hal::Error(HAL_UNSUPPORTED, fmt::format("device {} keeps no report", self.uri()));
    }
    return call_driver(self.loaded(), "report",
                       [&] { return self.driver().report(self.driver_self(), self.impl(), out); });
  });
}

extern "C" void hal_free_text(char* text) { std::free(text); }
