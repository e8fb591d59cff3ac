// SPDX-License-Identifier: Apache-2.0
// Reserved addresses, physical memory, and what of it lies where.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/device.hpp"
#include "core/object.hpp"
#include "hal/result.hpp"

namespace hal::core {

struct Buffer;

// Memory without an address.
struct Physical : hal_physical {
  Ref<Device> device;
  std::uint64_t bytes = 0;
  bool counted = false;  // against the device's budget; imported memory is not

  static Result<Ref<Physical>> create(Device& device, std::uint64_t bytes);
  static Result<Ref<Physical>> import(Device& device, int fd, std::uint64_t bytes);

 private:
  friend struct Storage;
  Physical() = default;
  ~Physical() = default;
  static Ref<Physical> blank(Device& device);
  static void dispose(hal_object* object);
  void end();

  Task end_;
};

inline Physical* cast(hal_physical* handle) { return static_cast<Physical*>(handle); }

// "virtual.granularity" of a device. Errors: UNSUPPORTED  it has no virtual memory.
Result<std::uint64_t> granularity(Device& device);

// The part of a buffer that is a range. New work sees a change at once, the device when work submitted before is done;
// only more rights are given to the device at once.
class Range {
 public:
  Range(Buffer& buffer, std::uint64_t unit) : buffer_(buffer), unit_(unit) {}

  Result<void> map(std::uint64_t offset, Physical& physical, std::uint64_t from, std::uint64_t bytes,
                   hal_access access);
  Result<void> protect(std::uint64_t offset, std::uint64_t bytes, hal_access access);
  Result<void> unmap(std::uint64_t offset, std::uint64_t bytes);
  // May new work read, or write, all of these bytes? Errors: INVALID_ARGUMENT.
  Result<void> allows(std::uint64_t offset, std::uint64_t bytes, bool writes) const;
  // The buffer goes: nothing uses it any more.
  void clear();

 private:
  struct Mapping {
    std::uint64_t bytes;
    hal_access access;  // for new work
    hal_access given;   // what the device allows now
    bool going;         // unmapped for new work
    std::uint64_t id;
    Ref<Physical> physical;
  };
  using Mappings = std::map<std::uint64_t, Mapping>;

  Result<void> whole(std::uint64_t offset, std::uint64_t bytes, bool all) const;
  Result<void> aligned(std::uint64_t offset, std::uint64_t bytes) const;
  // Made before anything changes: what brings the device to the change later must not want memory then.
  struct Settling;
  using Settlings = std::vector<std::unique_ptr<Settling>>;
  void settle(std::uint64_t offset, std::uint64_t id);
  void settle_when_idle(Settlings changed) noexcept;

  Buffer& buffer_;
  const std::uint64_t unit_;
  mutable std::mutex mutex_;  // of the mappings, and of the driver's calls that change them
  Mappings mappings_;
  std::uint64_t next_id_ = 1;
};

}  // namespace hal::core
