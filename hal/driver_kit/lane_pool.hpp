// SPDX-License-Identifier: Apache-2.0
// The threads that serve software lanes.
//
// Stages     Each lane is at one stage and has one token, or none while it sleeps, so one thread serves it, in order.
//
//              asleep    nobody looks at it: who submits rings
//              napping   is looked at now and then
//              ready     waits for a thread, in turn
//              served    a thread is inside
//              away      a thread found a helper inside, who brings the token back when it leaves
//
//              from      to        when                           by
//              asleep    ready     it is rung                     SoftwareLane::ring(), then push()
//              napping   ready     it is rung; a look finds work  ring(), then push(); look_if_due()
//              ready     served    its turn has come              serve()
//              ready     away      and a helper has the claim     serve()
//              served    ready     after kSlice commands          serve()
//              served    napping   nothing is left                serve()
//              away      ready     the helper leaves work         hand_back(), with the claim
//              away      napping   the helper leaves nothing      hand_back()
//              napping   asleep    kNaps looks found nothing      look_if_due(), which looks again after a fence:
//              asleep    ready     there is work after all        look_if_due()
//              asleep    napping   threads cannot be ordered      look_if_due()
//
//            ring() needs no mutex, so what leaves asleep or napping does so with a compare-exchange; all else is done
//            by whoever has the token, under the mutex.
// Fairness   Ready lanes are served in turn, kSlice commands at a time.
// Stalls     Work that takes long, or waits for other work, keeps its thread. If lanes are ready, all threads are busy
//            and none has taken a lane for kStallNs, one thread more begins to serve: no lane waits for another for
//            ever.
// Idle       Threads are started when there is work for them. A lane without work is looked at in naps of kNapNs, kNaps
//            times; then it sleeps until it is rung, and idle threads cost nothing. Where helpers do all the work a
//            look would only take a core from them: then a nap is kHelpedNapNs. Where they split it besides, all cores
//            are at work: then the threads that take part look in between, and a nap is kSplitNapNs.
// Calling    Of the threads that did not fall asleep on the caller's core and do not nap the last to do so is called
//            first: the same few threads work, each on a core of its own, and the others sleep on. Whoever is called to
//            take part in what its caller works at begins on another core.
// Splitting  parallel() lets idle threads take part in one command of a lane. One that did looks for more for a part
//            of the time that it was at it, but at least kLookNs: waking it may take longer than what there is to do.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "driver_kit/sleepers.hpp"

namespace hal::kit {

class SoftwareLane;

class LanePool {
 public:
  static constexpr std::uint64_t kNapNs = 1'000'000;
  static constexpr std::uint64_t kHelpedNapNs = 4'000'000;
  static constexpr std::uint64_t kSplitNapNs = 40'000'000;
  static constexpr std::uint32_t kNaps = 50;
  static constexpr std::uint64_t kDozeNs = 20'000'000;  // naps without an end, where threads cannot be ordered
  static constexpr std::uint64_t kStallNs = 2'000'000;
  // How long parallel() looks for the last of it before it sleeps, and a thread that took part for more to do: at
  // least so long, at most kMostLookNs, and in between a quarter of the time that it was at work.
  static constexpr std::uint64_t kSettleNs = 20'000, kLookNs = 50'000, kMostLookNs = 1'000'000;
  static constexpr std::uint64_t kLateNs = 200'000;  // and one that was called and came too late
  static constexpr std::uint32_t kSlice = 256;

  // At most `threads` serve at a time, save in a stall. `name` is shown by tools and must outlive the pool.
  LanePool(std::uint32_t threads, const char* name);
  ~LanePool();  // all lanes are detached
  LanePool(const LanePool&) = delete;
  LanePool& operator=(const LanePool&) = delete;

  // The last three are awake: nobody need ring.
  enum class Stage : std::uint32_t { asleep, napping, ready, served, away };

  // What a lane keeps for its pool. Under the pool's mutex.
  struct Seat {
    SoftwareLane* next = nullptr;  // of the ready lanes, in turn
    bool detached = false;
    bool claimed = false;  // ready, and with the claim of the helper who brought it
    bool inside = false;   // a thread of the pool, without the mutex
    std::uint32_t naps = 0;
    std::uint64_t seen = 0;
  };

  // Makes sure that there is a thread. Throws if there is none to be had.
  void attach(SoftwareLane& lane);
  // On return nobody serves the lane or will.
  void detach(SoftwareLane& lane);

  // The lane's token becomes ready.
  void push(SoftwareLane& lane);
  // A helper leaves a lane whose token waits for it. Its claim goes to whoever serves what is left, or is dropped.
  void hand_back(SoftwareLane& lane);

  // Calls body(i) for each i below count, on this thread and on those that are idle. Returns when all calls have.
  // `body` must not throw. Calls begin in order of i.
  template <class Body>
  void parallel(std::uint64_t count, Body&& body) {
    Job job;
    job.body = [](void* state, std::uint64_t i) { (*static_cast<std::remove_reference_t<Body>*>(state))(i); };
    job.state = const_cast<void*>(static_cast<const void*>(&body));
    job.count = count;
    share(job);
  }

  std::uint32_t threads() const { return most_; }
  std::uint32_t started() const;
  std::uint32_t asleep() const;                 // workers; some for a nap only
  std::size_t napping() const;                  // lanes that are looked at, or brought back by a helper
  std::chrono::nanoseconds nap_length() const;  // until they are looked at again

 private:
  using Clock = std::chrono::steady_clock;
  struct Worker : Sleeper {
    std::thread thread;
    std::condition_variable called;
    KeptOff kept_off;
    bool takes_part = false;  // called for that
  };
  struct Job {
    void (*body)(void* state, std::uint64_t i) = nullptr;
    void* state = nullptr;
    std::uint64_t count = 0;
    std::atomic<std::uint64_t> begun{0};
    std::atomic<std::uint32_t> inside{0};  // threads of the pool; changes under the mutex
    Job* next = nullptr;
    void work() {
      for (std::uint64_t i = 0; (i = begun.fetch_add(1, std::memory_order_relaxed)) < count;) { body(state, i); }
    }
  };
  enum class Role { worker, substitute };
  enum class Caller { goes, splits };  // its core is soon free; or it works on there, with whoever comes

  bool start(Role role);
  void call_for_help();
  void leave_to_others();
  void make_ready(SoftwareLane& lane, bool claimed);
  void put_to_nap(SoftwareLane& lane);
  bool someone_to_look_at() const { return !nappers_.empty() || away_ > 0; }
  void withdraw(Job& job);
  void share(Job& job);
  void run(Role role, Worker& self);
  void serve(std::unique_lock<std::mutex>& lock);
  Job* open_job();
  void take_part(std::unique_lock<std::mutex>& lock, Job& job);
  void look_for_more(std::unique_lock<std::mutex>& lock, Clock::duration at_most);
  static Clock::duration a_quarter_of(Clock::duration work, std::uint64_t least);
  Worker* someone_to_come();
  Worker* sleeping(Caller caller = Caller::goes);
  void call(Worker* worker) const;
  void call_all();
  bool sleep(std::unique_lock<std::mutex>& lock, Worker& self);
  void look_if_due();
  void watch(std::unique_lock<std::mutex>& lock);
  // How long an idle thread sleeps before it looks; and what has to have passed for one that is awake.
  std::chrono::nanoseconds nap() const {
    const bool split = helped_ && !doze_ && taking_part_ + looking_ > 0;
    return split ? std::chrono::nanoseconds(kSplitNapNs) : look_every();
  }
  std::chrono::nanoseconds look_every() const {
    return std::chrono::nanoseconds(doze_ ? kDozeNs : helped_ ? kHelpedNapNs : kNapNs);
  }
  bool someone_looks_in_time() const { return napper_ != nullptr && nap_ends_ <= looked_ + nap(); }

  const std::uint32_t most_;
  const char* name_;
  mutable std::mutex mutex_;
  std::condition_variable stall_, settled_;
  Sleepers sleepers_;
  SoftwareLane *first_ready_ = nullptr, *last_ready_ = nullptr;
  Job* jobs_ = nullptr;
  std::vector<SoftwareLane*> nappers_;  // has room for every lane: nothing here allocates once a lane is attached
  std::vector<std::unique_ptr<Worker>> threads_;
  // What threads look for: jobs of all time, and lanes left to them. The first changes when the job is in jobs_.
  std::atomic<std::uint64_t> split_{0}, left_{0};
  std::uint32_t workers_ = 0, idle_ = 0, taking_part_ = 0, looking_ = 0, lanes_ = 0;
  std::uint32_t coming_ = 0;  // of the idle ones: called, and not here yet
  std::uint32_t away_ = 0;    // lanes
  std::uint32_t substitutes_ = 0, substitutes_idle_ = 0;
  bool substitute_watches_ = false;  // one is enough
  Clock::time_point looked_{};       // at the lanes that nap
  std::uint64_t taken_ = 0;
  bool helped_ = false;           // all lanes that the last look found had got on without the pool
  Worker* napper_ = nullptr;      // who looks next; one that napped for longer wakes once more, for nothing
  Clock::time_point nap_ends_{};  // when it does
  bool doze_ = false, stop_ = false;
};

}  // namespace hal::kit
