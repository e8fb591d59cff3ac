// SPDX-License-Identifier: Apache-2.0
#include "core/launch.hpp"

#include <algorithm>
#include <cstring>

namespace hal::core {

namespace {

LaunchParam packed(const hal_param& param) {
  switch (param.kind) {
    case HAL_PARAM_SCALAR:
      if (param.bytes > sizeof hal_arg{}.value.scalar) { return {}; }
      return {HAL_ARG_SCALAR, static_cast<std::uint32_t>(param.bytes)};
    case HAL_PARAM_BUFFER:
      return {HAL_ARG_BUFFER, 0, std::max<std::uint64_t>(param.bytes, 1),
              UINT64_MAX - std::max<std::uint64_t>(param.bytes, 1)};
    case HAL_PARAM_TENSOR:
      if (param.bytes == 0) { return {}; }  // nothing of a fixed size
      return {HAL_ARG_BUFFER, 0, param.bytes, 0};
  }
  return {};
}

}  // namespace

Launches::Launches(std::span<const hal_signature> entries)
    : entries_(new Launch[entries.size()]), count_(static_cast<std::uint32_t>(entries.size())) {
  std::size_t total = 0;
  for (const hal_signature& entry : entries) { total += entry.param_count; }
  params_.reserve(total);  // never moves: the entries point into it
  for (std::uint32_t i = 0; i < count_; ++i) {
    const hal_signature& entry = entries[i];
    Launch& launch = entries_[i];
    launch.params = params_.data() + params_.size();
    launch.param_count = entry.param_count;
    launch.has_grid = entry.kind == HAL_KERNEL ? 1 : 0;
    std::transform(entry.group_size, entry.group_size + 3, launch.group_size.begin(),
                   [](std::uint32_t size) { return std::max(size, 1U); });
    std::memcpy(launch.name.data(), entry.name, ::strnlen(entry.name, sizeof launch.name));
    // The general way finds the extents, or asks for those that no parameter tells.
    const bool open = entry.symbol_count != 0;
    for (const hal_param& param : std::span(entry.params, entry.param_count)) {
      params_.push_back(open ? LaunchParam{} : packed(param));
    }
  }
}

}  // namespace hal::core
