// SPDX-License-Identifier: Apache-2.0
// Bytes, modelled seconds and modelled joules by circuit.
#pragma once

#include "fabric/circuits/circuit.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace hal::fabric {

struct CircuitReport {
  std::string name;
  std::string from_port, to_port;
  std::string ocs;  // empty: a fixed fibre
  CircuitState state = CircuitState::dark;
  unsigned lanes = 0, lanes_carrying = 0;
  double gbps = 0.0;  // now
  double worst_rx_dbm = 0.0;
  double worst_pre_fec_ber = 0.0;
  std::uint64_t bytes = 0, transfers = 0;
  Picoseconds busy{0}, stalled{0};
  Femtojoules energy = 0;
};

struct Report {
  std::string topology;
  std::string port;  // whose report it is, and what carries its bytes; may be empty
  std::string provider;
  std::string permutation;
  Picoseconds now{0};
  std::uint64_t seed = 0;
  std::uint64_t reconfigurations = 0;
  std::vector<CircuitReport> circuits;  // those that were ever lit

  std::uint64_t bytes() const noexcept;
  Femtojoules energy() const noexcept;
};

// Both say "emulated" first.
std::string to_json(const Report& report);
std::string to_text(const Report& report);

}  // namespace hal::fabric
