// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cuda.hpp"
#include "driver_kit/errors.hpp"

namespace hal::cuda {

hal_error* memory_allocate(hal_driver*, void* device_pointer, std::uint64_t bytes, hal_memory* out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    auto& device = *static_cast<Device*>(device_pointer);
    device.enter();
    CUdeviceptr address = 0;
    const CUresult result = device.api().MemAlloc(&address, bytes);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
      std::size_t free = 0, total = 0;
      device.api().MemGetInfo(&free, &total);
      return fail(device.api(), result,
                  fmt::format("{} bytes were asked for; {} of {} bytes are free on {} (the driver does not tell the "
                              "largest block, which may be smaller)",
                              bytes, free, total, device.found().uri));
    }
    HAL_CHECK(check(device.api(), result, "cuMemAlloc failed"));
    *out = {};
    out->impl = reinterpret_cast<void*>(address);
    out->address = address;
    out->bytes = bytes;
    return {};
  });
}

void memory_free(hal_driver*, void* device_pointer, const hal_memory* memory) {
  auto& device = *static_cast<Device*>(device_pointer);
  device.enter();
  // On a lost device this fails, and the memory is gone with the context.
  device.api().MemFree(reinterpret_cast<CUdeviceptr>(memory->impl));
}

}  // namespace hal::cuda
