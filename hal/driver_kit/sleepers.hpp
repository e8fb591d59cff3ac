// SPDX-License-Identifier: Apache-2.0
// Threads of a pool that sleep, and which of them is called next. Under the pool's mutex.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <utility>

namespace hal::kit {

// Part of the thread's own object, so that falling asleep needs no memory.
struct Sleeper {
  Sleeper* below = nullptr;
  int core = -1;  // where it fell asleep
  bool asleep = false;
  bool naps = false;  // it wakes by itself, to look at something
};

class Sleepers {
 public:
  bool empty() const { return last_ == nullptr; }

  void add(Sleeper& self, int core) {
    self.below = std::exchange(last_, &self);
    self.core = core;
    self.asleep = true;
  }

  // For a caller on the core `here`: of those that fell asleep on another core and do not nap the last, else the last
  // that does not nap, else one that does; nullptr if nobody sleeps. Linux wakes a thread where it ran last or beside
  // the one that calls it, without a look for an idle core if the cores are busy on average: there it would wait until
  // the caller has used up its slice. Whoever is called away from its nap has to call another to nap on, which takes a
  // core from those at work.
  Sleeper* take(int here) {
    Sleeper** at = &last_;
    while (*at != nullptr && ((*at)->core == here || (*at)->naps)) { at = &(*at)->below; }
    if (*at != nullptr) { return leave(at); }
    at = &last_;
    while (*at != nullptr && (*at)->naps && (*at)->below != nullptr) { at = &(*at)->below; }
    return leave(at);
  }

  // It has woken by itself.
  void remove(Sleeper& self) {
    Sleeper** at = &last_;
    while (*at != &self) { at = &(*at)->below; }
    leave(at);
  }

 private:
  static Sleeper* leave(Sleeper** at) {
    Sleeper* const one = *at;
    if (one != nullptr) {
      *at = one->below;
      one->asleep = false;
    }
    return one;
  }

  Sleeper* last_ = nullptr;  // the one that fell asleep last
};

// Makes a sleeping thread wake on another core than one, if it may run on another.
class KeptOff {
 public:
  // By whoever calls the thread.
  void begin(pthread_t thread, int core) {
    if (core < 0 || ::pthread_getaffinity_np(thread, sizeof allowed_, &allowed_) != 0) { return; }
    cpu_set_t others = allowed_;
    CPU_CLR(static_cast<std::size_t>(core), &others);
    on_ = CPU_COUNT(&others) > 0 && ::pthread_setaffinity_np(thread, sizeof others, &others) == 0;
  }
  // By the thread, once it is awake.
  void end() {
    if (std::exchange(on_, false)) { (void)::sched_setaffinity(0, sizeof allowed_, &allowed_); }
  }
  bool on() const { return on_; }

 private:
  cpu_set_t allowed_{};
  bool on_ = false;
};

}  // namespace hal::kit
