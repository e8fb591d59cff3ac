// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/table.hpp"
#include "fabric/port/port.hpp"

namespace hal::fabric {
namespace {

const hal_driver_ops kOps = [] {
  hal_driver_ops ops = HAL_KIT_REQUIRED(Driver, kOrigin);
  ops.number = number;
  ops.lane_cancel = lane_cancel;
  ops.report = report;
  ops.memory_export = memory_export;
  ops.address = address;
  ops.peer_connect = peer_connect;
  ops.peer_close = peer_close;
  return ops;
}();

}  // namespace

// Cheap: a topology file is read if one is named; libfabric is not opened.
Discovery discover(const Driver& driver) {
  Discovery found;
  auto world = read_world([&](const char* name) { return driver.setting(name); });
  if (!world) {
    found.reason = world.error().what;
    return found;
  }
  found.world = *std::move(world);
  if (const char* path = driver.setting("HALYARD_FABRIC_TOPOLOGY"); path != nullptr && *path != 0) {
    found.topology = path;
    const auto topology = load_topology(found.topology);
    if (!topology) {
      found.reason = topology.error().what;
      return found;
    }
    found.ports = topology->ports.size();
    if (found.ports < 2) { found.reason = fmt::format("{} describes one port; a fabric needs two", found.topology); }
  } else {
    found.ports = found.world.size > 1 ? found.world.size : 2;
    if (const auto built_in = built_in_topology(found.ports); !built_in) { found.reason = built_in.error().what; }
  }
  if (found.world.size > found.ports) {
    found.reason =
        fmt::format("{} ranks were launched, and {} has {} ports", found.world.size, found.topology, found.ports);
  }
  return found;
}

}  // namespace hal::fabric

extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  using namespace hal::fabric;
  return hal::kit::enter(host, kOrigin, [&]() -> hal_error* {
    auto driver = std::make_unique<Driver>();
    driver->ops = &kOps;
    driver->host = host;
    driver->discovery = discover(*driver);
    const Discovery& found = driver->discovery;
    // The launched rank's own port, or all ports of the plane.
    const std::size_t devices = found.world.size > 1 || !found.reason.empty() ? 1 : found.ports;
    for (std::uint32_t i = 0; i < devices; ++i) {
      driver->uris.push_back(fmt::format("{}:{}", kOrigin, i));
      driver->names.push_back(fmt::format("Photonic port {} of {} (emulated)", driver->rank_of(i), found.ports));
    }
    *out = driver.release();
    return nullptr;
  });
}
