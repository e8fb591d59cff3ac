// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/measure.hpp"

#include <halyard_catch.hpp>

using namespace hal::cli::bench;

namespace {

// The round trip that all of these were taken with; probes with the least one twice as short would part them.
constexpr double kTrip = 40;

Taken taken(std::vector<Sample> samples) { return {"other", std::move(samples), {}}; }
Sample at(int round, double ns, bool disturbed = false) { return {ns, kTrip, disturbed, round}; }

State state_of(std::vector<Sample> ours, std::vector<Sample> theirs) {
  Measured measured;
  measured.ours = taken(std::move(ours));
  measured.peers.push_back(taken(std::move(theirs)));
  const std::vector<State> states = states_of(measured, {kTrip});
  REQUIRE(states.size() == 1);
  return states[0];
}

}  // namespace

TEST_CASE("bench: a ratio is the median of the rounds' own, whatever the machine did between them") {
  // Twice as slow in every second round, and ours takes half of theirs in each.
  const State state = state_of({at(0, 10), at(1, 20), at(2, 10), at(3, 20)}, {at(0, 20), at(1, 40), at(3, 40)});
  CHECK(state.ours->median == 15);
  CHECK(state.peers[0]->figures.median == 40);
  CHECK(state.peers[0]->ratio == 0.5);
}

TEST_CASE("bench: rounds that only one of the two has, or that were disturbed, do not count for a ratio") {
  const State state = state_of({at(0, 10), at(1, 100, true), at(3, 10)}, {at(0, 20), at(1, 20), at(2, 20), at(3, 20)});
  CHECK(state.peers[0]->ratio == 0.5);
  CHECK_FALSE(state.disturbed);
  CHECK(state.ours->runs == 2);
  CHECK_FALSE(state_of({at(0, 10)}, {at(1, 20)}).peers[0]->ratio.has_value());
}

TEST_CASE("bench: where every repetition was disturbed they count, and the row says so") {
  const State state = state_of({at(0, 30, true)}, {at(0, 10, true)});
  CHECK(state.disturbed);
  CHECK(state.peers[0]->ratio == 3);
}

TEST_CASE("bench: repetitions with the cores far apart are a state of their own") {
  Measured measured;
  measured.ours = taken({at(0, 10), {50, 10 * kTrip, false, 1}});
  measured.limit = taken({at(0, 5), {10, 10 * kTrip, false, 1}});
  const std::vector<State> states = states_of(measured, {kTrip, 10 * kTrip});
  REQUIRE(states.size() == 2);
  CHECK(states[0].limit->ratio == 2);
  CHECK(states[1].limit->ratio == 5);
}
