// SPDX-License-Identifier: Apache-2.0
// Who answers? Small datagrams beside the data path, because no libfabric provider reports a dead peer. Used by one
// thread.
#pragma once

#include "fabric/bootstrap/descriptor.hpp"
#include "fabric/status.hpp"

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace hal::fabric {

class Liveness {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    std::chrono::milliseconds every{200};
    // Unanswered questions in a row that make a peer dead. Counted, not timed: who slept asks again before it judges.
    unsigned unanswered = 10;
  };

  // Errors: UNAVAILABLE  no socket on 127.0.0.1.
  static Result<std::unique_ptr<Liveness>> open(std::uint32_t rank, Options options);

  std::uint64_t cookie() const noexcept { return cookie_; }
  std::uint16_t port() const noexcept { return port_; }
  int fd() const noexcept { return socket_.get(); }

  // Watches a peer by its cookie, and asks it at once.
  void watch(std::uint64_t cookie, std::uint16_t port, Clock::time_point now);
  void forget(std::uint64_t cookie);
  // When the peer last answered; nothing if it never did.
  bool answered(std::uint64_t cookie, Clock::time_point& when) const;

  // Reads what came. True if somebody answered for the first time.
  bool receive(Clock::time_point now);
  // Asks who is due, and gives the cookies of peers that are dead.
  std::vector<std::uint64_t> ask(Clock::time_point now);
  Clock::time_point next_ask() const noexcept { return next_; }

 private:
  struct Watched {
    sockaddr_in name{};
    bool ever = false;
    Clock::time_point last_answer;
    unsigned unanswered = 0;
  };
  struct Datagram;

  explicit Liveness(Options options) : options_(options) {}
  void send(const sockaddr_in& to, std::uint32_t type, std::uint64_t to_cookie) const;

  Options options_;
  Descriptor socket_;
  std::uint32_t rank_ = 0;
  std::uint64_t cookie_ = 0;
  std::uint16_t port_ = 0;
  std::map<std::uint64_t, Watched> watched_;
  Clock::time_point next_ = Clock::time_point::max();
};

}  // namespace hal::fabric
