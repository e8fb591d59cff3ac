// SPDX-License-Identifier: Apache-2.0
// The one exported symbol and the table. docs/porting.md, step 1.
#include "driver_kit/table.hpp"
#include "template.hpp"

namespace {

using namespace hal::template_driver;

const hal_driver_ops kOps = HAL_KIT_REQUIRED(Driver, kOrigin);

}  // namespace

// Called when an instance is made, on every start of every program: open no device and load no heavy library here. If
// your vendor's library is missing, return UNAVAILABLE and say which file was looked for.
extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  return hal::kit::enter(host, kOrigin, [&]() -> hal_error* {
    *out = new Driver{{&kOps}, host};
    return nullptr;
  });
}
