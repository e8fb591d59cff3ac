// SPDX-License-Identifier: Apache-2.0
// An open device: the driver's handle, its traits, and its default pool.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "core/device_memory.hpp"
#include "core/instance.hpp"
#include "core/object.hpp"
#include "core/registry.hpp"

struct hal_device {
  hal_object object;
};

namespace hal::core {

class Pool;

class Device : public hal_device {
 public:
  Device(Instance& instance, LoadedDriver& driver, std::string uri, const hal_device_traits& traits);

  Instance& instance() const { return instance_; }
  const hal_driver_ops& driver() const { return driver_.ops; }
  hal_driver* driver_self() const { return driver_.self; }
  const LoadedDriver& loaded() const { return driver_; }
  void* impl() const { return traits_.impl; }
  const hal_device_traits& traits() const { return traits_; }
  const std::string& uri() const { return uri_; }
  hal_device_info describe() const;
  bool executes(std::uint32_t op) const { return (traits_.ops >> op & 1U) != 0; }

  hal_verdict supports(const char* feature) const;

  DeviceMemory& memory() { return memory_; }
  const DeviceMemory& memory() const { return memory_; }
  const std::shared_ptr<Pool>& pool() const { return pool_; }

  // Whose compiled programs load here: driver, its file's digest, device and the driver's key. Made when first asked.
  const std::string& identity() const;

  // The reason of a verdict, kept as long as the device. The same text is kept once.
  const char* keep(std::string text) const;

 private:
  friend struct Storage;
  ~Device();
  static void dispose(hal_object* object);

  Instance& instance_;
  LoadedDriver& driver_;
  const std::string uri_;
  hal_device_traits traits_;
  DeviceMemory memory_;
  std::shared_ptr<Pool> pool_;
  mutable std::mutex texts_mutex_;
  mutable std::set<std::string> texts_;
  mutable std::mutex identity_mutex_;
  mutable std::string identity_;  // empty until it is asked for
  Task end_;
};

}  // namespace hal::core
