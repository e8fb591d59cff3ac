// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/plane.hpp"

#include "fabric/optics/power_budget.hpp"
#include "fabric/optics/random.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace hal::fabric {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr double kTxSpreadDb = 0.3;                           // from lane to lane; ours
constexpr double kRelockSpread = 0.1;                         // from lock to lock; ours
constexpr auto kFixedRelock = std::chrono::milliseconds(50);  // a fibre without a switch, as profile mems
enum SpreadOf : std::uint64_t { kTxPower = 1, kRelock = 2 };

// Picoseconds that `bytes` take at `mbps`, rounded up.
Picoseconds time_for(std::uint64_t bytes, std::uint64_t mbps) {
  const Wide picoseconds = (Wide{bytes} * 8'000'000 + mbps - 1) / mbps;
  return Picoseconds(static_cast<std::int64_t>(picoseconds));
}

std::uint64_t bytes_in(Picoseconds span, std::uint64_t mbps) {
  return static_cast<std::uint64_t>(Wide{static_cast<std::uint64_t>(span.count())} * mbps / 8'000'000);
}

}  // namespace

Plane::Plane(Topology topology) : topology_(std::move(topology)) {
  for (const ModuleSpec& module : topology_.modules) { lanes_.emplace_back(module.lanes); }
  for (const OcsSpec& ocs : topology_.switches) { switches_.emplace_back(ocs.id, topology_.profiles[ocs.profile]); }
  make_circuits();
  for (const Fault& fault : topology_.faults) { inject_locked(fault); }
  if (topology_.initial) {
    // The plane begins with this permutation locked, as if it had been set long ago.
    const Permutation& first = topology_.permutations[*topology_.initial];
    permutation_ = first.name;
    std::vector<std::vector<CircuitSwitch::Cross>> wanted(switches_.size());
    for (const LightPath& path : first.paths) {
      const auto found = std::find_if(circuits_.begin(), circuits_.end(),
                                      [&](const Circuit& c) { return c.crossing && c.path == path; });
      wanted[found->crossing->ocs].push_back({found->crossing->in, found->crossing->out});
      found->begin({Picoseconds(0), Picoseconds(0), Picoseconds(0), {}});
    }
    for (std::size_t i = 0; i < switches_.size(); ++i) {
      CircuitSwitch::Change change;
      change.made = std::move(wanted[i]);
      switches_[i].commit(change);
    }
  }
}

void Plane::make_circuits() {
  struct Attachment {
    std::size_t ocs = 0;
    unsigned port = 0;
    double metres = 0.0, loss_db = 0.0;
  };
  std::map<std::size_t, Attachment> attached;
  for (const FibreSpec& fibre : topology_.fibres) {
    if (fibre.a.is_module && fibre.b.is_module) {
      add_circuit({fibre.a.index, fibre.b.index}, std::nullopt, fibre.metres, fibre.loss_db);
      add_circuit({fibre.b.index, fibre.a.index}, std::nullopt, fibre.metres, fibre.loss_db);
      continue;
    }
    const FibreEnd& module = fibre.a.is_module ? fibre.a : fibre.b;
    const FibreEnd& ocs = fibre.a.is_module ? fibre.b : fibre.a;
    attached[module.index] = {ocs.index, ocs.port, fibre.metres, fibre.loss_db};
  }
  for (const Permutation& permutation : topology_.permutations) {
    for (const LightPath& path : permutation.paths) {
      const Attachment& from = attached.at(path.from);
      const Attachment& to = attached.at(path.to);
      if (by_crossing_.contains({from.ocs, from.port, to.port})) { continue; }
      add_circuit(path, Crossing{from.ocs, from.port, to.port}, from.metres + to.metres,
                  from.loss_db + to.loss_db + topology_.switches[from.ocs].loss_db);
    }
  }
}

void Plane::add_circuit(LightPath path, std::optional<Crossing> crossing, double metres, double loss_db) {
  const ModuleSpec& from = topology_.modules[path.from];
  const ModuleSpec& to = topology_.modules[path.to];
  Circuit circuit;
  circuit.path = path;
  circuit.name = fmt::format("{}->{}", from.id, to.id);
  circuit.crossing = crossing;
  circuit.propagation = Picoseconds(std::llround(metres * kFibrePicosecondsPerMetre));
  circuit.loss_db = loss_db;
  circuit.lanes = std::min(from.lanes, to.lanes);
  circuit.lane_mbps = std::min(from.lane_mbps, to.lane_mbps);
  for (unsigned lane = 0; lane < circuit.lanes; ++lane) {
    const double spread = seeded_spread(topology_.seed, kTxPower, path.from * kMaxLanes + lane);
    circuit.rx_dbm.push_back(from.tx_dbm + kTxSpreadDb * spread - loss_db);
  }
  if (crossing) {
    by_crossing_.emplace(std::tuple(crossing->ocs, crossing->in, crossing->out), circuits_.size());
  } else {
    circuit.begin({Picoseconds(0), Picoseconds(0), Picoseconds(0), {}});
  }
  circuits_.push_back(std::move(circuit));
}

std::size_t Plane::circuit_at(std::size_t ocs, CircuitSwitch::Cross cross) const {
  return by_crossing_.at({ocs, cross.in, cross.out});
}

unsigned Plane::lanes_carrying(const Circuit& circuit, Picoseconds t) const {
  if (!circuit.up(t)) { return 0; }
  unsigned count = 0;
  for (unsigned lane = 0; lane < circuit.lanes; ++lane) {
    count += lanes_[circuit.path.from][lane].carries(t) && carries_data(circuit.rx_dbm[lane]) ? 1U : 0U;
  }
  return count;
}

std::uint64_t Plane::rate_mbps(const Circuit& circuit, Picoseconds t) const {
  return circuit.lane_mbps * lanes_carrying(circuit, t);
}

Picoseconds Plane::next_change(const Circuit& circuit, Picoseconds t) const {
  Picoseconds next = circuit.next_change(t);
  for (unsigned lane = 0; lane < circuit.lanes; ++lane) {
    next = std::min(next, lanes_[circuit.path.from][lane].next_change(t));
  }
  return next;
}

CircuitState Plane::state(const Circuit& circuit, Picoseconds t) const {
  const Circuit::Phase* phase = circuit.phase(t);
  if (phase == nullptr) { return CircuitState::dark; }
  if (!phase->failure.empty()) { return CircuitState::failed; }
  if (phase->light_at == kNever) { return CircuitState::dark; }
  if (t < phase->light_at) { return CircuitState::switching; }
  if (t < phase->up_at) { return CircuitState::locking; }
  const unsigned carrying = lanes_carrying(circuit, t);
  if (carrying == circuit.lanes) { return CircuitState::up; }
  return carrying == 0 ? CircuitState::failed : CircuitState::degraded;
}

Plane::Plan Plane::plan(const Circuit& circuit, std::uint64_t bytes, Picoseconds start) const {
  Plan plan;
  Picoseconds t = std::max(start, circuit.busy_until);
  plan.started = kNever;
  while (t <= kHorizon) {
    const std::uint64_t mbps = rate_mbps(circuit, t);
    const Picoseconds next = next_change(circuit, t);
    if (mbps == 0) {
      if (next == kNever) { return plan; }
      plan.stalled += next - t;
      t = next;
      continue;
    }
    if (plan.started == kNever) { plan.started = t; }
    const Picoseconds needed = time_for(bytes, mbps);
    if (next == kNever || needed <= next - t) {
      plan.busy += needed;
      plan.sent = t + needed;
      plan.possible = true;
      return plan;
    }
    // A lane or the path changes on the way: the rest goes at the new rate.
    bytes -= std::min(bytes, bytes_in(next - t, mbps));
    plan.busy += next - t;
    t = next;
  }
  return plan;
}

Result<void> Plane::check_ports(std::size_t from_port, std::size_t to_port, Picoseconds t) const {
  if (t < Picoseconds(0) || t > kHorizon) {
    return fail(HAL_OUT_OF_RANGE, "virtual time {} ps is outside the emulated plane's 46 days", t.count());
  }
  if (from_port >= topology_.ports.size() || to_port >= topology_.ports.size()) {
    return fail(HAL_INVALID_ARGUMENT, "the emulated plane {} has {} ports, asked for {} to {}", topology_.name,
                topology_.ports.size(), from_port, to_port);
  }
  if (from_port == to_port) {
    return fail(HAL_INVALID_ARGUMENT, "port {} has no light path to itself", topology_.ports[from_port]);
  }
  return {};
}

std::unexpected<Failure> Plane::no_path(std::size_t from_port, std::size_t to_port, Picoseconds t) const {
  std::vector<std::string> dark;
  for (const Circuit& c : circuits_) {
    if (topology_.modules[c.path.from].port != from_port || topology_.modules[c.path.to].port != to_port) { continue; }
    const Circuit::Phase* phase = c.phase(t);
    const char* why = phase == nullptr || phase->light_at == kNever ? "not part of the permutation that is set"
                                                                    : "no lane carries data";
    dark.push_back(fmt::format("{} ({})", c.name, phase != nullptr && !phase->failure.empty() ? phase->failure : why));
  }
  const std::string set = permutation_.empty() ? "no permutation is set" : fmt::format("\"{}\" is set", permutation_);
  if (dark.empty()) {
    return fail(HAL_UNAVAILABLE, "no permutation of the emulated plane {} joins port {} to {}; {}", topology_.name,
                topology_.ports[from_port], topology_.ports[to_port], set);
  }
  return fail(HAL_UNAVAILABLE, "no light from port {} to {} on the emulated plane, now or later; {}; dark: {}",
              topology_.ports[from_port], topology_.ports[to_port], set, fmt::join(dark, ", "));
}

Result<TransferTimes> Plane::transfer(std::size_t from_port, std::size_t to_port, std::uint64_t bytes,
                                      Picoseconds start) {
  HAL_FABRIC_CHECK(check_ports(from_port, to_port, start));
  if (bytes > kMaxTransferBytes) {
    return fail(HAL_INVALID_ARGUMENT, "{} bytes in one transfer, the limit is {}", bytes, kMaxTransferBytes);
  }
  const std::lock_guard lock(mutex_);
  Circuit* best = nullptr;
  Plan chosen;
  for (Circuit& c : circuits_) {
    if (topology_.modules[c.path.from].port != from_port || topology_.modules[c.path.to].port != to_port) { continue; }
    const Plan candidate = plan(c, bytes, start);
    if (candidate.possible && (best == nullptr || candidate.sent + c.propagation < chosen.sent + best->propagation)) {
      best = &c;
      chosen = candidate;
    }
  }
  if (best == nullptr) { return no_path(from_port, to_port, start); }
  TransferTimes times{chosen.started, chosen.sent, chosen.sent + best->propagation, best->name};
  best->busy_until = chosen.sent;
  best->busy += chosen.busy;
  best->stalled += chosen.stalled;
  best->bytes += bytes;
  best->transfers += 1;
  best->energy += bytes * topology_.modules[best->path.from].femtojoules_per_byte;
  now_ = std::max(now_, times.arrived);
  return times;
}

Result<Picoseconds> Plane::propagation(std::size_t from_port, std::size_t to_port, Picoseconds t) const {
  HAL_FABRIC_CHECK(check_ports(from_port, to_port, t));
  const std::lock_guard lock(mutex_);
  Picoseconds best = kNever;
  for (const Circuit& c : circuits_) {
    if (topology_.modules[c.path.from].port != from_port || topology_.modules[c.path.to].port != to_port) { continue; }
    if (plan(c, 0, t).possible) { best = std::min(best, c.propagation); }
  }
  if (best == kNever) { return no_path(from_port, to_port, t); }
  return best;
}

Result<Reconfiguration> Plane::apply(std::string_view permutation, Picoseconds start) {
  const auto found = topology_.find_permutation(permutation);
  if (!found) {
    std::vector<std::string_view> names;
    for (const Permutation& p : topology_.permutations) { names.emplace_back(p.name); }
    return fail(HAL_NOT_FOUND, "the emulated plane {} has no permutation \"{}\"; it has {}", topology_.name,
                permutation, names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
  }
  const std::lock_guard lock(mutex_);
  return apply_locked(topology_.permutations[*found], start);
}

Result<Reconfiguration> Plane::apply_locked(const Permutation& permutation, Picoseconds start) {
  Reconfiguration result;
  std::vector<std::vector<CircuitSwitch::Cross>> wanted(switches_.size());
  for (const LightPath& path : permutation.paths) {
    const auto found = std::find_if(circuits_.begin(), circuits_.end(),
                                    [&](const Circuit& c) { return c.crossing && c.path == path; });
    wanted[found->crossing->ocs].push_back({found->crossing->in, found->crossing->out});
  }
  // Whoever moves must be idle first: the change begins when the last of them has drained.
  Picoseconds at = start;
  for (std::size_t i = 0; i < switches_.size(); ++i) {
    const CircuitSwitch::Change change = switches_[i].plan(wanted[i], start);
    for (const auto* list : {&change.removed, &change.disturbed}) {
      for (const CircuitSwitch::Cross cross : *list) { at = std::max(at, circuits_[circuit_at(i, cross)].busy_until); }
    }
  }
  if (start < Picoseconds(0) || at > kHorizon) {
    return fail(HAL_OUT_OF_RANGE, "virtual time {} ps is outside the emulated plane's 46 days", at.count());
  }
  // Made aside: where there is no memory for all of it nothing has changed.
  std::vector<CircuitSwitch> switches = switches_;
  std::vector<Circuit> circuits = circuits_;
  std::string name = permutation.name;
  result.started = at;
  result.finished = at;
  bool moved = false;
  for (std::size_t i = 0; i < switches.size(); ++i) {
    CircuitSwitch& ocs = switches[i];
    const CircuitSwitch::Change change = ocs.plan(wanted[i], at);
    for (const CircuitSwitch::Cross cross : change.removed) {
      Circuit& c = circuits[circuit_at(i, cross)];
      c.begin({at, kNever, kNever, {}});
      result.moved.push_back({c.name, kNever});
    }
    for (const auto* list : {&change.made, &change.disturbed}) {
      for (const CircuitSwitch::Cross cross : *list) {
        const std::size_t index = circuit_at(i, cross);
        Circuit& c = circuits[index];
        const double spread = seeded_spread(topology_.seed, kRelock, reconfigurations_ * circuits_.size() + index);
        const auto relock = std::chrono::duration_cast<Picoseconds>(std::chrono::duration<double, std::pico>(
            static_cast<double>(ocs.profile().relock_time.count()) * (1.0 + kRelockSpread * spread)));
        const Picoseconds light_at = at + ocs.profile().switch_time;
        c.begin({at, light_at, light_at + relock, {}});
        result.moved.push_back({c.name, light_at + relock - at});
        result.finished = std::max(result.finished, light_at + relock);
      }
    }
    for (const CircuitSwitch::Refused& refused : change.refused) {
      Circuit& c = circuits[circuit_at(i, refused.cross)];
      c.begin({at, kNever, kNever, refused.why});
      result.failed.push_back(fmt::format("{}: {}", c.name, refused.why));
    }
    moved = moved || !(change.removed.empty() && change.made.empty());
    ocs.commit(change);
  }
  switches_.swap(switches);
  circuits_.swap(circuits);
  permutation_.swap(name);
  reconfigurations_ += moved ? 1 : 0;
  now_ = std::max(now_, result.finished);
  return result;
}

Picoseconds Plane::relock_of(std::size_t module) const {
  for (const Circuit& c : circuits_) {
    if (c.path.from == module && c.crossing) { return switches_[c.crossing->ocs].profile().relock_time; }
  }
  return kFixedRelock;
}

void Plane::inject_locked(const Fault& fault) {
  if (fault.kind == Fault::Kind::ocs_port_stuck) {
    switches_[fault.index].stick(fault.part, fault.at);
  } else {
    lanes_[fault.index][fault.part].set(fault.at, fault.kind == Fault::Kind::lane_light, relock_of(fault.index));
  }
}

void Plane::inject(const Fault& fault) {
  const std::lock_guard lock(mutex_);
  inject_locked(fault);
}

Picoseconds Plane::now() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

void Plane::advance(Picoseconds t) {
  const std::lock_guard lock(mutex_);
  now_ = std::max(now_, std::min(t, kHorizon));
}

Report Plane::report() const {
  const std::lock_guard lock(mutex_);
  Report report;
  report.topology = topology_.name;
  report.permutation = permutation_;
  report.now = now_;
  report.seed = topology_.seed;
  report.reconfigurations = reconfigurations_;
  for (const Circuit& c : circuits_) {
    if (!c.ever_lit() && c.phase(now_) == nullptr) { continue; }
    CircuitReport& out = report.circuits.emplace_back();
    out.name = c.name;
    out.from_port = topology_.ports[topology_.modules[c.path.from].port];
    out.to_port = topology_.ports[topology_.modules[c.path.to].port];
    out.ocs = c.crossing ? switches_[c.crossing->ocs].id() : std::string();
    out.state = state(c, now_);
    out.lanes = c.lanes;
    out.lanes_carrying = lanes_carrying(c, now_);
    out.gbps = static_cast<double>(rate_mbps(c, now_)) / 1e3;
    out.worst_rx_dbm = *std::min_element(c.rx_dbm.begin(), c.rx_dbm.end());
    out.worst_pre_fec_ber = pre_fec_ber(out.worst_rx_dbm);
    out.bytes = c.bytes;
    out.transfers = c.transfers;
    out.busy = c.busy;
    out.stalled = c.stalled;
    out.energy = c.energy;
  }
  return report;
}

}  // namespace hal::fabric
