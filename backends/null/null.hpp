// SPDX-License-Identifier: Apache-2.0
// The null driver: every call succeeds and no byte moves. It shows what a test proves that passes on it (nothing), and
// what the core costs alone. Listed only when asked for by name.
#pragma once

#include <cstdint>

#include "hal/driver.h"

namespace hal::null_driver {

struct Driver : hal_driver {
  const hal_host_api* host;
};

// device.cpp
std::uint32_t device_count(hal_driver* self);
void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out);
hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
void device_close(hal_driver* self, void* device);
hal_verdict supports(hal_driver* self, void* device, const char* feature);

// memory.cpp
hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void memory_free(hal_driver* self, void* device, const hal_memory* memory);

// lane.cpp
hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
void lane_destroy(hal_driver* self, void* device, hal_lane* lane);
std::uint32_t submit(hal_driver* self, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count);

// program.cpp
hal_verdict program_check(hal_driver* self, void* device, const hal_image* image);
hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out);
void program_unload(hal_driver* self, void* device, void* program);

// status.cpp
inline constexpr const char* kOrigin = "null";
hal_error* refuse(hal_code code, const char* what);

}  // namespace hal::null_driver
