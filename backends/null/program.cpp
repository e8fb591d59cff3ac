// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/verdicts.hpp"
#include "null.hpp"

namespace hal::null_driver {

namespace {
int g_program = 0;
}

hal_verdict program_check(hal_driver*, void*, const hal_image*) { return kit::yes("every image loads; none runs"); }

hal_error* program_load(hal_driver*, void*, const hal_image*, const hal_signature*, std::uint32_t, void** out) {
  *out = &g_program;
  return nullptr;
}

void program_unload(hal_driver*, void*, void*) {}

}  // namespace hal::null_driver
