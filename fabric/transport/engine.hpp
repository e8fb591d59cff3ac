// SPDX-License-Identifier: Apache-2.0
// The progress engine: one thread that owns an endpoint, posts operations, reads completions, watches peers and
// deadlines, and sleeps when there is nothing to do. It spins briefly, then yields, then parks: more ranks than cores
// must run well.
#pragma once

#include "fabric/transport/address.hpp"
#include "fabric/transport/endpoint.hpp"
#include "fabric/transport/liveness.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace hal::fabric {

// Tags are 48 bits wide; the rest of libfabric's 64 say who sends.
inline constexpr std::uint64_t kMaxTag = (std::uint64_t{1} << 48) - 1;

struct OperationResult {
  std::uint64_t bytes = 0;  // recv: of the message
  std::uint64_t stamp = 0;  // recv: what the sender gave
};

// One transfer. `keep` holds the local memory: the provider may touch it after the operation was given up, because a
// transfer to a silent peer cannot be called back.
struct Operation {
  EndpointRequest::Kind kind = EndpointRequest::Kind::put;
  std::uint32_t peer = 0;  // rank
  std::shared_ptr<void> keep;
  void* data = nullptr;
  std::size_t bytes = 0;
  RemoteRegion remote;  // put, get
  std::uint64_t remote_offset = 0;
  std::uint64_t tag = 0;        // send, recv
  std::uint64_t stamp = 0;      // send
  const void* owner = nullptr;  // for call_back()
  // Called once, on the engine's thread. Throws nothing.
  std::function<void(Result<OperationResult>)> done;
};

class Engine {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    std::uint32_t rank = 0;
    std::string providers = "tcp;ofi_rxm,net";
    std::chrono::milliseconds deadline{60'000};  // of each operation
    Liveness::Options liveness;
  };

  // Errors: as Endpoint::open() and Liveness::open().
  static Result<std::unique_ptr<Engine>> start(const Options& options);
  ~Engine();
  // Ends the thread; operations that are left fail with CANCELLED. Work that others still add is dropped.
  void stop();

  // -- from any thread --
  const std::string& address() const noexcept { return address_; }
  const std::string& provider() const noexcept { return endpoint_->provider(); }

  // Waits until the peer answers. Errors: INVALID_ARGUMENT  the address is malformed, of another provider, or names
  // another rank; BUSY  this rank is connected already; PEER_LOST  nobody answers within the timeout.
  Result<void> connect(std::string_view address, std::uint32_t rank, std::chrono::milliseconds timeout);
  // Fails what is left of it with CANCELLED.
  void disconnect(std::uint32_t rank);

  // Lets peers put into and get from this memory until the handle goes. The bytes may still be written for a moment
  // after that by a transfer that had begun, so the owner keeps the address range mapped for the engine's life.
  struct Exposed {
    RemoteRegion region;
    std::shared_ptr<void> handle;
  };
  Result<Exposed> expose(void* data, std::size_t bytes);

  // Somebody else (the launcher) says that a rank is gone. Whoever is gone for ever cannot be connected to any more;
  // the others may come back by another address.
  void peer_gone(std::uint32_t rank, const std::string& why, bool for_ever);

  // What the engine's thread is to do. Whoever adds one keeps it until it runs, or gives it what does in `keep`, which
  // goes once it has run or is dropped. Work that throws std::bad_alloc is done anew a little later, before any other:
  // it leaves things as they were. It throws nothing else.
  struct Task {
    std::function<void()> work;
    std::shared_ptr<void> keep;
    Task* next = nullptr;
  };

  // Runs a function on the engine's thread, in order of the calls.
  void run(std::function<void()> work);
  void add(Task& task) noexcept;
  // The same, and waits for it. Not from the engine's own thread. Throws what the work throws, which is not done anew,
  // and nothing of its own.
  template <class Work>
  void run_and_wait(Work&& work) {
    run_here(std::ref(work));
  }

  // -- on the engine's thread --
  // One that there is no memory to begin fails with OUT_OF_HOST_MEMORY.
  void begin(Operation operation) noexcept;
  // Receives of this owner that no message has reached end with CANCELLED; the others take their course.
  void call_back(const void* owner) noexcept;

 private:
  struct Peer {
    PortAddress address;
    fi_addr_t endpoint = FI_ADDR_UNSPEC;
    std::string gone;  // why; empty while it is well
  };
  struct Pending;

  Engine() = default;
  void loop();
  void run_here(std::function<void()> work);
  bool take_work();
  void drop(Task*& tasks) noexcept;
  bool take_completions();
  bool post_waiting();
  void watch_clock(Clock::time_point now);
  void watch_peers(Clock::time_point now);
  void park(Clock::time_point now);
  void wake();
  Result<void> check(const Operation& operation) const;
  std::int64_t post(Pending& pending);
  void complete(Pending* pending, const EndpointCompletion& completion) noexcept;
  void refused(Pending* pending, std::int64_t status, const std::string& detail) noexcept;
  void finish(Pending* pending, Result<OperationResult> result) noexcept;
  void give_up(Pending* pending, std::unexpected<Failure> why) noexcept;
  // What is not given up, whatever its visits end. These ask for no memory.
  template <class Visit>
  void each_pending(Visit&& visit) noexcept;
  template <class Of, class Why>
  void give_up_all(Of&& of, Why&& why, hal_code code) noexcept;
  void mark_gone(std::uint32_t rank, const std::string& why);
  std::string describe(const Operation& operation) const;
  std::string last_answer(const Operation& operation) const;

  Options options_;
  std::unique_ptr<Endpoint> endpoint_;
  std::unique_ptr<Liveness> liveness_;
  std::string address_;
  Descriptor epoll_;
  Descriptor doorbell_;
  std::thread thread_;

  std::mutex work_mutex_;
  Task* work_ = nullptr;  // in order
  Task** last_ = &work_;
  std::atomic<bool> parked_ = false;
  std::atomic<bool> stop_ = false;

  // The rest belongs to the engine's thread.
  Task* taken_ = nullptr;  // off work_
  std::map<std::uint32_t, Peer> peers_;
  std::map<std::uint32_t, std::string> gone_;  // told before, or without, a connection
  std::map<Pending*, std::unique_ptr<Pending>> pending_;
  std::vector<Pending*> waiting_;  // the provider said "again", in order
  std::set<std::pair<Clock::time_point, Pending*>> deadlines_;
};

}  // namespace hal::fabric
