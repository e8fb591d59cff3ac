// SPDX-License-Identifier: Apache-2.0
// When work may begin and what it tells whom: points, and the waits and signals of a submission.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <source_location>
#include <span>

#include "hal/result.hpp"

namespace hal {

// A timeline and a value. It does not own the timeline: keep the Queue or Timeline while you use its points.
using Point = hal_point;

// Everything has a default, so verbs are called without one. The default argument records the caller's own line, which
// every error about the submission shows.
//   queue.copy(a, b, {.waits = {point}});
struct Sync {
  std::initializer_list<Point> waits{};
  std::initializer_list<Point> signals{};
  std::span<const Point> more_waits{};  // for a list known only at run time: waited for too
  std::source_location where = std::source_location::current();
};

// How long a wait may last: any duration. What is negative (a moment that has passed) or no number only looks, and what
// nanoseconds cannot count, some 292 years, is as long as they can.
class Timeout {
 public:
  template <class Rep, class Period>
  constexpr Timeout(std::chrono::duration<Rep, Period> duration)  // NOLINT: wait(point, 5s) must read so
      : ns_(count(duration)) {}
  constexpr std::uint64_t ns() const { return static_cast<std::uint64_t>(ns_.count()); }

 private:
  using Nanoseconds = std::chrono::nanoseconds;
  template <class Duration>
  static constexpr Nanoseconds count(Duration duration) {
    using Seconds = std::chrono::duration<double>;
    if (!(duration > Duration::zero())) { return Nanoseconds::zero(); }
    if (Seconds(duration) >= Seconds(Nanoseconds::max())) { return Nanoseconds::max(); }
    return std::chrono::duration_cast<Nanoseconds>(duration);
  }
  Nanoseconds ns_;
};

// Waits for every point. Errors: DEADLINE_EXCEEDED with the missing point and what it waits for, or a point's failure.
inline Result<void> wait_all(std::span<const Point> points, Timeout timeout) {
  return check(hal_wait(points.data(), static_cast<std::uint32_t>(points.size()), HAL_WAIT_ALL, timeout.ns(), nullptr));
}

// Waits for one of the points and returns its index.
inline Result<std::uint32_t> wait_any(std::span<const Point> points, Timeout timeout) {
  std::uint32_t which = 0;
  HAL_CHECK(
      check(hal_wait(points.data(), static_cast<std::uint32_t>(points.size()), HAL_WAIT_ANY, timeout.ns(), &which)));
  return which;
}

inline Result<void> wait(Point point, Timeout timeout) { return wait_all({&point, 1}, timeout); }

// A descriptor that becomes readable when the point is reached or lost; the caller's to close. See
// hal_point_export_fd().
inline Result<int> export_fd(Point point) {
  int fd = -1;
  HAL_CHECK(check(hal_point_export_fd(point, &fd)));
  return fd;
}

}  // namespace hal
