// SPDX-License-Identifier: Apache-2.0
// The library as the tool's commands open it.
#pragma once

#include "hal/hal.hpp"

namespace hal::cli {

/// With the layers of HALYARD_LAYERS. What a program survives with a warning ends a command: who names a layer wants
/// it. Errors  INVALID_ARGUMENT  HALYARD_LAYERS names no layer, or gives one an argument that it does not take
///         and those of Instance::create()
Result<Instance> open_instance();

/// Whether a layer could not write its file. Certain when the process ends: layers write when the last object has gone.
bool lost_a_file();

}  // namespace hal::cli
