// SPDX-License-Identifier: Apache-2.0
// What every C function of the core does first and last: null checks on the way in, no exception on the way out.
#pragma once

#include <initializer_list>
#include <new>
#include <string>

#include "core/device.hpp"
#include "core/failure.hpp"
#include "core/instance.hpp"
#include "hal/result.hpp"

namespace hal::core {

inline Instance* cast(hal_instance* handle) { return static_cast<Instance*>(handle); }
inline const Instance* cast(const hal_instance* handle) { return static_cast<const Instance*>(handle); }
inline Device* cast(hal_device* handle) { return static_cast<Device*>(handle); }
inline const Device* cast(const hal_device* handle) { return static_cast<const Device*>(handle); }

// Runs `body`, which returns Result<void>. `pointers` are the arguments that must not be NULL.
template <class Body>
hal_error* guarded(const char* function, std::initializer_list<const void*> pointers, Body body) {
  try {
    int position = 1;
    for (const void* pointer : pointers) {
      if (pointer == nullptr) {
        return Error(HAL_INVALID_ARGUMENT, std::string(function) + "(): pointer argument " + std::to_string(position) +
                                               " of the required ones is NULL")
            .release();
      }
      ++position;
    }
    Result<void> result = body();
    return result ? nullptr : std::move(result).error().release();
  } catch (const std::bad_alloc&) {
    return worded(HAL_OUT_OF_HOST_MEMORY, [&] {
      return Error(HAL_OUT_OF_HOST_MEMORY, std::string(function) + "(): the host has no memory left");
    });
  } catch (const std::exception& problem) {
    return worded(HAL_INTERNAL, [&] { return Error(HAL_INTERNAL, std::string(function) + "(): " + problem.what()); });
  }
}

}  // namespace hal::core
