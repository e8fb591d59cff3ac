// SPDX-License-Identifier: Apache-2.0
// Where the ranks of one world meet: a key-value store, named barriers, and events that all ranks see in one order.
// Listens on 127.0.0.1 only, and serves only who knows the world's cookie.
#pragma once

#include "fabric/bootstrap/descriptor.hpp"
#include "fabric/bootstrap/message.hpp"
#include "fabric/status.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace hal::fabric {

inline constexpr unsigned kMaxRanks = 1024;

// Driven by its owner, from one thread.
class Rendezvous {
 public:
  // Errors: INVALID_ARGUMENT  size is 0 or above kMaxRanks; UNAVAILABLE  no socket, by errno.
  static Result<std::unique_ptr<Rendezvous>> open(unsigned size);
  ~Rendezvous();

  // What ranks find in HALYARD_RENDEZVOUS: "127.0.0.1:port/cookie".
  const std::string& address() const noexcept { return address_; }
  // Readable when serve() has something to do.
  int wait_fd() const noexcept { return epoll_.get(); }
  // Waits up to timeout_ms, then handles whatever came.
  void serve(int timeout_ms);

  // The owner saw a rank end. Both tell all others. A rank that left may join again; one that is lost stays so.
  void mark_lost(unsigned rank, const std::string& why);
  void mark_left(unsigned rank);

  // Asked once when a rank's connection closes without a goodbye: a better reason than that, or "". May wait briefly.
  std::function<std::string(unsigned rank)> explain;

 private:
  struct Client {
    Descriptor socket;
    MessageStream in;
    std::string out;
    bool joined = false;
    unsigned rank = 0;
  };
  struct Waiter {
    int fd = -1;
    std::uint64_t request = 0;
  };
  struct Barrier {
    std::set<unsigned> arrived;
    std::vector<Waiter> waiters;
  };
  enum class RankState { expected, joined, left, lost };

  Rendezvous() = default;
  void accept_all();
  void read_from(int fd);
  bool handle(Client& client, MessageReader& message);
  bool hello(Client& client, MessageReader& message);
  void arrive(Client& client, std::uint64_t request, const std::string& name);
  void finish_barriers();
  void send(Client& client, std::string frame);
  void send_to_all(const std::string& frame);
  void flush(Client& client);
  void drop(int fd, const std::string& why);

  std::uint64_t cookie_ = 0;
  std::string address_;
  Descriptor listener_;
  Descriptor epoll_;
  std::map<int, Client> clients_;
  std::vector<RankState> ranks_;
  std::vector<std::string> why_lost_;
  std::map<std::string, std::string> store_;
  std::size_t store_bytes_ = 0;
  std::vector<std::string> events_;  // kept, so that who joins late sees the same ones
  std::size_t event_bytes_ = 0;
  std::multimap<std::string, Waiter> getters_;
  std::map<std::string, Barrier> barriers_;
};

}  // namespace hal::fabric
