// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda_abi.hpp"
#include "driver/memory.hpp"
#include "vm/executor.hpp"

namespace hal::emulated_cuda {

// Wakes whoever waits for an event, a memory operation or the end of a stream. Costs one load when nobody waits.
class Signals {
 public:
  void notify() {
    if (waiters_.load() == 0) { return; }
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }
  template <class Ready>
  void wait(Ready ready) {
    if (ready()) { return; }
    waiters_.fetch_add(1);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, ready);
    waiters_.fetch_sub(1);
  }
  // For conditions that change without notify(), such as host stores: looks again after at most `period`.
  template <class Ready>
  void poll(Ready ready) {
    if (ready()) { return; }
    waiters_.fetch_add(1);
    std::unique_lock lock(mutex_);
    for (auto period = std::chrono::microseconds(20); !ready(); period = std::min(period * 2, kLongest)) {
      changed_.wait_for(lock, period);
    }
    waiters_.fetch_sub(1);
  }

 private:
  static constexpr std::chrono::microseconds kLongest{1000};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<int> waiters_{0};
};

struct Event {
  explicit Event(unsigned flag_bits) : flags(flag_bits) {}
  unsigned flags;
  std::atomic<std::uint64_t> recorded{0};   // how often cuEventRecord was called
  std::atomic<std::uint64_t> completed{0};  // the last of them that the device reached
  std::atomic<std::int64_t> time_ns{0};
};

// What all streams of a context share.
struct Shared {
  explicit Shared(std::uint64_t capacity) : memory(capacity) {}
  DeviceMemory memory;
  Signals signals;
  std::atomic<int> fault{0};  // the sticky CUresult
  std::atomic<std::uint64_t> grids{0}, streams{0};
  bool log = false;  // print why a kernel failed

  void fail(cuda::abi::CUresult code) {
    int none = 0;
    fault.compare_exchange_strong(none, static_cast<int>(code));
    signals.notify();
  }
  bool failed() const { return fault.load() != 0; }
};

struct Command {
  enum class Kind : std::uint8_t {
    copy,
    copy_staged,
    fill,
    launch,
    record,
    wait_event,
    host_function,
    write_value,
    wait_value,
    free_memory
  };
  Kind kind = Kind::copy;
  std::uint8_t width = 1;  // fill, write_value, wait_value: bytes
  unsigned flags = 0;
  std::byte* to = nullptr;  // already where the emulator reaches it
  const std::byte* from = nullptr;
  std::uint64_t bytes = 0;  // copy; fill: elements
  std::uint64_t value = 0;
  cuda::abi::CUhostFn function = nullptr;
  void* user = nullptr;
  const Program* program = nullptr;
  LaunchShape shape;
  std::shared_ptr<Event> event;
  std::vector<std::byte> data;  // staged bytes, or parameters that do not fit below
  std::array<std::byte, 96> parameters{};
};

// An in-order queue with a worker thread of its own, which sleeps when there is nothing to do.
class Stream {
 public:
  Stream(std::shared_ptr<Shared> shared, unsigned flags, int priority);
  ~Stream();  // waits for the work to end
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // CUDA_ERROR_OUT_OF_MEMORY if there is none for it; then nothing has changed.
  cuda::abi::CUresult enqueue(Command&& command) noexcept;
  std::uint64_t made() const { return made_; }  // a number that grows from stream to stream, from 1
  std::uint64_t submitted() const { return submitted_.load(); }
  bool idle() const { return completed_.load() >= submitted_.load(); }
  void wait(std::uint64_t number);  // until that many commands are done
  void close();                     // no more work; the worker ends when it is through
  unsigned flags() const { return flags_; }
  int priority() const { return priority_; }

  // True on a stream's worker while it runs a host function, where no driver call is allowed.
  static bool in_host_function();

 private:
  void work();
  void execute(Command& command);
  void launch(Command& command);

  std::shared_ptr<Shared> shared_;
  unsigned flags_;
  int priority_;
  const std::uint64_t made_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Command> pending_;
  bool sleeping_ = false, closing_ = false;
  std::atomic<std::uint64_t> submitted_{0}, completed_{0};
  std::thread worker_;
};

}  // namespace hal::emulated_cuda
