// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/report.hpp"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

namespace hal::fabric {
namespace {

// Ids are plain by the reader's rules; only a topology's file name can hold anything.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

std::uint64_t Report::bytes() const noexcept {
  std::uint64_t sum = 0;
  for (const CircuitReport& c : circuits) { sum += c.bytes; }
  return sum;
}

Femtojoules Report::energy() const noexcept {
  Femtojoules sum = 0;
  for (const CircuitReport& c : circuits) { sum += c.energy; }
  return sum;
}

std::string to_json(const Report& report) {
  std::string out;
  auto to = std::back_inserter(out);
  fmt::format_to(
      to,
      "{{\"emulated\": true, \"what\": \"emulated optical plane; times and energy are modelled\", "
      "\"port\": {}, \"provider\": {}, \"topology\": {}, \"seed\": {}, \"permutation\": {}, \"reconfigurations\": {}, "
      "\"modelled_seconds\": {:.12f}, \"bytes\": {}, \"joules\": {:.15f}, \"circuits\": [",
      quoted(report.port), quoted(report.provider), quoted(report.topology), report.seed, quoted(report.permutation),
      report.reconfigurations, to_seconds(report.now), report.bytes(), to_joules(report.energy()));
  const char* separator = "";
  for (const CircuitReport& c : report.circuits) {
    fmt::format_to(
        to,
        "{}\n  {{\"circuit\": {}, \"from\": {}, \"to\": {}, \"switch\": {}, \"state\": \"{}\", \"lanes\": {}, "
        "\"lanes_carrying\": {}, \"gbps\": {:.3f}, \"rx_dbm\": {:.2f}, \"pre_fec_ber\": {:.2e}, "
        "\"bytes\": {}, \"transfers\": {}, \"busy_seconds\": {:.12f}, \"stalled_seconds\": {:.12f}, "
        "\"joules\": {:.15f}}}",
        separator, quoted(c.name), quoted(c.from_port), quoted(c.to_port), quoted(c.ocs), name_of(c.state), c.lanes,
        c.lanes_carrying, c.gbps, c.worst_rx_dbm, c.worst_pre_fec_ber, c.bytes, c.transfers, to_seconds(c.busy),
        to_seconds(c.stalled), to_joules(c.energy));
    separator = ",";
  }
  return out + "]}";
}

std::string to_text(const Report& report) {
  std::string out = fmt::format(
      "emulated optical plane {} (seed {}), permutation {}, {} reconfigurations, {:.3f} us modelled\n"
      "{:<20} {:<9} {:>6} {:>9} {:>14} {:>12} {:>12} {:>12}\n",
      report.topology, report.seed, report.permutation.empty() ? "none" : report.permutation, report.reconfigurations,
      to_microseconds(report.now), "circuit", "state", "lanes", "Gb/s", "bytes", "busy us", "stalled us",
      "microjoules");
  for (const CircuitReport& c : report.circuits) {
    fmt::format_to(std::back_inserter(out), "{:<20} {:<9} {:>3}/{:<2} {:>9.1f} {:>14} {:>12.3f} {:>12.3f} {:>12.3f}\n",
                   c.name, name_of(c.state), c.lanes_carrying, c.lanes, c.gbps, c.bytes, to_microseconds(c.busy),
                   to_microseconds(c.stalled), to_joules(c.energy) * 1e6);
  }
  return out;
}

}  // namespace hal::fabric
