// SPDX-License-Identifier: Apache-2.0
// A device's clock on the host's: a line through what both showed at about the same time, kept inside what cannot be
// otherwise (work begins after it was handed over and ends before it was seen to have ended).
#pragma once

#include <cstdint>
#include <vector>

namespace hal::layers::trace {

class DeviceClock {
 public:
  // The device showed `device` ns at some time from `before` to `after`, on the host's clock in ns.
  void pair(std::int64_t before, std::int64_t after, std::uint64_t device) {
    pairs_.push_back({device, before, after});
  }
  // A stamp of a piece of work that lay between the two.
  void stamp(std::uint64_t device, std::int64_t from, std::int64_t to) { stamps_.push_back({device, from, to}); }
  // All pairs and stamps are known.
  void fit();

  struct Slice {
    std::int64_t begin, end;
  };
  // Where the work between two stamps lies; the bounds as above.
  Slice place(std::uint64_t begin, std::uint64_t end, std::int64_t from, std::int64_t to) const;

  std::size_t pairs() const { return pairs_.size(); }
  std::int64_t tightest() const { return tightest_; }  // ns between the two looks at the host's clock
  double rate() const { return rate_; }                // ns of the host in one of the device
  // ns: no pair is further off the line than that.
  std::int64_t uncertainty() const { return uncertainty_; }
  // False: the clock stands still or runs on its own (an emulated device's virtual time), so no line says anything.
  bool runs_with_host() const { return runs_with_host_; }

 private:
  struct Known {
    std::uint64_t device;
    std::int64_t from, to;
  };
  Known bounds(std::uint64_t device, std::int64_t from, std::int64_t to) const;
  std::int64_t on_line(std::uint64_t device) const;

  std::vector<Known> pairs_, stamps_;  // stamps by device time
  std::vector<std::int64_t> latest_from_, earliest_to_;
  Known origin_{};
  double rate_ = 1, offset_ = 0;
  std::int64_t tightest_ = 0, uncertainty_ = 0;
  bool runs_with_host_ = false;
};

}  // namespace hal::layers::trace
