// SPDX-License-Identifier: Apache-2.0
// A 64-bit value that only grows; failure is sticky and carries its cause.
#pragma once

#include <functional>
#include <memory>

#include "hal/handle.hpp"
#include "hal/sync.hpp"

namespace hal {

class Timeline : public Handle<hal_timeline> {
 public:
  using Handle::Handle;

  Point at(std::uint64_t value) const { return {get(), value}; }

  // The value now, or the timeline's failure.
  Result<std::uint64_t> value() const {
    std::uint64_t out = 0;
    HAL_CHECK(check(hal_timeline_value(get(), &out)));
    return out;
  }
  Result<void> wait(std::uint64_t value, Timeout timeout) const { return hal::wait(at(value), timeout); }
  // Errors: INVALID_ARGUMENT  not above the current value, or a queue owns the timeline.
  Result<void> signal(std::uint64_t value) { return check(hal_timeline_signal(get(), value)); }
  // Signals `value` when `fd`, which the caller keeps and may close at once, becomes readable. See
  // hal_timeline_import_fd().
  Result<void> import_fd(std::uint64_t value, int fd) { return check(hal_timeline_import_fd(get(), value, fd)); }
  void fail(Error cause) { hal_timeline_fail(get(), std::move(cause).release()); }

  // Calls `then` once, on a thread of the core: with success when the value is reached, with the failure if it cannot
  // be.
  Result<void> on_reached(std::uint64_t value, std::function<void(Result<void>)> then) {
    using Function = std::function<void(Result<void>)>;
    auto kept = std::make_unique<Function>(std::move(then));
    HAL_CHECK(check(hal_timeline_on_reached(
        get(), value,
        [](void* user, const hal_error* error) {
          const std::unique_ptr<Function> function(static_cast<Function*>(user));
          (*function)(check(static_cast<hal_error*>(hal_retain(const_cast<hal_error*>(error)))));
        },
        kept.get())));
    (void)kept.release();  // the core calls it exactly once
    return {};
  }
};

}  // namespace hal
