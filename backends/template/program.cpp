// SPDX-License-Identifier: Apache-2.0
// Programs: kernels, tensor graphs, or both. docs/porting.md, step 6.
#include "driver_kit/verdicts.hpp"
#include "template.hpp"

namespace hal::template_driver {

hal_verdict program_check(hal_driver*, void*, const hal_image*) {
  return kit::no("no image format is ported yet: docs/porting.md, step 6");
}

hal_error* program_load(hal_driver*, void*, const hal_image*, const hal_signature*, std::uint32_t, void**) {
  return not_ported("program_load", 6);
}

void program_unload(hal_driver*, void*, void*) {}

}  // namespace hal::template_driver
