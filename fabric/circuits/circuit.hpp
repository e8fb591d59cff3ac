// SPDX-License-Identifier: Apache-2.0
// One light path from a module's transmitters to another's receivers, through one circuit switch or none.
#pragma once

#include "fabric/optics/topology.hpp"
#include "fabric/optics/units.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hal::fabric {

enum class CircuitState { dark, switching, locking, up, degraded, failed };
const char* name_of(CircuitState state) noexcept;

// Where a circuit crosses a switch: light enters at one port's input side and leaves at another's output side.
struct Crossing {
  std::size_t ocs = 0;
  unsigned in = 0;
  unsigned out = 0;
  friend bool operator==(const Crossing&, const Crossing&) = default;
};

// What the light path alone does over time, as dated changes; lanes are looked at by the plane.
class Circuit {
 public:
  struct Phase {
    Picoseconds at{0};
    Picoseconds light_at = kNever;  // kNever: dark from `at` on
    Picoseconds up_at = kNever;
    std::string failure;  // why a wanted circuit could not be made
  };

  LightPath path;
  std::string name;  // "m0->m1"
  std::optional<Crossing> crossing;
  Picoseconds propagation{0};
  double loss_db = 0.0;
  unsigned lanes = 0;
  std::uint64_t lane_mbps = 0;
  std::vector<double> rx_dbm;  // by lane

  // Counters, for the report.
  Picoseconds busy_until{0};
  Picoseconds busy{0};     // bytes were on the way out
  Picoseconds stalled{0};  // a transfer stood at the head of the circuit, without light
  std::uint64_t bytes = 0;
  std::uint64_t transfers = 0;
  Femtojoules energy = 0;

  // Changes come in order of time; one that is dated before the last is moved up to it.
  void begin(Phase phase);
  const Phase* phase(Picoseconds t) const noexcept;  // nullptr: never lit up to t
  bool up(Picoseconds t) const noexcept;
  Picoseconds next_change(Picoseconds t) const noexcept;
  bool ever_lit() const noexcept;

 private:
  std::vector<Phase> phases_;
};

}  // namespace hal::fabric
