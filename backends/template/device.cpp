// SPDX-License-Identifier: Apache-2.0
// Which devices there are, and what one can do. docs/porting.md, steps 2 and 3.
#include <cstring>

#include "driver_kit/errors.hpp"
#include "driver_kit/params.hpp"
#include "driver_kit/verdicts.hpp"
#include "template.hpp"

namespace hal::template_driver {

namespace {

hal_device_info describe() {
  hal_device_info info{};
  info.uri = "template:0";
  info.name = "Template device (a port begins here)";
  info.driver = kOrigin;
  info.vendor = "Halyard";
  info.reason = "";
  info.memory_bytes = 0;
  info.is_emulated = 0;  // 1, and "emulated" in the name, if no hardware is behind it
  info.usable = 1;
  return info;
}

}  // namespace

std::uint32_t device_count(hal_driver*) { return 1; }

void device_describe(hal_driver*, std::uint32_t, hal_device_info* out) { *out = describe(); }

hal_error* device_open(hal_driver* self, const hal_device_request* request, hal_device_traits* out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    if (*request->part != 0) {
      return kit::error(kOrigin, HAL_INVALID_ARGUMENT,
                        std::string("the template device has no part '") + request->part + "'");
    }
    HAL_TRY(const kit::Params params, kit::Params::parse(kOrigin, request->params));
    HAL_CHECK(params.done());
    *out = {};
    out->impl = new Device{static_cast<Driver*>(self)};
    out->ops = 0;  // one bit for each hal_op that lane.cpp executes
    out->info = describe();
    return {};
  });
}

void device_close(hal_driver*, void* device) { delete static_cast<Device*>(device); }

// Answer every name of hal_device_supports(), with a reason that helps the reader; "unknown feature" for the rest.
hal_verdict supports(hal_driver*, void*, const char* feature) {
  for (const char* known : {"kernel", "graph", "fabric", "timestamp", "host-visible", "partition"}) {
    if (std::strcmp(feature, known) == 0) { return kit::no("not ported yet: docs/porting.md, step 3"); }
  }
  for (const char* family : {"dtype.", "image."}) {
    if (std::strncmp(feature, family, std::strlen(family)) == 0) {
      return kit::no("not ported yet: docs/porting.md, step 6");
    }
  }
  return kit::unknown_feature();
}

}  // namespace hal::template_driver
