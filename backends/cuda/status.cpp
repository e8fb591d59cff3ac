// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <new>

#include "cuda.hpp"
#include "driver_kit/errors.hpp"

namespace hal::cuda {

hal_code code_of(CUresult result) {
  switch (result) {
    case CUDA_SUCCESS:
      return HAL_OK;
    case CUDA_ERROR_INVALID_VALUE:
    case CUDA_ERROR_INVALID_HANDLE:
    case CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
    case CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED:
      return HAL_INVALID_ARGUMENT;
    case CUDA_ERROR_OUT_OF_MEMORY:
      return HAL_OUT_OF_DEVICE_MEMORY;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
      return HAL_NOT_FOUND;
    case CUDA_ERROR_NOT_FOUND:
      return HAL_NOT_FOUND;
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_OPERATING_SYSTEM:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_DEINITIALIZED:
      return HAL_UNAVAILABLE;
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return HAL_INCOMPATIBLE;
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_PTX:
      return HAL_INVALID_IMAGE;
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_NOT_PERMITTED:
      return HAL_UNSUPPORTED;
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
      return HAL_EXECUTION_FAILED;
    // From here on the context, and with it the process' use of the device, is lost: so the driver API documents.
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_INVALID_CONTEXT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
      return HAL_DEVICE_LOST;
    default:
      return HAL_INTERNAL;
  }
}

Error fail(const Api& api, CUresult result, const char* what) noexcept {
  const char* name = nullptr;
  const char* text = nullptr;
  if (api.GetErrorName == nullptr || api.GetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr) {
    name = "CUDA_ERROR_?";
  }
  if (api.GetErrorString == nullptr || api.GetErrorString(result, &text) != CUDA_SUCCESS || text == nullptr) {
    text = "no description";
  }
  try {
    return kit::error(kOrigin, code_of(result), fmt::format("{}: {}", what, text), name, result);
  } catch (const std::bad_alloc&) { return kit::error(kOrigin, code_of(result), what, name, result); }
}

Error fail(const Api& api, CUresult result, const std::string& what) noexcept {
  return fail(api, result, what.c_str());
}

}  // namespace hal::cuda
