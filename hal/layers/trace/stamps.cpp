// SPDX-License-Identifier: Apache-2.0
#include "layers/trace/stamps.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <chrono>
#include <utility>

#include "core/engine.hpp"
#include "core/queue.hpp"
#include "core/timeline.hpp"

namespace hal::layers::trace {
namespace {

constexpr std::uint64_t kLookAgain = 1U << 25U;  // ticks: 10 to 20 ms on most processors
constexpr int kLooks = 5;                        // at once; the tightest counts
constexpr std::chrono::milliseconds kLookLimit{20};
constexpr std::uint64_t kHelpNs = 20'000'000;

hal_command timestamp(std::uint64_t* to) {
  hal_command made{};
  made.op = HAL_OP_TIMESTAMP;
  made.as.timestamp.to = hal_host(to, sizeof *to);
  return made;
}

hal_error* out_of_memory(const char* what) {
  return Error(HAL_OUT_OF_HOST_MEMORY, fmt::format("the host has no memory left for {}", what), "layer trace", "", 0)
      .release();
}

}  // namespace

// --------------------------------------------------------------------------------------------------------------- lanes

hal_error* StampedLane::create(hal_driver* self, Trace& trace, StampClock& clock, void* device, const char* label,
                               void* core, hal_lane** out) {
  std::unique_ptr<StampedLane> made;
  try {
    made.reset(new StampedLane(wrapped(self), trace, clock));
  } catch (const std::bad_alloc&) { return out_of_memory("a lane's device stamps"); }
  if (hal_error* error = made->ops_.lane_create(made->driver_, device, label, made.get(), &made->inner_)) {
    return error;
  }
  Host& host = made->host_;
  host.real = made->inner_->host;
  static_cast<hal_host_api&>(host) = *host.real;
  host.log = [](const hal_host_api* api, hal_log_level level, const char* origin, const char* text) {
    const hal_host_api* real = static_cast<const Host*>(api)->real;
    real->log(real, level, origin, text);
  };
  host.setting = [](const hal_host_api* api, const char* name) {
    const hal_host_api* real = static_cast<const Host*>(api)->real;
    return real->setting(real, name);
  };
  host.reached = [](hal_lane* lane) { static_cast<StampedLane*>(lane->core)->settle(); };
  host.failed = [](hal_lane* lane, std::uint64_t number, hal_error* error) {
    static_cast<StampedLane*>(lane->core)->failed(number, error);
  };
  made->inner_->host = &host;
  __atomic_store_n(&made->inner_->wake_at, 1U, __ATOMIC_SEQ_CST);
  made->host = host.real;
  made->core = core;
  made->wake_at = UINT64_MAX;
  made->look_at_clocks(clock.lanes.fetch_add(1) == 0);
  *out = made.release();
  return nullptr;
}

void StampedLane::destroy(void* device) {
  const std::unique_ptr<StampedLane> self(this);
  look_at_clocks(clock_.lanes.fetch_sub(1) == 1);
  drain();
  ops_.lane_destroy(driver_, device, inner_);
  hal_release(failed_look_);
}

// The next stamp, which the driver does not have yet. NULL if too many are on their way.
StampedLane::Stamp* StampedLane::expect(Stamp::Kind kind, std::uint64_t at, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (last_ - first_ == kMost) { return nullptr; }
  Stamp& stamp = ring_[last_ % kMost];
  stamp = {kind, first_ == last_, at, number, ticks(), kUnwritten};
  ++last_;
  begun_ = begun_ || kind != Stamp::Kind::look;
  return &stamp;
}

void StampedLane::forget_last() {
  const std::lock_guard lock(mutex_);
  --last_;
}

bool StampedLane::hand_over(Stamp& stamp) {
  const hal_command command = timestamp(&stamp.ns);
  {
    const std::lock_guard lock(mutex_);
    ++stamps_;  // before it can be published
  }
  if (ops_.submit(driver_, inner_, stamp.at, &command, 1) != 0) { return true; }
  const std::lock_guard lock(mutex_);
  --stamps_;
  --last_;
  return false;
}

std::uint32_t StampedLane::submit(std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  if (!clock_.works) { return ops_.submit(driver_, inner_, first, commands, count); }
  for (bool again = false; !open_; again = true) {
    Stamp* begin = expect(Stamp::Kind::begin, first + stamps_, first);
    if (failed_.load(std::memory_order_acquire)) { tell_failed_look(first); }
    open_ = begin != nullptr && hand_over(*begin);
    if (open_) { break; }
    const std::lock_guard lock(mutex_);
    starved_ = first_ != last_ || again;  // as below: what is on the lane may be no more than a look at the clock
    if (starved_) { return 0; }
  }
  const std::uint64_t last = first + count - 1;
  Stamp* end = nullptr;
  std::uint32_t taken = 0;
  for (int looks = 0; taken == 0; ++looks) {
    // Known before the commands are: the last of them waits for it.
    end = expect(Stamp::Kind::end, last + stamps_ + 1, last);
    if (end != nullptr) { taken = ops_.submit(driver_, inner_, first + stamps_, commands, count); }
    const std::lock_guard lock(mutex_);
    commands_ = first + taken - 1;
    if (taken == 0) {
      if (end != nullptr) { --last_; }
      // The core comes again after its next command, and there may be none before this one: then settle() calls it.
      // If the stamp is done by now the lane has room.
      starved_ = first_ != last_ || looks != 0;
      if (starved_) { return 0; }
    }
  }
  open_ = false;
  if (taken == count && hand_over(*end)) { return taken; }
  if (taken != count) { forget_last(); }
  settle();  // the last command may be done, and waits for no stamp now
  return taken;
}

// The driver's wake_at asks for every publication. A lane that gathers work until somebody waits for it has to know for
// what: all of the submission with its stamp, or it would begin one command and keep the rest.
void StampedLane::notify() {
  const std::uint64_t number = __atomic_load_n(&wake_at, __ATOMIC_SEQ_CST);
  const std::uint64_t end = number != UINT64_MAX && clock_.works ? end_of(number) : number;
  {
    const std::lock_guard lock(mutex_);
    ++notifying_;
    __atomic_exchange_n(&inner_->wake_at, end, __ATOMIC_SEQ_CST);
  }
  ops_.notify(driver_, inner_);
  {
    const std::lock_guard lock(mutex_);
    --notifying_;
  }
  settle();  // what was published meanwhile
}

void StampedLane::cancel() {
  cancelled_.store(true, std::memory_order_relaxed);
  ops_.lane_cancel(driver_, inner_);
}

// Only order is handed over, so the stamp behind the awaited command does not matter.
std::uint32_t StampedLane::wait_for(StampedLane& other, std::uint64_t number) {
  std::uint64_t at = number;
  {
    const std::lock_guard lock(other.mutex_);
    if (number > other.commands_) { return 0; }
    at += other.through_ + (other.behind(number) - other.first_);
  }
  return ops_.lane_wait(driver_, inner_, other.inner_, at);
}

// The ring's position of the first stamp behind the core's command `number`. With the lock held.
std::uint64_t StampedLane::behind(std::uint64_t number) const {
  std::uint64_t from = first_;
  for (std::uint64_t to = last_; from != to;) {
    const std::uint64_t middle = from + (to - from) / 2;
    const Stamp& stamp = ring_[middle % kMost];
    const bool before = stamp.kind == Stamp::Kind::end ? stamp.number < number : stamp.number <= number;
    (before ? from : to) = before ? middle + 1 : middle;
  }
  return from;
}

// The driver's number of what has to be done for `number` to be told.
std::uint64_t StampedLane::end_of(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  for (std::uint64_t i = behind(number); i != last_;
       ++i) {  // the first, but where a full lane left a submission without
    if (ring_[i % kMost].kind == Stamp::Kind::end) { return ring_[i % kMost].at; }
  }
  return commands_ + stamps_;
}

// ---------------------------------------------------------------------------------------------------------- completion

// What the driver has published, told to the core in its own numbers.
void StampedLane::settle() {
  bool reached = false, come = false;
  std::uint64_t done = 0;
  do {
    const std::lock_guard lock(mutex_);
    done = hal_lane_completed(inner_);
    const std::uint64_t now = ticks();
    for (; first_ != last_ && ring_[first_ % kMost].at <= done; ++first_, ++through_) {
      take(ring_[first_ % kMost], now);
    }
    const bool more = first_ != last_;
    const Stamp& next = ring_[first_ % kMost];
    const bool held = more && next.kind == Stamp::Kind::end && next.at == done + 1;
    const std::uint64_t number = done - through_ - (held ? 1 : 0);
    if (number > told_) {
      told_ = number;
      reached = hal_lane_count(this, number) != 0 || reached;
    }
    come = come || (starved_ && !more);
    starved_ = starved_ && more;
    ++settled_;
    if (notifying_ == 0) { __atomic_exchange_n(&inner_->wake_at, done + 1, __ATOMIC_SEQ_CST); }
    moved_.notify_all();
  } while (__atomic_load_n(&inner_->completed, __ATOMIC_SEQ_CST) != done);
  if (reached) { host->reached(this); }
  if (!come) { return; }
  const core::CoreScope inside;  // a queue that ends here must not wait for this very call
  core::advance_owner(*static_cast<core::Timeline*>(core));
}

// A stamp that is done. What a cancelled lane skipped says nothing.
void StampedLane::take(const Stamp& stamp, std::uint64_t now) {
  if (stamp.ns == kUnwritten) { return; }
  const std::uint32_t row = static_cast<core::Timeline*>(core)->row;
  if (stamp.kind != Stamp::Kind::look) {
    const bool begins = stamp.kind == Stamp::Kind::begin;
    trace_.stamped(begins ? EventKind::device_begin : EventKind::device_end, begins ? stamp.handed : now, row,
                   clock_.row, stamp.number, stamp.ns);
  }
  const bool due = now - clock_.paired.load(std::memory_order_relaxed) > kLookAgain;
  if (stamp.kind != Stamp::Kind::look && !(stamp.idle && due)) { return; }
  clock_.paired.store(now, std::memory_order_relaxed);
  trace_.stamped(EventKind::pair, stamp.handed, clock_.row, clock_.row, now, stamp.ns);
}

void StampedLane::failed(std::uint64_t at, hal_error* error) {
  failed_.store(true, std::memory_order_release);
  settle();
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    if (clock_.works && !begun_) {
      failed_look_ = error;
      return;
    }
    number = at - through_;
    for (std::uint64_t i = first_; i != last_ && ring_[i % kMost].at <= at; ++i) {
      number = ring_[i % kMost].at == at ? ring_[i % kMost].number : number - 1;
    }
  }
  host->failed(this, number, error);
}

void StampedLane::tell_failed_look(std::uint64_t first) {
  hal_error* error = nullptr;
  {
    const std::lock_guard lock(mutex_);
    error = std::exchange(failed_look_, nullptr);
  }
  if (error != nullptr) { host->failed(this, first, error); }
}

// -------------------------------------------------------------------------------------------------------------- clocks

void StampedLane::push_on() {
  if (ops_.notify != nullptr) { ops_.notify(driver_, inner_); }
  if (ops_.help != nullptr) { ops_.help(driver_, inner_, commands_ + stamps_, kHelpNs); }
  sched_yield();
}

// Sets the device's clock against the host's, on a lane that does nothing: where it is due (the first lane of a device
// and the last), or where the last look is long ago.
void StampedLane::look_at_clocks(bool due) {
  due = due || ticks() - clock_.paired.load(std::memory_order_relaxed) > kLookAgain;
  if (!due || !clock_.works || failed_.load() || cancelled_.load()) { return; }
  for (int i = 0; i < kLooks; ++i) {
    const std::uint64_t at = commands_ + stamps_ + 1;
    Stamp* look = expect(Stamp::Kind::look, at, commands_ + 1);
    if (look == nullptr || !hand_over(*look)) { return; }
    const auto until = std::chrono::steady_clock::now() + kLookLimit;
    while (hal_lane_completed(inner_) < at && !failed_.load(std::memory_order_acquire)) {
      if (std::chrono::steady_clock::now() > until) { return; }
      push_on();
    }
  }
}

// The driver ends a lane only when all is published or the lane has failed, and the core knows nothing of the stamps.
void StampedLane::drain() {
  std::unique_lock lock(mutex_);
  while (!failed_.load(std::memory_order_acquire) && hal_lane_completed(inner_) < commands_ + stamps_) {
    const std::uint64_t seen = settled_;  // each publication behind what it saw settles once more
    lock.unlock();
    if (ops_.notify != nullptr) {
      ops_.notify(driver_, inner_);
    } else if (ops_.flush != nullptr) {
      ops_.flush(driver_, inner_);
    }
    lock.lock();
    moved_.wait(lock, [&] { return settled_ != seen; });
  }
}

// ---------------------------------------------------------------------------------------------------------- the driver

void Stamps::opened(hal_driver* self, const hal_device_traits& traits) {
  const Wrapped& driver = wrapped(self);
  const hal_verdict verdict = driver.ops.supports(driver.inner, traits.impl, "timestamp");
  auto clock = std::make_unique<StampClock>();
  clock->works = (traits.ops >> HAL_OP_TIMESTAMP & 1U) != 0 && verdict.support != HAL_NO;
  clock->row = trace_.add_clock(verdict.why, verdict.support == HAL_EMULATED || traits.info.is_emulated != 0);
  const std::lock_guard lock(mutex_);
  clocks_[traits.impl] = std::move(clock);
}

void Stamps::change(hal_driver_ops& table) {
  table.device_open = [](hal_driver* self, const hal_device_request* request, hal_device_traits* out) -> hal_error* {
    const Wrapped& driver = wrapped(self);
    if (hal_error* error = driver.ops.device_open(driver.inner, request, out)) { return error; }
    try {
      of(self).opened(self, *out);
      return nullptr;
    } catch (const std::bad_alloc&) {
      driver.ops.device_close(driver.inner, out->impl);
      return out_of_memory("a device's clock");
    }
  };
  table.device_close = [](hal_driver* self, void* device) {
    {
      const std::lock_guard lock(of(self).mutex_);
      of(self).clocks_.erase(device);
    }
    wrapped(self).ops.device_close(wrapped(self).inner, device);
  };
  table.lane_create = [](hal_driver* self, void* device, const char* label, void* core, hal_lane** out) {
    StampClock* clock = nullptr;
    {
      const std::lock_guard lock(of(self).mutex_);
      clock = of(self).clocks_.at(device).get();
    }
    return StampedLane::create(self, of(self).trace_, *clock, device, label, core, out);
  };
  table.lane_destroy = [](hal_driver*, void* device, hal_lane* lane) { StampedLane::of(lane).destroy(device); };
  table.submit = [](hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                    std::uint32_t count) { return StampedLane::of(lane).submit(first, commands, count); };
  if (table.flush != nullptr) {
    table.flush = [](hal_driver*, hal_lane* lane) { StampedLane::of(lane).flush(); };
  }
  if (table.notify != nullptr) {
    table.notify = [](hal_driver*, hal_lane* lane) { StampedLane::of(lane).notify(); };
  }
  if (table.help != nullptr) {
    table.help = [](hal_driver*, hal_lane* lane, std::uint64_t number, std::uint64_t within_ns) {
      StampedLane::of(lane).help(number, within_ns);
    };
  }
  if (table.lane_wait != nullptr) {
    table.lane_wait = [](hal_driver*, hal_lane* lane, hal_lane* other, std::uint64_t number) {
      return StampedLane::of(lane).wait_for(StampedLane::of(other), number);
    };
  }
  if (table.lane_cancel != nullptr) {
    table.lane_cancel = [](hal_driver*, hal_lane* lane) { StampedLane::of(lane).cancel(); };
  }
}

}  // namespace hal::layers::trace
