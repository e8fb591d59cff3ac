// SPDX-License-Identifier: Apache-2.0
// The one exported symbol and the table.
#include <fmt/format.h>

#include <string>

#include "cuda.hpp"
#include "driver_kit/errors.hpp"

namespace {

using namespace hal::cuda;

const hal_driver_ops kOps = [] {
  hal_driver_ops ops{};
  ops.struct_size = sizeof(ops);
  ops.abi_major = HAL_DRIVER_ABI_MAJOR;
  ops.abi_minor = HAL_DRIVER_ABI_MINOR;
  ops.name = kOrigin;
  ops.destroy = [](hal_driver* self) { delete static_cast<Driver*>(self); };
  ops.device_count = device_count;
  ops.device_describe = device_describe;
  ops.device_open = device_open;
  ops.device_close = device_close;
  ops.supports = supports;
  ops.memory_allocate = memory_allocate;
  ops.memory_free = memory_free;
  ops.lane_create = lane_create;
  ops.lane_destroy = lane_destroy;
  ops.submit = submit;
  ops.program_check = program_check;
  ops.program_load = program_load;
  ops.program_unload = program_unload;
  ops.number = number;
  ops.flush = notify;
  ops.notify = notify;
  ops.help = help;
  ops.lane_wait = lane_wait;
  return ops;
}();

}  // namespace

// A missing library is no error as long as another one has a device; else every one is named with its reason.
extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  if (hal_error* error = hal::kit::check_abi(host, kOrigin)) { return error; }
  return hal::kit::guarded(kOrigin, [&]() -> hal_error* {
    auto driver = std::make_unique<Driver>();
    driver->ops = &kOps;
    driver->host = host;
    std::string reasons;
    for (const std::string& file : library_files(host)) {
      auto library = open_library(file);
      if (!library) {
        if (!reasons.empty()) { reasons += "; "; }
        reasons += library.error().what();
        host->log(host, HAL_LOG_DEBUG, kOrigin, std::string(library.error().what()).c_str());
        continue;
      }
      driver->libraries.push_back(*std::move(library));
    }
    discover(*driver);
    if (driver->found.empty()) {
      return hal::kit::make_error(
          kOrigin, HAL_UNAVAILABLE,
          fmt::format("no CUDA device: {}", reasons.empty() ? "no library was named" : reasons));
    }
    *out = driver.release();
    return nullptr;
  });
}
