// SPDX-License-Identifier: Apache-2.0
// The layer `validation`: mistakes that a device may or may not punish, reported where they were made.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/layer.hpp"
#include "layers/validation/history.hpp"
#include "layers/validation/order.hpp"

namespace hal::layers {

// Held for tens of nanoseconds, on every call: cheaper than a mutex, and a holder that lost its processor is let run.
class ShortLock {
 public:
  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire)) { wait(); }
  }
  bool try_lock() { return !taken_.exchange(true, std::memory_order_acquire); }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  static void wait();
  std::atomic<bool> taken_{false};
};

class Validation final : public core::Observer {
 public:
  Validation(core::Instance& instance, bool fatal);
  ~Validation() override;

  void made(const hal_object& object, const core::Made& how) override;
  void labelled(const hal_object& object, const char* label) override;
  void gone(const hal_object& object) override;
  bool wants_graves() const override { return true; }
  hal_error* disturbed(const hal_object& grave) override;
  void mapped(const hal_buffer& range, std::uint64_t offset, const hal_physical& physical, std::uint64_t from,
              std::uint64_t bytes) override;
  void unmapped(const hal_buffer& range, std::uint64_t offset, std::uint64_t bytes) override;
  void shared(const hal_physical& physical, int fd) override;
  hal_error* submitting(core::Queue& queue, std::span<const hal_command> commands, const hal_sync& sync) override;
  void refused(core::Queue& queue, std::span<const hal_command> commands, const hal_error* error) override;
  void accepted(core::Timeline& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
                bool staged) override;
  void submitted() override { tell(); }
  void promised(core::Timeline& lane, std::uint64_t number, std::span<const hal_point> signals) override;
  void claimed(core::Timeline& lane, std::uint64_t number, const hal_buffer& buffer, bool freed) override;
  void calling(core::Timeline& lane, std::uint64_t number) override;
  void called(core::Timeline& lane, std::uint64_t number) override;
  void signalled(core::Timeline& timeline, std::uint64_t value) override;
  void observed(core::Timeline& timeline, std::uint64_t value) override;
  void read(core::Timeline& timeline, std::uint64_t value) override;
  hal_error* waiting(std::span<const hal_point> points, hal_wait_mode mode) override;
  void abandoned(core::Timeline& timeline) override;
  void missed() noexcept override;
  std::uint64_t findings() const override { return findings_.load(std::memory_order_relaxed); }

  // What was never released, one line each.
  std::vector<std::string> leaks();

 private:
  struct Mapping {
    std::uint64_t bytes, from;
    const void* physical;
  };
  using Mappings = std::map<std::uint64_t, Mapping>;  // by their beginning in the range
  struct Object {
    core::Kind kind{};
    bool internal = false;
    std::uint64_t bytes = 0;
    std::uintptr_t host = 0;  // of a buffer the host reaches
    bool imported = false;    // the caller's own memory at `host`, which others may name too
    std::string label, device, where;
    // Of buffers with memory of their own, and of physical memory: what is one memory has one history.
    std::shared_ptr<History> history;
    std::unique_ptr<SignalClocks> signals;  // plain timelines
    std::unique_ptr<Mappings> mappings;     // ranges of virtual memory
  };
  // One thing a lane does, kept until it is known what happened before it.
  struct Step {
    enum class Kind { work, call, receive, signal } kind = Kind::work;
    std::uint64_t first = 0, last = 0;  // epochs
    std::vector<hal_point> waits;
    std::vector<std::pair<const void*, Access>> accesses;  // what is touched, and how
    std::vector<hal_point> signals;
    bool returned = false;
    VectorClock host;  // when a call returned
  };
  struct Lane {
    std::uint32_t id = 0;
    core::Timeline* timeline = nullptr;    // NULL once it has gone
    std::uint64_t base = 0, accepted = 0;  // epochs
    bool internal = false;
    std::string label, device;
    LaneClock clock;
    std::deque<Step> steps;
  };
  // Changes under the lock. is() without it says that the object is known and lives, or that it cannot tell.
  struct Cached {
    std::atomic<const void*> key{nullptr};
    void* value = nullptr;
    bool is(const void* object) const { return key.load(std::memory_order_relaxed) == object; }
    void clear() { key.store(nullptr, std::memory_order_relaxed); }
    void set(const void* object, void* what) {
      value = what;
      key.store(object, std::memory_order_relaxed);
    }
  };

  static constexpr std::size_t kMostSteps = 4096, kMostDead = 4096, kCache = 256;
  static std::size_t slot(const void* key) { return reinterpret_cast<std::uintptr_t>(key) / 64 % kCache; }

  // Does `work` with the lock held, unless something was missed. What finds no memory on the way leaves things half
  // known.
  template <class Work>
  void judge(Work work) {
    const std::lock_guard guard(lock_);
    if (blind_) { return; }
    try {
      work();
    } catch (const std::bad_alloc&) { go_blind(); }
  }
  void go_blind() noexcept;

  Object* find(const void* key) {
    const Cached& cached = object_cache_[slot(key)];
    return cached.is(key) ? static_cast<Object*>(cached.value) : find_slowly(key);
  }
  Object* find_slowly(const void* key);
  enum class Overlap { none, part, same };
  Overlap overlap_of(const hal_slice& a, const hal_slice& b);
  std::pair<const void*, const Object*> buffer_at(std::uintptr_t address);
  void accept(Lane& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
              bool staged);
  Lane* lane_of(const core::Timeline& timeline);
  Lane& new_lane();
  void take_step(Lane& lane, Step&& step);
  bool ready(Lane& lane, const Step& step, VectorClock& before);
  bool may_come(const Signal& signal) const;
  bool clock_of(const hal_point& point, VectorClock& out);
  void see(core::Timeline& timeline, std::uint64_t value, bool stands);
  void perform(Lane& lane, Step& step, const VectorClock& before);
  void advance();
  void collect(const Lane& lane, std::uint64_t number, const hal_command& command, const hal_sync& sync, bool staged,
               std::vector<std::pair<const void*, Access>>& out);
  bool again(Lane& lane, std::uint64_t number, const hal_command& command, const hal_sync& sync);
  void touch(Access access, const hal_slice& slice, bool write, bool staged,
             std::vector<std::pair<const void*, Access>>& out);
  void check(const Lane& lane, const void* key, const Access& access);
  void check_outputs(const Lane& lane, const hal_command& command, const hal_sync& sync);
  std::string describe(const Access& access) const;
  std::string describe(const Object& object) const;
  // Why a handle must not be used; empty if nothing is known against it.
  std::string against(const void* object, core::Kind kind, const char* what);
  std::string against(const hal_command& command);
  hal_error* look_closely(core::Queue& queue, std::span<const hal_command> commands, const hal_sync& sync);
  bool is_known(const void* object) const { return object == nullptr || object_cache_[slot(object)].is(object); }
  void report(std::string key, std::string text);  // with the lock held
  void tell();                                     // without

  core::Instance& instance_;
  const bool fatal_;
  const MayCome may_come_ = [this](const Signal& signal) { return may_come(signal); };
  std::atomic<std::uint64_t> findings_{0};
  std::atomic<bool> untold_{false};

  ShortLock lock_;  // of everything below
  std::unordered_map<const void*, Object> objects_;
  std::array<Cached, kCache> object_cache_{}, lane_cache_{};
  std::unordered_map<const void*, Object> dead_;
  std::deque<const void*> dead_order_;
  std::map<std::uintptr_t, const void*> host_visible_;                                // start of a buffer -> buffer
  std::unordered_map<std::uintptr_t, History> loose_;                                 // host memory by region
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::weak_ptr<History>> shared_;  // physical memory, by file
  bool has_aliases_ = false;  // memory was mapped or imported: two buffers may show one
  std::unordered_map<const void*, std::uint32_t> lane_ids_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::size_t waiting_lanes_ = 0;
  std::vector<std::pair<const void*, Access>> scratch_;  // of the call that holds the lock
  VectorClock host_;
  std::set<std::string> reported_;
  std::vector<std::string> texts_;  // found, not yet told
  bool blind_ = false;              // something was missed: nothing more is said about order
  bool blindness_untold_ = false;
};

}  // namespace hal::layers
