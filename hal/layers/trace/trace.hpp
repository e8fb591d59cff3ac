// SPDX-License-Identifier: Apache-2.0
// The layer `trace`: what queues did and when, as a Chrome JSON file that Perfetto opens.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/layer.hpp"
#include "layers/trace/chunks.hpp"
#include "layers/trace/events.hpp"

namespace hal::layers::trace {

class Trace final : public core::Observer {
 public:
  Trace(std::string path, core::Instance& instance);
  ~Trace() override;  // writes the file

  bool wants_completions() const override { return true; }
  void made(const hal_object& object, const core::Made& how) override;
  void labelled(const hal_object& object, const char* label) override;
  void gone(const hal_object& object) override;
  void accepted(core::Timeline& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
                bool staged) override;
  void promised(core::Timeline& lane, std::uint64_t number, std::span<const hal_point> signals) override;
  void completed(core::Timeline& lane, std::uint64_t number) override;
  void signalled(core::Timeline& timeline, std::uint64_t value) override;
  void ranged(const char* label) noexcept override;
  void missed() noexcept override { dropped_.fetch_add(1, std::memory_order_relaxed); }

  // For stamps.cpp: a row for the clock of a device, and an event by such a clock.
  std::uint32_t add_clock(const char* what, bool emulated);
  void stamped(EventKind kind, std::uint64_t tick, std::uint32_t row, std::uint32_t clock, std::uint64_t number,
               std::uint64_t ns) noexcept;

  struct Row {
    std::string label, device;
    bool is_lane = false, is_clock = false, emulated = false;
  };

 private:
  void finish();
  Event* take() noexcept;  // a place for one event of this thread; NULL if it is dropped
  Event* take_slowly() noexcept;
  Event* begin_chunk();
  void add_memory(const std::string& device, std::int64_t bytes);

  const std::string path_;
  core::Instance& instance_;
  const std::uint64_t id_;  // never used again, unlike an address
  std::uint64_t first_tick_ = 0;
  std::int64_t first_ns_ = 0;
  std::atomic<std::uint64_t> dropped_{0};

  std::mutex mutex_;  // of everything below
  std::vector<Row> rows_;
  std::vector<std::unique_ptr<ThreadBuffer>> buffers_;
  std::unordered_map<std::uint64_t, ThreadBuffer*> by_thread_;
  Chunks chunks_;
  std::unordered_map<const void*, std::uint32_t> row_of_;  // timelines
  struct Bytes {
    std::string device;
    std::uint64_t bytes;
  };
  std::unordered_map<const void*, Bytes> buffers_alive_;
  std::unordered_map<std::string, std::pair<std::uint32_t, std::uint64_t>> memory_;  // device -> row, bytes
};

// Everything that was remembered, as a file.
struct Account {
  std::vector<Trace::Row> rows;
  struct Timed {
    Event event;
    std::uint32_t thread;
    std::int64_t at;  // ns of the host's monotonic clock
  };
  std::vector<Timed> events;  // by time
  std::uint64_t dropped = 0;
  // Ticks on the host's monotonic clock.
  std::uint64_t first_tick = 0;
  std::int64_t first_ns = 0;
  double ns_per_tick = 1;
  std::int64_t ns(std::uint64_t tick) const {
    return first_ns +
           static_cast<std::int64_t>(static_cast<double>(static_cast<std::int64_t>(tick - first_tick)) * ns_per_tick);
  }
};

// Returns what went wrong, empty if nothing did.
std::string write(const std::string& path, const Account& account);

}  // namespace hal::layers::trace
