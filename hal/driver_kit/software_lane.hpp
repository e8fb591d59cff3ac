// SPDX-License-Identifier: Apache-2.0
// A lane whose commands are executed by the host: a ring, threads of a pool that serve it, and waiters that help.
//
// Who executes  At any time at most one thread holds the claim and executes: one of the pool, or a thread inside
//               help(), which drains the lane on its own stack instead of waking somebody and sleeping.
// When          Submitting does not wake a thread at once: a wake costs more than most commands. The lane is rung by
//               flush() and notify(), by the ring being half full, and by enough held-back work. Failing all these the
//               pool looks by itself: after its last command the lane naps, and only after enough naps without work it
//               sleeps until rung (lane_pool.hpp). So every command runs, and an idle lane costs nothing.
// Publishing    Cheap commands are published in groups; before a command that may take long, everything done is
//               published.
// At once       On an idle lane a barrier, and any command that costs less than waking another thread for it
// (kInlineNs),
//               is done inside submit(). Never one that is open-ended: submit() does not run a user's code.
// Failure       The first failing command is reported and nothing after it executes or is published.
// Cancelling    What has not begun is skipped, and still published, so that the core learns when memory is free.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "driver_kit/capture.hpp"
#include "driver_kit/lane_pool.hpp"
#include "driver_kit/perturb.hpp"
#include "hal/driver.h"

namespace hal::kit {

// A guess at how long a command takes. A wrong one costs time, never order.
struct CommandCost {
  std::uint32_t ns = 0;
  // Not 0: runs code that may take any time, or wait for something, so what was done before is published before it
  // begins. A word, so that both travel in one register.
  std::uint32_t open_ended = 0;
};

// Clamped to what CommandCost holds.
inline std::uint32_t nanoseconds(double ns) { return ns < 4e9 ? static_cast<std::uint32_t>(ns) : 4'000'000'000U; }

// What the driver's own programs may begin with, so that the usual launch, of one group, is captured in the form in
// which it runs.
struct LaneProgram {
  LaneProgram() = default;
  LaneProgram(const LaneProgram&) = delete;
  LaneProgram& operator=(const LaneProgram&) = delete;
  virtual ~LaneProgram() = default;

  // What CommandExecutor::cost() says of every launch of one group; 0 ns if capture_one_group() is not to be asked. Set
  // while loading.
  CommandCost one_group;

  // Runs what was captured in `room`. May throw.
  using Captured = void (*)(void* room);
  static constexpr std::size_t kRoom = 208;  // bytes, aligned to 8; they stay where they are, and nothing destroys them
  // Captures a launch of one group. nullptr if it has to go the general way. Called inside submit(), so it must be
  // quick.
  virtual Captured capture_one_group(const hal_command& command, void* room) const noexcept = 0;
};

// What a driver gives to a lane: how one command is done. Called by one thread at a time, not always the same one.
class CommandExecutor {
 public:
  CommandExecutor() = default;
  CommandExecutor(const CommandExecutor&) = delete;
  CommandExecutor& operator=(const CommandExecutor&) = delete;
  virtual ~CommandExecutor() = default;

  // Does the command, to the end. nullptr, or the error that fails the lane. Never sees a barrier. May throw.
  virtual hal_error* execute(const hal_command& command) = 0;

  // Called inside submit(), so it must be quick. Decides when the worker is woken and what is published together.
  virtual CommandCost cost(const hal_command& command) const = 0;
};

struct LaneOptions {
  std::uint32_t capacity = 1024;        // commands in flight; a power of two
  std::uint32_t capture_bytes = 65536;  // for copies of arguments; a power of two
  bool hold_back = true;                // false: the lane is rung by every submit, and waiters do not help
  LanePool* pool = nullptr;             // who serves the lane; outlives it. nullptr: a thread of its own
  bool lane_programs = false;           // hal_program::impl of every run is a LaneProgram*
  Perturb perturb;
};

// A lane that says of which kind it is, for drivers with lanes of several kinds.
struct TaggedLane : hal_lane {
  std::uint32_t tag = 0;
};

class SoftwareLane final : public TaggedLane {
 public:
  // Held-back work that is worth a wake; a wake takes about 30 us of the caller.
  static constexpr std::uint32_t kWakeNs = 200'000;
  static constexpr std::uint32_t kLightNs = 1'000;  // dearer commands are announced by a publish before they begin
  static constexpr std::uint32_t kGroup = 64;       // most commands in one publish
  static constexpr std::uint32_t kHelpNs =
      100'000'000;  // dearer ones a waiter leaves to the worker: a guess may be far out
  static constexpr std::uint32_t kInlineNs = 2'200;  // what is cheaper is done inside submit() if the lane is idle

  // `origin` is the driver's name and must outlive the lane. Throws if a thread or memory is
  // missing: call it inside guarded().
  SoftwareLane(const hal_host_api* host, void* core, const char* origin, const char* label,
               std::unique_ptr<CommandExecutor> executor, const LaneOptions& options);
  ~SoftwareLane();  // as lane_destroy(); commands that have not begun are dropped
  SoftwareLane(const SoftwareLane&) = delete;
  SoftwareLane& operator=(const SoftwareLane&) = delete;

  static SoftwareLane& of(hal_lane* lane) { return *static_cast<SoftwareLane*>(lane); }

  // The entries of hal_driver_ops with the same names.
  std::uint32_t submit(std::uint64_t first, const hal_command* commands, std::uint32_t count);
  void flush();
  void notify() { flush(); }
  void help(std::uint64_t number, std::uint64_t within_ns);
  void cancel();

 private:
  struct Copy {
    static constexpr std::uint32_t kArgs = 4;  // most launches have no more
    hal_command command;
    std::byte* heap;  // of what was too long for captures_
    bool lost;        // there was no memory for what the command points to
    hal_arg args[kArgs];
  };
  struct alignas(64) Slot {
    LaneProgram::Captured run;  // of what is in `room`; nullptr: it is `copy` that holds the command
    CommandCost cost;
    std::uint64_t captured_end;  // position in captures_ that is free once this command is done
    union {
      Copy copy;
      std::byte room[LaneProgram::kRoom];
    };
    std::byte* heap() const { return run == nullptr ? copy.heap : nullptr; }
  };
  friend class LanePool;
  bool claim_or_leave_token();
  bool serve();
  bool wants_service() const { return pending() && !stop_.load(std::memory_order_seq_cst); }
  using Stage = LanePool::Stage;
  Stage stage() const { return stage_.load(std::memory_order_seq_cst); }
  bool is_awake() const { return stage() >= Stage::ready; }
  // By whoever has the lane's token. That it is not awake any more is in the one order of all threads.
  void enter(Stage to) { stage_.store(to, to < Stage::ready ? std::memory_order_seq_cst : std::memory_order_relaxed); }
  // False if somebody rings the lane just now, and brings its token.
  bool move(Stage from, Stage to) { return stage_.compare_exchange_strong(from, to, std::memory_order_seq_cst); }
  bool is_claimed() const { return claim_.load(std::memory_order_relaxed) != 0; }
  void drop_claim() { claim_.store(0, std::memory_order_release); }

  // What keeps commands from the usual way.
  static constexpr std::uint32_t kUnfair = 1;     // told to be so, or to leave all work to the worker
  static constexpr std::uint32_t kFailed = 2;     // nothing more executes
  static constexpr std::uint32_t kCancelled = 4;  // what has not begun is skipped
  std::uint32_t state() const { return state_.load(std::memory_order_acquire); }
  void turn(std::uint32_t into) { state_.fetch_or(into, std::memory_order_seq_cst); }

  bool pending() const {
    return (state() & kFailed) == 0 && tail_.load(std::memory_order_seq_cst) > hal_lane_completed(this);
  }
  std::uint32_t submit_list(std::uint64_t first, const hal_command* commands, std::uint32_t count);
  bool do_at_once(std::uint64_t number, const hal_command& command);
  [[gnu::noinline]] std::uint32_t done_at_once(std::uint64_t number);
  std::uint32_t tell_done_at_once(std::uint64_t number);
  [[gnu::noinline]] std::uint32_t submit_short(std::uint64_t number, const hal_command& command);
  std::uint32_t submit_launch(std::uint64_t number, const hal_command& command);
  std::uint32_t submit_copy(std::uint64_t number, const hal_command& command);
  bool take_place(Copy& copy, std::size_t size, void*& to);
  bool capture(Slot& slot, const hal_command& command) {
    return (command.op == launch_op_ && capture_launch(slot, command)) || capture_copy(slot, command);
  }
  bool capture_launch(Slot& slot, const hal_command& command);
  bool capture_copy(Slot& slot, const hal_command& command);
  bool has_room(std::uint64_t number);
  std::uint32_t announce(std::uint64_t number, const Slot& slot);
  void* take_released(std::size_t size);
  void ring();
  struct Loan;
  void drain(std::uint64_t limit, const Loan* loan = nullptr);
  [[gnu::noinline]] void drain_within(std::uint64_t limit, std::uint64_t ns);
  void help_unfairly(std::uint64_t number, std::uint64_t within_ns);
  template <class MayBegin>
  bool execute(std::uint64_t number, Slot& slot, MayBegin may_begin);
  bool execute_unusual(std::uint64_t number, Slot& slot);
  bool failed_with(std::uint64_t number, hal_error* error);
  bool try_claim() {
    std::uint32_t free = 0;
    return claim_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed);
  }
  void unclaim() {
    // The last access to the lane by a helper: once the claim is free the lane may be destroyed.
    std::uint32_t held = 1;
    if (!claim_.compare_exchange_strong(held, 0, std::memory_order_release, std::memory_order_relaxed)) [[unlikely]] {
      pass_claim_on();
    }
  }
  void pass_claim_on();

  // Cache lines by who writes them. First, with the tag, what everybody reads and hardly anything changes.
  const std::uint32_t launch_op_;  // HAL_OP_RUN if its programs are LanePrograms, else of no command
  std::atomic<std::uint32_t> state_;
  std::atomic<Stage> stage_{Stage::asleep};
  const std::uint64_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  const std::unique_ptr<CommandExecutor> executor_;
  const char* const origin_;

  // Of the thread inside submit(); the core lets in one at a time.
  alignas(64) CaptureRing captures_;
  std::uint64_t released_ = 0;          // captures of commands up to this number are given back
  std::uint64_t held_ns_ = 0;           // submitted since the worker was last rung
  std::uint64_t room_until_ = 0;        // up to this number the ring is no more than half full
  std::atomic<std::uint64_t> tail_{0};  // the last command submitted

  // Of whoever executes.
  alignas(64) std::atomic<std::uint32_t> claim_{0};  // 0 free, 1 held, 2 held and the lane's token waits for it
  std::atomic<bool> stop_{false};
  LanePool::Seat seat_;
  LaneOptions options_;
  std::unique_ptr<LanePool> own_pool_;
};

}  // namespace hal::kit
