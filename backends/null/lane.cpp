// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/errors.hpp"
#include "null.hpp"

namespace hal::null_driver {

hal_error* lane_create(hal_driver* self, void*, const char*, void* core, hal_lane** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    auto* lane = new hal_lane{};
    lane->wake_at = UINT64_MAX;
    lane->host = static_cast<Driver*>(self)->host;
    lane->core = core;
    *out = lane;
    return nullptr;
  });
}

void lane_destroy(hal_driver*, void*, hal_lane* lane) { delete lane; }

// Done as soon as it is heard of.
std::uint32_t submit(hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command*, std::uint32_t count) {
  if (count > 0) { hal_lane_publish(lane, first + count - 1); }
  return count;
}

}  // namespace hal::null_driver
