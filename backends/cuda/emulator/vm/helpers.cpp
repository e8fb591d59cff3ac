// SPDX-License-Identifier: Apache-2.0
#include "vm/helpers.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "threads/thread.hpp"

namespace hal::emulated_cuda {
namespace {

class Helpers {
 public:
  Helpers() {
    unsigned total = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
    if (const char* text = std::getenv("HALYARD_EMULATED_CUDA_THREADS"); text != nullptr) {
      const long n = std::strtol(text, nullptr, 10);
      if (n >= 1 && n <= 64) { total = static_cast<unsigned>(n); }
    }
    try {
      for (; count_ + 1 < total; ++count_) {
        // They live as long as the process, like this object.
        threads::start_thread("emulated-cuda", [this] { serve(); }).detach();
      }
    } catch (const std::exception&) {}  // those that there are have to do
  }

  void run(const std::function<void()>& work) {
    bool mine = false;
    if (count_ > 0) {
      const std::lock_guard lock(mutex_);
      if (work_ == nullptr) {
        work_ = &work;
        invited_ = count_;
        mine = true;
      }
    }
    if (mine) { wake_.notify_all(); }
    work();
    if (mine) {
      std::unique_lock lock(mutex_);
      invited_ = 0;  // who has not come by now stays away
      done_.wait(lock, [this] { return running_ == 0; });
      work_ = nullptr;
    }
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return invited_ > 0; });
      --invited_;
      ++running_;
      const std::function<void()>* work = work_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--running_ == 0) { done_.notify_all(); }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void()>* work_ = nullptr;
  unsigned invited_ = 0, running_ = 0, count_ = 0;
};

}  // namespace

void run_with_helpers(const std::function<void()>& work) {
  static Helpers& helpers = *new Helpers;  // outlives every stream
  helpers.run(work);
}

}  // namespace hal::emulated_cuda
