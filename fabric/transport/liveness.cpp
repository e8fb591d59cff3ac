// SPDX-License-Identifier: Apache-2.0
#include "fabric/transport/liveness.hpp"

#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace hal::fabric {
namespace {

constexpr std::uint32_t kMagic = 0x48415031;  // both ends are on one machine, so bytes stay in its order
enum : std::uint32_t { kAsk = 1, kAnswer = 2 };

}  // namespace

struct Liveness::Datagram {
  std::uint32_t magic = kMagic;
  std::uint32_t type = 0;
  std::uint64_t to_cookie = 0;
  std::uint64_t from_cookie = 0;
  std::uint32_t from_rank = 0;
  std::uint32_t reserved = 0;
};

Result<std::unique_ptr<Liveness>> Liveness::open(std::uint32_t rank, Options options) {
  std::unique_ptr<Liveness> self(new Liveness(options));
  self->rank_ = rank;
  self->socket_ = Descriptor(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof name;
  if (::getrandom(&self->cookie_, sizeof self->cookie_, 0) != sizeof self->cookie_ || !self->socket_ ||
      ::bind(self->socket_.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
      ::getsockname(self->socket_.get(), reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    return fail_errno(HAL_UNAVAILABLE, errno, "no socket on 127.0.0.1 to watch peers by");
  }
  self->port_ = ntohs(name.sin_port);
  return self;
}

void Liveness::send(const sockaddr_in& to, std::uint32_t type, std::uint64_t to_cookie) const {
  Datagram datagram;
  datagram.type = type;
  datagram.to_cookie = to_cookie;
  datagram.from_cookie = cookie_;
  datagram.from_rank = rank_;
  // A datagram that cannot be sent is one more that is not answered.
  (void)::sendto(socket_.get(), &datagram, sizeof datagram, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to),
                 sizeof to);
}

void Liveness::watch(std::uint64_t cookie, std::uint16_t port, Clock::time_point now) {
  Watched& peer = watched_[cookie];
  peer.name.sin_family = AF_INET;
  peer.name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  peer.name.sin_port = htons(port);
  send(peer.name, kAsk, cookie);
  next_ = std::min(next_, now + options_.every);
}

void Liveness::forget(std::uint64_t cookie) {
  watched_.erase(cookie);
  if (watched_.empty()) { next_ = Clock::time_point::max(); }
}

bool Liveness::answered(std::uint64_t cookie, Clock::time_point& when) const {
  const auto found = watched_.find(cookie);
  if (found == watched_.end() || !found->second.ever) { return false; }
  when = found->second.last_answer;
  return true;
}

bool Liveness::receive(Clock::time_point now) {
  bool first_answer = false;
  while (true) {
    Datagram datagram;
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t got = ::recvfrom(socket_.get(), &datagram, sizeof datagram, MSG_DONTWAIT,
                                   reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0 && errno == EINTR) { continue; }
    if (got < 0) { return first_answer; }
    if (got != sizeof datagram || datagram.magic != kMagic || datagram.to_cookie != cookie_) { continue; }
    if (datagram.type == kAsk) { send(from, kAnswer, datagram.from_cookie); }
    // A question shows as well as an answer that its sender is alive.
    const auto found = watched_.find(datagram.from_cookie);
    if (found == watched_.end()) { continue; }
    first_answer = first_answer || !found->second.ever;
    found->second.ever = true;
    found->second.last_answer = now;
    found->second.unanswered = 0;
  }
}

std::vector<std::uint64_t> Liveness::ask(Clock::time_point now) {
  std::vector<std::uint64_t> dead;
  if (now < next_) { return dead; }
  next_ = now + options_.every;
  for (auto& [cookie, peer] : watched_) {
    if (peer.unanswered >= options_.unanswered) {
      dead.push_back(cookie);
      continue;
    }
    ++peer.unanswered;
    send(peer.name, kAsk, cookie);
  }
  return dead;
}

}  // namespace hal::fabric
