// SPDX-License-Identifier: Apache-2.0
// halyard topology: how this machine, or one that was exported, is built, and where its devices hang.
#include "hal/topology.hpp"
#include "cli/say.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/files.hpp"
#include "cli/instance.hpp"
#include "cli/json_text.hpp"
#include "cli/table.hpp"
#include "hal/hal.hpp"

namespace hal::cli {
namespace {

struct Options {
  std::string from, svg;
  bool json = false;
};

struct Place {
  std::string uri;
  Topology::Locality locality;
};

std::string node_text(std::uint32_t node) { return node == HAL_ANY_NODE ? "any" : fmt::format("{}", node); }

std::string as_text(const Topology& topology, const std::vector<Place>& places) {
  const auto info = topology.info();
  std::string out = fmt::format("{}: {} packages, {} memory nodes, {} cores, {} CPUs\n\n", info.source, info.packages,
                                info.nodes, info.cores, info.cpus);
  std::vector<Table::Column> columns{{"NODE"}, {"PACKAGE"}, {"MEMORY", Align::right}, {"CPUS"}};
  for (std::uint32_t to = 0; to < info.nodes; ++to) { columns.push_back({fmt::format("TO {}", to), Align::right}); }
  Table nodes(std::move(columns));
  const std::vector<Topology::Node> all = topology.nodes();
  bool measured = true;
  for (std::uint32_t i = 0; i < info.nodes; ++i) {
    const std::uint32_t package = all[i].package;
    std::vector<std::string> row{fmt::format("{}", i), package == HAL_NO_PACKAGE ? "none" : fmt::format("{}", package),
                                 bytes_text(all[i].memory_bytes), all[i].cpus};
    for (std::uint32_t to = 0; to < info.nodes; ++to) {
      const Topology::Distance distance = topology.distance(i, to).value();
      measured = measured && distance.measured != 0;
      row.push_back(fmt::format("{}", distance.value));
    }
    nodes.row(std::move(row));
  }
  out += nodes.text();
  out += fmt::format("distances: 10 is the own node; {}\n",
                     measured ? "as the firmware says" : "the firmware says nothing, these are our guess");
  if (places.empty()) { return out; }
  Table devices({{"DEVICE"}, {"NODE"}, {"CPUS"}, {"HOW"}});
  for (const Place& place : places) {
    devices.row({place.uri, node_text(place.locality.node), place.locality.cpus, place.locality.how});
  }
  return out + "\n" + devices.text();
}

std::string as_json(const Topology& topology, const std::vector<Place>& places) {
  using nlohmann::ordered_json;
  ordered_json out{{"schema", "halyard-topology/1"}, {"source", topology.info().source}};
  out["nodes"] = ordered_json::array();
  const std::vector<Topology::Node> all = topology.nodes();
  for (std::uint32_t i = 0; i < all.size(); ++i) {
    ordered_json distances = ordered_json::array();
    for (std::uint32_t to = 0; to < all.size(); ++to) {
      const Topology::Distance distance = topology.distance(i, to).value();
      distances.push_back({{"to", to}, {"value", distance.value}, {"measured", distance.measured != 0}});
    }
    const bool none = all[i].package == HAL_NO_PACKAGE;
    out["nodes"].push_back({{"node", i},
                            {"package", none ? ordered_json(nullptr) : ordered_json(all[i].package)},
                            {"memory_bytes", all[i].memory_bytes},
                            {"cpus", all[i].cpus},
                            {"distances", std::move(distances)}});
  }
  out["devices"] = ordered_json::array();
  for (const Place& place : places) {
    const bool any = place.locality.node == HAL_ANY_NODE;
    out["devices"].push_back({{"uri", place.uri},
                              {"node", any ? ordered_json(nullptr) : ordered_json(place.locality.node)},
                              {"cpus", place.locality.cpus},
                              {"how", place.locality.how}});
  }
  return json_text(out);
}

Result<int> run(const Options& options) {
  HAL_TRY(const Topology topology, Topology::open(options.from.empty() ? std::nullopt : std::optional(options.from)));
  std::vector<Place> places;
  std::vector<Device> devices;
  if (topology.info().is_this_machine != 0) {  // another machine's devices are not here to ask
    HAL_TRY(const Instance instance, open_instance());
    for (const DeviceInfo& info : instance.devices()) {
      if (info.usable == 0) { continue; }
      Result<Device> device = instance.open(info.uri);
      if (!device) { continue; }  // a part of a card that is open already
      HAL_TRY(const Topology::Locality locality, topology.locate(*device));
      places.push_back({info.uri, locality});
      devices.push_back(*std::move(device));
    }
  }
  say("{}", options.json ? as_json(topology, places) : as_text(topology, places));
  if (!options.svg.empty()) {
    HAL_TRY(const std::string drawn, topology.draw(devices));
    HAL_CHECK(write_file(options.svg, std::as_bytes(std::span(drawn))));
    say(stderr, "drawn: {}\n", options.svg);
  }
  return kOk;
}

}  // namespace

void add_topology(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("topology", "Show memory nodes, CPUs and distances, and where devices hang");
  auto options = std::make_shared<Options>();
  command->add_option("--from", options->from,
                      "\"xml:PATH\" (from lstopo) or \"synthetic:TEXT\" instead of this machine");
  command->add_option("--svg", options->svg, "Draw it into this file");
  command->add_flag("--json", options->json, "Machine-readable, schema halyard-topology/1");
  command->callback([&body, options] { body = [options] { return run(*options); }; });
}

}  // namespace hal::cli
