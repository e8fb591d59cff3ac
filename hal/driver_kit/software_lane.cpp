// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/software_lane.hpp"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "driver_kit/errors.hpp"
#include "driver_kit/futex.hpp"
#include "driver_kit/thread.hpp"

namespace hal::kit {

namespace {

// Salts of Perturb: one for each kind of decision.
enum Salt : std::uint32_t { kAccept = 1, kBefore, kGrouping, kAfter, kHelp };

}  // namespace

SoftwareLane::SoftwareLane(const hal_host_api* host_api, void* core_object, const char* origin, const char* label,
                           std::unique_ptr<CommandExecutor> executor, const LaneOptions& options)
    : TaggedLane{},
      origin_(origin),
      executor_(std::move(executor)),
      options_(options),
      mask_(options.capacity - 1),
      slots_(new Slot[options.capacity]),
      captures_(options.capture_bytes) {
  host = host_api;
  core = core_object;
  wake_at = UINT64_MAX;
  worker_ = start_thread(label != nullptr && label[0] != 0 ? label : origin, [this] { work(); });
}

SoftwareLane::~SoftwareLane() {
  failed_.store(true, std::memory_order_seq_cst);
  stop_.store(true, std::memory_order_seq_cst);
  ring();
  worker_.join();
  // A helper may have published the last command and still be on its way out.
  while (!try_claim()) { ::sched_yield(); }
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (std::uint64_t number = hal_lane_completed(this) + 1; number <= tail; ++number) {
    delete[] slots_[number & mask_].heap;
  }
}

// ------------------------------------------------------------------------------------------------------------ submit

std::uint32_t SoftwareLane::submit(std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  if (failed_.load(std::memory_order_acquire)) { return count; }  // taken and dropped: the core knows of the failure
  std::uint64_t done = hal_lane_completed(this);
  std::uint32_t taken = 0;
  if (done == first - 1) {
    held_ns_ = 0;
    // Nobody executes: the counter is ours to move. The tail follows after it, so an executor that sees the new tail
    // sees the new counter too and finds nothing to do.
    while (taken < count && commands[taken].op == HAL_OP_BARRIER && !options_.perturb.on()) { ++taken; }
    if (taken > 0) {
      done = first + taken - 1;
      slots_[done & mask_].captured_end = captures_.position();
      hal_lane_publish(this, done);
      tail_.store(done, std::memory_order_release);
      if (taken == count) { return count; }
    }
  }
  std::uint32_t most = count;
  if (options_.perturb.on()) {
    most = std::min(count, taken + 1 + static_cast<std::uint32_t>(options_.perturb.pick(first, kAccept, 3)));
  }
  bool full = false;
  for (; taken < most; ++taken) {
    const std::uint64_t number = first + taken;
    if (number - done > mask_) { done = hal_lane_completed(this); }
    Slot& slot = slots_[number & mask_];
    // One slot stays unused: it is that of `done`, where release_to() reads.
    full = number - done > mask_ || !capture(slot, commands[taken]);
    if (full) { break; }
    held_ns_ += slot.cost.ns;
  }
  // Sequentially consistent with the worker's store to its state: either it sees the tail or we see that it is asleep.
  tail_.store(first + taken - 1, std::memory_order_seq_cst);
  if (full || !options_.hold_back || held_ns_ >= kWakeNs || first + taken - 1 - done > mask_ / 2 || taken < count ||
      worker_state_.load(std::memory_order_seq_cst) == Worker::asleep) {
    ring();
    held_ns_ = 0;
  }
  return taken;
}

// Copies the command and what it points to. False if there is no room just now.
bool SoftwareLane::capture(Slot& slot, const hal_command& command) {
  const void* from = nullptr;
  std::size_t size = 0;
  if (command.op == HAL_OP_RUN) {
    from = command.as.run.args;
    size = command.as.run.arg_count * sizeof(hal_arg);
  } else if (command.op == HAL_OP_CIRCUIT) {
    from = command.as.circuit.permutation;
    size = std::strlen(command.as.circuit.permutation) + 1;
  }
  std::byte* heap = nullptr;
  void* to = nullptr;
  if (size > captures_.largest_block()) {
    to = heap = new (std::nothrow) std::byte[size];
  } else if (size > 0) {
    to = captures_.take(size);
    if (to == nullptr) {
      const std::uint64_t done = hal_lane_completed(this);
      if (done > released_) {
        captures_.release_to(slots_[done & mask_].captured_end);
        released_ = done;
      }
      to = captures_.take(size);
    }
  }
  // Without heap memory the command is taken all the same, and fails when its turn comes: submit() has no other way to
  // say so.
  slot.lost = size > captures_.largest_block() && heap == nullptr;
  if (size > 0 && to == nullptr && !slot.lost) { return false; }
  slot.command = command;
  slot.captured_end = captures_.position();
  slot.heap = heap;
  slot.cost = command.op == HAL_OP_BARRIER ? CommandCost{5, false} : executor_->cost(command);
  if (to != nullptr) {
    std::memcpy(to, from, size);
    if (command.op == HAL_OP_RUN) {
      slot.command.as.run.args = static_cast<const hal_arg*>(to);
    } else {
      slot.command.as.circuit.permutation = static_cast<const char*>(to);
    }
  }
  return true;
}

// ----------------------------------------------------------------------------------------------------------- execute

bool SoftwareLane::pending() const {
  return !failed_.load(std::memory_order_acquire) && tail_.load(std::memory_order_seq_cst) > hal_lane_completed(this);
}

// Executes up to `limit` or until nothing is left. Needs the claim. On return everything executed is published.
void SoftwareLane::drain(std::uint64_t limit) {
  std::uint64_t done = hal_lane_completed(this);
  std::uint64_t published = done;
  for (;;) {
    const std::uint64_t end = std::min(tail_.load(std::memory_order_acquire), limit);
    // submit() may have published barriers meanwhile; it moves the counter before the tail that was just read.
    if (const std::uint64_t now = hal_lane_completed(this); now > done) { done = published = now; }
    if (done >= end) { return; }
    std::uint64_t unpublished_ns = 0;
    while (done < end) {
      Slot& slot = slots_[(done + 1) & mask_];
      const bool light = slot.cost.ns < kLightNs && !slot.cost.open_ended;
      if (!light && done > published) { hal_lane_publish(this, published = done); }
      if (failed_.load(std::memory_order_acquire)) { return; }
      options_.perturb.delay(done, kBefore);
      if (slot.command.op != HAL_OP_BARRIER && !execute(done + 1, slot)) { return; }
      ++done;
      unpublished_ns += slot.cost.ns;
      if ((unpublished_ns >= kLightNs || done - published >= kGroup) &&
          options_.perturb.pick(done, kGrouping, 3) == 0) {
        hal_lane_publish(this, published = done);
        unpublished_ns = 0;
      }
    }
    options_.perturb.delay(done, kAfter);
    if (done > published) { hal_lane_publish(this, published = done); }
  }
}

// One command that is not a barrier. False if it failed: then the lane has stopped.
bool SoftwareLane::execute(std::uint64_t number, Slot& slot) {
  hal_error* error = nullptr;
  if (cancelled_.load(std::memory_order_acquire)) {
    // Skipped.
  } else if (slot.lost) {
    error = make_error(origin_, HAL_OUT_OF_HOST_MEMORY, "no host memory to keep a command's arguments");
  } else {
    error = guarded(origin_, [&] { return executor_->execute(slot.command); });
  }
  delete[] slot.heap;
  slot.heap = nullptr;
  if (error == nullptr) { return true; }
  if (hal_lane_completed(this) < number - 1) { hal_lane_publish(this, number - 1); }
  failed_.store(true, std::memory_order_seq_cst);
  hal_lane_fail(this, number, error);
  return false;
}

void SoftwareLane::cancel() {
  cancelled_.store(true, std::memory_order_seq_cst);
  flush();
}

void SoftwareLane::help(std::uint64_t number) {
  if (!options_.hold_back || !pending()) { return; }
  if (options_.perturb.pick(number, kHelp, 2) != 0 || !try_claim()) { return; }
  drain(number);
  unclaim();
}

void SoftwareLane::flush() {
  if (pending()) { ring(); }
}

// ------------------------------------------------------------------------------------------------------------- claim

bool SoftwareLane::try_claim() {
  std::uint32_t free = 0;
  return claim_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed);
}

// Only the worker waits for the claim, so one wake is enough.
void SoftwareLane::claim() {
  if (try_claim()) { return; }
  while (claim_.exchange(2, std::memory_order_acquire) != 0) { futex_wait(claim_, 2); }
}

void SoftwareLane::unclaim() {
  // The last access to the lane by a helper: once the claim is free the lane may be destroyed.
  if (claim_.exchange(0, std::memory_order_release) == 2) { futex_wake(claim_); }
}

// ------------------------------------------------------------------------------------------------------------ worker

void SoftwareLane::ring() {
  if (worker_state_.load(std::memory_order_seq_cst) == Worker::awake) { return; }
  // Of several ringers one pays for the wake.
  if (worker_state_.exchange(Worker::awake, std::memory_order_seq_cst) != Worker::awake) {
    bell_.fetch_add(1, std::memory_order_release);
    futex_wake(bell_);
  }
}

void SoftwareLane::work() {
  std::uint64_t seen = 0;
  std::uint32_t naps = 0;
  while (!stop_.load(std::memory_order_seq_cst)) {
    if (pending()) {
      claim();
      drain(UINT64_MAX);
      unclaim();
      naps = 0;
      continue;
    }
    if (const std::uint64_t done = hal_lane_completed(this); done != seen) {
      seen = done;  // helpers are at work: more may come without a ring
      naps = 0;
    }
    const std::uint32_t bell = bell_.load(std::memory_order_acquire);
    const bool nap = naps < kNaps;
    worker_state_.store(nap ? Worker::napping : Worker::asleep, std::memory_order_seq_cst);
    // Looked at again after the state was stored: a submit that came before saw us awake and did not ring.
    if (!pending() && !stop_.load(std::memory_order_seq_cst)) { futex_wait(bell_, bell, nap ? kNapNs : 0); }
    worker_state_.store(Worker::awake, std::memory_order_seq_cst);
    if (nap) { ++naps; }
  }
}

}  // namespace hal::kit
