// SPDX-License-Identifier: Apache-2.0
#include "core/queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/buffer.hpp"
#include "core/explain.hpp"
#include "core/failure.hpp"
#include "core/recording.hpp"

namespace hal::core {

namespace {

constexpr std::uint32_t kRecent = 8;  // submissions shown below a failure

thread_local const Timeline* calling = nullptr;  // the lane whose host function runs on this thread

hal_error* share(const hal_error* error) { return static_cast<hal_error*>(hal_retain(const_cast<hal_error*>(error))); }

}  // namespace

Ref<Pending> Pending::make(const hal_allocator& from, std::span<const hal_command> given, std::size_t most_waits) {
  auto* raw = Storage::make<Pending>(from, from);
  init(raw->object, Kind::pending, [](hal_object* object) {
    auto* self = reinterpret_cast<Pending*>(object);
    Storage::unmake(self->commands.get_allocator().from, self);
  });
  Ref<Pending> made(raw);
  std::size_t arg_count = 0, text_count = 0;
  for (const hal_command& command : given) {
    arg_count += has_args(command) ? command.as.run.arg_count : 0;
    text_count += command.op == HAL_OP_CIRCUIT ? 1U : 0U;
  }
  made->args.reserve(arg_count);
  made->texts.reserve(text_count);
  made->waits.reserve(most_waits);
  made->commands.assign(given.begin(), given.end());
  for (hal_command& command : made->commands) {
    if (command.op == HAL_OP_CIRCUIT) {
      command.as.circuit.permutation = made->texts.emplace_back(command.as.circuit.permutation).c_str();
    }
    if (!has_args(command)) { continue; }
    const std::size_t start = made->args.size();
    made->args.insert(made->args.end(), command.as.run.args, command.as.run.args + command.as.run.arg_count);
    command.as.run.args = made->args.data() + start;
  }
  return made;
}

Queue::StraightOps::StraightOps(const Device& device) {
  constexpr std::uint32_t kKinds = 1U << HAL_OP_BARRIER | 1U << HAL_OP_FILL | 1U << HAL_OP_COPY | 1U << HAL_OP_RUN;
  const std::uint32_t kinds = kKinds & device.traits().ops;
  const bool is_watched = device.instance().observer() != nullptr;
  straight = is_watched ? 0 : kinds;
  watched = is_watched ? kinds : 0;
}

Queue::Queue(Device& device, Ref<Timeline> timeline)
    : straight_{device.impl(), device.driver_self(), timeline->lane(), device.driver().submit},
      timeline_(std::move(timeline)),
      ops_(device),
      notify_(device.driver().notify),
      device_(Ref<Device>::share(&device)) {
  constexpr std::size_t kLine = 64;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"  // no virtual base moves anything here
  static_assert(offsetof(Queue, straight_ops_) / kLine == (offsetof(Queue, pending_) + sizeof(void*) - 1) / kLine,
                "what the short way asks is more than one cache line");
#pragma GCC diagnostic pop
  straight_ops_.store(ops_.straight, std::memory_order_relaxed);
  init(object, Kind::queue, dispose);
  advance_ = {[](void* of) {
                const Ref<Queue> self(static_cast<Queue*>(of));
                // A read-modify-write: what the swallowed posts left behind is seen by this look.
                self->advance_posted_.exchange(false, std::memory_order_acq_rel);
                self->advance();
              },
              this};
  again_.of = this;
  again_.ended = [](void* of, const hal_error*) {
    const Ref<Queue> self(static_cast<Queue*>(of));
    self->again_waits_.store(false, std::memory_order_release);
    self->post_advance();
  };
  const std::lock_guard lock(timeline_->owner_mutex);
  timeline_->owner = this;
}

Queue::~Queue() {
  {
    const std::lock_guard lock(timeline_->owner_mutex);
    timeline_->owner = nullptr;
  }
  hal_release(spoilt_);
  timeline_->retire();
}

void Queue::dispose(hal_object* object) {
  // Whatever is held back owns the queue through its waiters, so nothing is held back any more.
  auto* self = reinterpret_cast<Queue*>(object);
  Storage::unmake(self->device_->instance().allocator(), self);
}

Result<Ref<Queue>> Queue::create(Device& device, const char* label, Use use) {
  HAL_CHECK(device.instance().engine().start());
  Ref<Timeline> timeline = Timeline::of_lane(device, label);
  hal_lane* lane = nullptr;
  Result<void> lane_made = call_driver(device.loaded(), "lane_create", [&] {
    return device.driver().lane_create(device.driver_self(), device.impl(), timeline->label().c_str(), timeline.get(),
                                       &lane);
  });
  if (lane_made && lane == nullptr) {
    lane_made = Error(HAL_INTERNAL, fmt::format("lane_create() of driver {} reported success but gave no lane",
                                                device.loaded().path));
  }
  if (!lane_made) {
    return std::move(lane_made).error().while_doing(fmt::format("making a queue on {}", device.uri()));
  }
  timeline->attach(lane);
  Ref<Queue> made;
  try {
    made = Ref<Queue>(Storage::make<Queue>(device.instance().allocator(), device, timeline));
  } catch (...) {
    timeline->retire();  // the instance's list owns it by now
    throw;
  }
  made->staging_ = use == Use::core;
  if (Observer* observer = device.instance().observer()) {
    announce(*observer, made->timeline().object, {.label = made->label().c_str(), .device = &device, .internal = true});
    announce(*observer, made->object,
             {.label = made->label().c_str(), .device = &device, .internal = use == Use::core});
  }
  return made;
}

Error Queue::failed_already() const {
  return Error::adopt(around(timeline_->failure(),
                             [this] {
                               return fmt::format("queue '{}' on {} has failed and takes no more work; make a new one",
                                                  label(), device_->uri());
                             },
                             {}));
}

Result<void> Queue::check_counts(const hal_sync& sync) {
  if ((sync.wait_count == 0 || sync.waits != nullptr) && (sync.signal_count == 0 || sync.signals != nullptr)) {
    return {};
  }
  return Error(HAL_INVALID_ARGUMENT, "hal_sync counts points but its array is NULL");
}

Result<void> Queue::check_points(const hal_sync& sync) const {
  HAL_CHECK(check_counts(sync));
  for (const hal_point& wait : std::span(sync.waits, sync.wait_count)) {
    HAL_CHECK(check_point(wait));
    if (wait.timeline == timeline_.get() && wait.value > timeline_->assigned.load(std::memory_order_relaxed)) {
      return Error(
          HAL_INVALID_ARGUMENT,
          fmt::format(
              "queue '{}' would wait for its own value {}, which only work after this could reach (it has assigned {})",
              label(), wait.value, timeline_->assigned.load()));
    }
  }
  for (const hal_point& signal : std::span(sync.signals, sync.signal_count)) {
    if (signal.timeline == nullptr) { return Error(HAL_INVALID_ARGUMENT, "a signal names no timeline"); }
    if (!is(Kind::timeline, *signal.timeline)) { return refuse_point(signal); }
    HAL_CHECK(cast(signal.timeline)->takes_signal(signal.value));
  }
  return {};
}

// A wait that the device keeps, until what it waits for has ended.
struct Queue::DeviceWait : Timeline::Gate {
  Waiter waiter;
  Task task;
  Ref<Queue> queue;
  hal_error* cause = nullptr;

  static void ended(void* of, const hal_error* error) {
    auto& self = *static_cast<DeviceWait*>(of);
    if (error == nullptr) {
      const Ref<Queue> queue = std::move(self.queue);
      queue->timeline_->open_gate(self);
      return;
    }
    self.cause = share(error);
    self.task = {fail_queue, &self};
    self.queue->device_->instance().engine().post(self.task);
  }
  static void fail_queue(void* of) {
    auto& self = *static_cast<DeviceWait*>(of);
    const Ref<Queue> queue = std::move(self.queue);
    {
      const std::lock_guard lock(queue->mutex_);
      queue->timeline_->fail_above(
          around(self.cause,
                 [&] {
                   return fmt::format("{} of queue '{}' on {} is not good: what its device waited for has failed",
                                      queue->describe(self.next), queue->label(), queue->device_->uri());
                 },
                 {}),
          self.next - 1);
    }
    queue->advance();
  }
};

// Lets the device itself wait for a lane of the same device. False if it cannot, and the core must. Never for a plain
// timeline: others may bring its value than the work that the device would wait for, and when that fails the device may
// skip what is behind the wait though the value is reached.
bool Queue::device_waits(const hal_point& wait, std::uint64_t next) noexcept {
  const hal_driver_ops& ops = device_->driver();
  Timeline& producer = *cast(wait.timeline);
  if (ops.lane_wait == nullptr || !producer.is_lane() || producer.device() != device_.get() ||
      &producer == timeline_.get() || producer.handed.load(std::memory_order_acquire) < wait.value) {
    return false;
  }
  std::unique_ptr<DeviceWait> made(new (std::nothrow) DeviceWait);
  if (made == nullptr || ops.lane_wait(device_->driver_self(), timeline_->lane(), producer.lane(), wait.value) == 0) {
    return false;
  }
  // Order is the device's now; whether it was kept with success stays ours to say.
  DeviceWait& gate = *made.release();
  gate.next = next;
  gate.number = wait.value;
  gate.source = Ref<Timeline>::share(&producer);
  gate.queue = Ref<Queue>::share(this);
  gate.waiter.of = &gate;
  gate.waiter.ended = DeviceWait::ended;
  timeline_->close_gate(gate);
  producer.when(gate.waiter, wait.value);
  return true;
}

bool Queue::is_open(const hal_point& wait, std::uint64_t next) const {
  if (wait.timeline == nullptr) { return false; }
  if (wait.timeline == timeline_.get() && wait.value < next) { return false; }  // queue order already says so
  return !cast(wait.timeline)->reached(wait.value);
}

bool Queue::must_wait(const hal_sync& sync, std::uint64_t next) const {
  const std::span waits(sync.waits, sync.wait_count);
  return std::any_of(waits.begin(), waits.end(), [&](const hal_point& wait) { return is_open(wait, next); });
}

void Queue::add_waits(Pending& held, const hal_sync& sync, std::uint64_t next) noexcept {
  for (const hal_point& wait : std::span(sync.waits, sync.wait_count)) {
    if (!is_open(wait, next)) { continue; }
    if (pending_.empty() && device_waits(wait, next)) { continue; }
    held.add_wait(wait);
  }
}

Ref<Pending> Queue::hold(std::span<const hal_command> commands, std::size_t most_waits) const {
  return Pending::make(device_->instance().allocator(), commands, most_waits);
}

std::uint32_t Queue::hand_over(std::uint64_t first, std::span<const hal_command> commands) {
  const hal_driver_ops& ops = device_->driver();
  const std::uint32_t most = device_->traits().max_batch != 0 ? device_->traits().max_batch : UINT32_MAX;
  std::uint32_t taken = 0;
  while (taken < commands.size()) {
    const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(commands.size() - taken, most));
    // Before the call: a lane may complete inside submit(), and completed must never be seen above handed.
    timeline_->handed.store(first + taken + part - 1, std::memory_order_release);
    const std::uint32_t got =
        ops.submit(device_->driver_self(), timeline_->lane(), first + taken, commands.data() + taken, part);
    taken += got;
    if (got < part) {
      timeline_->not_taken(first + taken);
      break;
    }
  }
  // Whoever came to wait before this work reached the lane could not tell the driver then.
  if (ops.notify != nullptr && taken != 0 &&
      __atomic_load_n(&timeline_->lane()->wake_at, __ATOMIC_SEQ_CST) <= first + taken - 1) {
    ops.notify(device_->driver_self(), timeline_->lane());
  }
  return taken;
}

void Queue::promise_signals(Promises& made, const hal_sync& sync, std::uint64_t number) noexcept {
  if (sync.signal_count == 0) { return; }
  tell(device_->instance().observer(),
       [&](Observer& observer) { observer.promised(*timeline_, number, {sync.signals, sync.signal_count}); });
  for (const hal_point& signal : std::span(sync.signals, sync.signal_count)) {
    cast(signal.timeline)->promise(made.take(), signal.value, timeline_, number);
  }
}

Result<std::uint64_t> Queue::submit(std::span<const hal_command> commands, const hal_sync& sync) {
  if (capturing()) [[unlikely]] { return submit_captured(commands, sync); }
  Observer* observer = device_->instance().observer();
  if (observer == nullptr) { return submit_unseen(commands, sync); }
  HAL_CHECK(check(observer->submitting(*this, commands, sync)));
  if (hal_point done; commands.size() == 1 && submit_watched(*observer, commands.front(), sync, done)) {
    tell(observer, [](Observer& told) { told.submitted(); });
    return done.value;
  }
  Result<std::uint64_t> number = submit_unseen(commands, sync);
  tell(observer, [&](Observer& told) {
    if (!number) { told.refused(*this, commands, number.error().get()); }
    told.submitted();
  });
  return number;
}

Result<std::uint64_t> Queue::submit_unseen(std::span<const hal_command> commands, const hal_sync& sync) {
  thread_local Batch scratch;
  scratch.clear();
  HAL_CHECK(lower(*device_, commands, scratch));
  if (scratch.commands.empty()) { scratch.commands.push_back(kBarrier); }
  return scratch.plain ? submit_plain(scratch.commands, sync) : submit_parts(scratch.commands, sync);
}

// The declared limit counts submissions, however many parts they go in.
Result<void> Queue::check_limit() const {
  if (held_ < device_->instance().pending_limit()) { return {}; }
  return Error(HAL_WOULD_BLOCK,
               fmt::format("queue '{}' on {} holds back {} submissions, its declared limit; wait for one of its points",
                           label(), device_->uri(), held_));
}

Result<std::uint64_t> Queue::submit_plain(std::span<const hal_command> commands, const hal_sync& sync) {
  HAL_CHECK(check_points(sync));
  Promises signals(sync.signal_count);
  std::uint64_t last = 0;
  {
    const std::lock_guard lock(mutex_);
    if (timeline_->failed()) { return failed_already(); }
    const std::uint64_t first = timeline_->assigned.load(std::memory_order_relaxed) + 1;
    Ref<Pending> held;
    if (!pending_.empty() || must_wait(sync, first)) {
      HAL_CHECK(check_limit());
      held = hold(commands, sync.wait_count);  // the last thing that may fail
      add_waits(*held, sync, first);
      if (may_begin(*held)) { held = {}; }
    }
    last = place(commands, std::move(held), commands.front(), sync);
  }
  promise_signals(signals, sync, last);
  return last;
}

// Of a queue that belongs to one submission of another.
Result<std::uint64_t> Queue::submit_prepared(const hal_command& command, Ref<Pending> held, const hal_sync& sync) {
  const std::lock_guard lock(mutex_);
  if (timeline_->failed()) { return failed_already(); }
  add_waits(*held, sync, timeline_->assigned.load(std::memory_order_relaxed) + 1);
  if (may_begin(*held)) { held = {}; }
  return place({&command, 1}, std::move(held), command, sync);
}

std::uint64_t Queue::place(std::span<const hal_command> commands, Ref<Pending> held, const hal_command& shown,
                           const hal_sync& sync) noexcept {
  assert(held || pending_.empty());  // else it overtakes what is held back
  const std::uint64_t first = timeline_->assigned.load(std::memory_order_relaxed) + 1;
  const std::uint64_t last = first + commands.size() - 1;
  timeline_->assigned.store(last, std::memory_order_release);
  recorder_.note(first, static_cast<std::uint32_t>(commands.size()), shown,
                 sync.where != nullptr ? *sync.where : hal_site{});
  tell(device_->instance().observer(),
       [&](Observer& observer) { observer.accepted(*timeline_, last, commands, sync, staging_); });
  if (held) {
    held->first = first;
    if (sync.where != nullptr) { held->site = *sync.where; }
    hold_back(std::move(held));
    return last;
  }
  if (timeline_->failed()) [[unlikely]] { return last; }  // since the caller looked; a failed lane gets no more
  const std::uint32_t taken = hand_over(first, commands);
  if (taken < commands.size()) { hold_rest(first, taken, commands, sync); }
  return last;
}

void Queue::hold_rest(std::uint64_t first, std::uint32_t taken, std::span<const hal_command> commands,
                      const hal_sync& sync) noexcept {
  Ref<Pending> pending;
  try {
    pending = hold(commands, 0);
  } catch (const std::bad_alloc&) {
    // The numbers are assigned, so they have to end: with a failure, and nothing of the queue comes after them.
    timeline_->fail(worded(HAL_OUT_OF_HOST_MEMORY, [&] {
      return Error(HAL_OUT_OF_HOST_MEMORY,
                   fmt::format("the host has no memory left to hold back {} commands of queue '{}' on {}",
                               commands.size() - taken, label(), device_->uri()),
                   "core", "", 0);
    }));
    post_advance();
    return;
  }
  pending->first = first;
  pending->taken = taken;
  if (sync.where != nullptr) { pending->site = *sync.where; }
  hold_back(std::move(pending));
}

void Queue::hold_back(Ref<Pending> pending) noexcept {
  Pending& held = *pending;
  held.queue = this;
  held.unresolved = held.waits.size() + 1;  // one for ourselves, so that it cannot become ready while we register
  const bool head = pending_.empty();
  pending_.push_back(std::move(pending));
  ++held_;
  for (Pending::Wait& wait : held.waits) {
    wait.pending = &held;
    wait.of = &wait;
    wait.ended = wait_ended;
    retain(held.object);
    retain(object);
    const hal_point point = wait.point;
    cast(point.timeline)->when(wait, point.value);
  }
  // Behind others nothing becomes ready before they do, and whoever hands them over goes on with this. A queue that
  // failed meanwhile lets go of what it holds back without asking what that waits for.
  const bool ready = held.unresolved.fetch_sub(1, std::memory_order_acq_rel) == 1;
  if ((ready && head) || timeline_->failed()) { post_advance(); }
}

void Queue::wait_ended(void* of, const hal_error* error) {
  auto& wait = *static_cast<Pending::Wait*>(of);
  const Ref<Queue> self(wait.pending->queue);
  const Ref<Pending> pending(wait.pending);
  {
    const std::lock_guard lock(pending->failure_mutex);
    wait.point = {};
  }
  if (error != nullptr) { pending->fail(share(error)); }
  if (pending->unresolved.fetch_sub(1, std::memory_order_acq_rel) == 1 || error != nullptr) { self->post_advance(); }
}

void Queue::post_advance() {
  if (advance_posted_.exchange(true, std::memory_order_acq_rel)) { return; }
  retain(object);
  device_->instance().engine().post(advance_);
}

void Queue::advance() {
  PendingList dropped;  // released after the lock
  const std::lock_guard lock(mutex_);
  while (!pending_.empty()) {
    Pending& head = pending_.front();
    // In this order: a wait that fails leaves its failure before it counts itself as resolved.
    const bool resolved = head.unresolved.load(std::memory_order_acquire) == 0;
    if (hal_error* cause = head.take_failure()) {
      timeline_->fail(around(
          cause,
          [&] {
            return fmt::format("{} of queue '{}' on {} was not begun: what it waits for has failed",
                               describe(head.first), label(), device_->uri());
          },
          head.site));
    }
    if (timeline_->failed()) {
      // User code that runs is never abandoned, and the thread that comes for it finds the failure itself.
      if (head.call == Pending::Call::running || head.call == Pending::Call::posted) { break; }
      if (head.call == Pending::Call::waiting) {
        head.told = timeline_->failure();
        post_call(head, run_call_off);
      }
      dropped.push_back(pop_head());
      continue;
    }
    if (!resolved || !advance_one(head)) { break; }
    dropped.push_back(pop_head());
  }
  if (pending_.empty()) { flush(); }
}

Ref<Pending> Queue::pop_head() {
  Ref<Pending> head = pending_.pop_front();
  held_ -= head->counts ? 1U : 0U;
  return head;
}

// Moves the head on. True once the lane has all of it.
bool Queue::advance_one(Pending& pending) {
  if (pending.call != Pending::Call::none && pending.call != Pending::Call::returned) {
    if (pending.call != Pending::Call::waiting) { return false; }
    if (!timeline_->reached(pending.first - 1)) {
      come_again(pending.first - 1);
      return false;
    }
    pending.call = Pending::Call::posted;
    post_call(pending, run_call);
    return false;
  }
  // Read before the lane is asked: it may complete all that it has between its refusal and a later look, and then
  // nothing would ever be one more.
  const std::uint64_t done = hal_lane_completed(timeline_->lane());
  pending.taken += hand_over(pending.first + pending.taken, std::span(pending.commands).subspan(pending.taken));
  if (pending.taken == pending.commands.size()) { return true; }
  come_again(done + 1);  // the lane is full: when it has completed one more
  return false;
}

// Calls the engine when the lane is at `value`. Who waits already waits for less: heads only move on.
void Queue::come_again(std::uint64_t value) {
  if (again_waits_.exchange(true, std::memory_order_acq_rel)) { return; }
  retain(object);
  timeline_->when(again_, value);
}

void Queue::post_call(Pending& pending, void (*run)(void* of)) {
  retain(object);
  retain(pending.object);
  pending.call_task = {run, &pending};
  Instance& instance = device_->instance();
  pending.unfinished = Engine::Unfinished(instance.engine());
  instance.workers().post(pending.call_task);
}

// Its turn never comes.
void Queue::call_off(Pending& pending) {
  hal_release(pending.function(pending.user, pending.told));
  hal_release(pending.told);
}
void Queue::run_call_off(void* of) {
  auto* pending = static_cast<Pending*>(of);
  const Engine::Unfinished to_the_end = std::move(pending->unfinished);
  const Ref<Queue> self(pending->queue);
  const Ref<Pending> kept(pending);
  call_off(*pending);
}

void Queue::run_call(void* of) {
  auto* pending = static_cast<Pending*>(of);
  const Engine::Unfinished to_the_end = std::move(pending->unfinished);  // first: it outlives what goes here
  const Ref<Queue> self(pending->queue);
  const Ref<Pending> kept(pending);
  {
    const std::lock_guard lock(self->mutex_);
    pending->told = self->timeline_->failure();  // while it waited for a thread
    if (pending->told == nullptr) { pending->call = Pending::Call::running; }
  }
  hal_error* error = nullptr;
  if (pending->told != nullptr) {
    call_off(*pending);
  } else {
    Observer* observer = self->device_->instance().observer();
    tell(observer, [&](Observer& told) { told.calling(*self->timeline_, pending->first); });
    calling = self->timeline_.get();
    error = pending->function(pending->user, nullptr);
    calling = nullptr;
    tell(observer, [&](Observer& told) { told.called(*self->timeline_, pending->first); });
  }
  // Before the call counts as returned: the engine may look at any time, and would hand over what is behind it.
  if (error != nullptr) {
    self->timeline_->fail(around(
        error,
        [&] { return fmt::format("host call {} of queue '{}' returned an error", pending->first, self->label()); },
        pending->site));
  }
  {
    const std::lock_guard lock(self->mutex_);
    pending->call = Pending::Call::returned;
  }
  self->post_advance();
}

void Queue::flush() {
  const hal_driver_ops& ops = device_->driver();
  if (ops.flush != nullptr) { ops.flush(device_->driver_self(), timeline_->lane()); }
}

void Queue::cancel() {
  tell(device_->instance().observer(), [&](Observer& observer) { observer.abandoned(*timeline_); });
  {
    // Under the lock: a hand-over in between would leave the device with work that nobody counts any more.
    const std::lock_guard lock(mutex_);
    timeline_->cancel(worded(HAL_CANCELLED, [&] {
      return Error(HAL_CANCELLED, fmt::format("queue '{}' on {} was cancelled", label(), device_->uri()), "core", "",
                   0);
    }));
  }
  const hal_driver_ops& ops = device_->driver();
  if (ops.lane_cancel != nullptr) { ops.lane_cancel(device_->driver_self(), timeline_->lane()); }
  post_advance();
}

std::string Queue::describe(std::uint64_t number) const {
  std::string what;
  hal_site site{};
  if (!recorder_.find(number, what, site)) { return fmt::format("command {}", number); }
  if (site.file != nullptr) { what += fmt::format(" submitted at {}:{}", site.file, site.line); }
  return what;
}

Queue::Blocker Queue::blocker() {
  Blocker found;
  const std::lock_guard lock(mutex_);
  if (pending_.empty()) { return found; }
  Pending& head = pending_.front();
  found.number = head.first;
  found.call = head.call == Pending::Call::running   ? Blocker::Call::running
               : head.call == Pending::Call::posted  ? Blocker::Call::posted
               : head.call == Pending::Call::waiting ? Blocker::Call::waiting
                                                     : Blocker::Call::none;
  add_open(head, found.waits);
  return found;
}

Queue::Points Queue::waits_until(std::uint64_t number) {
  Points all;
  const std::lock_guard lock(mutex_);
  for (Pending* held = pending_.after(nullptr); held != nullptr && held->first <= number; held = pending_.after(held)) {
    add_open(*held, all);
  }
  return all;
}

// A timeline that goes ends its waits first, so it is there as long as a wait names it.
void Queue::add_open(Pending& held, Points& out) {
  const std::lock_guard guard(held.failure_mutex);
  for (const Pending::Wait& wait : held.waits) {
    if (wait.point.timeline != nullptr) { out.emplace_back(Kept(*cast(wait.point.timeline)), wait.point.value); }
  }
}

std::string Queue::history(std::uint32_t most, const char* indent) const {
  return recorder_.history(most, UINT64_MAX, timeline_->value(), timeline_->handed.load(), indent);
}

const Timeline* Queue::calling_here() { return calling; }

void lane_failed(Timeline& lane, std::uint64_t number, hal_error* error) noexcept {
  std::string what, recent;
  hal_site site{};
  try {
    const std::lock_guard lock(lane.owner_mutex);
    if (lane.owner != nullptr) {
      const FlightRecorder& recorder = lane.owner->recorder();
      recorder.find(number, what, site);
      recent = recorder.history(kRecent, number, number - 1, lane.handed.load(), "      ");
    }
  } catch (const std::bad_alloc&) {}  // then without them
  hal_error* told = around(
      error,
      [&] {
        return fmt::format("{} of queue '{}' on {} failed", what.empty() ? fmt::format("command {}", number) : what,
                           lane.label(), lane.device()->uri());
      },
      site);
  if (told != error && !recent.empty()) {
    try {
      with_notes(told,
                 fmt::format("    recent work of queue '{}' on {}:\n{}", lane.label(), lane.device()->uri(), recent));
    } catch (const std::bad_alloc&) {}
  }
  lane.fail_lane(told);
  advance_owner(lane);  // what it holds back is told now, not when its waits end
}

Ref<Queue> owner_of(Timeline& lane) {
  const std::lock_guard lock(lane.owner_mutex);
  return lane.owner != nullptr ? try_share(lane.owner) : Ref<Queue>{};
}

void advance_owner(Timeline& lane) noexcept {
  if (const Ref<Queue> owner = owner_of(lane)) { owner->post_advance(); }
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_queue_create(hal_device* device, const char* label, hal_queue** out) {
  return guarded("hal_queue_create", {device, out}, [&]() -> hal::Result<void> {
    HAL_TRY(auto made, Queue::create(*cast(device), label));
    *out = made.take();
    return {};
  });
}

extern "C" hal_timeline* hal_queue_timeline(hal_queue* queue) {
  return queue != nullptr ? &cast(queue)->timeline() : nullptr;
}

hal_error* hal::core::submit_in_general(hal_queue* queue, const hal_command* commands, std::uint32_t count,
                                        const hal_sync* sync, hal_point* out) {
  return guarded("hal_queue_submit", {queue}, [&]() -> hal::Result<void> {
    static constexpr hal_sync kNone{};
    const hal_sync& order = sync != nullptr ? *sync : kNone;
    if (count == 0 && order.wait_count == 0 && order.signal_count == 0) {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_queue_submit(): no commands, no waits and no signals");
    }
    if (count != 0 && commands == nullptr) {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_queue_submit(): 'commands' is NULL");
    }
    HAL_TRY(const std::uint64_t value, cast(queue)->submit({commands, count}, order));
    if (out != nullptr) { *out = {&cast(queue)->timeline(), value}; }
    return {};
  });
}

extern "C" hal_error* hal_queue_alloc(hal_queue* queue, hal_pool* pool, std::uint64_t bytes, const hal_sync* sync,
                                      hal_buffer** out_buffer, hal_point* out) {
  return guarded("hal_queue_alloc", {queue, pool, out_buffer}, [&]() -> hal::Result<void> {
    Queue& self = *cast(queue);
    if (self.capturing()) { HAL_CHECK(self.refuse_captured_alloc()); }
    const auto& handle = *static_cast<PoolHandle*>(pool);
    if (handle.device.get() != &self.device()) {
      return hal::Error(HAL_INVALID_ARGUMENT,
                        fmt::format("hal_queue_alloc(): the pool is of {}, the queue of {}",
                                    owner_text(*handle.device, self.device()), self.device().uri()));
    }
    hal_sync order = sync != nullptr ? *sync : hal_sync{};
    HAL_CHECK(Queue::check_counts(order));
    const std::span<const hal_point> asked(order.waits, order.wait_count);
    for (const hal_point& wait : asked) { HAL_CHECK(check_point(wait)); }
    Ref<Timeline> gate;
    HAL_TRY(auto buffer, Buffer::make(self.device(), handle.pool, bytes, &self.timeline(), asked, gate));
    std::vector<hal_point> waits;
    if (gate) {  // the memory comes from another queue's work: see hal_pool_create()
      waits.assign(asked.begin(), asked.end());
      waits.push_back({gate.get(), 1});
      order.waits = waits.data();
      order.wait_count = static_cast<std::uint32_t>(waits.size());
    }
    HAL_TRY(const std::uint64_t value, self.submit({}, order));
    tell(self.device().instance().observer(),
         [&](Observer& observer) { observer.claimed(self.timeline(), value, *buffer, false); });
    *out_buffer = buffer.take();
    if (out != nullptr) { *out = {&self.timeline(), value}; }
    return {};
  });
}

extern "C" hal_error* hal_queue_flush(hal_queue* queue) {
  return guarded("hal_queue_flush", {queue}, [&]() -> hal::Result<void> {
    cast(queue)->flush();
    return {};
  });
}

extern "C" void hal_queue_cancel(hal_queue* queue) {
  if (queue != nullptr) { cast(queue)->cancel(); }
}

extern "C" hal_error* hal_queue_history(hal_queue* queue, char** out) {
  return guarded("hal_queue_history", {queue, out}, [&]() -> hal::Result<void> {
    const std::string text = cast(queue)->history(FlightRecorder::kEntries, "");
    *out = ::strdup(text.c_str());
    if (*out == nullptr) { throw std::bad_alloc(); }
    return {};
  });
}
