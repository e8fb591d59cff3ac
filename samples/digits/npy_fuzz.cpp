// SPDX-License-Identifier: Apache-2.0
// Any bytes as a .npy file: whatever is taken has exactly the bytes of its type and shape.
#include <cstddef>
#include <cstdint>
#include <span>

#include "digits/npy.hpp"
#include "graph/shape.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto array = digits::parse_npy(std::as_bytes(std::span(data, size)), "fuzz");
  if (!array) {
    if (array.error().what()[0] == '\0') { __builtin_trap(); }
    return 0;
  }
  const auto bytes = hal::graph::byte_count(array->dtype, array->shape);
  if (!bytes || static_cast<std::size_t>(*bytes) != array->bytes.size() || array->bytes.size() > size) {
    __builtin_trap();
  }
  return 0;
}
