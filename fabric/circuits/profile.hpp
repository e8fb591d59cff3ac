// SPDX-License-Identifier: Apache-2.0
// How long one kind of circuit switch takes to move light, and the receiver behind it to follow.
#pragma once

#include "fabric/optics/units.hpp"

#include <span>
#include <string>

namespace hal::fabric {

struct SwitchProfile {
  std::string name;
  Picoseconds switch_time{0};  // the mirrors or phase shifters move; no light
  Picoseconds relock_time{0};  // light is there, the receiver recovers its clock; no data
  // Light paths that a change does not move keep their light. False: every path of the switch goes dark.
  bool hitless = true;
  std::string source;  // where the numbers come from, and how far to trust them
};

// siph, mems, mems-slow-relock, patch-panel.
std::span<const SwitchProfile> built_in_profiles();

}  // namespace hal::fabric
