// SPDX-License-Identifier: Apache-2.0
#include "fabric/circuits/profile.hpp"

#include <array>

namespace hal::fabric {

std::span<const SwitchProfile> built_in_profiles() {
  using namespace std::chrono_literals;
  static const std::array<SwitchProfile, 4> profiles{{
      {"siph", 3us, 9us, true,
       "24x24 silicon photonic research switch: switching 2.8 us, receiver initialisation 8.7 us (paper's abstract)"},
      {"mems", 3ms, 50ms, true,
       "switching: Google Palomar, below 3 ms p99 (secondary, weak); relock: the 50 ms that Ciena's patent text wants"},
      {"mems-slow-relock", 3ms, 10s, true,
       "switching: Google Palomar, below 3 ms p99 (secondary, weak); relock: up to 10 s in usual DSPs (patent text)"},
      {"patch-panel", 180s, 10s, true,
       "robotic patch panels take minutes (vendor class, not verified); relock as above"},
  }};
  return profiles;
}

}  // namespace hal::fabric
