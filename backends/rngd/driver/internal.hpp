// SPDX-License-Identifier: Apache-2.0
// What lies behind librngd's handles.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdarg>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "driver/rngd.h"
#include "image/program.hpp"
#include "rqi/entries.hpp"
#include "rqi/registers.hpp"

namespace rngd::driver {

/// Writes *error if there is one; returns the status.
[[gnu::format(printf, 3, 4)]] rngd_status fail(rngd_error* error, rngd_status status, const char* format, ...);
/// The same for a status that the device has answered.
rngd_status status_of(rqi::Status status);
void describe_fault(rngd_error& error, const rqi::CompletionEntry& completion, const rngd_fault* fault);

/// Page-aligned host memory that the device reaches.
class Pinned {
 public:
  Pinned() = default;
  Pinned(Pinned&& other) noexcept;
  Pinned& operator=(Pinned&& other) noexcept;
  ~Pinned();
  static rngd_status make(const rngd_bus& bus, std::uint64_t bytes, Pinned& out, rngd_error* error);
  std::byte* data() const { return data_; }
  std::uint64_t iova() const { return iova_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  const rngd_bus* bus_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t iova_ = 0, bytes_ = 0;
};

/// First fit with merging over one window of HBM.
class Heap {
 public:
  void reset(std::uint64_t base, std::uint64_t bytes);
  bool take(std::uint64_t bytes, std::uint64_t& address);
  /// The bytes given back; 0 if nothing was taken there.
  std::uint64_t give(std::uint64_t address);
  std::uint64_t taken_at(std::uint64_t address) const;
  std::uint64_t used() const { return used_; }
  std::uint64_t largest() const;
  static constexpr std::uint64_t kGranule = 4096;

 private:
  std::map<std::uint64_t, std::uint64_t> free_, taken_;
  std::uint64_t used_ = 0;
};

}  // namespace rngd::driver

struct rngd_device {
  rngd_bus bus{};
  rngd_device_info info{};
  std::atomic<bool> lost{false};
  std::atomic<std::uint32_t> partitions{0}, pinned{0};

  // The admin queue: one command at a time.
  std::mutex admin_mutex;
  rngd::driver::Pinned admin_sq, admin_cq, admin_page;  // admin_page: answers and error texts
  std::uint32_t admin_tail = 0, admin_head = 0;
  bool admin_phase = true;
  std::uint16_t admin_command = 0;

  // Vector 0: admin completions and semaphore changes.
  std::mutex event_mutex;
  std::condition_variable event_signal;
  std::uint64_t event_count = 0;
  std::uint32_t semaphore_watchers[rngd::rqi::kContexts] = {};

  std::mutex vector_mutex;
  std::uint64_t vectors_taken = 1;  // bit per interrupt vector

  /// Runs one admin command; `result` may be null. With the lock held, admin_page is the caller's.
  rngd_status admin(rngd::rqi::SubmissionEntry& entry, std::uint32_t* result, rngd_error* error, const char* what);
  rngd_status admin_locked(rngd::rqi::SubmissionEntry& entry, std::uint32_t* result, rngd_error* error,
                           const char* what);
  rngd_status handshake(rngd_error* error);
  /// By register access, so that it needs no lock: completions are drained inside admin commands too.
  rngd_fault fault_record(std::uint32_t index) const;
  /// Waits for the next interrupt of vector 0 after `seen`, or a short time.
  void wait_event(std::uint64_t seen);
};

struct rngd_partition {
  rngd_device* device = nullptr;
  std::uint16_t context = 0;
  rngd_partition_info info{};
  std::mutex mutex;
  rngd::driver::Heap heap;
  std::uint64_t queues_taken = 0;
  std::vector<rngd_queue*> queues;
  std::vector<std::uint64_t> events_taken;
  std::uint32_t programs = 0;
};

struct rngd_event {
  rngd_partition* partition = nullptr;
  std::uint16_t index = 0;
  std::uint64_t offset = 0;  // in BAR 2
};

struct rngd_program {
  rngd_partition* partition = nullptr;
  std::uint32_t id = 0;
  std::uint64_t resident = 0;  // HBM address of the constants; valid if constant_bytes
  rngd_program_info info{};
  std::vector<rngd_binding_info> bindings;
};

struct rngd_queue {
  // Read by anyone; written by the thread that drains.
  alignas(64) std::uint64_t completed = 0;  // through std::atomic_ref
  std::atomic<std::uint64_t> retired{0};    // commands whose ring slot is free again; also past a failure
  std::atomic<bool> failed{false}, cancelled{false};
  std::atomic<std::uint64_t> notify_at{~0ull};
  std::atomic<std::uint32_t> waiters{0};
  std::atomic<std::uint32_t> drain_requests{0};
  std::atomic<int> event_fd{-1};
  bool phase = true;
  std::uint32_t cq_head = 0;

  // The submitter's.
  alignas(64) rngd_partition* partition = nullptr;
  rngd::rqi::SubmissionEntry* ring = nullptr;
  std::uint32_t depth = 0, mask = 0;
  std::uint64_t submitted = 0;  // through std::atomic_ref where another thread may look
  std::uint64_t seen_retired = 0;
  std::uint32_t sq_doorbell = 0;
  std::uint16_t id = 0;
  std::unique_ptr<std::uint64_t[]> arena_end;  // per slot: how far its arguments reach
  std::uint64_t arena_head = 0, arena_tail = 0;

  rngd_queue_options options{};
  std::uint32_t vector = 0, cq_doorbell = 0;
  rngd::driver::Pinned sq_memory, cq_memory, arena;

  std::mutex mutex;  // error, notification, sleepers
  std::condition_variable progressed;
  rngd_error error{};
  rngd_notify_function notify_function = nullptr;
  void* notify_user = nullptr;

  std::uint64_t load_completed() const {
    return std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(completed)).load(std::memory_order_seq_cst);
  }
  std::uint64_t load_submitted() const {
    return std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(submitted)).load(std::memory_order_acquire);
  }
  void drain();  // from the interrupt: whoever comes first does it for all
  void drain_once();
  void set_failed(const rngd_error& why);
  void wake();
  void take_notification(std::uint64_t done);
  void claim_drain();    // waits until nobody drains, and keeps others out
  void release_drain();  // drains what came meanwhile
};
