// SPDX-License-Identifier: Apache-2.0
// The system's codes, the only vendor codes of this device, become ours here.
#include <cstring>

#include "driver_kit/errors.hpp"
#include "host.hpp"

namespace hal::host {

hal_error* fail(hal_code code, const std::string& what, int error_number) {
  const char* name = error_number != 0 ? strerrorname_np(error_number) : "";
  return kit::make_error(kOrigin, code, what, name != nullptr ? name : "errno", error_number);
}

}  // namespace hal::host
