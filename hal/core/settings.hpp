// SPDX-License-Identifier: Apache-2.0
// The only door to the environment. Every setting is declared in settings.cpp with its help, and one call lists them
// all.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace hal::core {

struct Setting {
  const char* name;
  const char* help;
  // What values are taken, for settings that are read with a default: another value is ignored, and said to be.
  // Settings whose reader refuses bad values with an error of its own leave this empty.
  bool (*accepts)(std::string_view value) = nullptr;
  const char* accepted = nullptr;  // the same in words
};

std::span<const Setting> settings();

// The value of a setting, or NULL if it is not set or empty.
const char* setting(const char* name);

// Calls `warn` for each setting whose value will be ignored, with its name, its value and what would be taken.
void check_settings(const std::function<void(const std::string&)>& warn);

}  // namespace hal::core
