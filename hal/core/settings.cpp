// SPDX-License-Identifier: Apache-2.0
#include "core/settings.hpp"

#include <array>
#include <cstdlib>

namespace hal::core {
namespace {

constexpr std::array kSettings{
    Setting{"HALYARD_DRIVERS", "':'-separated driver names or paths to load; all that are found if unset"},
    Setting{"HALYARD_DRIVER_PATH", "':'-separated folders with halyard-*.so; the folder beside libhal.so if unset"},
    Setting{"HALYARD_EMULATED", "0 hides emulated devices"},
    Setting{"HALYARD_LOG", "error, warning (default), info or debug"},
    Setting{"HALYARD_TRACE", "file that gets a Perfetto trace (Chrome JSON) when the instance ends"},
    Setting{"HALYARD_CUDA_LIBRARIES",
            "':'-separated CUDA driver libraries instead of the real one and the emulated one"},
    Setting{"HALYARD_FABRIC_TOPOLOGY", "JSON file of the emulated optical plane"},
};

}  // namespace

std::span<const Setting> settings() { return kSettings; }

const char* setting(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody here calls setenv
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace hal::core
