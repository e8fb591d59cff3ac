// SPDX-License-Identifier: Apache-2.0
// Allocation. docs/porting.md, step 4.
#include "template.hpp"

namespace hal::template_driver {

hal_error* memory_allocate(hal_driver*, void*, std::uint64_t, hal_memory*) { return not_ported("memory_allocate", 4); }

void memory_free(hal_driver*, void*, const hal_memory*) {}

}  // namespace hal::template_driver
