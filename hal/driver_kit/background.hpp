// SPDX-License-Identifier: Apache-2.0
// A thread of a device for what would hold up submit(): compiling, loading, obtaining memory. A lane takes such a
// command as held, takes nothing behind it, and hands it to the device from here when everything is there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "hal/driver.h"
#include "hal/result.hpp"

namespace hal::kit {

/// Any thread may call. Jobs run one after the other, in their order.
class Background {
 public:
  /// A member of what it works for, so that posting needs no memory. Posted once at a time.
  struct Job {
    void (*run)(void* of) = nullptr;
    void* of = nullptr;
    const void* serves = nullptr;  // what drain() may ask for, such as a program
    Job* next = nullptr;
  };

  /// `name` is the thread's; it starts with the first job.
  Background(const char* origin, const char* name) : origin_(origin), name_(name) {}
  /// Runs what was posted.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// Errors  UNAVAILABLE  the system gives no thread; the job is not posted
  Result<void> post(Job& job);
  /// When it returns the job is not posted and does not run. Not from inside a job.
  void forget(Job& job);
  /// When it returns no job that serves `whom` is posted or runs. From inside a job it waits for nothing.
  void drain(const void* whom);

 private:
  void work();

  const char *const origin_, *const name_;
  std::mutex mutex_;
  std::condition_variable more_, ended_;
  Job *first_ = nullptr, *last_ = nullptr, *running_ = nullptr;
  const void* running_for_ = nullptr;  // the job itself may be gone by the time that somebody asks
  bool stop_ = false;
  std::thread thread_;
};

/// A command that a lane has taken and cannot hand to its device yet, with its own copy of the arguments.
struct HeldCommand {
  std::uint64_t number = 0;
  hal_command command{};

  /// Throws std::bad_alloc.
  void hold(std::uint64_t its_number, const hal_command& given) {
    args_.assign(given.as.run.args, given.as.run.args + given.as.run.arg_count);
    number = its_number;
    command = given;
    command.as.run.args = args_.data();
  }

 private:
  std::vector<hal_arg> args_;
};

}  // namespace hal::kit
