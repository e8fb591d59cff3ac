// SPDX-License-Identifier: Apache-2.0
// halyard bench: ours and the peer in turns, in one process, with the cores' placement checked round each repetition.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/bench/probe.hpp"
#include "cli/bench/scenario.hpp"
#include "cli/command.hpp"
#include "cli/machine.hpp"
#include "cli/table.hpp"

namespace hal::cli {
namespace {

using bench::Scenario;

struct Options {
  std::vector<std::string> devices;
  int repetitions = 15;
  bool json = false;
};

struct Sample {
  double ours = 0;
  std::optional<double> peer, round_trip;  // of the scenario's peer; from core to core
};

struct Measured {
  const Scenario* scenario = nullptr;
  std::vector<Sample> samples;
  int rejected = 0;  // the cores moved meanwhile
};

// The samples of one scenario that were taken with the cores about equally far apart.
struct Group {
  std::vector<double> ours, peer, round_trip;
};

struct Spread {
  double median = 0, least = 0, most = 0;
};

Spread spread(std::vector<double> samples) {
  std::ranges::sort(samples);
  const std::size_t n = samples.size();
  const double median = n % 2 == 1 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
  return {median, samples.front(), samples.back()};
}

// Cores that wander come in states far apart; twice the least round trip of the run parts them.
std::vector<Group> groups_of(const Measured& measured, const std::vector<double>& probes) {
  const double least = probes.empty() ? 0 : std::ranges::min(probes);
  std::vector<Group> groups(2);
  for (const Sample& sample : measured.samples) {
    Group& group = groups[sample.round_trip && *sample.round_trip > 2 * least ? 1 : 0];
    group.ours.push_back(sample.ours);
    if (sample.peer) { group.peer.push_back(*sample.peer); }
    if (sample.round_trip) { group.round_trip.push_back(*sample.round_trip); }
  }
  // A scenario without one clean repetition stays in the table, with no figures.
  if (groups[1].ours.empty() || groups[0].ours.empty()) {
    groups.erase(groups.begin() + (groups[1].ours.empty() ? 1 : 0));
  }
  return groups;
}

// Every scenario once, ours and the peer in turns; then again. So a slow minute hurts all alike.
Result<std::vector<Measured>> measure(const std::vector<Scenario>& scenarios, int repetitions,
                                      std::vector<double>& probes) {
  std::vector<Measured> out(scenarios.size());
  for (std::size_t i = 0; i < scenarios.size(); ++i) { out[i].scenario = &scenarios[i]; }
  for (int round = -1; round < repetitions; ++round) {  // the first only warms up
    std::optional<double> before = bench::probe_round_trip();
    for (Measured& measured : out) {
      const Scenario& scenario = *measured.scenario;
      std::optional<double> peer;
      if (scenario.peer && round % 2 == 0) { peer = scenario.peer(); }
      Result<double> ours = scenario.ours();
      if (!ours) {
        return std::move(ours).error().while_doing(fmt::format("measuring '{}' on {}", scenario.name, scenario.device));
      }
      if (scenario.peer && !peer) { peer = scenario.peer(); }
      const std::optional<double> after = bench::probe_round_trip();
      if (round >= 0) {
        if (after) { probes.push_back(*after); }
        if (bench::alike(before, after)) {
          measured.samples.push_back({*ours, peer, after});
        } else {
          ++measured.rejected;
        }
      }
      before = after;
    }
  }
  return out;
}

void print_table(const std::vector<Measured>& all, const std::vector<double>& probes) {
  Table table({{"SCENARIO"},
               {"DEVICE"},
               {"EMULATED"},
               {"CORES", Align::right},
               {"RUNS", Align::right},
               {"MEDIAN", Align::right},
               {"MIN", Align::right},
               {"MAX", Align::right},
               {"PEER"},
               {"MEDIAN", Align::right},
               {"RATIO", Align::right},
               {"TARGET", Align::right}});
  for (const Measured& measured : all) {
    const Scenario& scenario = *measured.scenario;
    for (const Group& samples : groups_of(measured, probes)) {
      if (samples.ours.empty()) {
        table.row(
            {scenario.name, scenario.device, scenario.emulated ? "yes" : "no", "moved", "0", "n/a", "n/a", "n/a"});
        continue;
      }
      const Spread ours = spread(samples.ours);
      std::vector<std::string> row{scenario.name,
                                   scenario.device,
                                   scenario.emulated ? "yes" : "no",
                                   samples.round_trip.empty() ? "n/a" : time_text(spread(samples.round_trip).median),
                                   fmt::format("{}", samples.ours.size()),
                                   time_text(ours.median),
                                   time_text(ours.least),
                                   time_text(ours.most)};
      if (samples.peer.empty()) {
        row.insert(row.end(), {"", "", ""});
      } else {
        const Spread peer = spread(samples.peer);
        row.insert(row.end(),
                   {scenario.peer_name, time_text(peer.median), fmt::format("{:.2f}", ours.median / peer.median)});
      }
      row.push_back(scenario.target_ns > 0 ? fmt::format("{} {}", time_text(scenario.target_ns),
                                                         ours.median <= scenario.target_ns ? "met" : "missed")
                                           : "");
      table.row(std::move(row));
    }
  }
  fmt::print("{}", table.text());
}

nlohmann::ordered_json as_json(const Spread& spread) {
  return {{"median_ns", spread.median}, {"min_ns", spread.least}, {"max_ns", spread.most}};
}

void print_json(const std::vector<Measured>& all, const Machine& machine, const std::vector<double>& probes) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measured& measured : all) {
    for (const Group& samples : groups_of(measured, probes)) {
      nlohmann::ordered_json row;
      row["scenario"] = measured.scenario->name;
      row["device"] = measured.scenario->device;
      row["emulated"] = measured.scenario->emulated;
      row["core_to_core_ns"] = samples.round_trip.empty() ? nlohmann::ordered_json(nullptr)
                                                          : nlohmann::ordered_json(spread(samples.round_trip).median);
      row["runs"] = samples.ours.size();
      row["rejected"] = measured.rejected;
      row["ours"] = samples.ours.empty() ? nlohmann::ordered_json(nullptr) : as_json(spread(samples.ours));
      if (!samples.peer.empty()) {
        row["peer_name"] = measured.scenario->peer_name;
        row["peer"] = as_json(spread(samples.peer));
      }
      rows.push_back(std::move(row));
    }
  }
  nlohmann::ordered_json out;
  out["schema"] = "halyard-bench/1";
  out["version"] = HALYARD_VERSION;
  out["processor"] = machine.processor;
  out["cores"] = machine.cores;
  out["load"] = machine.load;
  if (!probes.empty()) { out["core_to_core_round_trip"] = as_json(spread(probes)); }
  out["results"] = std::move(rows);
  fmt::print("{}\n", out.dump(2));
}

// The devices asked for, or every usable one that no other of the list overlaps.
Result<std::vector<Scenario>> collect(const Instance& instance, const Options& options) {
  std::vector<std::string> uris = options.devices;
  if (uris.empty()) {
    for (const DeviceInfo& info : instance.devices()) {
      if (info.usable != 0) { uris.push_back(info.uri); }
    }
  }
  std::vector<Scenario> scenarios;
  for (const std::string& uri : uris) {
    Result<Device> device = instance.open(uri);
    if (!device) {
      // Partitions of one card exclude each other; the first one listed stands for the card.
      if (options.devices.empty() && device.error().code() == HAL_BUSY) { continue; }
      return std::move(device).error();
    }
    HAL_TRY(std::vector<Scenario> more, bench::scenarios_of(*device));
    std::ranges::move(more, std::back_inserter(scenarios));
  }
  if (options.devices.empty()) { scenarios.push_back(bench::opening()); }
  return scenarios;
}

Result<int> run(const Options& options) {
  HAL_TRY(const Instance instance, Instance::create());
  HAL_TRY(const std::vector<Scenario> scenarios, collect(instance, options));
  const Machine machine = read_machine();
  std::vector<double> probes;
  HAL_TRY(const std::vector<Measured> all, measure(scenarios, options.repetitions, probes));
  if (options.json) {
    print_json(all, machine, probes);
    return kOk;
  }
  fmt::print("Halyard {}, {}, {} cores, load {:.2f}\n", HALYARD_VERSION, machine.processor, machine.cores,
             machine.load[0]);
  if (!probes.empty()) {
    const Spread trip = spread(probes);
    fmt::print("cache line from core to core and back: {} [{} - {}] in {} probes\n", time_text(trip.median),
               time_text(trip.least), time_text(trip.most), probes.size());
  }
  fmt::print(
      "An emulated device's times are its emulator's: they say nothing about the device.\n"
      "CORES is the round trip between the cores while the row was measured.\n\n");
  print_table(all, probes);
  int rejected = 0;
  for (const Measured& measured : all) { rejected += measured.rejected; }
  fmt::print("\n{} of {} repetitions left out: the round trip between the cores changed meanwhile\n", rejected,
             all.size() * static_cast<std::size_t>(options.repetitions));
  return kOk;
}

}  // namespace

void add_bench(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("bench", "Measure every device, ours and the peer in turns");
  auto options = std::make_shared<Options>();
  command->add_option("--device", options->devices, "URI; may be given again; every usable device if left out");
  command->add_option("--repetitions", options->repetitions, "Of each scenario")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "Machine-readable, schema halyard-bench/1");
  command->callback([&body, options] { body = [options] { return run(*options); }; });
}

}  // namespace hal::cli
