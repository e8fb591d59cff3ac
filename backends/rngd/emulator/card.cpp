// SPDX-License-Identifier: Apache-2.0
// The in-process bus: puts a device core on a worker thread, lets waiting threads do its work instead, delivers
// interrupts outside every lock, and parks when there is nothing to do.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <ctime>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

#include "emulator/core.hpp"
#include "emulator/emulated_card.h"
#include "threads/thread.hpp"

namespace rngd::emulator {
namespace {

class Card {
 public:
  Card(const CoreOptions& options, bool threaded) : core_(options) {
    if (threaded && core_.ok()) {
      worker_ = hal::threads::start_thread("emulated-rngd", [this] { work(); });
    }
  }
  ~Card() {
    stop_.store(true);
    wake();
    if (worker_.joinable()) { worker_.join(); }
  }
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;

  bool ok() const { return core_.ok(); }

  std::uint64_t read(std::uint32_t bar, std::uint64_t offset, unsigned bytes) {
    // What pollers read must not wait behind a program that runs.
    if (bar == rqi::kBarRegisters && offset == rqi::offset_of(rqi::Reg::device_time_ns)) { return core_.time_ns(); }
    if (bar == rqi::kBarFirmware && is_semaphore(offset)) { return core_.semaphore((offset - rqi::kSemaphores) / 8); }
    const std::scoped_lock lock(mutex_);
    return core_.read(bar, offset, bytes);
  }

  void write(std::uint32_t bar, std::uint64_t offset, std::uint64_t value) {
    if (is_doorbell(bar, offset)) {
      core_.ring_doorbell(offset - rqi::kDoorbells, static_cast<std::uint32_t>(value));
      return kick();
    }
    if (bar == rqi::kBarFirmware && is_semaphore(offset)) {
      core_.set_semaphore((offset - rqi::kSemaphores) / 8, value);
      return kick();
    }
    const std::scoped_lock lock(mutex_);
    core_.write(bar, offset, value);
  }

  // An awake or napping worker finds the doorbell by itself; only one that sleeps is woken.
  void post(std::uint32_t bar, std::uint64_t offset, std::uint32_t value) {
    if (!is_doorbell(bar, offset)) { return write(bar, offset, value); }
    core_.ring_doorbell(offset - rqi::kDoorbells, value);
    if (state_.load(std::memory_order_seq_cst) == State::asleep) { wake(); }
  }

  // The worker rests on epoch_: whoever raises it before asking whether the worker rests cannot be missed.
  void kick() {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    if (state_.load(std::memory_order_seq_cst) != State::awake) { wake(); }
  }

  bool pump(bool quiet) {
    std::unique_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() && turn(lock, quiet && worker_.joinable());
  }

  int map(void* address, std::uint64_t bytes, std::uint64_t* iova) { return core_.iommu().map(address, bytes, *iova); }
  int unmap(std::uint64_t iova, std::uint64_t bytes) {
    const std::scoped_lock lock(mutex_);  // waits for the access in progress
    const int result = core_.iommu().unmap(iova, bytes);
    if (result == 0) { core_.forget_host(iova, bytes); }
    return result;
  }
  void* map_bar(std::uint32_t bar, std::uint64_t offset, std::uint64_t bytes) {
    if (bar != rqi::kBarHbm) { return nullptr; }
    const std::scoped_lock lock(mutex_);
    return core_.aperture(offset, bytes);
  }

  int set_interrupt(std::uint32_t vector, rngd_bus_interrupt handler, void* user) {
    if (vector >= vectors_.size()) { return -EINVAL; }
    Vector& slot = vectors_[vector];
    const std::scoped_lock lock(vectors_mutex_);
    auto next = handler != nullptr ? std::make_unique<Handler>(Handler{handler, user}) : nullptr;
    slot.handler.store(next.get(), std::memory_order_seq_cst);
    while (slot.running.load(std::memory_order_seq_cst) != 0) { std::this_thread::yield(); }
    slot.owned = std::move(next);
    return 0;
  }

 private:
  struct Handler {
    rngd_bus_interrupt call;
    void* user;
  };
  struct Vector {
    std::atomic<Handler*> handler{nullptr};
    std::atomic<std::uint32_t> running{0};
    std::unique_ptr<Handler> owned;
  };
  // Of a turn, but for its last command: bounds how long register accesses wait, and a thread that helps.
  static constexpr unsigned kBudget = 64;
  static constexpr std::chrono::microseconds kTurn{200};
  static constexpr unsigned kYields = 64, kNaps = 50;
  enum class State : std::uint32_t { awake, napping, asleep };

  static bool is_doorbell(std::uint32_t bar, std::uint64_t offset) {
    return bar == rqi::kBarRegisters && offset >= rqi::kDoorbells && offset < rqi::kBar0Bytes;
  }
  static bool is_semaphore(std::uint64_t offset) { return offset >= rqi::kSemaphores && offset < rqi::kBar2Bytes; }

  bool turn(std::unique_lock<std::mutex>& lock, bool quiet) {
    bool progress = false;
    const auto end = std::chrono::steady_clock::now() + kTurn;
    for (unsigned done = 0; done < kBudget && core_.run(); ++done) {
      progress = true;
      if (std::chrono::steady_clock::now() > end) { break; }
    }
    std::uint64_t raised = core_.take_interrupts();
    lock.unlock();
    if (quiet && raised > 1) {
      deferred_.fetch_or(raised & ~1ull, std::memory_order_seq_cst);
      raised &= 1;
      kick();
    }
    deliver_all(raised);
    return progress;
  }

  void deliver_all(std::uint64_t raised) {
    for (; raised != 0; raised &= raised - 1) { deliver(static_cast<std::size_t>(__builtin_ctzll(raised))); }
  }

  void deliver(std::size_t vector) {
    Vector& slot = vectors_[vector];
    slot.running.fetch_add(1, std::memory_order_seq_cst);
    if (const Handler* handler = slot.handler.load(std::memory_order_seq_cst); handler != nullptr) {
      handler->call(handler->user, static_cast<std::uint32_t>(vector));
    }
    slot.running.fetch_sub(1, std::memory_order_seq_cst);
  }

  // Works, yields for a moment, naps while work may be near, then sleeps until rung.
  void work() {
    unsigned idle = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint32_t seen = epoch_.load(std::memory_order_seq_cst);
      const State rest = idle < kYields ? State::awake : idle < kYields + kNaps ? State::napping : State::asleep;
      state_.store(rest, std::memory_order_seq_cst);  // before the look at the doorbells
      deliver_all(deferred_.exchange(0, std::memory_order_seq_cst));
      std::unique_lock lock(mutex_);
      if (turn(lock, false)) {
        idle = 0;
        continue;
      }
      ++idle;
      if (rest == State::awake) {
        std::this_thread::yield();
        continue;
      }
      const timespec nap{0, 1'000'000};
      if (!stop_.load()) {
        syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&epoch_), FUTEX_WAIT_PRIVATE, seen,
                rest == State::napping ? &nap : nullptr, nullptr, 0);
      }
      // Woken on purpose: there is work, so begin again at the short end.
      if (epoch_.load(std::memory_order_seq_cst) != seen) { idle = 0; }
    }
  }

  void wake() {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&epoch_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }

  Core core_;
  std::mutex mutex_;  // the core
  std::mutex vectors_mutex_;
  std::array<Vector, rqi::kVectors> vectors_;
  std::atomic<std::uint64_t> deferred_{0};  // interrupts that a quiet pump leaves to the worker
  std::atomic<std::uint32_t> epoch_{0};
  std::atomic<State> state_{State::awake};
  std::atomic<bool> stop_{false};
  std::thread worker_;
  static_assert(sizeof(std::atomic<std::uint32_t>) == 4, "the futex word");
};

Card& card(void* context) { return *static_cast<Card*>(context); }

}  // namespace
}  // namespace rngd::emulator

int rngd_emulated_card_create(const rngd_emulated_card_options* options, rngd_bus* bus) {
  using namespace rngd::emulator;
  if (bus == nullptr) { return -EINVAL; }
  CoreOptions core;
  if (options != nullptr) {
    if (options->hbm_bytes != 0) { core.hbm_bytes = options->hbm_bytes; }
    core.index = options->index;
    core.accept_old_ir = options->accept_old_ir != 0;
    if (options->reserved != 0) { return -EINVAL; }
  }
  if (core.hbm_bytes < 1ull << 30 || core.hbm_bytes > 1ull << 40) { return -EINVAL; }
  Card* made = nullptr;
  try {
    made = new Card(core, options == nullptr || options->stepped == 0);
  } catch (...) { return -ENOMEM; }
  if (!made->ok()) {
    delete made;
    return -ENOMEM;
  }
  *bus = {};
  bus->struct_size = sizeof *bus;
  bus->version = RNGD_BUS_VERSION;
  bus->context = made;
  bus->read32 = [](void* c, uint32_t bar, uint64_t offset) {
    return static_cast<uint32_t>(card(c).read(bar, offset, 4));
  };
  bus->read64 = [](void* c, uint32_t bar, uint64_t offset) { return card(c).read(bar, offset, 8); };
  bus->write32 = [](void* c, uint32_t bar, uint64_t offset, uint32_t value) { card(c).write(bar, offset, value); };
  bus->write64 = [](void* c, uint32_t bar, uint64_t offset, uint64_t value) { card(c).write(bar, offset, value); };
  bus->post32 = [](void* c, uint32_t bar, uint64_t offset, uint32_t value) { card(c).post(bar, offset, value); };
  bus->kick = [](void* c) { card(c).kick(); };
  bus->map_host = [](void* c, void* address, uint64_t bytes, uint64_t* iova) {
    try {
      return card(c).map(address, bytes, iova);
    } catch (...) { return -ENOMEM; }
  };
  bus->unmap_host = [](void* c, uint64_t iova, uint64_t bytes) { return card(c).unmap(iova, bytes); };
  bus->map_bar = [](void* c, uint32_t bar, uint64_t offset, uint64_t bytes) {
    return card(c).map_bar(bar, offset, bytes);
  };
  bus->unmap_bar = [](void*, uint32_t, uint64_t, uint64_t) {};
  bus->set_interrupt = [](void* c, uint32_t vector, rngd_bus_interrupt handler, void* user) {
    try {
      return card(c).set_interrupt(vector, handler, user);
    } catch (...) { return -ENOMEM; }
  };
  bus->pump = [](void* c, uint32_t quiet) { return card(c).pump(quiet != 0) ? 1 : 0; };
  bus->release = [](void* c) { delete &card(c); };
  return 0;
}
