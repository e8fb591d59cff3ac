// SPDX-License-Identifier: Apache-2.0
#include "backend.hpp"

namespace hal::rngd_backend {

hal_error* memory_allocate(hal_driver*, void* device, std::uint64_t bytes, hal_memory* out) {
  auto& self = *static_cast<Device*>(device);
  rngd_address address{};
  rngd_error error{};
  if (rngd_memory_alloc(self.partition, bytes, &address, &error) != RNGD_OK) { return make_error(error, error.text); }
  *out = {};
  out->impl = reinterpret_cast<void*>(static_cast<std::uintptr_t>(address.value));
  out->address = address.value;
  out->bytes = bytes;
  return nullptr;
}

void memory_free(hal_driver*, void* device, const hal_memory* memory) {
  auto& self = *static_cast<Device*>(device);
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(memory->impl));
  rngd_memory_free(self.partition, {address, RNGD_SPACE_HBM, 0}, nullptr);
}

}  // namespace hal::rngd_backend
