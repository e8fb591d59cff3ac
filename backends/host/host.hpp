// SPDX-License-Identifier: Apache-2.0
// The host driver: the machine's own processor as a device. Always there, never emulated, and the reference of the
// conformance suite; with mode=weak the least convenient device that the contract allows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "driver_kit/lane_pool.hpp"
#include "driver_kit/perturb.hpp"
#include "driver_kit/verdicts.hpp"
#include "hal/driver.h"
#include "weak.hpp"

namespace hal::host {

enum class Mode { eager, weak, minimal };

struct Driver : hal_driver {
  const hal_host_api* api = nullptr;
  std::uint32_t cores = 1;
  std::uint64_t memory_bytes = 0;
  std::string name, vendor;

  hal_device_info describe() const;
};

struct Device {
  Driver* driver = nullptr;
  Mode mode = Mode::eager;
  kit::Perturb perturb;                     // on in mode weak only
  std::uint64_t seed = 0, patience_ns = 0;  // of mode weak
  std::string name, uri;  // as this device was opened: "Host CPU (2 cores), weak, seed 7", "host:0?mode=weak&seed=7"
  std::uint64_t memory_bytes = 0;
  std::unique_ptr<kit::LanePool> pool;  // who serves the lanes, save those of mode weak
  WeakState weak;
  Quarantine quarantine;
  std::atomic<std::uint64_t> used_bytes{0};
  std::atomic<std::uint64_t> lazy_loads{0};  // runs that had to obtain memory which PREPARE would have obtained
  std::atomic<std::uint64_t> allocations{0}, lanes{0};  // of all time: they number the decisions of mode weak
  kit::Verdicts verdicts;

  bool reserve(std::uint64_t bytes);  // counts them as used; false if there are not as many
};

inline Device& device_of(void* device) { return *static_cast<Device*>(device); }

// Where a slice begins. Not hal_memory::host: mode minimal shows no host addresses.
inline std::byte* address_of(const hal_slice& slice) {
  if (slice.buffer == nullptr) { return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(slice.offset)); }
  const hal_memory& memory = slice.buffer->memory;
  return static_cast<std::byte*>(memory.impl) + memory.offset + slice.offset;
}

// device.cpp
std::uint32_t device_count(hal_driver* self);
void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out);
hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
void device_close(hal_driver* self, void* device);
hal_verdict supports(hal_driver* self, void* device, const char* feature);
hal_error* report(hal_driver* self, void* device, char** out);
std::uint32_t number(hal_driver* self, void* device, const char* name, std::uint64_t* out);

// memory.cpp
inline constexpr std::uint64_t kAlignment = 64;
hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void memory_free(hal_driver* self, void* device, const hal_memory* memory);
void give_back_freed(Device& device);  // what mode weak still keeps
hal_error* memory_import(hal_driver* self, void* device, void* address, std::uint64_t bytes, hal_memory* out);
void memory_unimport(hal_driver* self, void* device, const hal_memory* memory);
hal_error* out_of_memory(const Device& device, std::uint64_t bytes, int error_number);

// virtual.cpp
std::uint64_t page_size();
hal_error* range_reserve(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void range_release(hal_driver* self, void* device, const hal_memory* range);
hal_error* range_map(hal_driver* self, void* device, const hal_memory* range, std::uint64_t offset, void* physical,
                     std::uint64_t from, std::uint64_t bytes, hal_access access);
hal_error* range_protect(hal_driver* self, void* device, const hal_memory* range, std::uint64_t offset,
                         std::uint64_t bytes, hal_access access);
void range_unmap(hal_driver* self, void* device, const hal_memory* range, std::uint64_t offset, std::uint64_t bytes);
hal_error* physical_create(hal_driver* self, void* device, std::uint64_t bytes, void** out);
void physical_free(hal_driver* self, void* device, void* physical);
hal_error* physical_export_fd(hal_driver* self, void* device, void* physical, int* out);
hal_error* physical_import_fd(hal_driver* self, void* device, int fd, std::uint64_t bytes, void** out);

// lane.cpp
inline constexpr std::uint32_t kRing = 1024;
hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
void lane_destroy(hal_driver* self, void* device, hal_lane* lane);
std::uint32_t submit(hal_driver* self, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count);
void flush(hal_driver* self, hal_lane* lane);
void notify(hal_driver* self, hal_lane* lane);
void help(hal_driver* self, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns);
void lane_cancel(hal_driver* self, hal_lane* lane);

// program.cpp
hal_verdict program_check(hal_driver* self, void* device, const hal_image* image);
hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out);
void program_unload(hal_driver* self, void* device, void* program);
hal_error* program_serialize(hal_driver* self, void* device, void* program, void** out_bytes, std::uint64_t* out_size);

// status.cpp
inline constexpr const char* kOrigin = "host";
// An error with the system's own name and number of `error_number` (0: none).
hal_error* fail(hal_code code, const std::string& what, int error_number = 0);

}  // namespace hal::host
