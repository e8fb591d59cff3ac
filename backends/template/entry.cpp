// SPDX-License-Identifier: Apache-2.0
// The one exported symbol and the table. docs/porting.md, step 1.
#include "driver_kit/errors.hpp"
#include "template.hpp"

namespace {

using namespace hal::template_driver;

const hal_driver_ops kOps = [] {
  hal_driver_ops ops{};  // entries that stay null are optional, and "this device does without"
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
  return ops;
}();

}  // namespace

// Called when an instance is made, on every start of every program: open no device and load no heavy library here. If
// your vendor's library is missing, return UNAVAILABLE and say which file was looked for.
extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  if (hal_error* error = hal::kit::check_abi(host, kOrigin)) { return error; }
  return hal::kit::guarded(kOrigin, [&]() -> hal_error* {
    *out = new Driver{{&kOps}, host};
    return nullptr;
  });
}
