// SPDX-License-Identifier: Apache-2.0
// Every row once, ours, the limit and the peers in turns; then again. So a slow minute hurts all alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/bench/row.hpp"

namespace hal::cli::bench {

struct Sample {
  double ns = 0;
  std::optional<double> round_trip;  // from core to core, while it was taken
  bool disturbed = false;            // other work took a core meanwhile
  int round = 0;
};

struct Taken {
  std::string name;
  std::vector<Sample> samples;
  std::string missing;  // why there are none
};

struct Measured {
  const Row* row = nullptr;
  Taken ours, limit;
  std::vector<Taken> peers;
  int rejected = 0;  // repetitions: the cores moved, or other work took a core again and again
};

struct Spread {
  double median = 0, least = 0, most = 0;
  std::size_t runs = 0;
};
Spread spread(std::vector<double> samples);

/// The limit's or a peer's figures, and ours by theirs: the median of the rounds' ratios. Both of a round were measured
/// within the same fraction of a second, so a machine that slows down and recovers leaves it as it is.
struct Other {
  Spread figures;
  std::optional<double> ratio;
};
/// Figures of one row with the cores about equally far apart.
struct State {
  std::optional<Spread> trip, ours;
  std::optional<Other> limit;
  std::vector<std::optional<Other>> peers;  // as Measured::peers
  bool disturbed = false;                   // no quiet repetition of ours was to be had
};
/// Cores that wander come in states far apart; twice the least round trip of the run parts them. At least one state,
/// perhaps without figures.
std::vector<State> states_of(const Measured& measured, const std::vector<double>& probes);

/// `probes` gets every round trip that was measured. Errors: ours failed; a peer's failure makes it missing.
Result<std::vector<Measured>> measure(const std::vector<Row>& rows, int repetitions, std::vector<double>& probes);

}  // namespace hal::cli::bench
