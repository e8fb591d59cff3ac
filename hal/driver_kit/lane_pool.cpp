// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/lane_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "driver_kit/software_lane.hpp"
#include "threads/fence.hpp"
#include "threads/thread.hpp"

namespace hal::kit {

LanePool::LanePool(std::uint32_t threads, const char* name) : most_(std::max(1U, threads)), name_(name) {}

LanePool::~LanePool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    call_all();
  }
  stall_.notify_all();
  for (const auto& worker : threads_) { worker->thread.join(); }
}

std::uint32_t LanePool::started() const {
  const std::lock_guard lock(mutex_);
  return workers_ + substitutes_;
}

std::uint32_t LanePool::asleep() const {
  const std::lock_guard lock(mutex_);
  return idle_;
}

std::chrono::nanoseconds LanePool::nap_length() const {
  const std::lock_guard lock(mutex_);
  return nap();
}

std::size_t LanePool::napping() const {
  const std::lock_guard lock(mutex_);
  return nappers_.size() + away_;
}

// Needs the mutex. False if the system has no thread left.
bool LanePool::start(Role role) {
  try {
    threads_.reserve(threads_.size() + 1);
    auto worker = std::make_unique<Worker>();
    worker->thread = threads::start_thread(name_, [this, role, self = worker.get()] { run(role, *self); });
    threads_.push_back(std::move(worker));
  } catch (const std::system_error&) { return false; } catch (const std::bad_alloc&) {
    return false;
  }
  ++(role == Role::worker ? workers_ : substitutes_);
  return true;
}

void LanePool::attach(SoftwareLane&) {
  const std::lock_guard lock(mutex_);
  // Here it can be said that there is no thread; where work comes in it cannot.
  if (workers_ == 0 && !start(Role::worker)) {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again), "no thread for a lane");
  }
  nappers_.reserve(lanes_ + 1);  // no token is ever refused for want of memory
  ++lanes_;
}

void LanePool::detach(SoftwareLane& lane) {
  std::unique_lock lock(mutex_);
  lane.seat_.detached = true;
  SoftwareLane* before = nullptr;
  for (SoftwareLane* at = first_ready_; at != nullptr; before = at, at = at->seat_.next) {
    if (at != &lane) { continue; }
    (before != nullptr ? before->seat_.next : first_ready_) = lane.seat_.next;
    if (last_ready_ == &lane) { last_ready_ = before; }
    if (lane.seat_.claimed) { lane.drop_claim(); }
    break;
  }
  std::erase(nappers_, &lane);
  settled_.wait(lock, [&] { return !lane.seat_.inside; });
  --lanes_;
}

void LanePool::push(SoftwareLane& lane) {
  Worker* comes = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (lane.seat_.detached) { return; }
    std::erase(nappers_, &lane);
    make_ready(lane, false);
    comes = someone_to_come();
  }
  call(comes);
}

// A lane is ready. The thread that has to be called for it, if one has to. Needs the mutex.
LanePool::Worker* LanePool::someone_to_come() {
  if (looking_ > 0) {  // soon here
    left_.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  if (idle_ == 0) { call_for_help(); }
  return sleeping();
}

// Takes one of the threads that sleep; it is to be called. Needs the mutex.
LanePool::Worker* LanePool::sleeping(Caller caller) {
  const int here = ::sched_getcpu();
  auto* const worker = static_cast<Worker*>(sleepers_.take(here));
  if (worker == nullptr) { return nullptr; }
  // Nobody knows which core is free; that of a caller who goes on working is not.
  if (worker->core == here || worker->naps || caller == Caller::splits) {
    worker->kept_off.begin(worker->thread.native_handle(), here);
  }
  worker->takes_part = caller == Caller::splits;
  ++coming_;
  return worker;
}

// With the mutex or without it: a worker lives as long as the pool.
void LanePool::call(Worker* worker) const {
  if (worker != nullptr) { worker->called.notify_one(); }
}

// Needs the mutex.
void LanePool::call_all() {
  while (!sleepers_.empty()) { call(sleeping()); }
}

void LanePool::hand_back(SoftwareLane& lane) {
  Worker* comes = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (lane.stage() == Stage::away) { --away_; }
    if (lane.seat_.detached) { return lane.drop_claim(); }
    if (lane.wants_service()) {
      make_ready(lane, true);
    } else {
      lane.drop_claim();
      put_to_nap(lane);
      // Whoever brings a token from inside the pool looks at the napping lanes next; a helper goes its way.
      if (idle_ + looking_ == 0) { call_for_help(); }
    }
    if (first_ready_ != nullptr) { comes = someone_to_come(); }
  }
  call(comes);
}

// The lane's token goes behind the others. Needs the mutex.
void LanePool::make_ready(SoftwareLane& lane, bool claimed) {
  lane.enter(Stage::ready);
  lane.seat_.next = nullptr;
  lane.seat_.claimed = claimed;
  (last_ready_ != nullptr ? last_ready_->seat_.next : first_ready_) = &lane;
  last_ready_ = &lane;
}

// There is work, or lanes nap, and there is no idle thread. Needs the mutex.
void LanePool::call_for_help() {
  if (workers_ < most_ && start(Role::worker)) { return; }
  if (substitutes_idle_ > 0) {
    stall_.notify_one();
  } else if (!substitute_watches_ && substitutes_ < lanes_) {
    (void)start(Role::substitute);
  }
}

// This thread begins with what may take long, or wait for other work: what is ready, and lanes that nap, are for
// others, also where one look has found more than one lane and rang for none. Needs the mutex.
void LanePool::leave_to_others() {
  if (idle_ == 0) {
    if (first_ready_ != nullptr || !nappers_.empty()) { call_for_help(); }
  } else if (coming_ + looking_ == 0 && (first_ready_ != nullptr || (!nappers_.empty() && !someone_looks_in_time()))) {
    call(sleeping());
  }
}

void LanePool::run(Role role, Worker& self) {
  std::unique_lock lock(mutex_);
  bool late = false;
  while (!stop_) {
    if (role == Role::substitute) {
      watch(lock);
      continue;
    }
    look_if_due();
    if (first_ready_ != nullptr) {
      serve(lock);
    } else if (Job* const job = open_job(); job != nullptr) {
      late = false;
      take_part(lock, *job);
    } else if (std::exchange(late, false)) {
      look_for_more(lock, std::chrono::nanoseconds(kLateNs));
    } else {
      late = sleep(lock, self);
    }
  }
}

// A substitute serves a lane if all workers are busy and none has taken one for kStallNs.
void LanePool::watch(std::unique_lock<std::mutex>& lock) {
  if (idle_ > 0 || substitute_watches_ || (first_ready_ == nullptr && nappers_.empty())) {
    ++substitutes_idle_;
    stall_.wait(lock);
    --substitutes_idle_;
    return;
  }
  const std::uint64_t before = taken_;
  substitute_watches_ = true;
  (void)stall_.wait_for(lock, std::chrono::nanoseconds(kStallNs), [&] { return stop_; });
  substitute_watches_ = false;
  if (stop_ || idle_ > 0) { return; }
  look_if_due();
  if (first_ready_ != nullptr && taken_ == before) { serve(lock); }
  // It steps back where a worker has become idle meanwhile; what it leaves ready nobody else has rung for.
  if (first_ready_ != nullptr) { call(sleeping()); }
}

void LanePool::serve(std::unique_lock<std::mutex>& lock) {
  SoftwareLane& lane = *first_ready_;
  Seat& seat = lane.seat_;
  first_ready_ = seat.next;
  if (first_ready_ == nullptr) { last_ready_ = nullptr; }
  ++taken_;
  // This thread may be the one that a job waits for: the next one gets that. Where a helper is at work it is soon back.
  if ((seat.claimed || !lane.is_claimed()) && open_job() != nullptr) { call(sleeping()); }
  leave_to_others();
  // With the mutex, which a helper needs to bring the token back: it finds the lane away.
  if (!seat.claimed && !lane.claim_or_leave_token()) {
    lane.enter(Stage::away);
    if (!someone_to_look_at()) { looked_ = Clock::now(); }
    ++away_;
    doze_ = false;
    return;
  }
  lane.enter(Stage::served);
  seat.inside = true;
  lock.unlock();
  const bool more = lane.serve();
  lock.lock();
  seat.inside = false;
  if (seat.detached) {
    settled_.notify_all();
  } else if (more) {
    make_ready(lane, false);
  } else {
    seat.seen = hal_lane_completed(&lane);
    helped_ = false;
    put_to_nap(lane);
  }
}

// The lane has nothing to do. Needs the mutex.
void LanePool::put_to_nap(SoftwareLane& lane) {
  lane.seat_.naps = 0;
  lane.enter(Stage::napping);
  // Looked at again after the stage was stored: a submit that came before saw it awake and did not ring.
  if (lane.wants_service() && lane.move(Stage::napping, Stage::ready)) {
    make_ready(lane, false);
  } else if (!lane.is_awake()) {
    if (!someone_to_look_at()) { looked_ = Clock::now(); }
    nappers_.push_back(&lane);
    doze_ = false;
    // Whoever sleeps without an end has to begin to nap.
    if (!someone_looks_in_time()) { call(sleeping()); }
  }
}

// Sleeps until there is work. One of the idle threads looks at the lanes that nap; if a token waits for a helper, which
// will most likely put its lane to nap, so that need not wake anybody.
// True if it was called to take part: without a look for more it would be late each time.
bool LanePool::sleep(std::unique_lock<std::mutex>& lock, Worker& self) {
  bool called = true;
  ++idle_;
  sleepers_.add(self, ::sched_getcpu());
  const auto awake = [&] { return !self.asleep; };
  const Clock::time_point until = looked_ + nap();
  if (!someone_to_look_at() || someone_looks_in_time()) {
    self.called.wait(lock, awake);
  } else {
    // Whoever napped for longer, while work was split, wakes for nothing once and sleeps on.
    if (napper_ != nullptr) { napper_->naps = false; }
    napper_ = &self;
    nap_ends_ = until;
    self.naps = true;
    called = self.called.wait_until(lock, until, awake);
    if (!called) { sleepers_.remove(self); }
    if (napper_ == &self) { napper_ = nullptr; }
    self.naps = false;
    // Somebody else naps on, if this thread finds something to do.
    if (napper_ == nullptr && someone_to_look_at() && (first_ready_ != nullptr || open_job() != nullptr)) {
      call(sleeping());
    }
  }
  self.kept_off.end();
  --idle_;
  if (called) { --coming_; }
  return std::exchange(self.takes_part, false);
}

// Looks at the lanes that nap, if that is due.
void LanePool::look_if_due() {
  if (!someone_to_look_at()) { return; }
  const Clock::time_point now = Clock::now();
  if (now - looked_ < look_every()) { return; }
  looked_ = now;
  doze_ = away_ == 0;
  helped_ = true;
  bool falling = false;
  std::erase_if(nappers_, [&](SoftwareLane* lane) {
    Seat& seat = lane->seat_;
    if (lane->wants_service()) {
      if (lane->is_claimed()) {
        // A helper is at it, with what it needs in its caches. To take turns would cost more than it brings.
        seat.naps = 0;
        doze_ = false;
        return false;
      }
      helped_ = false;
      // If somebody rings it just now that thread brings the token.
      if (lane->move(Stage::napping, Stage::ready)) { make_ready(*lane, false); }
      return true;
    }
    if (const std::uint64_t done = hal_lane_completed(lane); done != seat.seen) {
      seat.seen = done;  // helpers are at work: more may come without a ring
      seat.naps = 0;
    } else {
      helped_ = false;
    }
    if (seat.naps < kNaps) {
      ++seat.naps;
      doze_ = false;
      return false;
    }
    if (!lane->move(Stage::napping, Stage::asleep)) { return true; }  // rung just now
    falling = true;
    return false;
  });
  if (!falling) { return; }
  // Whoever submits stores the lane's tail and loads its state, and need not order the two: that is done here.
  const bool ordered = threads::fence_other_threads();
  std::erase_if(nappers_, [&](SoftwareLane* lane) {
    if (lane->stage() == Stage::napping) { return false; }  // not one of those that fall asleep
    if (lane->wants_service()) {
      if (lane->move(Stage::asleep, Stage::ready)) { make_ready(*lane, false); }
      return true;
    }
    // Where threads cannot be ordered it naps on, if nobody has rung it just now.
    return ordered || !lane->move(Stage::asleep, Stage::napping);
  });
}

// ---------------------------------------------------------------------------------------------------------- splitting

// One of which something is left to begin, if there is one. Needs the mutex.
LanePool::Job* LanePool::open_job() {
  while (jobs_ != nullptr && jobs_->begun.load(std::memory_order_relaxed) >= jobs_->count) { jobs_ = jobs_->next; }
  return jobs_;
}

void LanePool::take_part(std::unique_lock<std::mutex>& lock, Job& job) {
  ++job.inside;
  ++taking_part_;
  leave_to_others();
  lock.unlock();
  const Clock::time_point start = Clock::now();
  job.work();
  const Clock::duration worked = Clock::now() - start;
  lock.lock();
  --taking_part_;
  withdraw(job);
  if (--job.inside == 0) { settled_.notify_all(); }
  look_for_more(lock, a_quarter_of(worked, kLookNs));
}

LanePool::Clock::duration LanePool::a_quarter_of(Clock::duration work, std::uint64_t least) {
  return std::clamp<Clock::duration>(work / 4, std::chrono::nanoseconds(least), std::chrono::nanoseconds(kMostLookNs));
}

// What was split is often followed by more of it, and a wake may take as long as all of that.
void LanePool::look_for_more(std::unique_lock<std::mutex>& lock, Clock::duration at_most) {
  // Of all threads one has brought the work, and may bring more of it.
  if (stop_ || first_ready_ != nullptr || looking_ + 1 >= most_ || open_job() != nullptr) { return; }
  ++looking_;
  const std::uint64_t split = split_.load(std::memory_order_relaxed);
  const std::uint64_t left = left_.load(std::memory_order_relaxed);
  lock.unlock();
  Clock::time_point now = Clock::now(), end = now + at_most;
  for (bool lanes = false; now < end && split_.load(std::memory_order_relaxed) == split; now = Clock::now()) {
    // Whoever left a lane is on its way to help it most likely, and needs this thread for a part then.
    if (!lanes && left_.load(std::memory_order_relaxed) != left) {
      lanes = true;
      end = std::min(end, now + std::chrono::nanoseconds(kLookNs));
    }
  }
  lock.lock();
  --looking_;
  // It was to take what became ready meanwhile; one of those, that is.
  if (first_ready_ != nullptr && first_ready_->seat_.next != nullptr) { call_all(); }
}

// Nothing of it is left to begin: nobody else need come. Needs the mutex.
void LanePool::withdraw(Job& job) {
  for (Job** at = &jobs_; *at != nullptr; at = &(*at)->next) {
    if (*at != &job) { continue; }
    *at = job.next;
    return;
  }
}

void LanePool::share(Job& job) {
  if (job.count < 2 || most_ < 2) { return job.work(); }
  std::uint64_t wakes = 0;
  {
    const std::lock_guard lock(mutex_);
    job.next = jobs_;
    jobs_ = &job;
    const std::uint64_t others = std::min<std::uint64_t>(job.count, most_) - 1;
    wakes = others - std::min<std::uint64_t>(others, looking_ + coming_);
    for (std::uint64_t come = idle_ + looking_; come < others && workers_ < most_ && start(Role::worker); ++come) {}
  }
  split_.fetch_add(1, std::memory_order_relaxed);  // without the mutex: whoever looks wants it at once
  for (; wakes > 0; --wakes) {
    std::unique_lock lock(mutex_);
    Worker* const comes = sleeping(Caller::splits);
    lock.unlock();  // calling takes longer than all else here
    call(comes);
  }
  const Clock::time_point start = Clock::now();
  job.work();
  const Clock::time_point done = Clock::now();
  std::unique_lock lock(mutex_);
  withdraw(job);
  if (job.inside == 0) { return; }
  lock.unlock();
  // They are at the last of it: sleeping and being woken takes longer than most pieces.
  const Clock::time_point end = done + a_quarter_of(done - start, kSettleNs);
  do {
    // Nobody can begin it any more, and whoever leaves it does not look at it again: no need for the mutex, which the
    // last of them may still hold.
    if (job.inside.load(std::memory_order_acquire) == 0) { return; }
  } while (Clock::now() < end);
  lock.lock();
  settled_.wait(lock, [&] { return job.inside == 0; });
}

}  // namespace hal::kit
