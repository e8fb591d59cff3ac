// SPDX-License-Identifier: Apache-2.0
// One plug-in that is wrong in one way, chosen by the build: see HALYARD_BAD_DRIVERS.
#include <stdexcept>

#include "hal/driver.h"

namespace {

[[maybe_unused]] hal_driver_ops table() {
  hal_driver_ops ops{};
  ops.struct_size = sizeof ops;
  ops.abi_major = HAL_DRIVER_ABI_MAJOR;
  ops.name = "bad";
  ops.destroy = [](hal_driver*) {};
  return ops;  // all other required entries stay null
}

[[maybe_unused]] hal_driver_ops bad_ops = table();
[[maybe_unused]] hal_driver driver{&bad_ops};

}  // namespace

#if !defined(BAD_no_entry)
extern "C" HAL_API hal_error* hal_driver_entry([[maybe_unused]] const hal_host_api* host,
                                               [[maybe_unused]] hal_driver** out) {
#if defined(BAD_wrong_major)
  bad_ops.abi_major = HAL_DRIVER_ABI_MAJOR + 1;
#elif defined(BAD_short_table)
  bad_ops.struct_size = 16;
#elif defined(BAD_throws)
  throw std::runtime_error("no exception may cross");
#elif defined(BAD_no_driver)
  return nullptr;
#elif defined(BAD_fails)
  hal_error_info info{};
  info.code = HAL_UNAVAILABLE;
  info.what = "libchip.so.1 is not installed; get it from your vendor";
  return host->error_create(&info);
#endif
#if !defined(BAD_no_driver) && !defined(BAD_throws) && !defined(BAD_fails)
  *out = &driver;
  return nullptr;
#endif
}
#endif
