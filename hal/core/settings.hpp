// SPDX-License-Identifier: Apache-2.0
// The only door to the environment. Every setting is declared in settings.cpp with its help, and one call lists them
// all.
#pragma once

#include <span>

namespace hal::core {

struct Setting {
  const char* name;
  const char* help;
};

std::span<const Setting> settings();

// The value of a setting, or NULL if it is not set or empty.
const char* setting(const char* name);

}  // namespace hal::core
