// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "backend.hpp"
#include "driver_kit/table.hpp"

namespace {

using namespace hal::rngd_backend;

const hal_driver_ops kOps = [] {
  hal_driver_ops ops = HAL_KIT_REQUIRED(Driver, kOrigin);
  ops.number = number;
  ops.flush = flush;
  ops.notify = flush;  // every completion publishes by itself: ringing is all there is to do
  ops.help = help;
  ops.lane_cancel = lane_cancel;
  ops.report = report;
  ops.program_serialize = program_serialize;
  ops.program_key = program_key;
  return ops;
}();

}  // namespace

// HALYARD_RNGD_CARDS: how many emulated cards there are; 1 by default, at most 8.
extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  return hal::kit::enter(host, kOrigin, [&]() -> hal_error* {
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
