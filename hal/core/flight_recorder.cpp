// SPDX-License-Identifier: Apache-2.0
#include "core/flight_recorder.hpp"

#include <fmt/format.h>

namespace hal::core {

const char* op_name(std::uint32_t op) {
  constexpr std::array<const char*, HAL_OP_COUNT> kNames{"barrier", "fill",      "copy",    "run", "prepare",
                                                         "execute", "call",      "put",     "get", "send",
                                                         "recv",    "timestamp", "circuit", "free"};
  return op < kNames.size() ? kNames[op] : "?";
}

bool FlightRecorder::find(std::uint64_t number, std::string& what, hal_site& site) const {
  for (const Entry& entry : entries_) {
    const std::uint64_t last = entry.last.load(std::memory_order_acquire);
    const std::uint64_t first = entry.first.load(std::memory_order_relaxed);
    if (last == 0 || number < first || number > last) { continue; }
    const std::uint64_t op_line = entry.op_line.load(std::memory_order_relaxed);
    const char* label = entry.label.load(std::memory_order_relaxed);
    site = {entry.file.load(std::memory_order_relaxed), entry.function.load(std::memory_order_relaxed),
            static_cast<std::uint32_t>(op_line), 0};
    what = fmt::format("command {} ({}{}{}{}{})", number, first == last ? "" : "in a batch that starts with ",
                       op_name(static_cast<std::uint32_t>(op_line >> 32U)), label != nullptr ? " '" : "",
                       label != nullptr ? label : "", label != nullptr ? "'" : "");
    return entry.last.load(std::memory_order_acquire) == last;
  }
  return false;
}

}  // namespace hal::core
