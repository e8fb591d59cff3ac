// SPDX-License-Identifier: Apache-2.0
// The threads of an instance: one that makes progress, and a few that run the user's functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "hal/result.hpp"

namespace hal::core {

// Something that a thread of the core is to run: a member of the object that it is about, so that handing it over needs
// no memory and cannot fail. In one list at a time; from the call of `run` on it may be posted again, or go.
struct Task {
  void (*run)(void* of) = nullptr;
  void* of = nullptr;
  Task* next = nullptr;
};

// Runs tasks in order on one thread, parked when there is nothing to do. Tasks never block on other work, so one thread
// serves every queue of an instance. The end of the process waits until it has run what was posted.
class Engine {
  struct State;

 public:
  Engine();
  ~Engine();  // runs what is posted, then ends the thread; from the thread itself it lets it end alone

  // Starts the thread, unless it runs. Errors: UNAVAILABLE  the system gives no thread.
  Result<void> start();
  // Before start() nothing of this instance can be inside a driver's call, and the task runs here and now.
  void post(Task& task) noexcept;

  // What is still to come, on another thread of the core or once a device is done with something, and may be what lets
  // go of the last object: the end of the process waits for it too, as long as this lives. It may outlive the engine.
  class Unfinished {
   public:
    Unfinished() = default;
    explicit Unfinished(Engine& engine);
    Unfinished(Unfinished&&) = default;
    Unfinished& operator=(Unfinished&& other) noexcept {
      state_.swap(other.state_);
      return *this;
    }
    ~Unfinished();

   private:
    std::shared_ptr<State> state_;
  };

  // Waits, on the engine's thread and without polling, until `fd` is readable, hung up or broken, once. `claim` gets
  // the epoll events, and the descriptor a last time, with the engine's lock held, must be short, and returns what to
  // run then, or NULL; if the ticket is unwatched before, it is not called. The engine owns `fd` from here on, also if
  // this fails. Errors: INVALID_ARGUMENT it cannot be waited for; UNAVAILABLE  no descriptor is left, or as start().
  using Claim = std::move_only_function<Task*(std::uint32_t events, int fd)>;
  std::uint64_t next_ticket();
  Result<void> watch(std::uint64_t ticket, int fd, Claim claim);
  // When it returns the claim runs no more.
  void unwatch(std::uint64_t ticket);

  // True on the engine's own thread, on threads of Workers, and inside a driver's call into the core: places where a
  // lane must not be destroyed, because its driver may be waiting for this very call to return.
  static bool on_core_thread();

 private:
  std::shared_ptr<State> state_;
};

// Marks a driver's call into the core for the length of a scope.
class CoreScope {
 public:
  CoreScope();
  ~CoreScope();
  CoreScope(const CoreScope&) = delete;
  CoreScope& operator=(const CoreScope&) = delete;

 private:
  bool before_;
};

// Runs user functions, which may block: a function that waits must not hold up another queue's, so a thread is added
// whenever all are busy, up to a bound that only a program that has lost its way meets, and as long as the system gives
// one. Those that have had nothing to do for a while end, but for the last.
class Workers {
 public:
  static constexpr std::size_t kMost = 4096;
  explicit Workers(std::chrono::milliseconds patience = std::chrono::seconds(10));
  ~Workers();  // as ~Engine
  // Before the first post(): makes sure of a thread. Errors: UNAVAILABLE  the system gives none.
  Result<void> start();
  void post(Task& task) noexcept;
  std::size_t threads() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace hal::core
