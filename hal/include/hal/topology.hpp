// SPDX-License-Identifier: Apache-2.0
// The C++ face of hal/topology.h, where everything is described.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hal/device.hpp"
#include "hal/topology.h"

namespace hal {

class Topology : public Handle<hal_topology> {
 public:
  using Node = hal_topology_node;
  using Distance = hal_topology_distance;
  using Locality = hal_locality;
  using Handle::Handle;

  // "xml:PATH" or "synthetic:TEXT"; nothing is this machine.
  static Result<Topology> open(const std::optional<std::string>& source = {}) {
    hal_topology* out = nullptr;
    HAL_CHECK(check(hal_topology_open(source ? source->c_str() : nullptr, &out)));
    return Topology(out);
  }

  hal_topology_info info() const { return hal_topology_describe(get()); }
  std::vector<Node> nodes() const {
    std::vector<Node> out(info().nodes);
    for (std::uint32_t i = 0; i < out.size(); ++i) { check(hal_topology_node_at(get(), i, &out[i])).value(); }
    return out;
  }
  // Errors: OUT_OF_RANGE  no such node.
  Result<Distance> distance(std::uint32_t from, std::uint32_t to) const {
    Distance out{};
    HAL_CHECK(check(hal_topology_distance_between(get(), from, to, &out)));
    return out;
  }
  // Errors: NOT_FOUND  the topology lacks the device's PCI address.
  Result<Locality> locate(const Device& device) const {
    Locality out{};
    HAL_CHECK(check(hal_topology_locate(get(), device.get(), &out)));
    return out;
  }
  Result<Locality> locate_pci(std::uint64_t address) const {
    Locality out{};
    HAL_CHECK(check(hal_topology_locate_pci(get(), address, &out)));
    return out;
  }
  // The calling thread. Errors: OUT_OF_RANGE, UNSUPPORTED, UNAVAILABLE.
  Result<void> pin(std::uint32_t node = HAL_ANY_NODE) const { return check(hal_topology_pin(get(), node)); }

  Result<std::string> draw(std::span<const Device> devices = {}) const {
    std::vector<hal_device*> handles;
    for (const Device& device : devices) { handles.push_back(device.get()); }
    char* text = nullptr;
    HAL_CHECK(check(hal_topology_draw(get(), handles.data(), static_cast<std::uint32_t>(handles.size()), &text)));
    std::string out(text);
    hal_free_text(text);
    return out;
  }
};

}  // namespace hal
