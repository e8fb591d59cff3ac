// SPDX-License-Identifier: Apache-2.0
// A rank's membership in its world: who am I, what do the others say, who is gone.
#pragma once

#include "fabric/bootstrap/descriptor.hpp"
#include "fabric/bootstrap/message.hpp"
#include "fabric/status.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace hal::fabric {

// What the launcher tells each rank by HALYARD_RANK, HALYARD_WORLD_SIZE and HALYARD_RENDEZVOUS.
struct World {
  unsigned rank = 0;
  unsigned size = 1;
  std::string rendezvous;  // empty: a world of one, nobody to ask
};

// `setting` returns nullptr for what is not set. None of the three set is a world of one.
// Errors: INVALID_ARGUMENT  some but not all are set, or one makes no sense; the text names it.
Result<World> read_world(const std::function<const char*(const char* name)>& setting);

struct Notice {
  enum class Kind { lost, left, event, rendezvous_gone };
  Kind kind = Kind::event;
  unsigned rank = 0;  // who is gone, or who sent the event
  std::string text;   // why, or the event's value
};

// All functions may be called from any thread.
class Session {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // Errors: UNAVAILABLE  nobody answers at the rendezvous; INVALID_ARGUMENT  its address is malformed or not loopback,
  // or the rendezvous refuses the rank; DEADLINE_EXCEEDED.
  static Result<std::unique_ptr<Session>> join(const World& world, std::string_view role, Milliseconds timeout);
  // Says goodbye. Ends the listener's calls.
  ~Session();

  unsigned rank() const noexcept { return world_.rank; }
  unsigned size() const noexcept { return world_.size; }

  // Errors: INVALID_ARGUMENT  key and value above 1 MiB; UNAVAILABLE  the rendezvous is gone.
  Result<void> put(std::string_view key, std::string_view value);
  // Waits until somebody has put the key. Errors: DEADLINE_EXCEEDED  naming the key and ranks known to be gone.
  Result<std::string> get(std::string_view key, Milliseconds timeout);
  // Gives every rank's value to every rank, by rank. A name can be used once in a world. Errors: as put() and get().
  Result<std::vector<std::string>> all_gather(std::string_view name, std::string_view value, Milliseconds timeout);
  // Until every rank has called it with this name. Errors: DEADLINE_EXCEEDED; PEER_LOST  naming who is gone.
  Result<void> barrier(std::string_view name, Milliseconds timeout);
  // All ranks, this one too, get the value as an event, all events in the same order.
  Result<void> broadcast(std::string_view value);

  // Calls `listener` for every notice, the past ones first, one at a time. One listener; it must not call this
  // session's waiting functions, and throw nothing but std::bad_alloc. nullptr ends it: after that call returns the old
  // one no longer runs.
  void listen(std::function<void(const Notice&)> listener);

 private:
  struct Reply {
    bool done = false;
    bool broken = false;
    std::string text;
  };

  explicit Session(World world) : world_(std::move(world)) {}
  Result<void> connect(std::string_view role, Milliseconds timeout);
  Result<void> send(const std::string& frame);
  Result<Reply> request(std::uint64_t id, const std::string& frame, const std::string& what, Milliseconds timeout);
  void read_loop() noexcept;
  bool read_until_stopped();  // false: nothing more will come
  void dispatch(MessageReader& message);
  void notify(Notice notice);
  std::string gone_text() const;

  World world_;
  Descriptor socket_;
  Descriptor stop_;
  std::thread reader_;

  std::mutex send_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Reply> replies_;
  std::uint64_t next_request_ = 1;
  bool connected_ = false;
  struct Lost {
    hal_code code = HAL_UNAVAILABLE;
    const char* why = "the rendezvous is gone; was the launcher ended?";
  } lost_;                                                 // why it is connected no more
  std::map<std::string, std::string, std::less<>> local_;  // a world of one
  std::map<unsigned, std::string> gone_;

  std::mutex listener_mutex_;  // held while the listener runs
  std::function<void(const Notice&)> listener_;
  std::vector<Notice> past_;
};

}  // namespace hal::fabric
