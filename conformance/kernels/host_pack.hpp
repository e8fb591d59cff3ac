// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hal/host_kernel.h"

namespace hal::conformance {

// The kernel pack as functions of this process.
const hal_host_functions& host_pack();

}  // namespace hal::conformance
