// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/errors.hpp"
#include "null.hpp"

namespace hal::null_driver {

// There is no vendor below, so no vendor's code either.
hal_error* refuse(hal_code code, const char* what) { return kit::make_error(kOrigin, code, what); }

}  // namespace hal::null_driver
