// SPDX-License-Identifier: Apache-2.0
// From transmitted power to received power to bit errors to usable or not.
#pragma once

namespace hal::fabric {

// RS(544,514), the "KP4" code: above this rate before correction, blocks stay wrong after it.
inline constexpr double kFecLimit = 2.4e-4;

// Bit error rate before error correction of one PAM4 lane at `dbm` received. Our own curve: thermal noise limited, so
// the eye grows with optical power, anchored at the published 1e-8 at -10 dBm. It reaches kFecLimit at about -12.1 dBm.
double pre_fec_ber(double rx_dbm) noexcept;

// Whether error correction can carry data over a lane that receives `dbm`.
bool carries_data(double rx_dbm) noexcept;

}  // namespace hal::fabric
