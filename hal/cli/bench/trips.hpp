// SPDX-License-Identifier: Apache-2.0
// Timing submissions of which each is waited for before the next.
#pragma once

#include <chrono>
#include <utility>

#include "cli/bench/timing.hpp"
#include "hal/hal.hpp"

namespace hal::cli::bench {

/// Nanoseconds of one of `count` submissions and the wait for it, warm. `submit` returns Result<Point>.
template <class Submit>
Result<double> timed_trips(int count, Submit submit) {
  Result<void> all{};
  const double ns = timed_warm(count, [&] {
    const Result<Point> point = submit();
    const Result<void> one = point ? wait(*point, std::chrono::seconds(60)) : Result<void>(point.error());
    if (!one) { all = one; }
  });
  HAL_CHECK(std::move(all));
  return ns;
}

}  // namespace hal::cli::bench
