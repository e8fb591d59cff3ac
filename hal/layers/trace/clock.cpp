// SPDX-License-Identifier: Apache-2.0
#include "layers/trace/clock.hpp"

#include <algorithm>
#include <cmath>

namespace hal::layers::trace {
namespace {

// No running clock is further off; what looks further off does not run with the host's.
constexpr double kMostDrift = 0.01;

}  // namespace

void DeviceClock::fit() {
  const auto by_device = [](const Known& a, const Known& b) { return a.device < b.device; };
  std::sort(stamps_.begin(), stamps_.end(), by_device);
  latest_from_.resize(stamps_.size());
  earliest_to_.resize(stamps_.size());
  for (std::size_t i = 0; i < stamps_.size(); ++i) {
    latest_from_[i] = i == 0 ? stamps_[i].from : std::max(latest_from_[i - 1], stamps_[i].from);
  }
  for (std::size_t i = stamps_.size(); i-- > 0;) {
    earliest_to_[i] = i + 1 == stamps_.size() ? stamps_[i].to : std::min(earliest_to_[i + 1], stamps_[i].to);
  }
  if (pairs_.empty()) { return; }

  const auto width = [](const Known& pair) { return pair.to - pair.from; };
  origin_ = *std::min_element(pairs_.begin(), pairs_.end(),
                              [&](const Known& a, const Known& b) { return width(a) < width(b); });
  tightest_ = width(origin_);
  // Of looks that were interrupted nothing is learned.
  std::vector<Known> good;
  std::copy_if(pairs_.begin(), pairs_.end(), std::back_inserter(good),
               [&](const Known& pair) { return width(pair) <= 4 * tightest_ + 1000; });
  const auto x = [&](const Known& pair) {
    return static_cast<double>(static_cast<std::int64_t>(pair.device - origin_.device));
  };
  const auto y = [&](const Known& pair) {
    return static_cast<double>(pair.from - origin_.from) + static_cast<double>(width(pair)) / 2;
  };
  const auto weight = [&](const Known& pair) { return 1 / std::pow(static_cast<double>(width(pair)) + 50, 2); };
  double sum = 0, mean_x = 0, mean_y = 0, earliest = 0, last = 0;
  for (const Known& pair : good) {
    sum += weight(pair);
    mean_x += weight(pair) * x(pair);
    mean_y += weight(pair) * y(pair);
    earliest = std::min(earliest, y(pair));
    last = std::max(last, y(pair));
  }
  mean_x /= sum;
  mean_y /= sum;
  const double span = last - earliest;
  double xx = 0, xy = 0;
  for (const Known& pair : good) {
    xx += weight(pair) * (x(pair) - mean_x) * (x(pair) - mean_x);
    xy += weight(pair) * (x(pair) - mean_x) * (y(pair) - mean_y);
  }
  // Over a short time the width of the pairs would pass for drift.
  const bool long_enough = span * kMostDrift > 2 * static_cast<double>(tightest_);
  if (long_enough && xx > 0) { rate_ = std::clamp(xy / xx, 1 - kMostDrift, 1 + kMostDrift); }
  offset_ = mean_y - rate_ * mean_x;
  double off = 0;
  for (const Known& pair : good) {
    off = std::max(off, std::abs(y(pair) - rate_ * x(pair) - offset_) + static_cast<double>(width(pair)) / 2);
  }
  uncertainty_ = static_cast<std::int64_t>(std::ceil(off));
  runs_with_host_ = off <= std::max(span / 20, 8 * static_cast<double>(tightest_) + 2000);
}

std::int64_t DeviceClock::on_line(std::uint64_t device) const {
  const auto since = static_cast<double>(static_cast<std::int64_t>(device - origin_.device));
  return origin_.from + std::llround(since * rate_ + offset_);
}

// A device's clock never goes back, so what bounds an earlier stamp from below bounds this one too, and what bounds a
// later one from above.
DeviceClock::Known DeviceClock::bounds(std::uint64_t device, std::int64_t from, std::int64_t to) const {
  const auto behind = std::upper_bound(stamps_.begin(), stamps_.end(), device,
                                       [](std::uint64_t value, const Known& one) { return value < one.device; });
  const auto first = std::lower_bound(stamps_.begin(), stamps_.end(), device,
                                      [](const Known& one, std::uint64_t value) { return one.device < value; });
  Known out{device, from, to};
  if (behind != stamps_.begin()) {
    out.from = std::max(from, latest_from_[static_cast<std::size_t>(behind - stamps_.begin()) - 1]);
  }
  if (first != stamps_.end()) {
    out.to = std::min(to, earliest_to_[static_cast<std::size_t>(first - stamps_.begin())]);
  }
  return out.from <= out.to ? out : Known{device, from, to};  // a clock that went back bounds nothing
}

DeviceClock::Slice DeviceClock::place(std::uint64_t begin, std::uint64_t end, std::int64_t from,
                                      std::int64_t to) const {
  const Known first = bounds(begin, from, to), last = bounds(end, from, to);
  if (runs_with_host_) {
    const std::int64_t at = std::clamp(on_line(begin), first.from, first.to);
    return {at, std::max(at, std::clamp(on_line(end), last.from, last.to))};
  }
  // As late as it can be, as long as the device says.
  const auto took = static_cast<std::int64_t>(end - begin);
  return {std::max(first.from, last.to - std::max<std::int64_t>(took, 0)), last.to};
}

}  // namespace hal::layers::trace
