// SPDX-License-Identifier: Apache-2.0
#include "fabric/status.hpp"

#include <cstring>

namespace hal::fabric {

std::unexpected<Failure> fail_errno(hal_code code, int error, const std::string& what) {
  const char* name = strerrorname_np(error);
  return std::unexpected(
      Failure{code, fmt::format("{}: {}", what, strerrordesc_np(error) != nullptr ? strerrordesc_np(error) : "unknown"),
              name != nullptr ? name : "errno", error});
}

}  // namespace hal::fabric
