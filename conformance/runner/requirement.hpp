// SPDX-License-Identifier: Apache-2.0
// The rows of the registry, as the generated header holds them.
#pragma once

#include <cstdint>

namespace hal::conformance {

enum class Level : std::uint8_t { must, should };

struct Requirement {
  Level level;
  const char* id;
  const char* chapter;
  const char* condition;  // a feature for hal_device_supports(); empty: every device
  const char* text;
  const char* method;
  bool null_may_pass;  // says nothing about data, or is kept by the core alone: a driver that does nothing may pass it
};

struct Fault {
  const char* id;
  const char* text;
  const char* needs;  // a feature without which a device cannot show the fault; may be empty
  const char* kills;  // requirement IDs, comma separated
  bool control;       // a legal variation that must not be killed
};

}  // namespace hal::conformance
