// SPDX-License-Identifier: Apache-2.0
#include "core/timeline.hpp"

#include <algorithm>
#include <iterator>

#include "core/device.hpp"
#include "core/instance.hpp"
#include "threads/fence.hpp"

namespace hal::core {

// Asked while the library is loaded: the first time takes long once the process has several threads.
static const bool can_fence_threads = threads::fence_other_threads();

Timeline::Timeline(Instance& instance, Ref<Device> device, const char* label, bool is_lane)
    : instance_(instance),
      device_(std::move(device)),
      label_(label != nullptr ? label : ""),
      is_lane_(is_lane),
      is_unwatched_lane_(is_lane && instance.observer() == nullptr) {
  init(object, Kind::timeline, dispose);
  retain(instance.object);
}

Timeline::~Timeline() {
  hal_release(failure_);
  device_ = {};
  release(instance_.object);  // last: the instance must outlive the device
}

Ref<Timeline> Timeline::plain(Instance& instance, std::uint64_t initial, const char* label) {
  Ref<Timeline> made(Storage::make<Timeline>(instance.allocator(), instance, Ref<Device>(), label, false));
  made->value_ = initial;
  return made;
}

Ref<Timeline> Timeline::of_lane(Device& device, const char* label) {
  return Ref<Timeline>(Storage::make<Timeline>(device.instance().allocator(), device.instance(),
                                               Ref<Device>::share(&device), label, true));
}

void Timeline::attach(hal_lane* lane) {
  lane_ = lane;
  __atomic_store_n(&lane->fences, can_fence_threads ? 0U : 1U, __ATOMIC_RELAXED);
  const Observer* observer = instance_.observer();
  tells_ = observer != nullptr && observer->wants_completions();
  if (tells_) { settle(); }
  instance_.add_lane(Ref<Timeline>::share(this));
}

void Timeline::retire() {
  // The instance's list owns us until nothing that the lane took can touch memory any more: see Instance::when_idle().
  if (!Engine::on_core_thread() && hal_lane_completed(lane_) >= handed.load()) {
    instance_.remove_lane(*this);
    return;
  }
  when(
      handed.load(),
      [self = Ref<Timeline>::share(this)](const hal_error*) mutable {
        Instance& instance = self->instance_;
        instance.engine().post([self = std::move(self)] { self->instance_.remove_lane(*self); });
      },
      Until::physical);
}

void Timeline::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Timeline*>(object);
  bool awaited = false;
  for (const Import& import : self->imports_) { self->instance_.engine().unwatch(import.ticket); }
  {
    // A driver may still be on its way out of settle(); lane_destroy() waits for it, this look must not race with it.
    const std::lock_guard lock(self->mutex_);
    awaited = !self->waiters_.empty();
  }
  if (awaited) {
    // Nobody is left who could signal it: its waiters fail instead of hanging for ever.
    self->fail(Error(HAL_CANCELLED, "timeline '" + self->label_ + "' was released while something waited for it",
                     "core", "", 0)
                   .release());
  }
  if (!Engine::on_core_thread()) {
    self->destroy();
  } else {
    // A driver's call into us may be what released the last owner, and lane_destroy() may wait for that very call.
    self->instance_.engine().post([self] { self->destroy(); });
  }
}

void Timeline::destroy() {
  if (lane_ != nullptr) { device_->driver().lane_destroy(device_->driver_self(), device_->impl(), lane_); }
  Storage::unmake(instance_.allocator(), this);
}

std::uint64_t Timeline::value() {
  if (is_lane_) { return std::min(hal_lane_completed(lane_), visible_.load(std::memory_order_acquire)); }
  if (has_promises_.load(std::memory_order_acquire)) { return refresh(); }
  return value_.load(std::memory_order_acquire);
}

hal_error* Timeline::failure() const {
  if (!failed()) { return nullptr; }
  const std::lock_guard lock(mutex_);
  return static_cast<hal_error*>(hal_retain(failure_));
}

void Timeline::advance(std::uint64_t value) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_ != nullptr || value <= value_.load(std::memory_order_relaxed)) { return; }
    value_.store(value, std::memory_order_release);
  }
  settle();
}

void Timeline::promise(std::uint64_t value, const Ref<Timeline>& source, std::uint64_t number) {
  bool somebody_waits = false;
  std::vector<Promise> dropped;  // released after the lock: the last reference may destroy a lane
  {
    const std::lock_guard lock(mutex_);
    if (failure_ != nullptr) { return; }  // a signal after failure is ignored
    // Promises that came true need no entry; looking at the front only keeps this constant time for the usual order.
    std::size_t done = 0;
    while (done < promises_.size() && promises_[done].source->reached(promises_[done].number)) {
      value_.store(std::max(value_.load(std::memory_order_relaxed), promises_[done].value), std::memory_order_release);
      ++done;
    }
    if (done > promises_.size() / 2) {
      const auto end = promises_.begin() + static_cast<std::ptrdiff_t>(done);
      std::move(promises_.begin(), end, std::back_inserter(dropped));
      promises_.erase(promises_.begin(), end);
    }
    promises_.push_back({value, source, number, false});
    signalled_by_work_ = std::max(signalled_by_work_, value);
    has_promises_.store(true, std::memory_order_release);
    somebody_waits = !waiters_.empty();
  }
  if (somebody_waits) { watch(); }
}

std::uint64_t Timeline::refresh() {
  std::vector<Reached> ready;
  std::vector<Ref<Timeline>> dropped;  // released outside the lock: the last reference may destroy a lane
  hal_error* broken = nullptr;
  std::uint64_t now = 0;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(promises_, [&](Promise& promise) {
      if (promise.source->reached(promise.number)) {
        if (failure_ == nullptr) {
          value_.store(std::max(value_.load(std::memory_order_relaxed), promise.value), std::memory_order_release);
        }
      } else if (promise.source->lost(promise.number)) {
        if (broken == nullptr) { broken = promise.source->failure(); }
      } else {
        return false;
      }
      dropped.push_back(std::move(promise.source));
      return true;
    });
    has_promises_.store(!promises_.empty(), std::memory_order_release);
    now = value_.load(std::memory_order_relaxed);
    take_reached(ready);
  }
  for (Reached& then : ready) { then(nullptr); }
  if (broken != nullptr) { fail(broken); }
  return now;
}

Ref<Timeline> Timeline::producer(std::uint64_t value, std::uint64_t& number) {
  if (is_lane_) {
    number = value;
    return Ref<Timeline>::share(this);
  }
  const std::lock_guard lock(mutex_);
  const Promise* best = nullptr;
  for (const Promise& promise : promises_) {
    if (promise.value >= value && (best == nullptr || promise.value < best->value)) { best = &promise; }
  }
  if (best == nullptr) { return {}; }
  number = best->number;
  return best->source;
}

void Timeline::fail(hal_error* error) { fail_with(error, UINT64_MAX, false); }
void Timeline::fail_above(hal_error* error, std::uint64_t last_good) { fail_with(error, last_good, false); }
void Timeline::cancel(hal_error* error) { fail_with(error, value(), false); }
// What it completed behind a closed gate may still turn out to be good.
void Timeline::fail_lane(hal_error* error) { fail_with(error, hal_lane_completed(lane_), true); }

void Timeline::fail_with(hal_error* error, std::uint64_t last_good, bool lane_is_dead) {
  std::vector<Reached> reached, lost;
  std::vector<Promise> dropped;
  {
    const std::lock_guard lock(mutex_);
    if (failure_ == nullptr) {
      // What was signalled before the failure counts, also if nobody had looked yet.
      for (const Promise& promise : promises_) {
        if (promise.source->reached(promise.number)) {
          value_.store(std::max(value_.load(std::memory_order_relaxed), promise.value), std::memory_order_release);
        }
      }
      failure_ = error;
    }
    take_reached(reached);
    // A lane's own death may come after a failure by the core that left more reachable.
    const std::uint64_t standing = is_lane_ ? handed.load() : value_.load(std::memory_order_relaxed);
    frozen_.store(std::min({frozen_.load(), last_good, standing}), std::memory_order_release);
    show();
    failed_.store(true, std::memory_order_seq_cst);
    if (is_lane_) {  // see not_taken()
      frozen_.store(std::min(frozen_.load(), handed.load(std::memory_order_seq_cst)), std::memory_order_release);
      show();
    }
    lane_dead_ = lane_dead_ || lane_is_dead;
    Waiters kept;
    for (auto& [value, waiter] : waiters_) {
      const bool goes_on = waiter.until == Until::logical ? value <= frozen_.load() : !lane_dead_;
      if (goes_on) {
        kept.emplace(waiter.until == Until::logical ? value : std::min(value, handed.load()), std::move(waiter));
      } else {
        lost.push_back(std::move(waiter.then));
      }
    }
    waiters_ = std::move(kept);
    take_reached(reached);
    dropped.swap(promises_);
    has_promises_.store(false, std::memory_order_release);
  }
  const hal_error* cause = failure_;  // never changes again
  for (Reached& then : reached) { then(nullptr); }
  for (Reached& then : lost) { then(cause); }
  if (cause != error) { hal_release(error); }
}

std::uint64_t Timeline::when(std::uint64_t value, Reached then, Until until) {
  std::uint64_t ticket = 0;
  const hal_error* broken = nullptr;
  bool now = reached(value);
  if (!now) {
    const std::lock_guard lock(mutex_);
    const bool logical = until == Until::logical;
    if (failure_ != nullptr && !logical) { value = std::min(value, handed.load()); }
    std::uint64_t standing = is_lane_ ? hal_lane_completed(lane_) : value_.load(std::memory_order_relaxed);
    if (is_lane_ && logical) { standing = std::min(standing, visible_.load(std::memory_order_relaxed)); }
    if (failure_ != nullptr && (logical ? value > frozen_.load() : lane_dead_)) {
      broken = failure_;
    } else if (standing >= value) {
      now = true;
    } else {
      ticket = next_ticket_++;
      waiters_.emplace(value, Waiter{ticket, until, std::move(then)});
    }
  }
  if (now) {
    then(nullptr);
  } else if (ticket == 0) {
    then(broken);
  } else if (is_lane_) {
    settle();
    wake_driver();
  } else {
    watch();
  }
  return ticket;
}

bool Timeline::forget(std::uint64_t ticket) {
  Reached dropped;
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& entry) { return entry.second.ticket == ticket; });
  if (found == waiters_.end()) { return false; }
  dropped = std::move(found->second.then);
  waiters_.erase(found);
  return true;
}

void Timeline::not_taken(std::uint64_t number) {
  // Against fail_with(), which stores the failure and then looks at `handed`: one of the two sees the other.
  handed.store(number - 1, std::memory_order_seq_cst);
  if (failed_.load(std::memory_order_seq_cst)) { clip(); }
}

void Timeline::clip() {
  std::vector<Reached> lost;
  {
    const std::lock_guard lock(mutex_);
    frozen_.store(std::min(frozen_.load(), handed.load()), std::memory_order_release);
    show();
    Waiters kept;
    for (auto& [value, waiter] : waiters_) {
      if (waiter.until == Until::physical) {
        kept.emplace(std::min(value, handed.load()), std::move(waiter));
      } else if (value <= frozen_.load()) {
        kept.emplace(value, std::move(waiter));
      } else {
        lost.push_back(std::move(waiter.then));
      }
    }
    waiters_ = std::move(kept);
  }
  for (Reached& then : lost) { then(failure_); }
  settle();
}

void Timeline::take_reached(std::vector<Reached>& out) {
  const std::uint64_t now =
      is_lane_ ? (lane_ != nullptr ? hal_lane_completed(lane_) : 0) : value_.load(std::memory_order_relaxed);
  const std::uint64_t visible = visible_.load(std::memory_order_relaxed);
  const auto end = waiters_.upper_bound(now);
  if (now <= visible) {
    for (auto it = waiters_.begin(); it != end; ++it) { out.push_back(std::move(it->second.then)); }
    waiters_.erase(waiters_.begin(), end);
    return;
  }
  for (auto it = waiters_.begin(); it != end;) {
    if (it->second.until == Until::logical && it->first > visible) {
      ++it;  // behind a gate: open_gate() or a failure ends it
    } else {
      out.push_back(std::move(it->second.then));
      it = waiters_.erase(it);
    }
  }
}

void Timeline::settle() {
  std::vector<Reached> ready;
  std::uint64_t done = 0;
  {
    const std::lock_guard lock(mutex_);
    take_reached(ready);
    while (is_lane_) {
      // Arm, fence all threads, then look again: either this load sees the publish, or the publish sees the armed word
      // (hal_lane_publish). A word that is raised needs no fence: who still sees the lower one calls for nothing.
      const std::uint64_t visible = visible_.load(std::memory_order_relaxed);
      const auto first = std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& entry) {
        return entry.second.until == Until::physical || entry.first <= visible;
      });
      std::uint64_t next = first == waiters_.end() ? UINT64_MAX : first->first;
      if (tells_) {
        done = hal_lane_completed(lane_);
        next = std::min(next, done + 1);
      }
      const std::uint64_t before = __atomic_exchange_n(&lane_->wake_at, next, __ATOMIC_SEQ_CST);
      if (next < before) { (void)threads::fence_other_threads(); }
      if (__atomic_load_n(&lane_->completed, __ATOMIC_SEQ_CST) < next) { break; }
      take_reached(ready);
    }
  }
  if (done != 0) { instance_.observer()->completed(*this, done); }
  for (Reached& then : ready) { then(nullptr); }
}

void Timeline::show() {
  const std::uint64_t gate = gates_.empty() ? UINT64_MAX : gates_.front().next - 1;
  visible_.store(std::min(frozen_.load(std::memory_order_relaxed), gate), std::memory_order_release);
}

void Timeline::close_gate(std::uint64_t next, const Ref<Timeline>& source, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  gates_.push_back({next, source, number});  // numbers only grow
  show();
}

void Timeline::open_gate(std::uint64_t next, const Timeline& source, std::uint64_t number) {
  Ref<Timeline> dropped;  // after the lock: it may be the last owner
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(gates_.begin(), gates_.end(), [&](const Gate& gate) {
      return gate.next == next && gate.source.get() == &source && gate.number == number;
    });
    if (found == gates_.end()) { return; }
    dropped = std::move(found->source);
    gates_.erase(found);
    show();
  }
  settle();
}

Ref<Timeline> Timeline::gate(std::uint64_t number, std::uint64_t& wanted) {
  const std::lock_guard lock(mutex_);
  if (gates_.empty() || gates_.front().next > number) { return {}; }
  wanted = gates_.front().number;
  return gates_.front().source;
}

void Timeline::add_import(std::uint64_t ticket, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  imports_.push_back({ticket, value});
}

void Timeline::drop_import(std::uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  std::erase_if(imports_, [&](const Import& import) { return import.ticket == ticket; });
}

Timeline::Signals Timeline::signals(std::uint64_t value) const {
  const std::lock_guard lock(mutex_);
  return {signalled_by_host_, signalled_by_work_,
          std::any_of(imports_.begin(), imports_.end(), [&](const Import& import) { return import.value >= value; })};
}

void Timeline::signalled_by_host(std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  signalled_by_host_ = std::max(signalled_by_host_, value);
}

void Timeline::wake_driver() {
  const hal_driver_ops& ops = device_->driver();
  if (ops.notify != nullptr) {
    ops.notify(device_->driver_self(), lane_);
  } else if (ops.flush != nullptr) {
    ops.flush(device_->driver_self(), lane_);
  }
}

void Timeline::watch() {
  refresh();
  std::vector<Promise> asked;
  {
    const std::lock_guard lock(mutex_);
    if (waiters_.empty()) { return; }
    const std::uint64_t lowest = waiters_.begin()->first;
    for (Promise& promise : promises_) {
      if (promise.watched || promise.value < lowest) { continue; }
      promise.watched = true;
      asked.push_back(promise);
    }
  }
  for (Promise& promise : asked) {
    promise.source->when(promise.number,
                         [self = Ref<Timeline>::share(this), value = promise.value](const hal_error* error) {
                           if (error == nullptr) {
                             self->advance(value);
                           } else {
                             self->fail(static_cast<hal_error*>(hal_retain(const_cast<hal_error*>(error))));
                           }
                         });
  }
}

}  // namespace hal::core
