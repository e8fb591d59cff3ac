// SPDX-License-Identifier: Apache-2.0
#include "backend.hpp"
#include "driver_kit/errors.hpp"

namespace hal::rngd_backend {

hal_code code_of(const rngd_error& error) {
  switch (error.status) {
    case RNGD_OK:
    case RNGD_REACHED:
      return HAL_OK;
    case RNGD_WOULD_BLOCK:
      return HAL_WOULD_BLOCK;
    case RNGD_TIMEOUT:
      return HAL_DEADLINE_EXCEEDED;
    case RNGD_INVALID_ARGUMENT:
      // From the device it concerns work that was accepted, not a call.
      return error.command != 0 ? HAL_EXECUTION_FAILED : HAL_INVALID_ARGUMENT;
    case RNGD_BUSY:
      return HAL_BUSY;
    case RNGD_NOT_FOUND:
      return HAL_NOT_FOUND;
    case RNGD_OUT_OF_MEMORY:
      return HAL_OUT_OF_DEVICE_MEMORY;
    case RNGD_OUT_OF_HOST_MEMORY:
      return HAL_OUT_OF_HOST_MEMORY;
    case RNGD_OUT_OF_RESOURCES:
      return HAL_UNAVAILABLE;
    case RNGD_UNSUPPORTED:
      return HAL_UNSUPPORTED;
    case RNGD_PROGRAM_REJECTED:
      return HAL_INVALID_IMAGE;
    case RNGD_ABORTED:
      return HAL_CANCELLED;
    case RNGD_DEVICE_LOST:
      return HAL_DEVICE_LOST;
    case RNGD_INCOMPATIBLE:
      return HAL_INCOMPATIBLE;
    case RNGD_INDEX_OUT_OF_RANGE:
      return HAL_OUT_OF_RANGE;
    case RNGD_QUEUE_FAILED:
    case RNGD_EXECUTION_TIMEOUT:
    case RNGD_FAULT:
      return HAL_EXECUTION_FAILED;
    case RNGD_INTERNAL:
      return HAL_INTERNAL;
  }
  return HAL_INTERNAL;
}

// The vendor's number is the device's own status where it spoke, else librngd's.
hal_error* make_error(const rngd_error& error, const char* what) noexcept {
  return kit::make_error(kOrigin, code_of(error), what, rngd_status_name(error.status),
                         error.device_status != 0 ? std::int64_t{error.device_status} : std::int64_t{error.status});
}

hal_error* make_error(const rngd_error& error, const std::string& what) noexcept {
  return make_error(error, what.c_str());
}

}  // namespace hal::rngd_backend
