// SPDX-License-Identifier: Apache-2.0
// A machine as hwloc reads it, kept in our own terms.
#pragma once

#include <hwloc.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hal/driver.h"
#include "hal/result.hpp"
#include "hal/topology.h"

struct hal_topology {
  hal_object object;
};

namespace hal::topology {

struct Unload {
  void operator()(hwloc_topology* loaded) const { hwloc_topology_destroy(loaded); }
};
struct Free {
  void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, Free>;
using Loaded = std::unique_ptr<hwloc_topology, Unload>;

class Machine : public hal_topology {
 public:
  struct Node {
    std::uint64_t memory_bytes;
    std::string cpus;
    std::uint32_t cpu_count, package, os_index;
  };

  static Result<Machine*> open(const char* source);

  hal_topology_info describe() const;
  const std::vector<Node>& nodes() const { return nodes_; }
  Result<hal_topology_distance> distance(std::uint32_t from, std::uint32_t to) const;
  // Without an address: a device that hangs nowhere, and why.
  Result<hal_locality> locate(std::uint64_t pci_address);
  hal_locality nowhere(const std::string& why);
  Result<hal_locality> locate(hal_device* device);
  Result<void> pin(std::uint32_t node) const;

 private:
  Machine() = default;
  static void dispose(hal_object* object);
  void read_nodes();
  Result<hwloc_topology*> with_pci();
  const char* keep(std::string text);

  std::string source_;
  Loaded loaded_;
  bool is_this_machine_ = false;
  Bitmap allowed_;  // the CPUs of the thread that opened this machine
  std::vector<Node> nodes_;
  std::vector<std::uint64_t> latencies_;  // nodes x nodes; empty if the firmware has no table

  std::mutex mutex_;  // of what is found later
  Loaded pci_;
  std::deque<std::string> texts_;
};

// SVG text of a machine with devices, each a label and its place.
struct Placed {
  std::string label;
  hal_locality place;
};
std::string draw(const Machine& machine, const std::vector<Placed>& devices);

}  // namespace hal::topology
