// SPDX-License-Identifier: Apache-2.0
// The template backend: loads, lists one device, opens it, and refuses everything else with the step of docs/porting.md
// that fills the gap. Copy the folder, replace "template" by your driver's name, and go through the steps.
#pragma once

#include <cstdint>

#include "hal/driver.h"

namespace hal::template_driver {

struct Driver : hal_driver {
  const hal_host_api* host;
};

struct Device {
  Driver* driver;
};

// device.cpp: steps 2 and 3
std::uint32_t device_count(hal_driver* self);
void device_describe(hal_driver* self, std::uint32_t i, hal_device_info* out);
hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out);
void device_close(hal_driver* self, void* device);
hal_verdict supports(hal_driver* self, void* device, const char* feature);

// memory.cpp: step 4
hal_error* memory_allocate(hal_driver* self, void* device, std::uint64_t bytes, hal_memory* out);
void memory_free(hal_driver* self, void* device, const hal_memory* memory);

// lane.cpp: step 5
hal_error* lane_create(hal_driver* self, void* device, const char* label, void* core, hal_lane** out);
void lane_destroy(hal_driver* self, void* device, hal_lane* lane);
std::uint32_t submit(hal_driver* self, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count);

// program.cpp: step 6
hal_verdict program_check(hal_driver* self, void* device, const hal_image* image);
hal_error* program_load(hal_driver* self, void* device, const hal_image* image, const hal_signature* signatures,
                        std::uint32_t signature_count, void** out);
void program_unload(hal_driver* self, void* device, void* program);

// status.cpp: step 7
inline constexpr const char* kOrigin = "template";
hal_error* not_ported(const char* call, int step);

}  // namespace hal::template_driver
