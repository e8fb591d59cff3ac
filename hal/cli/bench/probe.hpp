// SPDX-License-Identifier: Apache-2.0
// Where the two cores lie just now. On virtual machines they wander between caches, and every cross-thread figure with
// them by a factor of four, so a repetition counts only if this said the same before and after it.
#pragma once

namespace hal::cli::bench {

enum class Placement { near, far, unknown };

struct Probe {
  Placement placement = Placement::unknown;  // unknown: one core only, or disturbed by other work
  double round_trip_ns = 0;                  // of one cache line there and another back
};

/// About a millisecond of ping-pong between two pinned threads; given up after 20 ms.
Probe probe_placement();

const char* placement_name(Placement placement);

}  // namespace hal::cli::bench
