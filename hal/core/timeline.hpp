// SPDX-License-Identifier: Apache-2.0
// A 64-bit value that only grows, with sticky failure.
//
// There are two kinds. A lane's timeline stands at the lane's own completion counter; signalling it costs nothing. A
// plain timeline holds a value that the host signals, and promises: "this value once that lane has completed that
// number". A promise is only looked at when somebody asks, so a signal that nobody waits for costs one list entry.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/object.hpp"
#include "hal/error.hpp"

struct hal_timeline {
  hal_object object;
};

namespace hal::core {

class Device;
class Instance;
class Queue;

// Called once, on any thread, with no timeline's lock held; a queue's may be, so it must not take one. error is NULL or
// borrowed. Must be short and must not block.
using Reached = std::move_only_function<void(const hal_error* error)>;

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

  // Plain timelines: raises the value; smaller values and failed timelines are left as they are.
  void advance(std::uint64_t value);
  // Plain timelines: `value` is reached once `source`, a lane's timeline, has completed `number`.
  void promise(std::uint64_t value, const Ref<Timeline>& source, std::uint64_t number);
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
  // over.
  void close_gate(std::uint64_t next, const Ref<Timeline>& source, std::uint64_t number);
  void open_gate(std::uint64_t next, const Timeline& source, std::uint64_t number);
  // The first such wait at or below `number`; empty if there is none.
  Ref<Timeline> gate(std::uint64_t number, std::uint64_t& wanted);

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

  // Calls `then` when the value is reached or cannot be any more; at once if that is so already. Returns a ticket for
  // forget(), 0 if it was called at once.
  std::uint64_t when(std::uint64_t value, Reached then, Until until = Until::logical);
  // Takes a waiter back. False if it has been called or is about to be.
  bool forget(std::uint64_t ticket);
  // Lanes: the driver has not taken `number`, which had been counted as handed over, nor anything behind it.
  void not_taken(std::uint64_t number);
  // Runs every waiter whose value is reached. Drivers come here through hal_host_api::reached.
  void settle();

  // Lanes: the last number assigned by the queue, and the last one the driver has taken.
  std::atomic<std::uint64_t> assigned{0};
  std::atomic<std::uint64_t> handed{0};

  // Where the layer trace shows this timeline; 0 without it.
  std::uint32_t row = 0;

  // The queue that submits here, for explanations; NULL once it is gone. Guarded by owner_mutex.
  std::mutex owner_mutex;
  Queue* owner = nullptr;

 private:
  struct Waiter {
    std::uint64_t ticket;
    Until until;
    Reached then;
  };
  struct Promise {
    std::uint64_t value;
    Ref<Timeline> source;
    std::uint64_t number;
    bool watched;
  };
  struct Gate {
    std::uint64_t next;
    Ref<Timeline> source;
    std::uint64_t number;
  };
  struct Import {
    std::uint64_t ticket, value;
  };
  using Waiters = std::multimap<std::uint64_t, Waiter>;

  friend struct Storage;
  Timeline(Instance& instance, Ref<Device> device, const char* label, bool is_lane);
  ~Timeline();
  static void dispose(hal_object* object);
  void destroy();

  std::uint64_t refresh();
  void take_reached(std::vector<Reached>& out);  // mutex_ held
  void show();                                   // mutex_ held
  void clip();  // lanes that failed: what was not handed over will not come, so nobody waits for more
  void fail_with(hal_error* error, std::uint64_t last_good, bool lane_is_dead);
  void watch();  // asks the sources of promises that somebody now waits for
  void wake_driver();

  Instance& instance_;
  Ref<Device> device_;  // lanes only
  const std::string label_;
  const bool is_lane_, is_unwatched_lane_;
  hal_lane* lane_ = nullptr;
  bool tells_ = false;  // an observer hears of completions
  std::atomic<std::uint64_t> value_{0};
  std::atomic<bool> has_promises_{false};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> frozen_{UINT64_MAX};   // the highest value that failure left reachable
  std::atomic<std::uint64_t> visible_{UINT64_MAX};  // lanes: no higher than frozen_, and below every closed gate

  mutable std::mutex mutex_;
  bool lane_dead_ = false;
  hal_error* failure_ = nullptr;
  Waiters waiters_;
  std::uint64_t next_ticket_ = 1;
  std::vector<Promise> promises_;
  std::vector<Gate> gates_;  // by next
  std::vector<Import> imports_;
  std::uint64_t signalled_by_host_ = 0, signalled_by_work_ = 0;
};

inline Timeline* cast(hal_timeline* handle) { return static_cast<Timeline*>(handle); }

}  // namespace hal::core
