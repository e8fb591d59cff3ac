// SPDX-License-Identifier: Apache-2.0
#include <atomic>

#include "null.hpp"

namespace hal::null_driver {

hal_error* memory_allocate(hal_driver*, void*, std::uint64_t bytes, hal_memory* out) {
  // Addresses that nobody has, so that a test of "distinct buffers are distinct" is not the one thing that fails.
  static std::atomic<std::uint64_t> next{std::uint64_t{1} << 20U};
  *out = {};
  out->address = next.fetch_add((bytes + 0xfffU) & ~std::uint64_t{0xfff}, std::memory_order_relaxed);
  out->bytes = bytes;
  return nullptr;
}

void memory_free(hal_driver*, void*, const hal_memory*) {}

}  // namespace hal::null_driver
