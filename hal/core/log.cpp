// SPDX-License-Identifier: Apache-2.0
#include "core/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "text/utf8.hpp"

namespace hal::core {
namespace {

constexpr std::array<const char*, 5> kNames{"", "error", "warning", "info", "debug"};
constexpr std::size_t kMostKinds = 1024;  // texts that differ in words as well; what comes after is not bounded

std::optional<hal_log_level> level_named(std::string_view name) {
  for (std::size_t i = 1; i < kNames.size(); ++i) {
    if (name == kNames[i]) { return static_cast<hal_log_level>(i); }
  }
  return std::nullopt;
}

void to_stderr(void*, hal_log_level level, const char* origin, const char* text) {
  std::fputs(text::plain_lines(fmt::format("halyard {}: {}: {}\n", kNames[level], origin, text)).c_str(), stderr);
}

// Two messages are of one kind if they differ in digits only.
std::string kind_of(std::string_view origin, std::string_view text) {
  std::string key(origin);
  key += '\n';
  for (const char c : text.substr(0, 160)) {
    if (c < '0' || c > '9') { key += c; }
  }
  return key;
}

}  // namespace

Log::Log(const char* levels, hal_log_function sink, void* user)
    : sink_(sink != nullptr ? sink : to_stderr), user_(sink != nullptr ? user : nullptr) {
  std::string_view rest = levels != nullptr ? levels : "";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = part.find('=');
    const auto level = level_named(equals == std::string_view::npos ? part : part.substr(equals + 1));
    if (!level || equals == 0) {
      problem_ += fmt::format(
          "{}HALYARD_LOG has '{}'; it is a list of error, warning, info or debug, each alone or behind a subsystem, "
          "such as core=debug,cuda=info,warning",
          problem_.empty() ? "" : "; ", part);
    } else if (equals == std::string_view::npos) {
      level_ = *level;
    } else {
      levels_.emplace_back(part.substr(0, equals), *level);
    }
  }
}

std::string Log::unknown(std::span<const std::string> known) const {
  std::string wrong;
  for (const auto& [name, level] : levels_) {
    if (std::find(known.begin(), known.end(), name) != known.end()) { continue; }
    wrong += fmt::format("{}'{}'", wrong.empty() ? "" : ", ", name);
  }
  if (wrong.empty()) { return wrong; }
  return fmt::format("HALYARD_LOG gives a level to {}, and nothing logs under that name; the subsystems are: {}", wrong,
                     fmt::join(known, ", "));
}

hal_log_level Log::level_of(std::string_view origin) const {
  for (const auto& [name, level] : levels_) {
    if (name == origin) { return level; }
  }
  return level_;
}

void Log::write(hal_log_level level, const char* origin, const char* text, Clock::time_point now) {
  if (level > level_of(origin) || level < HAL_LOG_ERROR || level > HAL_LOG_DEBUG) { return; }
  std::uint32_t held_back = 0;
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    std::string key = kind_of(origin, text);
    auto found = kinds_.find(key);
    if (found == kinds_.end() && kinds_.size() < kMostKinds) {
      found = kinds_.emplace(std::move(key), Kind{now}).first;
    }
    if (found != kinds_.end()) {
      Kind& kind = found->second;
      if (now - kind.since >= std::chrono::seconds(1)) {
        held_back = kind.held_back;
        kind = {now};
      }
      if (++kind.count > kMostPerSecond) {
        ++kind.held_back;
        return;
      }
      last = kind.count == kMostPerSecond;
    }
  }
  // Outside the lock: the sink is the user's and may log.
  if (held_back != 0) {
    sink_(user_, level, origin, fmt::format("(the next message came {} more times before)", held_back).c_str());
  }
  if (last) {
    sink_(user_, level, origin, fmt::format("{} (more of this kind in this second are only counted)", text).c_str());
  } else {
    sink_(user_, level, origin, text);
  }
}

void Log::finish() {
  std::map<std::string, Kind, std::less<>> kinds;
  {
    const std::lock_guard lock(mutex_);
    kinds.swap(kinds_);
  }
  for (const auto& [key, kind] : kinds) {
    if (kind.held_back == 0) { continue; }
    const std::size_t split = key.find('\n');
    sink_(user_, HAL_LOG_WARNING, key.substr(0, split).c_str(),
          fmt::format("{} more messages of this kind were only counted: {}", kind.held_back, key.substr(split + 1))
              .c_str());
  }
}

}  // namespace hal::core
