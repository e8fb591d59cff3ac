// SPDX-License-Identifier: Apache-2.0
// Lanes: where commands run and completion is published. docs/porting.md, step 5.
#include "template.hpp"

namespace hal::template_driver {

hal_error* lane_create(hal_driver*, void*, const char*, void*, hal_lane**) { return not_ported("lane_create", 5); }

// Never called while lane_create() refuses, and in the table because the table demands it.
void lane_destroy(hal_driver*, void*, hal_lane*) {}

std::uint32_t submit(hal_driver*, hal_lane*, std::uint64_t, const hal_command*, std::uint32_t) { return 0; }

}  // namespace hal::template_driver
