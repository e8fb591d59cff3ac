// SPDX-License-Identifier: Apache-2.0
// The one place where the vendor's codes become ours. docs/porting.md, step 7.
#include <string>

#include "driver_kit/errors.hpp"
#include "template.hpp"

namespace hal::template_driver {

hal_error* not_ported(const char* call, int step) {
  return kit::make_error(kOrigin, HAL_UNSUPPORTED,
                         std::string(call) + "() is not ported yet; docs/porting.md, step " + std::to_string(step) +
                             ", says what belongs here");
}

}  // namespace hal::template_driver
