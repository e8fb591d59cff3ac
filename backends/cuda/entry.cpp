// SPDX-License-Identifier: Apache-2.0
// The one exported symbol and the table.
#include <fmt/format.h>

#include <string>

#include "cuda.hpp"
#include "driver_kit/table.hpp"

namespace {

using namespace hal::cuda;

const hal_driver_ops kOps = [] {
  hal_driver_ops ops = HAL_KIT_REQUIRED(Driver, kOrigin);
  ops.number = number;
  ops.flush = notify;
  ops.notify = notify;
  ops.help = help;
  ops.lane_wait = lane_wait;
  ops.program_serialize = program_serialize;
  return ops;
}();

}  // namespace

// A missing library is no error as long as another one has a device; else every one is named with its reason.
extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  return hal::kit::enter(host, kOrigin, [&]() -> hal_error* {
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
