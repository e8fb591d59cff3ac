// SPDX-License-Identifier: Apache-2.0
// Where the two cores lie just now. On virtual machines they wander between caches, and every cross-thread figure with
// them, so a repetition counts only if this said nearly the same before and after it. What is near and what is far
// differs from one processor to the next, so there is no limit here: the figure itself is reported.
#pragma once

#include <optional>

namespace hal::cli::bench {

/// Nanoseconds that one cache line takes to the other core and another one back: about a millisecond of ping-pong
/// between two pinned threads. nullopt: one core only, or other work kept it longer than 20 ms.
std::optional<double> probe_round_trip();

/// Did the cores stay where they were? Two probes without an answer are alike: then nothing is known of either.
bool alike(std::optional<double> before, std::optional<double> after);

}  // namespace hal::cli::bench
