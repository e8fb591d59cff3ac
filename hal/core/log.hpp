// SPDX-License-Identifier: Apache-2.0
// The log: levels by subsystem, and a bound on how often one text may come.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hal/hal.h"

namespace hal::core {

class Log {
 public:
  // Messages of one origin and kind (the same text but for its numbers) that pass in one second; the rest is counted.
  static constexpr std::uint32_t kMostPerSecond = 20;
  using Clock = std::chrono::steady_clock;

  // `levels` is what HALYARD_LOG holds: "debug", or "core=debug,cuda=info,warning"; NULL is "warning".
  Log(const char* levels, hal_log_function sink, void* user);

  ~Log() { finish(); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // What `levels` holds that is no level: one sentence, empty if all is fine.
  const std::string& problem() const { return problem_; }
  bool names_subsystems() const { return !levels_.empty(); }
  // Subsystems in `levels` that are none of `known`: one sentence with those there are, empty if there is no such.
  std::string unknown(std::span<const std::string> known) const;
  // Tells what was only counted. Before the last user of the sink goes.
  void finish();
  void write(hal_log_level level, const char* origin, const char* text, Clock::time_point now = Clock::now());

 private:
  struct Kind {
    Clock::time_point since{};
    std::uint32_t count = 0, held_back = 0;
  };
  hal_log_level level_of(std::string_view origin) const;

  hal_log_function sink_;
  void* user_;
  hal_log_level level_ = HAL_LOG_WARNING;
  std::vector<std::pair<std::string, hal_log_level>> levels_;
  std::string problem_;
  std::mutex mutex_;
  std::map<std::string, Kind, std::less<>> kinds_;
};

}  // namespace hal::core
