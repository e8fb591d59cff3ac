// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "driver_kit/verdicts.hpp"
#include "null.hpp"

namespace hal::null_driver {

namespace {

constexpr std::uint64_t kBytes = std::uint64_t{1} << 40U;
int g_device = 0;  // all opens share it: there is no state

hal_device_info describe() {
  hal_device_info info{};
  info.uri = "null:0";
  info.name = "Null device (moves nothing, computes nothing)";
  info.driver = kOrigin;
  info.vendor = "Halyard";
  info.reason = "";
  info.memory_bytes = kBytes;
  info.usable = 1;
  return info;
}

}  // namespace

std::uint32_t device_count(hal_driver*) { return 1; }

void device_describe(hal_driver*, std::uint32_t, hal_device_info* out) { *out = describe(); }

hal_error* device_open(hal_driver*, const hal_device_request* request, hal_device_traits* out) {
  if (*request->part != 0) { return refuse(HAL_INVALID_ARGUMENT, "the null device has no parts"); }
  if (*request->params != 0) { return refuse(HAL_INVALID_ARGUMENT, "the null device has no parameters"); }
  *out = {};
  out->impl = &g_device;
  out->ops = (1U << HAL_OP_COUNT) - 1U;
  out->memory_bytes = kBytes;
  out->info = describe();
  return nullptr;
}

void device_close(hal_driver*, void*) {}

// Everything but what would need the host to see data or a peer to answer.
hal_verdict supports(hal_driver*, void*, const char* feature) {
  if (std::strcmp(feature, "host-visible") == 0) { return kit::no("null memory has no bytes"); }
  if (std::strcmp(feature, "fabric") == 0) { return kit::no("nobody answers a null device"); }
  if (std::strcmp(feature, "partition") == 0) { return kit::no("the null device has no parts"); }
  for (const char* known : {"kernel", "graph", "timestamp"}) {
    if (std::strcmp(feature, known) == 0) { return kit::yes("accepted, and nothing is done"); }
  }
  for (const char* family : {"dtype.", "image."}) {
    if (std::strncmp(feature, family, std::strlen(family)) == 0) { return kit::yes("accepted, and nothing is done"); }
  }
  return kit::unknown_feature();
}

}  // namespace hal::null_driver
