// SPDX-License-Identifier: Apache-2.0
// An in-order queue: hands work to its lane when it may begin, and holds the rest back.
//
// A submission goes to the lane at once if nothing is held back and all its waits are reached (or the device can wait
// itself). Otherwise it, and everything after it on this queue, is held back; the engine comes here again when a wait
// ends.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/device.hpp"
#include "core/flight_recorder.hpp"
#include "core/lock.hpp"
#include "core/pending.hpp"
#include "core/submission.hpp"
#include "core/timeline.hpp"

struct hal_queue {
  hal_object object;
};

namespace hal::core {

struct Commands;
class Recorder;

// Points of a capture: order inside it, and nothing that a wait could reach.
inline constexpr std::uint64_t kCapturedPoint = std::uint64_t{1} << 63U;
// INVALID_ARGUMENT for a point that nobody can wait for: of a capture, a value of no timeline, or in a Grave.
Result<void> refuse_point(const hal_point& point);
inline bool is(Kind kind, const hal_timeline& timeline) {
  return timeline.object.kind == static_cast<std::uint32_t>(kind);
}
inline Result<void> check_point(const hal_point& point) {
  const bool usual = point.timeline == nullptr ? point.value == 0
                                               : point.value < kCapturedPoint && is(Kind::timeline, *point.timeline);
  return usual ? Result<void>() : refuse_point(point);
}

class Queue : public hal_queue {
 public:
  enum class Use { user, core };  // whose it is
  static Result<Ref<Queue>> create(Device& device, const char* label, Use use = Use::user);

  Device& device() const { return *device_; }
  Timeline& timeline() const { return *timeline_; }
  const std::string& label() const { return timeline_->label(); }

  Result<std::uint64_t> submit(std::span<const hal_command> commands, const hal_sync& sync);
  // fast_path.cpp: hal_queue_submit() of one command that waits for nothing and signals nothing.
  bool is_straight(std::uint64_t op) const {
    return op < 32 && (straight_ops_.load(std::memory_order_relaxed) >> op & 1U) != 0;
  }
  hal_error* submit_run(const hal_command& command, const hal_site& site, hal_point* out);
  hal_error* submit_move(const hal_command& command, const hal_site& site, hal_point* out);
  hal_error* submit_barrier(const hal_command& command, const hal_site& site, hal_point* out);
  static Result<void> check_counts(const hal_sync& sync);
  void flush();
  void cancel();
  // capture.cpp: from begin to end, submissions are recorded and do not run.
  Result<void> begin_capture();
  Result<Ref<Commands>> end_capture();
  Result<void> refuse_captured_alloc();  // fine if the capture has ended meanwhile
  bool capturing() const { return capturing_.load(std::memory_order_relaxed); }
  // Hands over what has become ready. Called by the engine.
  void advance();
  void post_advance();

  // For explanations: who this queue's next command waits for.
  std::string describe(std::uint64_t number) const;
  using Points = std::vector<std::pair<Kept, std::uint64_t>>;
  struct Blocker {
    enum class Call { none, waiting, posted, running };  // a host function: for its turn, for a thread, or inside it
    std::uint64_t number = 0;                            // first command held back; 0 if none is
    Call call = Call::none;
    Points waits;  // all that it still waits for
  };
  Blocker blocker();
  // The points that everything held back up to `number` still waits for.
  Points waits_until(std::uint64_t number);
  // The last submissions, a line each.
  std::string history(std::uint32_t most, const char* indent) const;
  // The lane whose host function this thread is inside of, or NULL.
  static const Timeline* calling_here();
  const FlightRecorder& recorder() const { return recorder_; }

 private:
  friend struct Storage;
  Queue(Device& device, Ref<Timeline> timeline);
  ~Queue();
  static void dispose(hal_object* object);

  struct Crossing;
  // What the short way asks of device and lane.
  struct Straight {
    const void* device;
    hal_driver* driver;
    hal_lane* lane;
    std::uint32_t (*submit)(hal_driver*, hal_lane*, std::uint64_t, const hal_command*, std::uint32_t);
  };
  // Which operations go that way, a bit each. Where an observer watches none is straight, and those that else would be
  // are watched.
  struct StraightOps {
    std::uint32_t straight, watched;
    explicit StraightOps(const Device& device);
  };
  template <class Note>
  bool submit_straight(const hal_command& command, const hal_site& site, hal_point* out, Note note);
  hal_error* submit_incomplete(const hal_command& command, const hal_site& site, hal_point* out);
  bool submit_watched(Observer& observer, const hal_command& command, const hal_sync& sync, hal_point& out);
  hal_error* submit_after_all(const hal_command& command, const hal_site& site, hal_point* out);
  void held_by_full_lane(std::uint64_t number, const hal_command& command, const hal_site& site);

  struct DeviceWait;
  struct Part;

  Result<std::uint64_t> submit_unseen(std::span<const hal_command> commands, const hal_sync& sync);
  Result<std::uint64_t> submit_captured(std::span<const hal_command> commands, const hal_sync& sync);
  Error spoil(Error why);
  Result<void> check_points(const hal_sync& sync) const;
  Result<void> check_limit() const;  // with the lock held, like everything down to promise_signals() but submit_...()
  // Whether work that gets the number `next` has to wait for a point.
  bool is_open(const hal_point& wait, std::uint64_t next) const;
  bool must_wait(const hal_sync& sync, std::uint64_t next) const;
  bool device_waits(const hal_point& wait, std::uint64_t next) noexcept;
  // Gives `held` the waits that the device does not take over.
  void add_waits(Pending& held, const hal_sync& sync, std::uint64_t next) noexcept;
  bool may_begin(const Pending& held) const { return pending_.empty() && held.waits.empty(); }
  Ref<Pending> hold(std::span<const hal_command> commands, std::size_t most_waits) const;
  Result<std::uint64_t> submit_plain(std::span<const hal_command> commands, const hal_sync& sync);
  Result<std::uint64_t> submit_parts(std::span<const hal_command> commands, const hal_sync& sync);
  Result<std::uint64_t> submit_prepared(const hal_command& command, Ref<Pending> held, const hal_sync& sync);
  // Gives commands their numbers and hands them over, or holds them back; without `held` they may begin. Never refused.
  std::uint64_t place(std::span<const hal_command> commands, Ref<Pending> held, const hal_command& shown,
                      const hal_sync& sync) noexcept;
  Result<void> prepare(Part& part, std::span<const hal_command> commands, const hal_sync& sync);
  void hold_if_needed(Part& part, bool behind, const hal_sync& sync, std::uint64_t first);
  std::uint64_t place_part(Part& part, const hal_sync& sync) noexcept;
  std::uint64_t place_call(const hal_command& command, Ref<Pending> held, const hal_sync& sync) noexcept;
  Result<std::shared_ptr<Crossing>> prepare_crossing(const hal_command& command, std::size_t waits) const;
  std::uint64_t place_crossing(const std::shared_ptr<Crossing>& crossing, const hal_sync& sync) noexcept;
  // What the lane has not taken of commands that have their numbers waits here.
  void hold_rest(std::uint64_t first, std::uint32_t taken, std::span<const hal_command> commands,
                 const hal_sync& sync) noexcept;
  void hold_back(Ref<Pending> pending) noexcept;
  static void wait_ended(void* of, const hal_error* error);
  void promise_signals(Promises& made, const hal_sync& sync, std::uint64_t number) noexcept;
  Ref<Pending> pop_head();
  static void add_open(Pending& held, Points& out);
  bool advance_one(Pending& pending);
  void come_again(std::uint64_t value);
  void post_call(Pending& pending, void (*run)(void* of));
  static void run_call(void* of);
  static void call_off(Pending& pending);
  static void run_call_off(void* of);
  std::uint32_t hand_over(std::uint64_t first, std::span<const hal_command> commands);
  Error failed_already() const;

  // The recorder ends with its cursor. From there on the short way's members follow in the order of its way, so that
  // all it asks of the queue is one cache line; asserted in queue.cpp.
  [[no_unique_address]] FlightRecorder recorder_;
  std::atomic<std::uint32_t> straight_ops_;  // ops_.straight; none while the queue captures
  const Straight straight_;
  const Ref<Timeline> timeline_;
  mutable Lock mutex_;
  PendingList pending_;
  const StraightOps ops_;
  void (*const notify_)(hal_driver*, hal_lane*);  // the driver's, or NULL
  Ref<Device> device_;
  std::size_t held_ = 0;  // submissions in pending_; one may have several entries there
  // Each owns the queue while it is under way.
  Task advance_;
  std::atomic<bool> advance_posted_{false};
  Waiter again_;
  std::atomic<bool> again_waits_{false};
  bool staging_ = false;  // host memory of what is placed now is the core's own
  // Of a capture. The flag is read without the lock, so that a submission outside of captures pays one branch.
  std::atomic<bool> capturing_{false};
  std::unique_ptr<Recorder> capture_;
  hal_error* spoilt_ = nullptr;  // the first submission that could not be captured
};

// The queue that submits to `lane`, if it is still there.
Ref<Queue> owner_of(Timeline& lane);
// Has the engine look at what the queue of `lane` holds back, if that queue is still there. From any thread.
void advance_owner(Timeline& lane) noexcept;

// hal_queue_submit() for what the short way does not take.
hal_error* submit_in_general(hal_queue* queue, const hal_command* commands, std::uint32_t count, const hal_sync* sync,
                             hal_point* out);

inline Queue* cast(hal_queue* handle) { return static_cast<Queue*>(handle); }

}  // namespace hal::core
