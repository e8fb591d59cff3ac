// SPDX-License-Identifier: Apache-2.0
#include "core/allocator.hpp"

#include <cstdint>
#include <cstdlib>

namespace hal::core {

const hal_allocator& c_library() {
  static constexpr hal_allocator kTable{nullptr,
                                        [](void*, std::uint64_t bytes, std::uint64_t alignment) -> void* {
                                          if (alignment <= alignof(std::max_align_t)) { return std::malloc(bytes); }
                                          if (bytes > SIZE_MAX - alignment) { return nullptr; }
                                          return std::aligned_alloc(alignment,
                                                                    (bytes + alignment - 1) / alignment * alignment);
                                        },
                                        [](void*, void* address, std::uint64_t, std::uint64_t) { std::free(address); }};
  return kTable;
}

}  // namespace hal::core
