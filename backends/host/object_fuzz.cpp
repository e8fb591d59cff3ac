// SPDX-License-Identifier: Apache-2.0
// A host.so image is read before it is loaded: the reader takes any bytes.
#include <cstdint>
#include <span>

#include "shared_object.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto object = hal::host::SharedObject::read(std::as_bytes(std::span(data, size)));
  if (object) {
    (void)object->constant("hal_host_image_abi");
    (void)object->has_function("hal_kernel_fill");
    (void)object->functions("hal_kernel_");
  }
  return 0;
}
