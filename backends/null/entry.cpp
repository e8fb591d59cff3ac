// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/table.hpp"
#include "null.hpp"

namespace {

using namespace hal::null_driver;

const hal_driver_ops kOps = HAL_KIT_REQUIRED(Driver, kOrigin);

}  // namespace

extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  return hal::kit::enter(host, kOrigin, [&]() -> hal_error* {
    *out = new Driver{{&kOps}, host};
    return nullptr;
  });
}
