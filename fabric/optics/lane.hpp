// SPDX-License-Identifier: Apache-2.0
// One wavelength of a module's transmitter, as a list of dated changes. A question about any time has one answer, so
// transfers that are computed out of order still agree.
#pragma once

#include "fabric/optics/units.hpp"

#include <vector>

namespace hal::fabric {

class Lane {
 public:
  // The laser goes dark, or comes back and carries data once the far receiver has locked. A later call for the same
  // time wins.
  void set(Picoseconds at, bool lit, Picoseconds relock_time);

  bool carries(Picoseconds t) const noexcept;
  bool lit(Picoseconds t) const noexcept;
  // The first time after t at which carries() may change; kNever if there is none.
  Picoseconds next_change(Picoseconds t) const noexcept;

 private:
  struct Change {
    Picoseconds at;
    Picoseconds usable_at;  // kNever: dark
  };
  const Change* last_at(Picoseconds t) const noexcept;

  std::vector<Change> changes_;  // by time
};

}  // namespace hal::fabric
