// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/errors.hpp"
#include "fabric/port/port.hpp"

namespace hal::fabric {

hal_error* to_error(const Failure& failure) {
  return kit::make_error(kOrigin, failure.code, failure.what, failure.vendor_name.c_str(), failure.vendor_code);
}

}  // namespace hal::fabric
