// SPDX-License-Identifier: Apache-2.0
#include "cli/instance.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cli/say.hpp"

namespace hal::cli {
namespace {

std::atomic<bool> lost{false};

void print(void*, hal_log_level level, const char* origin, const char* text) {
  constexpr std::array kNames{"", "error", "warning", "info", "debug"};
  const std::string_view from = origin;
  if (level == HAL_LOG_ERROR && (from == "record" || from == "trace")) { lost = true; }
  say(stderr, "halyard {}: {}: {}\n", kNames[level], from, text);
}

}  // namespace

Result<Instance> open_instance() {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.log = print;
  desc.layers = std::getenv("HALYARD_LAYERS");  // NOLINT(concurrency-mt-unsafe): nobody here calls setenv
  Result<Instance> instance = Instance::create(desc);
  if (instance || desc.layers == nullptr) { return instance; }
  return std::move(instance).error().while_doing(
      fmt::format("opening the library with HALYARD_LAYERS={}", desc.layers));
}

bool lost_a_file() { return lost; }

}  // namespace hal::cli
