// SPDX-License-Identifier: Apache-2.0
// The emulated optical plane: what light would have done, in virtual time, with the bytes that somebody else moved.
// Nothing here sleeps or reads a clock: the same topology, seed and calls give the same times, bytes and energy.
#pragma once

#include "fabric/circuits/circuit.hpp"
#include "fabric/circuits/circuit_switch.hpp"
#include "fabric/optics/lane.hpp"
#include "fabric/optics/report.hpp"
#include "fabric/optics/topology.hpp"

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace hal::fabric {

inline constexpr std::uint64_t kMaxTransferBytes = std::uint64_t{1} << 40;

struct TransferTimes {
  Picoseconds started{0};  // first bit leaves
  Picoseconds sent{0};     // last bit left
  Picoseconds arrived{0};  // last bit is there
  std::string circuit;
};

struct Reconfiguration {
  Picoseconds started{0};   // after traffic on the paths that move has drained
  Picoseconds finished{0};  // every circuit that was made has locked
  struct Moved {
    std::string circuit;
    Picoseconds dark_for = kNever;  // kNever: taken down
  };
  std::vector<Moved> moved;
  std::vector<std::string> failed;  // "m0->m1: port 3 of circuit switch o0 is stuck"
};

// All functions may be called from any thread.
class Plane {
 public:
  explicit Plane(Topology topology);

  const Topology& topology() const noexcept { return topology_; }

  // Sends bytes from one port to another over whichever circuit delivers first, not before `start`. Waits, in virtual
  // time, for light that is on its way. Errors: UNAVAILABLE  no circuit joins the ports, or none of them will have
  // light; INVALID_ARGUMENT  no such port, one port twice, or bytes above kMaxTransferBytes; OUT_OF_RANGE  a start
  // after kHorizon.
  Result<TransferTimes> transfer(std::size_t from_port, std::size_t to_port, std::uint64_t bytes, Picoseconds start);

  // How long light takes from one port to another now or when next lit. Errors: as transfer().
  Result<Picoseconds> propagation(std::size_t from_port, std::size_t to_port, Picoseconds t) const;

  // Sets every switch to exactly this permutation. Circuits that are in both stay lit if the switch is hitless.
  // Errors: NOT_FOUND  with the names there are; OUT_OF_RANGE  a start after kHorizon. A path that cannot be made is in
  // the answer, not an error.
  Result<Reconfiguration> apply(std::string_view permutation, Picoseconds start);

  // "Pull this laser", and its kin. May be dated in the past of some transfers; those keep their times.
  void inject(const Fault& fault);

  Report report() const;
  Picoseconds now() const;  // the latest time that anything has reached
  // Somebody else's time reached us with a message.
  void advance(Picoseconds t);

 private:
  struct Plan {
    bool possible = false;
    Picoseconds started{0}, sent{0}, stalled{0}, busy{0};
  };

  void make_circuits();
  void add_circuit(LightPath path, std::optional<Crossing> crossing, double metres, double loss_db);
  std::uint64_t rate_mbps(const Circuit& circuit, Picoseconds t) const;
  unsigned lanes_carrying(const Circuit& circuit, Picoseconds t) const;
  Picoseconds next_change(const Circuit& circuit, Picoseconds t) const;
  CircuitState state(const Circuit& circuit, Picoseconds t) const;
  Plan plan(const Circuit& circuit, std::uint64_t bytes, Picoseconds start) const;
  Result<void> check_ports(std::size_t from_port, std::size_t to_port, Picoseconds t) const;
  std::unexpected<Failure> no_path(std::size_t from_port, std::size_t to_port, Picoseconds t) const;
  Result<Reconfiguration> apply_locked(const Permutation& permutation, Picoseconds start);
  void inject_locked(const Fault& fault);
  Picoseconds relock_of(std::size_t module) const;
  std::size_t circuit_at(std::size_t ocs, CircuitSwitch::Cross cross) const;

  const Topology topology_;
  mutable std::mutex mutex_;
  std::vector<std::vector<Lane>> lanes_;  // by module
  std::vector<CircuitSwitch> switches_;
  std::vector<Circuit> circuits_;  // every light path that some permutation or fibre can make
  std::map<std::tuple<std::size_t, unsigned, unsigned>, std::size_t> by_crossing_;
  std::string permutation_;  // the last one applied
  std::uint64_t reconfigurations_ = 0;
  Picoseconds now_{0};
};

}  // namespace hal::fabric
