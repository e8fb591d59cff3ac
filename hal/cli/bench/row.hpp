// SPDX-License-Identifier: Apache-2.0
// What is measured on each device, against what limit, beside which peers, and what it must reach.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hal/hal.hpp"

namespace hal::cli::bench {

class PeerProgram;

/// One repetition: nanoseconds of one operation.
using Once = std::function<Result<double>()>;

/// Somebody who does the same work. Not ours.
struct Subject {
  std::string name;
  Once once;
  std::string missing;                     // why it cannot be measured here; empty if it can
  std::shared_ptr<PeerProgram> program{};  // that does the work, and stands still otherwise; null: this one
};

/// What a row must reach. A speed of 0.95 means: takes at most 1/0.95 of the other's time.
struct Target {
  enum class Kind { none, at_most, over, speed, times };
  Kind kind = Kind::none;
  double value = 0;  // at_most: ns; over: ns above `of`; speed: least speed by `of`'s; times: most of `of`'s time
  std::string of;    // the limit's or a peer's name

  static Target at_most(double ns) { return {Kind::at_most, ns, {}}; }
  static Target over(double ns, std::string of) { return {Kind::over, ns, std::move(of)}; }
  static Target speed(double least, std::string of) { return {Kind::speed, least, std::move(of)}; }
  static Target times(double most, std::string of) { return {Kind::times, most, std::move(of)}; }
};

struct Row {
  std::string name, device;
  bool emulated = false;
  Once ours;
  std::string missing;  // why ours cannot be measured
  Subject limit;        // what the machine itself allows; no name: none is known
  std::vector<Subject> peers{};
  Target target{};
};

// ---- the rows, by theme. Each keeps what it needs alive.

/// Any device: what its driver can do of commands, launches, copies and fills.
Result<std::vector<Row>> device_rows(const Device& device);
/// The host: submitting, waiting, replaying, recording, work in flight.
Result<std::vector<Row>> submit_rows(const Instance& instance, const Device& host);
/// The host: copies, fills, buffers from a warm pool.
Result<std::vector<Row>> memory_rows(const Device& host);
/// The host: matrix products and softmax.
Result<std::vector<Row>> math_rows(const Device& host);
/// Opening an instance, crossing into the library, tracing.
Result<std::vector<Row>> library_rows(const Device& host);

/// A kernel of the host that does nothing, with the manifest's arguments: a scalar and two buffers.
Result<Entry> empty_kernel(const Device& host);
/// Two small buffers for its arguments.
struct EmptyArguments {
  Buffer x, y;
  std::array<Arg, 3> all() const { return {Arg(1.0F), Arg(x), Arg(y)}; }
};
Result<EmptyArguments> empty_arguments(const Device& host);

}  // namespace hal::cli::bench
