// SPDX-License-Identifier: Apache-2.0
// Waiting from the host, and the C functions of timelines.
#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <span>
#include <vector>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/explain.hpp"
#include "core/queue.hpp"
#include "core/timeline.hpp"

namespace hal::core {
namespace {

using Clock = std::chrono::steady_clock;

// Where a sleeping thread meets the waiters that wake it.
struct Sleeper {
  std::mutex mutex;
  std::condition_variable changed;
  bool woken = false;
  std::size_t ended = 0;
  void wake() {
    const std::lock_guard lock(mutex);
    woken = true;
    changed.notify_one();  // under the lock: the sleeper may be gone right after it
  }
  static void end(void* of, const hal_error*) {
    auto& self = *static_cast<Sleeper*>(of);
    const std::lock_guard lock(self.mutex);
    self.woken = true;
    ++self.ended;
    self.changed.notify_one();
  }
};

struct View {
  std::size_t reached = 0;
  std::uint32_t first_reached = 0;
  Timeline* missing = nullptr;
  std::uint64_t missing_value = 0;
  std::uint32_t first_lost = 0;
  hal_error* failure = nullptr;  // owned, of the first that is lost
};

View look(std::span<const hal_point> points) {
  View view;
  for (std::uint32_t i = 0; i < points.size(); ++i) {
    Timeline* timeline = points[i].timeline != nullptr ? cast(points[i].timeline) : nullptr;
    if (timeline == nullptr || timeline->reached(points[i].value)) {
      if (view.reached++ == 0) { view.first_reached = i; }
    } else if (timeline->lost(points[i].value)) {
      if (view.failure == nullptr) {
        view.failure = timeline->failure();
        view.first_lost = i;
      }
    } else if (view.missing == nullptr) {
      view.missing = timeline;
      view.missing_value = points[i].value;
    }
  }
  return view;
}

// Lends this thread to the lane that is to bring the point: on few cores the waiter is the cheapest worker there is.
void help(Timeline& timeline, std::uint64_t value, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now());
  if (left.count() <= 0) { return; }
  std::uint64_t number = 0;
  const Ref<Timeline> producer = timeline.producer(value, number);
  if (producer && producer->handed.load(std::memory_order_acquire) >= number) {
    producer->help(number, static_cast<std::uint64_t>(left.count()));
  }
}

// `places`: a waiter for each point.
void sleep(std::span<const hal_point> points, std::span<Waiter> places, hal_wait_mode mode,
           Clock::time_point deadline) {
  Sleeper sleeper;
  std::size_t waiting = 0;
  bool missing = false;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points[i].timeline == nullptr) { continue; }
    Timeline& timeline = *cast(points[i].timeline);
    if (timeline.reached(points[i].value)) {
      // Reached since the caller looked: nobody will wake us for it.
      if (mode == HAL_WAIT_ANY) { sleeper.wake(); }
      continue;
    }
    missing = true;
    ++waiting;
    places[i].of = &sleeper;
    places[i].ended = Sleeper::end;
    timeline.when(places[i], points[i].value);
  }
  if (!missing) { return; }
  std::unique_lock lock(sleeper.mutex);
  // One wake is enough: the caller looks again, and comes back for what is still missing.
  sleeper.changed.wait_until(lock, deadline, [&] { return sleeper.woken; });
  lock.unlock();
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (places[i].ended != nullptr && cast(points[i].timeline)->forget(places[i])) { --waiting; }
  }
  // Whoever could not be taken back is on its way to us.
  lock.lock();
  sleeper.changed.wait(lock, [&] { return sleeper.ended == waiting; });
}

constexpr std::uint32_t kNone = UINT32_MAX;

// `which` becomes a point that is reached, or lost where the wait fails for it; else it stays.
Result<void> wait(std::span<const hal_point> points, hal_wait_mode mode, std::uint64_t timeout_ns,
                  std::uint32_t& which) {
  if (mode != HAL_WAIT_ALL && mode != HAL_WAIT_ANY) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("hal_wait(): mode is {}", static_cast<int>(mode)));
  }
  if (timeout_ns == HAL_FOREVER) {
    return Error(HAL_INVALID_ARGUMENT, "hal_wait(): every wait needs a deadline; HAL_FOREVER is none");
  }
  if (points.empty()) {
    if (mode == HAL_WAIT_ANY) {
      return Error(HAL_INVALID_ARGUMENT, "hal_wait(): any of no points can never be reached");
    }
    return {};
  }
  const Clock::time_point start = Clock::now();
  constexpr std::uint64_t kCentury = 3'000'000'000'000'000'000U;
  const Clock::time_point deadline = start + std::chrono::nanoseconds(std::min(timeout_ns, kCentury));
  bool helped = false;
  Progress progress;
  for (;;) {
    const View view = look(points);
    const bool done = mode == HAL_WAIT_ALL ? view.reached == points.size() : view.reached != 0;
    if (done || (mode == HAL_WAIT_ANY && view.reached != 0)) {
      hal_release(view.failure);
      which = view.first_reached;
      return {};
    }
    if (view.failure != nullptr) {
      if (mode == HAL_WAIT_ALL || view.missing == nullptr) {
        which = view.first_lost;
        return Error::adopt(view.failure);
      }
      hal_release(view.failure);
    }
    if (!helped && timeout_ns != 0) {
      help(*view.missing, view.missing_value, deadline);
      helped = true;
      continue;
    }
    if (Clock::now() >= deadline) {
      Explanation why = explain(points, progress);
      return Error::adopt(
          with_notes(Error(HAL_DEADLINE_EXCEEDED, fmt::format("after {} ns: {}", timeout_ns, why.summary)).release(),
                     std::move(why.details)));
    }
    progress.begin(view.missing->instance());
    std::vector<hal_point> open;  // points already lost would end the sleep at once, for nothing
    for (const hal_point& point : points) {
      if (point.timeline != nullptr && !cast(point.timeline)->lost(point.value)) { open.push_back(point); }
    }
    std::vector<Waiter> places(open.size());
    sleep(open, places, mode, deadline);
    helped = false;
  }
}

Observer* observer_of(std::span<const hal_point> points) {
  for (const hal_point& point : points) {
    if (point.timeline != nullptr) { return cast(point.timeline)->instance().observer(); }
  }
  return nullptr;
}

// Tells the observer what the host learns by a wait: of all points, or of the one that ended it, whatever else has come
// by then; of none by a deadline.
Result<void> observed_wait(Observer& observer, std::span<const hal_point> points, hal_wait_mode mode,
                           std::uint64_t timeout_ns, std::uint32_t& which) {
  HAL_CHECK(check(observer.waiting(points, mode)));
  Result<void> result = wait(points, mode, timeout_ns, which);
  if (which == kNone) { return result; }
  const bool all = result.has_value() == (mode == HAL_WAIT_ALL);  // all reached; or all lost, which ends a wait for any
  for (std::uint32_t i = 0; i < points.size(); ++i) {
    if (points[i].timeline == nullptr || (!all && i != which)) { continue; }
    tell(&observer, [&](Observer& told) { told.observed(*cast(points[i].timeline), points[i].value); });
  }
  return result;
}

}  // namespace

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_timeline_create(hal_instance* instance, std::uint64_t initial, const char* label,
                                          hal_timeline** out) {
  return guarded("hal_timeline_create", {instance, out}, [&]() -> hal::Result<void> {
    if (initial == UINT64_MAX) {
      return hal::Error(HAL_INVALID_ARGUMENT,
                        "hal_timeline_create(): initial is UINT64_MAX; nothing could be signalled above it");
    }
    Ref<Timeline> made = Timeline::plain(*cast(instance), initial, label);
    if (Observer* observer = cast(instance)->observer()) {
      announce(*observer, made->object, {.label = made->label().c_str(), .value = initial});
    }
    *out = made.take();
    return {};
  });
}

extern "C" hal_error* hal_timeline_value(hal_timeline* timeline, std::uint64_t* out) {
  return guarded("hal_timeline_value", {timeline, out}, [&]() -> hal::Result<void> {
    HAL_CHECK(check_point({timeline, 0}));
    Timeline& self = *cast(timeline);
    *out = self.value();
    tell(self.instance().observer(), [&](Observer& observer) { observer.read(self, *out); });
    if (hal_error* failure = self.failure()) { return hal::Error::adopt(failure); }
    return {};
  });
}

extern "C" hal_error* hal_timeline_signal(hal_timeline* timeline, std::uint64_t value) {
  return guarded("hal_timeline_signal", {timeline}, [&]() -> hal::Result<void> {
    HAL_CHECK(check_point({timeline, 0}));
    Timeline& self = *cast(timeline);
    HAL_TRY(const bool counts, self.takes_signal(value));
    if (!counts) { return {}; }
    tell(self.instance().observer(), [&](Observer& observer) { observer.signalled(self, value); });
    self.signalled_by_host(value);
    self.advance(value);
    return {};
  });
}

extern "C" void hal_timeline_fail(hal_timeline* timeline, hal_error* cause) {
  const bool lives = timeline != nullptr && is(Kind::timeline, *timeline);
  if (!lives || cast(timeline)->is_lane()) {
    if (timeline != nullptr && !lives) {  // only a layer can say so
      hal_release(guarded("hal_timeline_fail", {}, [&] { return check_point({timeline, 0}); }));
    }
    hal_release(cause);
    return;
  }
  tell(cast(timeline)->instance().observer(), [&](Observer& observer) { observer.abandoned(*cast(timeline)); });
  cast(timeline)->fail(cause != nullptr ? cause : worded(HAL_CANCELLED, [] {
    return hal::Error(HAL_CANCELLED, "timeline failed by the host without a cause");
  }));
}

namespace {

// A user's function that waits for a point, and then for a thread to run on.
struct Notice {
  Ref<Instance> instance;
  Timeline* timeline;
  std::uint64_t value;
  hal_reached_function function;
  void* user;
  hal_error* failure = nullptr;
  Waiter waiter{};
  Task task{};
  Engine::Unfinished unfinished{};

  static void ended(void* of, const hal_error* error) {
    auto& self = *static_cast<Notice*>(of);
    // An observer hears before the user: nothing that the user does next may look unordered.
    tell(self.instance->observer(), [&](Observer& observer) { observer.observed(*self.timeline, self.value); });
    self.failure = static_cast<hal_error*>(hal_retain(const_cast<hal_error*>(error)));
    self.task = {run, &self};
    const Ref<Instance> kept = self.instance;  // the function may run, and this go, before the post has returned
    self.unfinished = Engine::Unfinished(kept->engine());
    kept->workers().post(self.task);
  }
  static void run(void* of) {
    const Engine::Unfinished to_the_end = std::move(static_cast<Notice*>(of)->unfinished);
    const std::unique_ptr<Notice> self(static_cast<Notice*>(of));
    self->function(self->user, self->failure);
    hal_release(self->failure);
  }
};

}  // namespace

extern "C" hal_error* hal_timeline_on_reached(hal_timeline* timeline, std::uint64_t value,
                                              hal_reached_function function, void* user) {
  if (function == nullptr) {
    return guarded("hal_timeline_on_reached", {}, []() -> hal::Result<void> {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_timeline_on_reached(): 'function' is NULL");
    });
  }
  return guarded("hal_timeline_on_reached", {timeline}, [&]() -> hal::Result<void> {
    HAL_CHECK(check_point({timeline, value}));
    Timeline& self = *cast(timeline);
    Instance& instance = self.instance();
    HAL_CHECK(instance.engine().start());
    HAL_CHECK(instance.workers().start());
    Notice& notice = *new Notice{Ref<Instance>::share(&instance), &self, value, function, user};
    notice.waiter.of = &notice;
    notice.waiter.ended = Notice::ended;
    self.when(notice.waiter, value);
    return {};
  });
}

// Apart, so that a wait for what is done already pays for no frame.
[[gnu::noinline]] static hal_error* wait_in_general(const hal_point* points, std::uint32_t count, hal_wait_mode mode,
                                                    std::uint64_t timeout_ns, std::uint32_t* which) {
  return guarded("hal_wait", {}, [&]() -> hal::Result<void> {
    if (points == nullptr && count != 0) { return hal::Error(HAL_INVALID_ARGUMENT, "hal_wait(): 'points' is NULL"); }
    const std::span all(points, count);
    for (const hal_point& point : all) { HAL_CHECK(check_point(point)); }
    std::uint32_t one = kNone;
    Observer* observer = observer_of(all);
    HAL_CHECK(observer == nullptr ? wait(all, mode, timeout_ns, one)
                                  : observed_wait(*observer, all, mode, timeout_ns, one));
    if (which != nullptr && one != kNone) { *which = one; }
    return {};
  });
}

// For one point of a lane that nobody watches: lends this thread to the lane, for a sixteenth of its time, as what
// follows begins to count anew: a look at the clock would cost as much as all else here. What hal_wait() was given
// stays where it is: GCC would else move all of it, as `count` is known.
#if __has_cpp_attribute(gnu::noipa)
[[gnu::noipa]]
#else
[[gnu::noinline]]
#endif
static hal_error* wait_for_lane(const hal_point* point, std::uint32_t /*count: 1*/, hal_wait_mode mode,
                                std::uint64_t timeout_ns, std::uint32_t* which) {
  Timeline& timeline = *cast(point->timeline);
  const std::uint64_t loan_ns = timeout_ns / 16;
  if (loan_ns != 0 && timeline.handed.load(std::memory_order_acquire) >= point->value) {
    timeline.help(point->value, loan_ns);
    if (timeline.lane_reached(point->value)) {
      if (which != nullptr) { *which = 0; }
      return nullptr;
    }
  }
  return wait_in_general(point, 1, mode, timeout_ns, which);
}

extern "C" hal_error* hal_wait(const hal_point* points, std::uint32_t count, hal_wait_mode mode,
                               std::uint64_t timeout_ns, std::uint32_t* which) {
  const bool usual = count == 1 && points != nullptr && points->timeline != nullptr && timeout_ns != HAL_FOREVER &&
                     (mode == HAL_WAIT_ALL || mode == HAL_WAIT_ANY);
  if (usual && cast(points->timeline)->is_unwatched_lane()) {
    if (!cast(points->timeline)->lane_reached(points->value)) {
      return wait_for_lane(points, count, mode, timeout_ns, which);
    }
    if (which != nullptr) { *which = 0; }
    return nullptr;
  }
  return wait_in_general(points, count, mode, timeout_ns, which);
}
