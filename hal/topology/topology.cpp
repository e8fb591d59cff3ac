// SPDX-License-Identifier: Apache-2.0
// The C functions of hal/topology.h.
#include "hal/topology.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "topology/machine.hpp"

using hal::topology::Machine;

namespace {

// Runs `body`, which returns Result<void>; no exception leaves.
template <class Body>
hal_error* guarded(const char* function, std::initializer_list<const void*> pointers, Body body) {
  try {
    for (const void* pointer : pointers) {
      if (pointer == nullptr) {
        return hal::Error(HAL_INVALID_ARGUMENT, std::string(function) + "(): a required pointer is NULL").release();
      }
    }
    hal::Result<void> result = body();
    return result ? nullptr : std::move(result).error().release();
  } catch (const std::bad_alloc&) {
    return hal::Error(HAL_OUT_OF_HOST_MEMORY, std::string(function) + "(): the host has no memory left").release();
  } catch (const std::exception& problem) {
    return hal::Error(HAL_INTERNAL, std::string(function) + "(): " + problem.what()).release();
  }
}

Machine* cast(hal_topology* handle) { return static_cast<Machine*>(handle); }
const Machine* cast(const hal_topology* handle) { return static_cast<const Machine*>(handle); }

}  // namespace

extern "C" hal_error* hal_topology_open(const char* source, hal_topology** out) {
  return guarded("hal_topology_open", {out}, [&]() -> hal::Result<void> {
    HAL_TRY(*out, Machine::open(source));
    return {};
  });
}

extern "C" hal_topology_info hal_topology_describe(const hal_topology* topology) {
  return topology != nullptr ? cast(topology)->describe() : hal_topology_info{"", 0, 0, 0, 0, 0};
}

extern "C" hal_error* hal_topology_node_at(const hal_topology* topology, std::uint32_t i, hal_topology_node* out) {
  return guarded("hal_topology_node_at", {topology, out}, [&]() -> hal::Result<void> {
    const auto& nodes = cast(topology)->nodes();
    if (i >= nodes.size()) {
      return hal::Error(HAL_OUT_OF_RANGE, "hal_topology_node_at(): node " + std::to_string(i) + " of a machine with " +
                                              std::to_string(nodes.size()));
    }
    const Machine::Node& node = nodes[i];
    *out = {node.memory_bytes, node.cpus.c_str(), node.cpu_count, node.package, node.os_index};
    return {};
  });
}

extern "C" hal_error* hal_topology_distance_between(const hal_topology* topology, std::uint32_t from, std::uint32_t to,
                                                    hal_topology_distance* out) {
  return guarded("hal_topology_distance_between", {topology, out}, [&]() -> hal::Result<void> {
    HAL_TRY(*out, cast(topology)->distance(from, to));
    return {};
  });
}

extern "C" hal_error* hal_topology_locate(hal_topology* topology, hal_device* device, hal_locality* out) {
  return guarded("hal_topology_locate", {topology, device, out}, [&]() -> hal::Result<void> {
    HAL_TRY(*out, cast(topology)->locate(device));
    return {};
  });
}

extern "C" hal_error* hal_topology_locate_pci(hal_topology* topology, std::uint64_t address, hal_locality* out) {
  return guarded("hal_topology_locate_pci", {topology, out}, [&]() -> hal::Result<void> {
    HAL_TRY(*out, cast(topology)->locate(address));
    return {};
  });
}

extern "C" hal_error* hal_topology_pin(const hal_topology* topology, std::uint32_t node) {
  return guarded("hal_topology_pin", {topology}, [&] { return cast(topology)->pin(node); });
}

extern "C" hal_error* hal_topology_draw(hal_topology* topology, hal_device* const* devices, std::uint32_t count,
                                        char** out) {
  return guarded("hal_topology_draw", {topology, out}, [&]() -> hal::Result<void> {
    if (devices == nullptr && count != 0) {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_topology_draw(): 'devices' is NULL");
    }
    std::vector<hal::topology::Placed> placed;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (devices[i] == nullptr) {
        return hal::Error(HAL_INVALID_ARGUMENT, "hal_topology_draw(): device " + std::to_string(i) + " is NULL");
      }
      HAL_TRY(const hal_locality place, cast(topology)->locate(devices[i]));
      const hal_device_info info = hal_device_describe(devices[i]);
      placed.push_back({std::string(info.uri) + "  " + info.name, place});
    }
    const std::string text = hal::topology::draw(*cast(topology), placed);
    auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
    if (copy == nullptr) { throw std::bad_alloc(); }
    std::memcpy(copy, text.c_str(), text.size() + 1);
    *out = copy;
    return {};
  });
}
