// SPDX-License-Identifier: Apache-2.0
// The table of a driver whose functions have the names of the table's entries, and the way into its entry function.
#pragma once

#include <utility>

#include "driver_kit/errors.hpp"
#include "hal/driver.h"

// A hal_driver_ops with head, scheme and the required part filled: each entry from the function of its own name that is
// visible where this stands, and destroy() deleting a `driver_type`, which derives from hal_driver. The driver then
// adds the optional entries that it has; the others stay null, which means "this device does without".
//
//   const hal_driver_ops kOps = [] {
//     hal_driver_ops ops = HAL_KIT_REQUIRED(Driver, kOrigin);
//     ops.number = number;
//     return ops;
//   }();
//
// A macro because each driver's functions live in its own namespace, and nothing else hands names over.
#define HAL_KIT_REQUIRED(driver_type, scheme)                                            \
  [] {                                                                                   \
    hal_driver_ops required{};                                                           \
    required.struct_size = sizeof(hal_driver_ops);                                       \
    required.abi_major = HAL_DRIVER_ABI_MAJOR;                                           \
    required.abi_minor = HAL_DRIVER_ABI_MINOR;                                           \
    required.name = (scheme);                                                            \
    required.destroy = [](hal_driver* self) { delete static_cast<driver_type*>(self); }; \
    required.device_count = device_count;                                                \
    required.device_describe = device_describe;                                          \
    required.device_open = device_open;                                                  \
    required.device_close = device_close;                                                \
    required.supports = supports;                                                        \
    required.memory_allocate = memory_allocate;                                          \
    required.memory_free = memory_free;                                                  \
    required.lane_create = lane_create;                                                  \
    required.lane_destroy = lane_destroy;                                                \
    required.submit = submit;                                                            \
    required.program_check = program_check;                                              \
    required.program_load = program_load;                                                \
    required.program_unload = program_unload;                                            \
    return required;                                                                     \
  }()

namespace hal::kit {

// The frame of every hal_driver_entry(): the border's version is checked first, and nothing that `make` throws gets
// out.
template <class Make>
hal_error* enter(const hal_host_api* host, const char* origin, Make&& make) noexcept {
  if (hal_error* error = check_abi(host, origin)) { return error; }
  return guarded(origin, std::forward<Make>(make));
}

}  // namespace hal::kit
