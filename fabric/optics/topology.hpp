// SPDX-License-Identifier: Apache-2.0
// What an emulated optical plane is made of, read from a file of schema "photonic-plane/1" (docs/emulation/fabric.md
// has the format). The file may come from a stranger: everything in it is checked here, once.
#pragma once

#include "fabric/circuits/profile.hpp"
#include "fabric/optics/units.hpp"
#include "fabric/status.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hal::fabric {

inline constexpr unsigned kMaxLanes = 64;
inline constexpr unsigned kMaxRadix = 1024;
inline constexpr std::size_t kMaxModules = 4096;
inline constexpr std::size_t kMaxLightPaths = 65'536;

// An optical module: as many lanes (wavelengths) out as in, owned by one port.
struct ModuleSpec {
  std::string id;
  std::size_t port = 0;  // index into Topology::ports
  unsigned lanes = 8;
  std::uint64_t lane_mbps = 200'000;
  double tx_dbm = 1.0;                          // of each lane
  std::uint64_t femtojoules_per_byte = 24'800;  // both ends of the link together; 3.1 pJ a bit
};

struct OcsSpec {
  std::string id;
  unsigned radix = 0;
  std::size_t profile = 0;
  double loss_db = 0.0;
};

// One end of a fibre: a module, or a port of a circuit switch.
struct FibreEnd {
  bool is_module = true;
  std::size_t index = 0;  // of the module or the switch
  unsigned port = 0;      // of the switch
};

// A duplex cable: one strand each way.
struct FibreSpec {
  FibreEnd a;
  FibreEnd b;
  double metres = 0.0;
  double loss_db = 0.0;
};

// Light from one module's transmitters to another's receivers.
struct LightPath {
  std::size_t from = 0;
  std::size_t to = 0;
  friend bool operator==(const LightPath&, const LightPath&) = default;
};

struct Permutation {
  std::string name;
  std::vector<LightPath> paths;
};

struct Fault {
  enum class Kind { lane_dark, lane_light, ocs_port_stuck };
  Kind kind = Kind::lane_dark;
  Picoseconds at{0};
  std::size_t index = 0;  // of the module or the switch
  unsigned part = 0;      // lane, or port of the switch
};

struct Topology {
  std::string name;  // of the file, for messages
  std::uint64_t seed = 0;
  std::vector<std::string> ports;  // in order of first mention: the n-th is rank n's
  std::vector<SwitchProfile> profiles;
  std::vector<ModuleSpec> modules;
  std::vector<OcsSpec> switches;
  std::vector<FibreSpec> fibres;
  std::vector<Permutation> permutations;
  std::optional<std::size_t> initial;  // the permutation that is up when time begins
  std::vector<Fault> faults;           // by time

  std::optional<std::size_t> find_module(std::string_view id) const noexcept;
  std::optional<std::size_t> find_switch(std::string_view id) const noexcept;
  std::optional<std::size_t> find_permutation(std::string_view name) const noexcept;
};

// Errors: INVALID_ARGUMENT with "name:line:column: what was asked, what is allowed".
Result<Topology> parse_topology(std::string_view text, std::string_view name);

// Errors: NOT_FOUND if the file cannot be read; as parse_topology().
Result<Topology> load_topology(const std::string& path);

// The text of the built-in plane: `ports` ports h0, h1, ... and one switch of profile `siph`. Each port has a module
// for each other port, so "mesh", which is up at the start, joins all of them; "ring" joins each port to the next.
// Errors: INVALID_ARGUMENT unless 2 <= ports <= 16.
Result<std::string> built_in_topology(std::size_t ports);

// One fault in the form "lane-dark:m0/3@5000": what, where, when in microseconds.
// Errors: INVALID_ARGUMENT; NOT_FOUND if the topology has no such lane or port.
Result<Fault> parse_fault(const Topology& topology, std::string_view text);

}  // namespace hal::fabric
