// SPDX-License-Identifier: Apache-2.0
// A 64-bit value that only grows, with sticky failure.
//
// There are two kinds. A lane's timeline stands at the lane's own completion counter; signalling it costs nothing. A
// plain timeline holds a value that the host signals, and promises: "this value once that lane has completed that
// number". A promise is only looked at when somebody asks, so a signal that nobody waits for costs an entry in a list.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/engine.hpp"
#include "core/object.hpp"
#include "core/promise.hpp"
#include "core/waiter.hpp"
#include "hal/result.hpp"

struct hal_timeline {
  hal_object object;
};

namespace hal::core {

class Device;
class Instance;
class Observer;
class Queue;
class Timeline;

// Made before the work is accepted, so that a signal needs no memory when it is given. `logical` waiters may sit at its
// source.
struct Promise : Promised, Waiter {
  Ref<Timeline> source;
  Timeline* target = nullptr;  // kept while watched
};

// Promises that nobody has been given yet.
class Promises {
 public:
  explicit Promises(std::size_t count);
  ~Promises();
  Promises(const Promises&) = delete;
  Promises& operator=(const Promises&) = delete;
  Promise& take();

 private:
  Promised* first_ = nullptr;
};

class Timeline : public hal_timeline {
 public:
  // What a waiter waits for. `logical` ends with the timeline's failure. `physical` (lanes only) ends when the device
  // can no longer touch anything: failure by the core leaves what the lane has taken running.
  enum class Until { logical, physical };

  static Ref<Timeline> plain(Instance& instance, std::uint64_t initial, const char* label);
  static Ref<Timeline> of_lane(Device& device, const char* label);  // attach() follows

  void attach(hal_lane* lane);  // from now on the instance's list owns it too
  void retire();                // lanes: nothing more is submitted; leaves the list once the device is done with it
  hal_lane* lane() const { return lane_; }
  // Lanes: lends this thread to the lane for a time, for what has been handed over up to `number`.
  void help(std::uint64_t number, std::uint64_t within_ns) const { help_(driver_, lane_, number, within_ns); }
  bool is_lane() const { return is_lane_; }
  Device* device() const { return device_.get(); }
  const std::string& label() const { return label_; }
  Instance& instance() const { return instance_; }

  std::uint64_t value();
  // A lane, and no layer watches who waits for it.
  bool is_unwatched_lane() const { return is_unwatched_lane_; }
  // reached() of a lane.
  bool lane_reached(std::uint64_t value) const {
    return hal_lane_completed(lane_) >= value && value <= visible_.load(std::memory_order_acquire);
  }
  // True once the value is reached, also on a timeline that failed later.
  bool reached(std::uint64_t value) {
    if (is_lane_) { return lane_reached(value); }
    return value_.load(std::memory_order_acquire) >= value ||
           (has_promises_.load(std::memory_order_acquire) && refresh() >= value);
  }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // True if the value can not be reached any more.
  bool lost(std::uint64_t value) { return failed() && value > frozen_.load(std::memory_order_acquire); }
  // A counted copy of the failure, NULL if there is none.
  hal_error* failure() const;

  // Whether a signal to `value` counts, which one after failure does not. INVALID_ARGUMENT if it is not above the
  // value, or on a lane's timeline.
  Result<bool> takes_signal(std::uint64_t value);
  // Plain timelines: raises the value; smaller values and failed timelines are left as they are.
  void advance(std::uint64_t value);
  // Plain timelines: `value` is reached once `source`, a lane's timeline, has completed `number`. Owns `made`.
  void promise(Promise& made, std::uint64_t value, const Ref<Timeline>& source, std::uint64_t number);
  // The lane and number that is to bring `value`, if anything submitted is. Lanes answer with themselves.
  Ref<Timeline> producer(std::uint64_t value, std::uint64_t& number);

  // Fails every value not yet reached; on a lane, what the driver has taken still counts when it completes. The first
  // failure stays. All four take ownership.
  void fail(hal_error* error);
  // Lanes: fails everything above `last_good`, also what the driver has taken.
  void fail_above(hal_error* error, std::uint64_t last_good);
  // Lanes: fails everything not completed by now, whatever the lane still does.
  void cancel(hal_error* error);
  // The lane itself has died: as cancel(), and nothing it took will touch memory any more.
  void fail_lane(hal_error* error);

  // Lanes whose device waits by itself for `number` of `source`: what they complete from `next` on is reached only once
  // that is. The device keeps the order; whether `source` has failed, only the core knows. Before `next` is handed
  // over. The timeline owns a closed gate; open_gate() deletes it.
  struct Gate {
    std::uint64_t next = 0, number = 0;
    Ref<Timeline> source;
    Gate* later = nullptr;
    virtual ~Gate() = default;
  };
  void close_gate(Gate& gate);
  void open_gate(Gate& gate);
  // The first such wait at or below `number`; empty if there is none.
  Ref<Timeline> gate(std::uint64_t number, std::uint64_t& wanted);

  // Its memory, without being an owner: it stays as long as somebody keeps it. Those who wait and are not ended yet may
  // still begin to.
  void keep() { keepers_.fetch_add(1, std::memory_order_relaxed); }
  void unkeep();
  // The last owner has let go; only what was submitted signals it now.
  bool is_released() const { return released_.load(std::memory_order_acquire); }
  // The lanes whose work is to raise a plain timeline, each with the first number that does.
  using Sources = std::vector<std::pair<Ref<Timeline>, std::uint64_t>>;
  Sources sources();

  // Plain timelines: a descriptor is to signal `value`; see descriptors.cpp.
  void add_import(std::uint64_t ticket, std::uint64_t value);
  void drop_import(std::uint64_t ticket);

  // What has signalled a plain timeline so far, for explanations.
  struct Signals {
    std::uint64_t by_host = 0, by_work = 0;  // the highest value of each, 0 for none
    bool import_comes = false;               // a descriptor is to bring the value asked for
  };
  Signals signals(std::uint64_t value) const;
  void signalled_by_host(std::uint64_t value);

  // Ends `waiter` when the value is reached or cannot be any more; at once if that is so already, and then it is false.
  bool when(Waiter& waiter, std::uint64_t value, Until until = Until::logical) noexcept;
  // The same with a function of `const hal_error*`. Throws std::bad_alloc, and then nothing waits.
  template <class Function>
  void when(std::uint64_t value, Function function, Until until = Until::logical) {
    struct Calls : Waiter {
      explicit Calls(Function given) : then(std::move(given)) {
        ended = [](void* self, const hal_error* error) {
          const std::unique_ptr<Calls> mine(static_cast<Calls*>(self));
          mine->then(error);
        };
        of = this;
      }
      Function then;
    };
    when(*std::make_unique<Calls>(std::move(function)).release(), value, until);
  }
  // Takes a waiter back. False if it has been ended or is about to be.
  bool forget(Waiter& waiter);
  // Lanes: the driver has not taken `number`, which had been counted as handed over, nor anything behind it.
  void not_taken(std::uint64_t number);
  // Runs every waiter whose value is reached. Drivers come here through hal_host_api::reached.
  void settle();

  // Lanes: the last number assigned by the queue, and the last one the driver has taken.
  std::atomic<std::uint64_t> assigned{0};
  std::atomic<std::uint64_t> handed{0};

  // Lanes: where in the order of the instance's lanes this one was made.
  std::uint64_t serial = 0;

  // Where the layer trace shows this timeline; 0 without it.
  std::uint32_t row = 0;

  // The queue that submits here, for explanations; NULL once it is gone. Guarded by owner_mutex.
  std::mutex owner_mutex;
  Queue* owner = nullptr;

 private:
  struct Import {
    std::uint64_t ticket, value;
  };

  friend struct Storage;
  Timeline(Instance& instance, Ref<Device> device, const char* label, bool is_lane);
  ~Timeline();
  static void dispose(hal_object* object);
  void destroy();

  // What leaves the lock to be ended and deleted behind it, by finish().
  struct Outcome {
    WaiterList reached, lost;
    Promised* dropped = nullptr;
  };

  std::uint64_t refresh();
  // With mutex_ held:
  void add(Waiter& waiter, std::uint64_t value, Until until);
  void take_reached(WaiterList& out);
  void take_lost(WaiterList& out);
  void clip_physical();
  void raise(std::uint64_t value);
  void judge(Outcome& out);
  Promised* take_asked();
  void show();

  void finish(Outcome& out);
  void end_if_stuck();  // once it is released
  void survey();
  void fail_released(const char* why);
  void clip();  // lanes that failed: what was not handed over will not come, so nobody waits for more
  void fail_with(hal_error* error, std::uint64_t last_good, bool lane_is_dead);
  void watch();                  // asks the sources of promises that somebody now waits for
  void watch(Promised* marked);  // a list; they count as watched since the lock was held
  static void promise_ended(void* of, const hal_error* error);
  void wake_driver();

  Instance& instance_;
  Ref<Device> device_;  // lanes only
  const std::string label_;
  bool tells_ = false;  // an observer hears of completions
  std::atomic<std::uint64_t> value_{0};
  std::atomic<bool> has_promises_{false};
  std::atomic<std::uint64_t> frozen_{UINT64_MAX};  // the highest value that failure left reachable

  // What submissions to a lane and waits for it read, in one cache line that they do not write.
  alignas(64) const bool is_lane_;
  const bool is_unwatched_lane_;
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> visible_{UINT64_MAX};  // lanes: no higher than frozen_, and below every closed gate
  hal_lane* lane_ = nullptr;
  void (*help_)(hal_driver*, hal_lane*, std::uint64_t, std::uint64_t) = [](hal_driver*, hal_lane*, std::uint64_t,
                                                                           std::uint64_t) {};
  hal_driver* driver_ = nullptr;

  mutable std::mutex mutex_;
  bool lane_dead_ = false;
  hal_error* failure_ = nullptr;
  WaiterHeap logical_, physical_;
  std::uint64_t next_order_ = 0;
  PromiseSet promises_;
  Gate *gates_ = nullptr, *last_gate_ = nullptr;  // by next
  std::vector<Import> imports_;
  std::uint64_t signalled_by_host_ = 0, signalled_by_work_ = 0;
  Waiter idle_;                            // of retire()
  Task last_steps_;                        // leaving the instance's list, and then going
  Engine::Unfinished unfinished_;          // of a lane, from retire() until it has left
  std::atomic<std::uint32_t> keepers_{1};  // the owners are one
  std::atomic<bool> released_{false};
  Task survey_;
  std::atomic<bool> survey_posted_{false};
};

// What stands in the place of a timeline that has gone, if an observer wants to recognise it. To who takes it for a
// Timeline it is nobody's lane.
struct Grave : hal_timeline {
  Observer* observer;
};

inline Timeline* cast(hal_timeline* handle) { return static_cast<Timeline*>(handle); }

// One who keeps a timeline.
class Kept {
 public:
  explicit Kept(Timeline& timeline) : timeline_(&timeline) { timeline.keep(); }
  Kept(Kept&& other) noexcept : timeline_(std::exchange(other.timeline_, nullptr)) {}
  Kept& operator=(Kept&&) = delete;
  ~Kept() {
    if (timeline_ != nullptr) { timeline_->unkeep(); }
  }
  Timeline* get() const { return timeline_; }
  Timeline* operator->() const { return timeline_; }
  Timeline& operator*() const { return *timeline_; }

 private:
  Timeline* timeline_;
};

}  // namespace hal::core
