// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/measure.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <thread>

#include "cli/bench/peer_program.hpp"
#include "cli/bench/probe.hpp"

namespace hal::cli::bench {
namespace {

constexpr int kTries = 4;

long interruptions() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

struct Turn {
  Taken* into;
  const Once* once;
  const PeerProgram* program;  // null: it is done by this process
  bool ours;
};

// Those who must not run while somebody else is measured: the peers' programs, which are stopped, and the threads of
// this process but the one that measures, which fall asleep some time after their last work.
class Bystanders {
 public:
  explicit Bystanders(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      for (const Subject& peer : row.peers) {
        if (peer.program && std::ranges::find(programs_, peer.program.get()) == programs_.end()) {
          programs_.push_back(peer.program.get());
        }
      }
    }
  }

  // What they have used of the processors so far.
  std::chrono::nanoseconds used(const Turn& turn) const {
    std::chrono::nanoseconds sum{};
    for (const PeerProgram* program : programs_) {
      if (program != turn.program) { sum += program->processor_time(); }
    }
    return turn.program != nullptr ? sum + clock(CLOCK_PROCESS_CPUTIME_ID) - clock(CLOCK_THREAD_CPUTIME_ID) : sum;
  }
  // Nobody ran in between; reading the clocks takes something, too.
  static bool still(std::chrono::nanoseconds before, std::chrono::nanoseconds after) {
    return after - before < std::chrono::microseconds(5);
  }
  void wait_until_still(const Turn& turn) const {
    constexpr int kMost = 100;
    for (int i = 0; i < kMost; ++i) {
      const std::chrono::nanoseconds before = used(turn);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));  // more than a nap of an idle thread
      if (still(before, used(turn))) { return; }
    }
  }

 private:
  static std::chrono::nanoseconds clock(clockid_t which) {
    timespec now{};
    ::clock_gettime(which, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  }

  std::vector<const PeerProgram*> programs_;
};

// Repeats until nobody took the core from this thread meanwhile, and no bystander ran.
Result<Sample> quiet(const Turn& turn, const Bystanders& bystanders) {
  for (int i = 1;; ++i) {
    bystanders.wait_until_still(turn);  // all alike: whoever begins after a rest is faster by several per cent
    const std::chrono::nanoseconds used = bystanders.used(turn);
    const long before = interruptions();
    HAL_TRY(const double ns, (*turn.once)());
    const bool took = turn.program == nullptr && interruptions() != before;  // a program looks to itself
    const bool disturbed = took || !Bystanders::still(used, bystanders.used(turn));
    if (!disturbed || i == kTries) { return Sample{ns, {}, disturbed, 0}; }
  }
}

std::vector<Turn> turns_of(Measured& measured) {
  const Row& row = *measured.row;
  std::vector<Turn> turns;
  if (measured.ours.missing.empty()) { turns.push_back({&measured.ours, &row.ours, nullptr, true}); }
  if (row.limit.once && measured.limit.missing.empty()) {
    turns.push_back({&measured.limit, &row.limit.once, nullptr, false});
  }
  for (std::size_t i = 0; i < measured.peers.size(); ++i) {
    if (measured.peers[i].missing.empty()) {
      turns.push_back({&measured.peers[i], &row.peers[i].once, row.peers[i].program.get(), false});
    }
  }
  return turns;
}

}  // namespace

Spread spread(std::vector<double> samples) {
  std::ranges::sort(samples);
  const std::size_t n = samples.size();
  const double median = n % 2 == 1 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
  return {median, samples.front(), samples.back(), n};
}

namespace {

// Undisturbed ones, or all if there are none.
std::vector<const Sample*> best_of(std::vector<const Sample*> samples) {
  std::vector<const Sample*> clean;
  std::ranges::copy_if(samples, std::back_inserter(clean), [](const Sample* sample) { return !sample->disturbed; });
  return clean.empty() ? samples : clean;
}

Spread spread(const std::vector<const Sample*>& samples) {
  std::vector<double> ns;
  for (const Sample* sample : samples) { ns.push_back(sample->ns); }
  return bench::spread(std::move(ns));
}

// Of the rounds in which both were measured. Each has one sample a round at most, in order.
std::optional<double> ratio(const std::vector<const Sample*>& ours, const std::vector<const Sample*>& theirs) {
  std::vector<double> ratios;
  auto at = theirs.begin();
  for (const Sample* own : ours) {
    while (at != theirs.end() && (*at)->round < own->round) { ++at; }
    if (at != theirs.end() && (*at)->round == own->round) { ratios.push_back(own->ns / (*at)->ns); }
  }
  if (ratios.empty()) { return std::nullopt; }
  return bench::spread(std::move(ratios)).median;
}

}  // namespace

std::vector<State> states_of(const Measured& measured, const std::vector<double>& probes) {
  const double border = probes.empty() ? 0 : 2 * std::ranges::min(probes);
  std::vector<State> states(2);
  for (std::size_t far = 0; far < 2; ++far) {
    State& state = states[far];
    const auto of_state = [&](const Taken& taken) {
      std::vector<const Sample*> out;
      for (const Sample& sample : taken.samples) {
        if ((sample.round_trip && *sample.round_trip > border) == (far == 1)) { out.push_back(&sample); }
      }
      return out;
    };
    const std::vector<const Sample*> all = of_state(measured.ours), ours = best_of(all);
    state.disturbed = !ours.empty() && ours.front()->disturbed;
    std::vector<double> trips;
    for (const Sample* sample : all) {
      if (sample->round_trip) { trips.push_back(*sample->round_trip); }
    }
    if (!trips.empty()) { state.trip = bench::spread(std::move(trips)); }
    if (!ours.empty()) { state.ours = spread(ours); }
    const auto other = [&](const Taken& taken) -> std::optional<Other> {
      const std::vector<const Sample*> theirs = best_of(of_state(taken));
      if (theirs.empty()) { return std::nullopt; }
      return Other{spread(theirs), ratio(ours, theirs)};
    };
    state.limit = other(measured.limit);
    for (const Taken& peer : measured.peers) { state.peers.push_back(other(peer)); }
  }
  const auto empty = [](const State& state) {
    return !state.ours && !state.limit &&
           std::ranges::none_of(state.peers, [](const auto& p) { return p.has_value(); });
  };
  if (empty(states[1])) {
    states.pop_back();
  } else if (empty(states[0])) {
    states.erase(states.begin());
  }
  return states;
}

Result<std::vector<Measured>> measure(const std::vector<Row>& rows, int repetitions, std::vector<double>& probes) {
  std::vector<Measured> out(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out[i].row = &rows[i];
    out[i].ours = {"ours", {}, rows[i].missing};
    out[i].limit = {rows[i].limit.name, {}, rows[i].limit.missing};
    for (const Subject& peer : rows[i].peers) { out[i].peers.push_back({peer.name, {}, peer.missing}); }
  }
  const Bystanders bystanders(rows);
  for (int round = -1; round < repetitions; ++round) {  // the first only warms up
    std::optional<double> before = probe_round_trip();
    for (Measured& measured : out) {
      std::vector<Turn> turns = turns_of(measured);
      if (turns.empty()) { continue; }
      // Who begins changes, so that nobody always finds what the one before left in the caches.
      std::ranges::rotate(turns, turns.begin() + (round + 1) % static_cast<int>(turns.size()));
      std::vector<std::pair<Taken*, Sample>> taken;
      for (const Turn& turn : turns) {
        Result<Sample> sample = quiet(turn, bystanders);
        if (sample) {
          taken.emplace_back(turn.into, *sample);
        } else if (turn.ours) {
          return std::move(sample).error().while_doing(
              fmt::format("measuring '{}' on {}", measured.row->name, measured.row->device));
        } else {
          turn.into->missing = std::string(sample.error().what());
        }
      }
      const std::optional<double> after = probe_round_trip();
      if (round >= 0) {
        if (after) { probes.push_back(*after); }
        const bool moved = !alike(before, after);
        bool disturbed = false;
        for (auto& [into, sample] : taken) {
          disturbed = disturbed || sample.disturbed;
          sample.round_trip = after;
          sample.round = round;
          if (!moved) { into->samples.push_back(sample); }
        }
        if (moved || disturbed) { ++measured.rejected; }
      }
      before = after;
    }
  }
  return out;
}

}  // namespace hal::cli::bench
