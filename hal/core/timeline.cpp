// SPDX-License-Identifier: Apache-2.0
#include "core/timeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "core/device.hpp"
#include "core/failure.hpp"
#include "core/instance.hpp"
#include "core/stuck.hpp"
#include "threads/fence.hpp"

namespace hal::core {
namespace {

void delete_all(Promised* list) {
  while (list != nullptr) { delete static_cast<Promise*>(std::exchange(list, list->following)); }
}

// What has come of a promise.
bool is_kept(const Promised& one) { return static_cast<const Promise&>(one).source->reached(one.number); }
bool is_lost(const Promised& one) { return static_cast<const Promise&>(one).source->lost(one.number); }

}  // namespace

Promises::Promises(std::size_t count) {
  try {
    for (std::size_t i = 0; i < count; ++i) {
      auto* made = new Promise;
      made->following = std::exchange(first_, made);
    }
  } catch (...) {
    delete_all(first_);
    throw;
  }
}

Promises::~Promises() { delete_all(first_); }

Promise& Promises::take() {
  Promised& taken = *first_;
  first_ = std::exchange(taken.following, nullptr);
  return static_cast<Promise&>(taken);
}

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
  Promised* left = nullptr;
  promises_.clear(left);
  delete_all(left);
  while (gates_ != nullptr) { delete std::exchange(gates_, gates_->later); }
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
  if (const auto help = device_->driver().help) { help_ = help; }
  driver_ = device_->driver_self();
  __atomic_store_n(&lane->unfenced, can_fence_threads ? 1U : 0U, __ATOMIC_RELAXED);
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
  retain(object);  // until it has left
  last_steps_ = {[](void* of) {
                   auto* const timeline = static_cast<Timeline*>(of);
                   const Engine::Unfinished to_the_end = std::move(timeline->unfinished_);  // outlives what goes here
                   const Ref<Timeline> self(timeline);
                   self->instance_.remove_lane(*self);
                 },
                 this};
  idle_.ended = [](void* of, const hal_error*) {
    auto& self = *static_cast<Timeline*>(of);
    self.instance_.engine().post(self.last_steps_);
  };
  idle_.of = this;
  unfinished_ = Engine::Unfinished(instance_.engine());
  when(idle_, handed.load(), Until::physical);
}

void Timeline::dispose(hal_object* object) {
  auto* self = reinterpret_cast<Timeline*>(object);
  for (const Import& import : self->imports_) { self->instance_.engine().unwatch(import.ticket); }
  self->released_.store(true, std::memory_order_release);
  self->end_if_stuck();
  self->unkeep();
}

void Timeline::unkeep() {
  if (keepers_.fetch_sub(1, std::memory_order_acq_rel) != 1) { return; }
  if (!Engine::on_core_thread()) {
    destroy();
  } else {
    // A driver's call into us may be what let go, and lane_destroy() may wait for that very call.
    last_steps_ = {[](void* of) { static_cast<Timeline*>(of)->destroy(); }, this};
    instance_.engine().post(last_steps_);
  }
}

// Of a timeline without owners: what waits fails instead of hanging for ever, once no work is left that could signal it
// or all that is left waits for it. Asked when it is released and whenever such work ends: nothing else can change it.
void Timeline::end_if_stuck() {
  bool is_brought = false, is_on_device = false;
  Promised* asked = nullptr;
  {
    // A driver may still be on its way out of settle(); lane_destroy() waits for it, this look must not race with it.
    const std::lock_guard lock(mutex_);
    if (logical_.empty() && physical_.empty()) { return; }
    promises_.each_bringing(value_.load(std::memory_order_relaxed) + 1, [&](const Promised& one) {
      is_brought = is_brought || !is_lost(one);
      is_on_device = is_on_device || static_cast<const Promise&>(one).source->handed.load() >= one.number;
    });
    asked = take_asked();
  }
  watch(asked);
  if (!is_brought) {
    fail_released("was released while something waited for it");
  } else if (!is_on_device && !survey_posted_.exchange(true, std::memory_order_acq_rel)) {
    // On the core's thread: whoever let go may hold the lock of a queue.
    keep();
    survey_ = {[](void* of) { static_cast<Timeline*>(of)->survey(); }, this};
    instance_.engine().post(survey_);
  }
}

void Timeline::survey() {
  survey_posted_.exchange(false, std::memory_order_acq_rel);
  try {
    if (is_stuck(*this)) { fail_released("was released, and all work that is to signal it waits for it"); }
  } catch (const std::bad_alloc&) {}  // then it stays as it is until one of the queues is cancelled
  unkeep();
}

void Timeline::fail_released(const char* why) {
  fail(worded(HAL_CANCELLED,
              [&] { return Error(HAL_CANCELLED, fmt::format("timeline '{}' {}", label_, why), "core", "", 0); }));
}

Timeline::Sources Timeline::sources() {
  Sources all;
  const std::lock_guard lock(mutex_);
  promises_.each_bringing(value_.load(std::memory_order_relaxed) + 1, [&](const Promised& one) {
    all.emplace_back(static_cast<const Promise&>(one).source, one.number);
  });
  return all;
}

void Timeline::destroy() {
  if (lane_ != nullptr) { device_->driver().lane_destroy(device_->driver_self(), device_->impl(), lane_); }
  Observer* observer = instance_.observer();
  if (observer == nullptr || !observer->wants_graves()) {
    Storage::unmake(instance_.allocator(), this);
    return;
  }
  const Ref<Instance> instance = Ref<Instance>::share(&instance_);
  void* place = this;
  this->~Timeline();
  static_assert(sizeof(Grave) <= sizeof(Timeline) && alignof(Grave) <= alignof(Timeline));
  std::memset(place, 0, sizeof(Timeline));
  auto* grave = new (place) Grave;
  grave->object.kind = static_cast<std::uint32_t>(Kind::grave);
  grave->observer = observer;
  instance->bury(place);
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

Result<bool> Timeline::takes_signal(std::uint64_t value) {
  if (is_lane_) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("queue '{}' owns this timeline; only its work moves it", label_));
  }
  const std::uint64_t now = this->value();  // first: a loss that nobody has seen yet counts (ORD-21)
  if (failed()) { return false; }
  if (value <= now) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("timeline '{}' stands at {}; a signal to {} is not above it", label_, now, value));
  }
  return true;
}

void Timeline::raise(std::uint64_t value) {
  value_.store(std::max(value_.load(std::memory_order_relaxed), value), std::memory_order_release);
}

void Timeline::advance(std::uint64_t value) {
  Outcome out;
  {
    const std::lock_guard lock(mutex_);
    judge(out);
    if (failure_ == nullptr) { raise(value); }  // a signal after failure is ignored
    take_reached(out.reached);
  }
  finish(out);
}

// Promises are deleted here, without the lock, because the last reference to a source may destroy a lane.
void Timeline::finish(Outcome& out) {
  if (!out.reached.empty()) { out.reached.end_all(nullptr); }
  if (!out.lost.empty()) { out.lost.end_all(failure_); }  // which never changes again
  delete_all(out.dropped);
}

// What has come of the promises, the one place that says it (ORD-21). A promise that is kept raises the value. One that
// is lost fails the timeline if none that may still be kept promises as much; what those promise can still be reached.
// Of several that are lost the highest is the cause. So a value's outcome depends on how the work ends, and not on who
// looks when.
void Timeline::judge(Outcome& out) {
  if (promises_.empty()) { return; }
  const PromiseSet::View seen = promises_.look(value_.load(std::memory_order_relaxed), is_kept, is_lost, out.dropped);
  if (seen.kept > value_.load(std::memory_order_relaxed)) {
    raise(seen.kept);
    take_reached(out.reached);
  }
  if (seen.lost != nullptr && failure_ == nullptr) {
    failure_ = static_cast<const Promise*>(seen.lost)->source->failure();
  }
  const std::uint64_t most = std::max(seen.kept, seen.open);
  if (failure_ != nullptr && most < frozen_.load()) {
    frozen_.store(most, std::memory_order_release);
    show();
    failed_.store(true, std::memory_order_release);
    take_lost(out.lost);
  }
  has_promises_.store(!promises_.empty(), std::memory_order_release);
}

void Timeline::promise(Promise& made, std::uint64_t value, const Ref<Timeline>& source, std::uint64_t number) {
  Outcome out;
  Promised* asked = nullptr;
  made.promised = value;
  made.source = source;
  made.lane = source.get();
  made.number = number;
  {
    const std::lock_guard lock(mutex_);
    judge(out);
    if (failure_ != nullptr) {  // a signal after failure is ignored
      PromiseSet::drop(made, out.dropped);
    } else {
      promises_.add(made, out.dropped);
      signalled_by_work_ = std::max(signalled_by_work_, value);
      has_promises_.store(true, std::memory_order_release);
      if (source->failed()) { judge(out); }  // it may be lost as it comes
      asked = take_asked();
    }
  }
  finish(out);
  watch(asked);
}

std::uint64_t Timeline::refresh() {
  Outcome out;
  std::uint64_t now = 0;
  {
    const std::lock_guard lock(mutex_);
    judge(out);
    now = value_.load(std::memory_order_relaxed);
  }
  finish(out);
  return now;
}

Ref<Timeline> Timeline::producer(std::uint64_t value, std::uint64_t& number) {
  if (is_lane_) {
    number = value;
    return try_share(this);
  }
  const std::lock_guard lock(mutex_);
  const auto* one = static_cast<const Promise*>(promises_.bringing(value, is_lost));
  if (one == nullptr) { return {}; }
  number = one->number;
  return one->source;
}

void Timeline::fail(hal_error* error) { fail_with(error, UINT64_MAX, false); }
void Timeline::fail_above(hal_error* error, std::uint64_t last_good) { fail_with(error, last_good, false); }
void Timeline::cancel(hal_error* error) {
  std::uint64_t told = 0;
  {
    const std::lock_guard lock(mutex_);
    // Who asks without the lock sees no more from here on; what it may have seen until then stays reached.
    const std::uint64_t most = visible_.load(std::memory_order_relaxed);
    visible_.exchange(std::min(most, hal_lane_completed(lane_)), std::memory_order_seq_cst);
    told = std::min(most, __atomic_load_n(&lane_->completed, __ATOMIC_SEQ_CST));
    frozen_.store(std::min(frozen_.load(), told), std::memory_order_release);
    show();
  }
  fail_with(error, told, false);
}
// What it completed behind a closed gate may still turn out to be good.
void Timeline::fail_lane(hal_error* error) { fail_with(error, hal_lane_completed(lane_), true); }

void Timeline::fail_with(hal_error* error, std::uint64_t last_good, bool lane_is_dead) {
  Outcome out;
  {
    const std::lock_guard lock(mutex_);
    judge(out);  // what was signalled or lost before counts, also if nobody had looked yet
    if (failure_ == nullptr) { failure_ = error; }
    take_reached(out.reached);
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
    if (lane_dead_) {
      physical_.take(UINT64_MAX, out.lost);
    } else {
      clip_physical();
    }
    take_lost(out.lost);
    take_reached(out.reached);
    promises_.clear(out.dropped);
    has_promises_.store(false, std::memory_order_release);
  }
  const bool is_first = failure_ == error;
  finish(out);
  if (!is_first) { hal_release(error); }
}

void Timeline::add(Waiter& waiter, std::uint64_t value, Until until) {
  waiter.value = value;
  waiter.order = next_order_++;
  waiter.physical = until == Until::physical;
  (waiter.physical ? physical_ : logical_).add(waiter);
}

bool Timeline::when(Waiter& waiter, std::uint64_t value, Until until) noexcept {
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
      add(waiter, value, until);
    }
  }
  if (now || broken != nullptr) {
    waiter.ended(waiter.of, broken);
    return false;
  }
  // The waiter may have ended by now, and its owner have gone.
  if (is_lane_) {
    settle();
    wake_driver();
  } else {
    watch();
  }
  return true;
}

bool Timeline::forget(Waiter& waiter) {
  const std::lock_guard lock(mutex_);
  if (!waiter.linked) { return false; }
  (waiter.physical ? physical_ : logical_).remove(waiter);
  return true;
}

// Nothing beyond `handed` will come, so nobody waits for more.
void Timeline::clip_physical() {
  const std::uint64_t most = handed.load();
  WaiterList kept, beyond;
  physical_.take(most, kept);
  physical_.take(UINT64_MAX, beyond);
  while (Waiter* waiter = kept.pop()) { physical_.add(*waiter); }
  while (Waiter* waiter = beyond.pop()) { add(*waiter, most, Until::physical); }
}

void Timeline::not_taken(std::uint64_t number) {
  // Against fail_with(), which stores the failure and then looks at `handed`: one of the two sees the other.
  handed.store(number - 1, std::memory_order_seq_cst);
  if (failed_.load(std::memory_order_seq_cst)) { clip(); }
}

void Timeline::clip() {
  Outcome out;
  {
    const std::lock_guard lock(mutex_);
    frozen_.store(std::min(frozen_.load(), handed.load()), std::memory_order_release);
    show();
    clip_physical();
    take_lost(out.lost);
  }
  finish(out);
  settle();
}

// Of a timeline that has failed.
void Timeline::take_lost(WaiterList& out) {
  WaiterList kept;
  logical_.take(frozen_.load(), kept);
  logical_.take(UINT64_MAX, out);
  while (Waiter* waiter = kept.pop()) { logical_.add(*waiter); }
}

// Memory first: whoever is told that work is done finds that what it used is free again.
void Timeline::take_reached(WaiterList& out) {
  const std::uint64_t now =
      is_lane_ ? (lane_ != nullptr ? hal_lane_completed(lane_) : 0) : value_.load(std::memory_order_relaxed);
  physical_.take(now, out);
  // What is behind a gate stays: open_gate() or a failure ends it.
  logical_.take(std::min(now, visible_.load(std::memory_order_relaxed)), out);
}

void Timeline::settle() {
  WaiterList ready;
  std::uint64_t done = 0;
  {
    const std::lock_guard lock(mutex_);
    take_reached(ready);
    while (is_lane_) {
      // Arm, fence all threads, then look again: either this load sees the publish, or the publish sees the armed word
      // (hal_lane_publish). A word that is raised needs no fence: who still sees the lower one calls for nothing.
      const std::uint64_t visible = visible_.load(std::memory_order_relaxed);
      std::uint64_t next = UINT64_MAX;
      if (!logical_.empty() && logical_.first()->value <= visible) { next = logical_.first()->value; }
      if (!physical_.empty()) { next = std::min(next, physical_.first()->value); }
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
  if (done != 0) {
    tell(instance_.observer(), [&](Observer& observer) { observer.completed(*this, done); });
  }
  ready.end_all(nullptr);
}

void Timeline::show() {
  const std::uint64_t gate = gates_ == nullptr ? UINT64_MAX : gates_->next - 1;
  visible_.store(std::min(frozen_.load(std::memory_order_relaxed), gate), std::memory_order_release);
}

void Timeline::close_gate(Gate& gate) {
  const std::lock_guard lock(mutex_);
  (last_gate_ != nullptr ? last_gate_->later : gates_) = &gate;  // numbers only grow
  last_gate_ = &gate;
  show();
}

void Timeline::open_gate(Gate& gate) {
  {
    const std::lock_guard lock(mutex_);
    Gate* before = nullptr;
    for (Gate* at = gates_; at != &gate; at = at->later) { before = at; }
    (before != nullptr ? before->later : gates_) = gate.later;
    if (last_gate_ == &gate) { last_gate_ = before; }
    show();
  }
  delete &gate;  // after the lock: it may hold the last owner of its source
  settle();
}

Ref<Timeline> Timeline::gate(std::uint64_t number, std::uint64_t& wanted) {
  const std::lock_guard lock(mutex_);
  if (gates_ == nullptr || gates_->next > number) { return {}; }
  wanted = gates_->number;
  return gates_->source;
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

// Those that may end somebody who waits, if nobody watches them yet: those that promise what is waited for and, as its
// loss fails the timeline, the highest of all. Of a released one all: see end_if_stuck().
Promised* Timeline::take_asked() {
  if (logical_.empty()) { return nullptr; }
  return promises_.watch_from(is_released() ? 0 : std::min(logical_.first()->value, signalled_by_work_));
}

void Timeline::watch() {
  Outcome out;
  Promised* asked = nullptr;
  {
    const std::lock_guard lock(mutex_);
    judge(out);
    asked = take_asked();
  }
  finish(out);
  watch(asked);
}

void Timeline::watch(Promised* marked) {
  while (marked != nullptr) {
    auto& one = static_cast<Promise&>(*std::exchange(marked, marked->following));
    one.target = this;
    keep();
    one.of = &one;
    one.ended = promise_ended;
    const Ref<Timeline> source = one.source;  // the promise may end, and go, before this call has returned
    source->when(one, one.number);
  }
}

void Timeline::promise_ended(void* of, const hal_error*) {
  auto& self = *static_cast<Promise*>(of);
  Timeline& target = *self.target;
  Outcome out;  // may hold the promise, that the source, and that the error
  {
    const std::lock_guard lock(target.mutex_);
    self.watched = false;
    if (!self.listed) {
      PromiseSet::drop(self, out.dropped);
    } else {
      target.judge(out);
    }
  }
  target.finish(out);
  if (target.is_released()) { target.end_if_stuck(); }
  target.unkeep();
}

}  // namespace hal::core
