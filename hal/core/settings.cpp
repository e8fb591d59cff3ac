// SPDX-License-Identifier: Apache-2.0
#include "core/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>

#include "hal/hal.h"

namespace hal::core {
namespace {

bool is_switch(std::string_view value) { return value == "0" || value == "1"; }

template <std::uint32_t least, std::uint32_t most>
bool is_number(std::string_view value) {
  std::uint32_t number = 0;
  const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), number);
  return problem == std::errc() && end == value.data() + value.size() && number >= least && number <= most;
}

constexpr std::array kSettings{
    Setting{"HALYARD_DRIVERS", "':'-separated driver names or paths to load; all that are found if unset"},
    Setting{"HALYARD_DRIVER_PATH", "':'-separated folders with halyard-*.so; the folder beside libhal.so if unset"},
    Setting{"HALYARD_EMULATED", "0 hides emulated devices", is_switch, "0 or 1"},
    Setting{"HALYARD_CACHE", "folder for compiled programs; none if unset"},
    Setting{"HALYARD_CACHE_MIB", "bound of that folder in MiB (1,024)", is_number<1, 1U << 24U>,
            "a number of MiB from 1 to 16777216"},
    Setting{"HALYARD_LAYERS", "','-separated layers, such as validation,mask=timestamp,trace=run.json; docs/layers.md"},
    Setting{"HALYARD_LOG", "level (error, warning, info, debug), also by subsystem: core=debug,cuda=info,warning"},
    Setting{"HALYARD_TRACE", "file that gets a Perfetto trace (Chrome JSON); short for the layer trace"},
    Setting{"HALYARD_CUDA_LIBRARIES",
            "':'-separated CUDA driver libraries instead of the real one and the emulated one"},
    Setting{"HALYARD_EMULATED_CUDA_LOG", "1 lets the emulated CUDA driver say on standard error what went wrong",
            is_switch, "0 or 1"},
    Setting{"HALYARD_EMULATED_CUDA_MEMORY", "MiB of the emulated CUDA device (4,096)", is_number<1, 1U << 24U>,
            "a number of MiB from 1 to 16777216"},
    Setting{"HALYARD_EMULATED_CUDA_THREADS", "threads that interpret one grid (as many as processors, at most 8)",
            is_number<1, 256>, "a number from 1 to 256"},
    Setting{"HALYARD_RNGD_CARDS", "how many emulated RNGD cards there are, 0 to 8 (1)"},
    Setting{"HALYARD_FABRIC_DEADLINE_MS", "when an operation on a fabric port gives up (60,000)"},
    Setting{"HALYARD_FABRIC_FAULTS", "','-separated faults of the emulated optical plane"},
    Setting{"HALYARD_FABRIC_PROVIDER", "libfabric provider, such as tcp;ofi_rxm"},
    Setting{"HALYARD_FABRIC_TOPOLOGY", "JSON file of the emulated optical plane"},
    Setting{"HALYARD_RANK", "this process's number; 'halyard launch' sets it and the next two"},
    Setting{"HALYARD_WORLD_SIZE", "how many processes there are"},
    Setting{"HALYARD_RENDEZVOUS", "where they meet, a loopback address"},
};

}  // namespace

std::span<const Setting> settings() { return kSettings; }

const char* setting(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody here calls setenv
  return value != nullptr && *value != '\0' ? value : nullptr;
}

void check_settings(const std::function<void(const std::string&)>& warn) {
  for (const Setting& known : kSettings) {
    const char* value = known.accepts != nullptr ? setting(known.name) : nullptr;
    if (value == nullptr || known.accepts(value)) { continue; }
    std::string shown(std::string_view(value).substr(0, 80));
    std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    warn(fmt::format("{} is '{}' and is ignored: {} is taken", known.name, shown, known.accepted));
  }
}

}  // namespace hal::core

extern "C" std::uint32_t hal_setting_describe(std::uint32_t i, hal_setting* out) {
  const auto all = hal::core::settings();
  if (i >= all.size() || out == nullptr) { return 0; }
  *out = {all[i].name, all[i].help, hal::core::setting(all[i].name)};
  return 1;
}
