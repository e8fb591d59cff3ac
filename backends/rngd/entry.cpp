// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "backend.hpp"
#include "driver_kit/errors.hpp"

namespace {

using namespace hal::rngd_backend;

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
  ops.flush = flush;
  ops.notify = flush;  // every completion publishes by itself: ringing is all there is to do
  ops.help = help;
  ops.lane_cancel = lane_cancel;
  ops.report = report;
  return ops;
}();

}  // namespace

// HALYARD_RNGD_CARDS: how many emulated cards there are; 1 by default, at most 8.
extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  if (hal_error* error = hal::kit::check_abi(host, kOrigin)) { return error; }
  return hal::kit::guarded(kOrigin, [&]() -> hal_error* {
    unsigned long cards = 1;
    if (const char* text = host->setting(host, "HALYARD_RNGD_CARDS"); text != nullptr) {
      char* end = nullptr;
      cards = std::strtoul(text, &end, 10);
      if (end == text || *end != 0 || cards > 8) {
        return hal::kit::make_error(
            kOrigin, HAL_INVALID_ARGUMENT,
            std::string("HALYARD_RNGD_CARDS is '") + text + "': a number of emulated cards from 0 to 8 is expected");
      }
    }
    auto driver = std::make_unique<Driver>();
    driver->ops = &kOps;
    driver->host = host;
    driver->cards.resize(cards);
    *out = driver.release();
    return nullptr;
  });
}
