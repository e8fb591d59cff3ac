// SPDX-License-Identifier: Apache-2.0
// Capture: what is submitted to a queue becomes a recording instead of running.
#include <fmt/format.h>

#include "core/api.hpp"
#include "core/queue.hpp"
#include "core/recording.hpp"

namespace hal::core {

Result<void> refuse_point(const hal_point& point) {
  if (point.timeline == nullptr) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("a point has the value {} and no timeline; {{NULL, 0}} is the one that is always reached",
                             point.value));
  }
  if (is(Kind::grave, *point.timeline)) {
    HAL_CHECK(check(static_cast<Grave*>(point.timeline)->observer->disturbed(point.timeline->object)));
  }
  if (!is(Kind::timeline, *point.timeline)) {
    return Error(HAL_INVALID_ARGUMENT,
                 "a point's timeline is none: its last owner has released it, or it never was one");
  }
  if (point.value < kCapturedPoint || !cast(point.timeline)->is_lane()) { return {}; }
  return Error(HAL_INVALID_ARGUMENT,
               fmt::format("the point belongs to a capture of queue '{}' and is never reached; take the point of a "
                           "replay",
                           cast(point.timeline)->label()));
}

Result<void> Queue::begin_capture() {
  const std::lock_guard lock(mutex_);
  if (timeline_->failed()) { return failed_already(); }
  if (capture_ != nullptr) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("queue '{}' on {} captures already; end that capture first", label(), device_->uri()));
  }
  capture_ = std::make_unique<Recorder>(*device_);
  capturing_.store(true, std::memory_order_relaxed);
  straight_ops_.store(0, std::memory_order_relaxed);
  return {};
}

Result<Ref<Commands>> Queue::end_capture() {
  const std::lock_guard lock(mutex_);
  if (capture_ == nullptr) {
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("queue '{}' on {} captures nothing; hal_queue_capture_begin() starts it", label(), device_->uri()));
  }
  const std::unique_ptr<Recorder> recorder = std::move(capture_);
  capturing_.store(false, std::memory_order_relaxed);
  straight_ops_.store(ops_.straight, std::memory_order_relaxed);
  hal_error* cause = std::exchange(spoilt_, nullptr);
  if (timeline_->failed()) {
    hal_release(cause);
    return failed_already();
  }
  if (cause != nullptr) {
    hal_error_info info{};
    info.code = HAL_INVALID_ARGUMENT;
    const std::string what = fmt::format(
        "the capture of queue '{}' on {} is spoilt: a submission could not be captured", label(), device_->uri());
    info.what = what.c_str();
    info.origin = "core";
    info.cause = cause;
    return Error::adopt(hal_error_create(&info));
  }
  return recorder->finish();
}

// With the lock held: the first refusal is what the capture ends in.
Error Queue::spoil(Error why) {
  if (spoilt_ == nullptr) { spoilt_ = Error(why).release(); }
  return why;
}

Result<void> Queue::refuse_captured_alloc() {
  const std::lock_guard lock(mutex_);
  if (capture_ == nullptr) { return {}; }
  return spoil(Error(HAL_INVALID_ARGUMENT, fmt::format("hal_queue_alloc(): queue '{}' on {} captures, and a recording "
                                                       "allocates nothing; allocate before the capture",
                                                       label(), device_->uri())));
}

Result<std::uint64_t> Queue::submit_captured(std::span<const hal_command> commands, const hal_sync& sync) {
  // Before the lock: what is found goes to the program's log.
  Result<void> points = check_counts(sync);
  for (std::uint32_t i = 0; points && i < sync.wait_count; ++i) {
    if (sync.waits[i].timeline != timeline_.get()) { points = check_point(sync.waits[i]); }
  }
  std::unique_lock lock(mutex_);
  if (capture_ == nullptr) {  // ended while we came here
    lock.unlock();
    return submit(commands, sync);
  }
  if (timeline_->failed()) { return failed_already(); }
  const auto refuse = [&](const std::string& why) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("cannot be captured from queue '{}' on {}: {}", label(), device_->uri(), why));
  };
  const Result<void> added = [&]() -> Result<void> {
    if (spoilt_ != nullptr) {
      const std::string what =
          fmt::format("cannot be captured from queue '{}' on {}: an earlier submission of this capture was refused",
                      label(), device_->uri());
      return Error(HAL_INVALID_ARGUMENT, what, "core", "", 0, static_cast<hal_error*>(hal_retain(spoilt_)));
    }
    HAL_CHECK(points);
    for (const hal_point& wait : std::span(sync.waits, sync.wait_count)) {
      if (wait.timeline == nullptr) { continue; }
      const bool inside = wait.timeline == timeline_.get() && wait.value >= kCapturedPoint &&
                          wait.value - kCapturedPoint <= capture_->size();
      if (!inside) {
        return refuse(
            fmt::format("it waits for {} of timeline '{}', a point from outside; give waits when the "
                        "recording is replayed",
                        wait.value, cast(wait.timeline)->label()));
      }
    }
    if (sync.signal_count != 0) { return refuse("it signals; give signals when the recording is replayed"); }
    try {
      for (const hal_command& command : commands) { HAL_CHECK(capture_->add(command)); }
    } catch (const std::bad_alloc&) {  // some of it may be recorded: nothing may come of that
      return Error(HAL_OUT_OF_HOST_MEMORY, "the host has no memory left to record a submission in");
    }
    return {};
  }();
  if (!added) { return spoil(added.error()); }
  return kCapturedPoint + capture_->size();
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_queue_capture_begin(hal_queue* queue) {
  return guarded("hal_queue_capture_begin", {queue}, [&] { return cast(queue)->begin_capture(); });
}

extern "C" hal_error* hal_queue_capture_end(hal_queue* queue, hal_commands** out) {
  return guarded("hal_queue_capture_end", {queue, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, cast(queue)->end_capture());
    *out = made.take();
    return {};
  });
}
