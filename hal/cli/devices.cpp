// SPDX-License-Identifier: Apache-2.0
// halyard devices: what there is, by the URI that every call and tool takes back.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.hpp"
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
  return out.dump(2) + "\n";
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

Result<int> run(bool json) {
  HAL_TRY(const Instance instance, Instance::create());
  fmt::print("{}", json ? as_json(instance) : as_text(instance));
  return kOk;
}

}  // namespace

void add_devices(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("devices", "List the devices and partitions by URI");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Machine-readable, schema halyard-devices/1");
  command->callback([&body, json] { body = [json] { return run(*json); }; });
}

}  // namespace hal::cli
