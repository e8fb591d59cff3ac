// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/power_budget.hpp"

#include <cmath>
#include <numbers>

namespace hal::fabric {
namespace {

constexpr double kAnchorDbm = -10.0;
// Half the eye opening over the noise where 0.375 erfc(q / sqrt 2), PAM4 with Gray coding, is 1e-8.
constexpr double kAnchorQ = 5.562;

}  // namespace

double pre_fec_ber(double rx_dbm) noexcept {
  const double q = kAnchorQ * std::pow(10.0, (rx_dbm - kAnchorDbm) / 10.0);
  return 0.375 * std::erfc(q / std::numbers::sqrt2);
}

bool carries_data(double rx_dbm) noexcept { return pre_fec_ber(rx_dbm) <= kFecLimit; }

}  // namespace hal::fabric
