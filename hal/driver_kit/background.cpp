// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/background.hpp"

#include <string>
#include <system_error>
#include <utility>

#include "driver_kit/errors.hpp"
#include "threads/thread.hpp"

namespace hal::kit {

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    more_.notify_one();
  }
  if (thread_.joinable()) { thread_.join(); }
}

Result<void> Background::post(Job& job) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) {
    try {
      thread_ = threads::start_thread(name_, [this] { work(); });
    } catch (const std::system_error& problem) {
      return error(origin_, HAL_UNAVAILABLE,
                   std::string("the system gives no thread to prepare a program on: ") + problem.what());
    }
  }
  job.next = nullptr;
  (last_ != nullptr ? last_->next : first_) = &job;
  last_ = &job;
  more_.notify_one();
  return {};
}

void Background::forget(Job& job) {
  std::unique_lock lock(mutex_);
  Job* before = nullptr;
  for (Job* at = first_; at != nullptr; before = at, at = at->next) {
    if (at != &job) { continue; }
    (before != nullptr ? before->next : first_) = job.next;
    if (last_ == &job) { last_ = before; }
    ended_.notify_all();
    break;
  }
  // Also one that was posted again may still be on its way out of the run before.
  ended_.wait(lock, [&] { return running_ != &job; });
}

void Background::drain(const void* whom) {
  std::unique_lock lock(mutex_);
  if (thread_.get_id() == std::this_thread::get_id()) { return; }
  ended_.wait(lock, [&] {
    bool any = running_ != nullptr && running_for_ == whom;
    for (const Job* at = first_; at != nullptr && !any; at = at->next) { any = at->serves == whom; }
    return !any;
  });
}

void Background::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [this] { return stop_ || first_ != nullptr; });
    if (first_ == nullptr) { return; }
    Job& job = *std::exchange(first_, first_->next);
    if (first_ == nullptr) { last_ = nullptr; }
    running_ = &job;
    running_for_ = job.serves;
    lock.unlock();
    job.run(job.of);  // the job may be gone behind this
    lock.lock();
    running_ = nullptr;
    ended_.notify_all();
  }
}

}  // namespace hal::kit
