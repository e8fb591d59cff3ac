// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/json_text.hpp"
#include "cli/say.hpp"
#include "cli/table.hpp"

namespace hal::cli::bench {
namespace {

using Json = nlohmann::ordered_json;

// Whom the target names: the limit or a peer.
const std::optional<Other>* other_of(const Measured& measured, const State& state, const std::string& name) {
  if (name == measured.limit.name) { return &state.limit; }
  for (std::size_t i = 0; i < measured.peers.size(); ++i) {
    if (measured.peers[i].name == name) { return &state.peers[i]; }
  }
  return nullptr;
}

std::string target_text(const Target& target) {
  switch (target.kind) {
    case Target::Kind::at_most:
      return fmt::format("at most {}", time_text(target.value));
    case Target::Kind::over:
      return fmt::format("{} + {}", target.of, time_text(target.value));
    case Target::Kind::speed:
      return fmt::format("{:.2f} of {}", target.value, target.of);
    case Target::Kind::times:
      return fmt::format("{:.0f} times {}", target.value, target.of);
    default:
      return {};
  }
}

// nullopt: there is no target, or nothing to judge it by.
std::optional<bool> met(const Measured& measured, const State& state) {
  const Target& target = measured.row->target;
  if (target.kind == Target::Kind::none || !state.ours) { return std::nullopt; }
  const double ours = state.ours->median;
  if (target.kind == Target::Kind::at_most) { return ours <= target.value; }
  const std::optional<Other>* const found = other_of(measured, state, target.of);
  if (found == nullptr || !*found) { return std::nullopt; }
  const Other& other = **found;
  if (target.kind == Target::Kind::over) { return ours <= other.figures.median + target.value; }
  if (!other.ratio) { return std::nullopt; }
  return *other.ratio <= (target.kind == Target::Kind::speed ? 1 / target.value : target.value);
}

std::vector<std::string> figures(const std::optional<Spread>& spread) {
  if (!spread) { return {"0", "n/a", "n/a", "n/a"}; }
  return {fmt::format("{}", spread->runs), time_text(spread->median), time_text(spread->least),
          time_text(spread->most)};
}

void other_row(Table& table, const std::string& kind, const Taken& taken, const std::optional<Other>& other) {
  if (taken.name.empty() || (!other && taken.missing.empty())) { return; }
  std::vector<std::string> row{fmt::format("  {} {}", kind, taken.name), "", "", ""};
  const std::vector<std::string> numbers = figures(other ? std::optional(other->figures) : std::nullopt);
  row.insert(row.end(), numbers.begin(), numbers.end());
  row.push_back(other && other->ratio ? fmt::format("{:.2f}", *other->ratio) : "");
  row.push_back(other ? "" : "missing: " + taken.missing);
  table.row(std::move(row));
}

void print_table(const std::vector<Measured>& all, const std::vector<double>& probes) {
  Table table({{"ROW"},
               {"DEVICE"},
               {"EMULATED"},
               {"CORES", Align::right},
               {"RUNS", Align::right},
               {"MEDIAN", Align::right},
               {"MIN", Align::right},
               {"MAX", Align::right},
               {"RATIO", Align::right},
               {"TARGET"}});
  for (const Measured& measured : all) {
    const Row& row = *measured.row;
    for (const State& state : states_of(measured, probes)) {
      std::vector<std::string> cells{row.name, row.device, row.emulated ? "yes" : "no",
                                     state.trip ? time_text(state.trip->median) : "n/a"};
      const std::vector<std::string> numbers = figures(state.ours);
      cells.insert(cells.end(), numbers.begin(), numbers.end());
      cells.emplace_back();
      std::string verdict = row.missing.empty() ? target_text(row.target) : "missing: " + row.missing;
      if (const std::optional<bool> good = met(measured, state)) { verdict += *good ? ": met" : ": missed"; }
      if (state.disturbed) { verdict += " (other work took the core)"; }
      cells.push_back(std::move(verdict));
      table.row(std::move(cells));
      other_row(table, "limit:", measured.limit, state.limit);
      for (std::size_t i = 0; i < measured.peers.size(); ++i) {
        other_row(table, "peer:", measured.peers[i], state.peers[i]);
      }
    }
  }
  say("{}", table.text());
}

Json as_json(const std::optional<Spread>& spread) {
  if (!spread) { return nullptr; }
  return {{"median_ns", spread->median}, {"min_ns", spread->least}, {"max_ns", spread->most}, {"runs", spread->runs}};
}

Json as_json(const Taken& taken, const std::optional<Other>& other) {
  Json out = {{"name", taken.name}, {"ns", as_json(other ? std::optional(other->figures) : std::nullopt)}};
  out["ratio"] = other && other->ratio ? Json(*other->ratio) : Json(nullptr);
  if (!taken.missing.empty()) { out["missing"] = taken.missing; }
  return out;
}

void print_json(const std::vector<Measured>& all, const std::vector<double>& probes, const Machine& machine,
                const std::vector<std::string>& notes, int repetitions) {
  Json rows = Json::array();
  for (const Measured& measured : all) {
    for (const State& state : states_of(measured, probes)) {
      Json row;
      row["row"] = measured.row->name;
      row["device"] = measured.row->device;
      row["emulated"] = measured.row->emulated;
      row["core_to_core_ns"] = state.trip ? Json(state.trip->median) : Json(nullptr);
      row["rejected"] = measured.rejected;
      row["disturbed"] = state.disturbed;
      row["ours"] = as_json(state.ours);
      if (!measured.row->missing.empty()) { row["missing"] = measured.row->missing; }
      if (!measured.limit.name.empty()) { row["limit"] = as_json(measured.limit, state.limit); }
      row["peers"] = Json::array();
      for (std::size_t i = 0; i < measured.peers.size(); ++i) {
        row["peers"].push_back(as_json(measured.peers[i], state.peers[i]));
      }
      if (measured.row->target.kind != Target::Kind::none) {
        row["target"] = target_text(measured.row->target);
        const std::optional<bool> good = met(measured, state);
        row["met"] = good ? Json(*good) : Json(nullptr);
      }
      rows.push_back(std::move(row));
    }
  }
  Json out;
  out["schema"] = "halyard-bench/2";
  out["version"] = HALYARD_VERSION;
  out["build"] = HALYARD_BUILD_TYPE;
  out["processor"] = machine.processor;
  out["cores"] = machine.cores;
  out["load"] = machine.load;
  out["repetitions"] = repetitions;
  out["core_to_core_round_trip"] = probes.empty() ? Json(nullptr) : as_json(spread(probes));
  out["notes"] = notes;
  out["results"] = std::move(rows);
  fmt::print("{}", json_text(out));
}

}  // namespace

void print_report(const std::vector<Measured>& all, const std::vector<double>& probes, const Machine& machine,
                  const std::vector<std::string>& notes, int repetitions, bool json) {
  if (json) {
    print_json(all, probes, machine, notes, repetitions);
    return;
  }
  say("Halyard {} ({} build), {}, {} cores, load {:.2f}\n", HALYARD_VERSION, HALYARD_BUILD_TYPE, machine.processor,
      machine.cores, machine.load[0]);
  if (!probes.empty()) {
    const Spread trip = spread(probes);
    say("cache line from core to core and back: {} [{} - {}] in {} probes\n", time_text(trip.median),
        time_text(trip.least), time_text(trip.most), probes.size());
  }
  for (const std::string& note : notes) { say("{}\n", note); }
  say("An emulated device's times are its emulator's: they say nothing about the device.\n"
      "CORES is the round trip between the cores while the row was measured. RATIO is our time by theirs, the median "
      "of the rounds.\n\n");
  print_table(all, probes);
  int rejected = 0;
  for (const Measured& measured : all) { rejected += measured.rejected; }
  say("\n{} of {} repetitions left out: the cores moved meanwhile, or other work took the core\n", rejected,
      all.size() * static_cast<std::size_t>(repetitions));
}

}  // namespace hal::cli::bench
