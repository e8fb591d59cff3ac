// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "graph/onednn_module.h"

namespace hal::host {

// The module, opened at the first call; nullptr if it or the library below it is not there. Our own loops do then.
const halyard_onednn* onednn();

}  // namespace hal::host
