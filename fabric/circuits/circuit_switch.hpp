// SPDX-License-Identifier: Apache-2.0
// An optical circuit switch: a partial permutation of input sides to output sides, and ports that no longer move.
#pragma once

#include "fabric/circuits/profile.hpp"
#include "fabric/optics/units.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace hal::fabric {

class CircuitSwitch {
 public:
  CircuitSwitch(std::string id, const SwitchProfile& profile) : id_(std::move(id)), profile_(profile) {}

  struct Cross {
    unsigned in = 0;
    unsigned out = 0;
    friend auto operator<=>(const Cross&, const Cross&) = default;
  };
  struct Refused {
    Cross cross;
    std::string why;
  };
  struct Change {
    std::vector<Cross> removed;
    std::vector<Cross> made;
    std::vector<Cross> disturbed;  // kept, but dark for as long: the switch is not hitless
    std::vector<Refused> refused;
  };

  // What going to exactly `wanted` would change at time t. Paths on a stuck port stay as they are; wanted ones that
  // need such a port are refused.
  Change plan(const std::vector<Cross>& wanted, Picoseconds t) const;
  void commit(const Change& change);

  void stick(unsigned port, Picoseconds at);
  const SwitchProfile& profile() const noexcept { return profile_; }
  const std::string& id() const noexcept { return id_; }

 private:
  bool stuck(unsigned port, Picoseconds t) const noexcept;

  std::string id_;
  SwitchProfile profile_;
  std::map<unsigned, unsigned> out_of_;  // input -> output
  std::map<unsigned, Picoseconds> stuck_from_;
};

}  // namespace hal::fabric
