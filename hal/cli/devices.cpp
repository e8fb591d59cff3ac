// SPDX-License-Identifier: Apache-2.0
// halyard devices: what there is, by the URI that every call and tool takes back.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/instance.hpp"
#include "cli/json_text.hpp"
#include "cli/say.hpp"
#include "cli/table.hpp"
#include "hal/hal.hpp"

namespace hal::cli {
namespace {

std::string as_json(const Instance& instance) {
  using nlohmann::ordered_json;
  ordered_json devices = ordered_json::array();
  for (const DeviceInfo& info : instance.devices()) {
    ordered_json device;
    device["uri"] = info.uri;
    device["name"] = info.name;
    device["emulated"] = info.is_emulated != 0;
    device["memory_bytes"] = info.memory_bytes != 0 ? ordered_json(info.memory_bytes) : ordered_json(nullptr);
    device["driver"] = info.driver;
    device["vendor"] = info.vendor;
    device["usable"] = info.usable != 0;
    device["reason"] = info.reason;
    devices.push_back(std::move(device));
  }
  ordered_json out;
  out["schema"] = "halyard-devices/1";
  out["devices"] = std::move(devices);
  return json_text(out);
}

std::string as_text(const Instance& instance) {
  Table table({{"URI"}, {"NAME"}, {"EMULATED"}, {"MEMORY", Align::right}, {"DRIVER"}, {"USABLE"}});
  for (const DeviceInfo& info : instance.devices()) {
    table.row({info.uri, info.name, info.is_emulated != 0 ? "yes" : "no",
               info.memory_bytes != 0 ? bytes_text(info.memory_bytes) : "n/a", info.driver,
               info.usable != 0 ? "yes" : fmt::format("no: {}", info.reason)});
  }
  return table.text();
}

// Opens each device and asks it what it can do; parts of one card are opened one after the other.
std::string as_verdicts(const Instance& instance) {
  constexpr std::array kFeatures{"partition", "kernel", "graph", "fabric", "timestamp", "host-visible", "dtype.bf16"};
  std::string out;
  for (const DeviceInfo& info : instance.devices()) {
    out += fmt::format("{}  {}, {}\n", info.uri, info.name, info.vendor);
    const Result<Device> device = instance.open(info.uri);
    if (!device) {
      out += fmt::format("  cannot be opened: {}\n", device.error().text());
      continue;
    }
    for (const char* feature : kFeatures) {
      const Verdict verdict = device->supports(feature);
      const char* answer = verdict.support == HAL_NO ? "no" : verdict.support == HAL_YES ? "yes" : "emulated";
      out += fmt::format("  {:<13} {}: {}\n", feature, answer, verdict.why);
    }
  }
  return out;
}

Result<int> run(bool json, bool verbose) {
  HAL_TRY(const Instance instance, open_instance());
  say("{}", verbose ? as_verdicts(instance) : json ? as_json(instance) : as_text(instance));
  if (instance.devices().empty()) {
    say(stderr, "halyard: no device was found; drivers tried:\n{}try: halyard doctor\n", instance.report());
  }
  return kOk;
}

}  // namespace

void add_devices(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("devices", "List the devices and partitions by URI");
  auto json = std::make_shared<bool>(false);
  CLI::Option* as_json = command->add_flag("--json", *json, "Machine-readable, schema halyard-devices/1");
  auto verbose = std::make_shared<bool>(false);
  command->add_flag("-v,--verbose", *verbose, "Open each device and ask what it can do, with reasons")
      ->excludes(as_json);
  command->callback([&body, json, verbose] { body = [json, verbose] { return run(*json, *verbose); }; });
}

}  // namespace hal::cli
