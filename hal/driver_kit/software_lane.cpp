// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/software_lane.hpp"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "driver_kit/clock.hpp"
#include "driver_kit/errors.hpp"

namespace hal::kit {

namespace {

// Salts of Perturb: one for each kind of decision.
enum Salt : std::uint32_t { kAccept = 1, kBefore, kGrouping, kAfter, kHelp };

}  // namespace

SoftwareLane::SoftwareLane(const hal_host_api* host_api, void* core_object, const char* origin, const char* label,
                           std::unique_ptr<CommandExecutor> executor, const LaneOptions& options)
    : TaggedLane{},
      launch_op_(options.lane_programs ? std::uint32_t{HAL_OP_RUN} : UINT32_MAX),
      state_(options.hold_back && !options.perturb.on() ? 0 : kUnfair),
      mask_(options.capacity - 1),
      slots_(new Slot[options.capacity]),
      executor_(std::move(executor)),
      origin_(origin),
      captures_(options.capture_bytes),
      options_(options) {
  host = host_api;
  core = core_object;
  wake_at = UINT64_MAX;
  if (options_.pool == nullptr) {
    own_pool_ = std::make_unique<LanePool>(1, label != nullptr && label[0] != 0 ? label : origin);
    options_.pool = own_pool_.get();
  }
  options_.pool->attach(*this);
}

SoftwareLane::~SoftwareLane() {
  turn(kFailed);
  stop_.store(true, std::memory_order_seq_cst);
  options_.pool->detach(*this);
  // A helper may have published the last command and still be on its way out.
  while (!try_claim()) { ::sched_yield(); }
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (std::uint64_t number = hal_lane_completed(this) + 1; number <= tail; ++number) {
    delete[] slots_[number & mask_].heap();
  }
}

// ------------------------------------------------------------------------------------------------------------ submit

// Finds a place for `size` bytes that a command points to. False if there is no room just now.
bool SoftwareLane::take_place(Copy& copy, std::size_t size, void*& to) {
  if (size <= captures_.largest_block()) {
    to = captures_.take(size);
    if (to == nullptr) { to = take_released(size); }
    return to != nullptr;
  }
  to = copy.heap = new (std::nothrow) std::byte[size];
  // Without heap memory the command is taken all the same, and fails when its turn comes: submit() has no other way to
  // say so.
  copy.lost = to == nullptr;
  return true;
}

// In the form in which its program runs it. False if the launch is not of that sort.
inline bool SoftwareLane::capture_launch(Slot& slot, const hal_command& command) {
  const LaneProgram& program = *static_cast<const LaneProgram*>(command.as.run.program->impl);
  const std::uint32_t* groups = command.as.run.grid.groups;
  slot.cost = program.one_group;
  slot.captured_end = captures_.position();
  if (slot.cost.ns == 0 || (groups[0] | groups[1] | groups[2]) != 1) { return false; }
  slot.run = program.capture_one_group(command, slot.room);
  return slot.run != nullptr;
}

// The command and what it points to. False if there is no room just now.
bool SoftwareLane::capture_copy(Slot& slot, const hal_command& command) {
  Copy& copy = slot.copy;
  void* to = nullptr;
  copy.heap = nullptr;
  copy.lost = false;
  if (command.op == HAL_OP_RUN || command.op == HAL_OP_PREPARE) {
    const std::uint32_t count = command.as.run.arg_count;
    if (count <= Copy::kArgs) {
      to = copy.args;
    } else if (!take_place(copy, count * sizeof(hal_arg), to)) {
      return false;
    }
    if (to != nullptr) { std::uninitialized_copy_n(command.as.run.args, count, static_cast<hal_arg*>(to)); }
    copy.command = command;
    copy.command.as.run.args = static_cast<const hal_arg*>(to);
  } else if (command.op == HAL_OP_CIRCUIT) {
    const std::size_t size = std::strlen(command.as.circuit.permutation) + 1;
    if (!take_place(copy, size, to)) { return false; }
    if (to != nullptr) { std::memcpy(to, command.as.circuit.permutation, size); }
    copy.command = command;
    copy.command.as.circuit.permutation = static_cast<const char*>(to);
  } else {
    copy.command = command;
  }
  slot.run = nullptr;
  slot.captured_end = captures_.position();
  slot.cost = command.op == HAL_OP_BARRIER ? CommandCost{5, 0} : executor_->cost(command);
  return true;
}

// One command on a lane with room: the usual case, without the loops of the general one.
std::uint32_t SoftwareLane::submit(std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  if (count != 1 || (state() & (kUnfair | kFailed)) != 0) [[unlikely]] { return submit_list(first, commands, count); }
  if (commands->op == launch_op_) { return submit_launch(first, *commands); }
  if (hal_lane_completed(this) != first - 1) { return submit_copy(first, *commands); }
  held_ns_ = 0;
  return commands->op == HAL_OP_BARRIER ? done_at_once(first) : submit_short(first, *commands);
}

std::uint32_t SoftwareLane::submit_short(std::uint64_t number, const hal_command& command) {
  if (!do_at_once(number, command)) { return submit_copy(number, command); }
  return done_at_once(number);
}

std::uint32_t SoftwareLane::submit_launch(std::uint64_t number, const hal_command& command) {
  if (hal_lane_completed(this) == number - 1) { held_ns_ = 0; }
  Slot& slot = slots_.get()[number & mask_];
  if (!has_room(number) || !capture_launch(slot, command)) [[unlikely]] { return submit_copy(number, command); }
  return announce(number, slot);
}

std::uint32_t SoftwareLane::submit_copy(std::uint64_t number, const hal_command& command) {
  Slot& slot = slots_.get()[number & mask_];
  if (!has_room(number) || !capture_copy(slot, command)) [[unlikely]] { return submit_list(number, &command, 1); }
  return announce(number, slot);
}

// The ring is no more than half full with `number` in it.
inline bool SoftwareLane::has_room(std::uint64_t number) {
  if (number <= room_until_) [[likely]] { return true; }
  room_until_ = hal_lane_completed(this) + (mask_ + 1) / 2;
  return number <= room_until_;
}

inline std::uint32_t SoftwareLane::announce(std::uint64_t number, const Slot& slot) {
  const std::uint64_t held = held_ns_ += slot.cost.ns;
  tail_.store(number, std::memory_order_release);  // as in submit_list()
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (held >= kWakeNs || stage_.load(std::memory_order_relaxed) == Stage::asleep) [[unlikely]] {
    ring();
    held_ns_ = 0;
  }
  return 1;
}

std::uint32_t SoftwareLane::submit_list(std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  if ((state() & kFailed) != 0) { return count; }  // taken and dropped: the core knows of the failure
  std::uint64_t done = hal_lane_completed(this);
  std::uint32_t taken = 0;
  if (done == first - 1) {
    held_ns_ = 0;
    while (taken < count && commands[taken].op == HAL_OP_BARRIER && !options_.perturb.on()) { ++taken; }
    if (taken > 0) {
      (void)done_at_once(done = first + taken - 1);
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
  // The pool makes this thread's store and load ordered before the lane falls asleep (lane_pool.cpp): either it sees
  // the tail or we see that the lane is asleep.
  tail_.store(first + taken - 1, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (full || !options_.hold_back || held_ns_ >= kWakeNs || first + taken - 1 - done > (mask_ + 1) / 2 ||
      taken < count || stage_.load(std::memory_order_relaxed) == Stage::asleep) {
    ring();
    held_ns_ = 0;
  }
  return taken;
}

// The lane had done everything before `number`, so nobody executes and the counter is ours to move. The tail follows
// after it: an executor that sees the new tail sees the new counter too and finds nothing to do.
std::uint32_t SoftwareLane::done_at_once(std::uint64_t number) {
  if ((state() & kFailed) != 0) [[unlikely]] { return 1; }
  captures_.release_all();
  released_ = number;
  if (hal_lane_count(this, number)) [[unlikely]] { return tell_done_at_once(number); }
  tail_.store(number, std::memory_order_release);
  return 1;
}

// Apart: the usual way needs no frame for it.
std::uint32_t SoftwareLane::tell_done_at_once(std::uint64_t number) {
  host->reached(this);
  tail_.store(number, std::memory_order_release);
  return 1;
}

// Executes a command that is cheaper than its way through the ring. False if it is not.
bool SoftwareLane::do_at_once(std::uint64_t number, const hal_command& command) {
  if (command.op == HAL_OP_RUN || command.op == HAL_OP_PREPARE || command.op == HAL_OP_CIRCUIT) { return false; }
  const CommandCost cost = executor_->cost(command);
  if (cost.open_ended || cost.ns > kInlineNs || (state() & (kFailed | kCancelled)) != 0) { return false; }
  if (hal_error* error = guarded(origin_, [&] { return executor_->execute(command); })) { failed_with(number, error); }
  return true;
}

// The same once more, with what finished commands had given back.
void* SoftwareLane::take_released(std::size_t size) {
  const std::uint64_t done = hal_lane_completed(this);
  if (done > released_) {
    captures_.release_to(slots_[done & mask_].captured_end);
    released_ = done;
  }
  return captures_.take(size);
}

// ----------------------------------------------------------------------------------------------------------- execute

// A waiting thread's time.
struct SoftwareLane::Loan {
  std::uint64_t end;
  explicit Loan(std::uint64_t within_ns) : end(kit::clock_ns()) { end += std::min(within_ns, UINT64_MAX - end); }
  bool covers(std::uint32_t ns) const { return ns <= kHelpNs && kit::clock_ns() + ns < end; }
};

// One command. False if it failed, or something before it: then the lane has stopped; or if `may_begin` is asked, as
// for all but captured launches, and says no.
template <class MayBegin>
[[gnu::always_inline]] inline bool SoftwareLane::execute(std::uint64_t number, Slot& slot, MayBegin may_begin) {
  if ((state() & (kFailed | kCancelled)) != 0) [[unlikely]] { return execute_unusual(number, slot); }
  hal_error* error = nullptr;
  if (slot.run != nullptr) {
    try {
      slot.run(slot.room);
      return true;
    } catch (...) { error = caught(origin_); }
  } else if (!may_begin()) {
    return false;
  } else if (slot.copy.heap != nullptr || slot.copy.lost) {
    return execute_unusual(number, slot);
  } else if (slot.copy.command.op != HAL_OP_BARRIER) {
    error = guarded(origin_, [&] { return executor_->execute(slot.copy.command); });
  }
  return error == nullptr || failed_with(number, error);
}

bool SoftwareLane::execute_unusual(std::uint64_t number, Slot& slot) {
  if ((state() & kFailed) != 0) { return false; }
  hal_error* error = nullptr;
  if ((state() & kCancelled) != 0) {
    // Skipped.
  } else if (slot.copy.lost) {
    error = make_error(origin_, HAL_OUT_OF_HOST_MEMORY, "no host memory to keep a command's arguments");
  } else {
    error = guarded(origin_, [&] { return executor_->execute(slot.copy.command); });
  }
  if (slot.run == nullptr) {
    delete[] slot.copy.heap;
    slot.copy.heap = nullptr;
  }
  return error == nullptr || failed_with(number, error);
}

// Always false.
bool SoftwareLane::failed_with(std::uint64_t number, hal_error* error) {
  if (hal_lane_completed(this) < number - 1) { hal_lane_publish(this, number - 1); }
  turn(kFailed);
  hal_lane_fail(this, number, error);
  return false;
}

// Executes up to `limit`, or until nothing is left or a loan is used up. Needs the claim. On return everything executed
// is published.
void SoftwareLane::drain(std::uint64_t limit, const Loan* loan) {
  std::uint64_t done = hal_lane_completed(this);
  std::uint64_t published = done;
  const bool unfair = options_.perturb.on();
  for (;;) {
    const std::uint64_t end = std::min(tail_.load(std::memory_order_acquire), limit);
    // submit() may have published barriers meanwhile; it moves the counter before the tail that was just read.
    if (const std::uint64_t now = hal_lane_completed(this); now > done) { done = published = now; }
    if (done >= end) { return; }
    std::uint64_t unpublished_ns = 0;
    while (done < end) {
      Slot& slot = slots_.get()[(done + 1) & mask_];
      // A look at the clock costs as much as a light command: about those the loan is asked in groups, below.
      const bool light = slot.cost.ns < kLightNs;
      if ((!light || slot.cost.open_ended) && done > published) { hal_lane_publish(this, published = done); }
      if (!light && loan != nullptr && !loan->covers(slot.cost.ns)) { return; }
      if (unfair) { options_.perturb.delay(done, kBefore); }
      if (!execute(done + 1, slot, [] { return true; })) { return; }
      ++done;
      unpublished_ns += slot.cost.ns;
      if ((unpublished_ns >= kLightNs || done - published >= kGroup) &&
          (!unfair || options_.perturb.pick(done, kGrouping, 3) == 0)) {
        hal_lane_publish(this, published = done);
        unpublished_ns = 0;
        if (loan != nullptr && !loan->covers(0)) { return; }
      }
    }
    if (unfair) { options_.perturb.delay(done, kAfter); }
    if (done > published) { hal_lane_publish(this, published = done); }
  }
}

// Apart: the usual way needs no frame for it.
void SoftwareLane::drain_within(std::uint64_t limit, std::uint64_t ns) {
  const Loan loan(ns);
  drain(limit, &loan);
}

void SoftwareLane::cancel() {
  turn(kCancelled);
  flush();
}

void SoftwareLane::help(std::uint64_t number, std::uint64_t within_ns) {
  if ((state() & (kUnfair | kFailed)) != 0) [[unlikely]] { return help_unfairly(number, within_ns); }
  // The tail before the counter, as in drain(): submit() may do this very command itself, and moves the counter first.
  const bool submitted = number <= tail_.load(std::memory_order_acquire);
  if ((!submitted && !pending()) || !try_claim()) { return; }
  if (submitted && number == hal_lane_completed(this) + 1) {
    // As drain() does, for the one command that the waiter has just submitted.
    Slot& slot = slots_.get()[number & mask_];
    const auto covered = [&] { return slot.cost.ns <= kHelpNs && slot.cost.ns < within_ns; };
    if (execute(number, slot, covered)) { hal_lane_publish(this, number); }
  } else {
    drain_within(number, within_ns);
  }
  unclaim();
}

void SoftwareLane::help_unfairly(std::uint64_t number, std::uint64_t within_ns) {
  if (!options_.hold_back || !pending() || options_.perturb.pick(number, kHelp, 2) != 0 || !try_claim()) { return; }
  drain_within(number, within_ns);
  unclaim();
}

void SoftwareLane::flush() {
  if (pending()) { ring(); }
}

// ------------------------------------------------------------------------------------------------------------- claim

// The lane's token waits for the claim.
void SoftwareLane::pass_claim_on() {
  claim_.store(1, std::memory_order_relaxed);
  options_.pool->hand_back(*this);
}

// -------------------------------------------------------------------------------------------------------------- pool

void SoftwareLane::ring() {
  // submit() stored the tail with no more than release. Written again in the one order of all threads: the pool,
  // which stores the lane's stage and then looks here, sees the tail, or we see that it does not look.
  tail_.fetch_add(0, std::memory_order_seq_cst);
  // Of several ringers one pays for the wake.
  for (Stage now = stage(); now < Stage::ready;) {
    if (stage_.compare_exchange_weak(now, Stage::ready, std::memory_order_seq_cst)) {
      return options_.pool->push(*this);
    }
  }
}

// By a thread of the pool that holds the lane's token. False if a helper is inside: it gives the token back.
bool SoftwareLane::claim_or_leave_token() {
  std::uint32_t claim = 0;
  while (!claim_.compare_exchange_weak(claim, claim + 1, std::memory_order_acquire)) {}
  return claim == 0;
}

// By a thread of the pool with the token and the claim, which it gives up. True if more is to do.
bool SoftwareLane::serve() {
  drain(hal_lane_completed(this) + LanePool::kSlice);
  unclaim();
  return pending();
}

}  // namespace hal::kit
