// SPDX-License-Identifier: Apache-2.0
#include "fabric/bootstrap/rendezvous.hpp"

#include <fmt/ranges.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace hal::fabric {
namespace {

constexpr std::size_t kMaxStoreBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxUnsentBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxBarriers = 4096;

void watch(int epoll, int fd, std::uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  ::epoll_ctl(epoll, operation, fd, &event);
}

}  // namespace

Result<std::unique_ptr<Rendezvous>> Rendezvous::open(unsigned size) {
  if (size == 0 || size > kMaxRanks) {
    return fail(HAL_INVALID_ARGUMENT, "a world of {} ranks; 1 to {} are possible", size, kMaxRanks);
  }
  std::unique_ptr<Rendezvous> self(new Rendezvous);
  self->ranks_.assign(size, RankState::expected);
  self->why_lost_.resize(size);
  if (::getrandom(&self->cookie_, sizeof self->cookie_, 0) != sizeof self->cookie_) {
    return fail_errno(HAL_UNAVAILABLE, errno, "no random cookie for the rendezvous");
  }
  self->listener_ = Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof name;
  if (!self->listener_ || ::bind(self->listener_.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(self->listener_.get(), static_cast<int>(2 * size)) != 0 ||
      ::getsockname(self->listener_.get(), reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    return fail_errno(HAL_UNAVAILABLE, errno, "the rendezvous cannot listen on 127.0.0.1");
  }
  self->epoll_ = Descriptor(::epoll_create1(EPOLL_CLOEXEC));
  if (!self->epoll_) { return fail_errno(HAL_UNAVAILABLE, errno, "the rendezvous has no epoll"); }
  watch(self->epoll_.get(), self->listener_.get(), EPOLLIN, EPOLL_CTL_ADD);
  self->address_ = fmt::format("127.0.0.1:{}/{:016x}", ntohs(name.sin_port), self->cookie_);
  return self;
}

Rendezvous::~Rendezvous() = default;

void Rendezvous::serve(int timeout_ms) {
  std::array<epoll_event, 32> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == listener_.get()) {
      accept_all();
      continue;
    }
    const auto found = clients_.find(event.data.fd);
    if (found == clients_.end()) { continue; }  // dropped earlier in this round
    if ((event.events & EPOLLOUT) != 0) { flush(found->second); }
    if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) { read_from(event.data.fd); }
  }
}

void Rendezvous::accept_all() {
  while (true) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) { return; }
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int fd = socket.get();
    watch(epoll_.get(), fd, EPOLLIN, EPOLL_CTL_ADD);
    clients_[fd].socket = std::move(socket);
  }
}

void Rendezvous::read_from(int fd) {
  char bytes[65536];
  while (true) {
    const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) { break; }
    if (got <= 0) {
      drop(fd, "its connection to the rendezvous closed");
      return;
    }
    Client& client = clients_.at(fd);
    client.in.append({bytes, static_cast<std::size_t>(got)});
    while (auto message = client.in.next()) {
      if (!handle(client, *message)) {
        drop(fd, "it sent the rendezvous a message that makes no sense");
        return;
      }
      if (!clients_.contains(fd)) { return; }
    }
    if (client.in.damaged()) {
      drop(fd, "it sent the rendezvous a message that is too long");
      return;
    }
  }
}

bool Rendezvous::hello(Client& client, MessageReader& message) {
  const std::uint64_t cookie = message.number();
  const std::uint64_t rank = message.number();
  (void)message.text();  // the role, for whoever reads a trace
  if (!message.done() || cookie != cookie_) { return false; }
  if (rank >= ranks_.size()) {
    send(client, MessageWriter(MessageType::refused)
                     .text(fmt::format("rank {} asked to join a world of {} ranks", rank, ranks_.size()))
                     .take());
    return true;
  }
  if (ranks_[rank] == RankState::lost) {
    send(client, MessageWriter(MessageType::refused)
                     .text(fmt::format("rank {} is lost and cannot come back: {}", rank, why_lost_[rank]))
                     .take());
    return true;
  }
  client.joined = true;
  client.rank = static_cast<unsigned>(rank);
  ranks_[rank] = RankState::joined;
  send(client, MessageWriter(MessageType::welcome).number(ranks_.size()).take());
  for (const std::string& event : events_) { send(client, event); }
  for (unsigned other = 0; other < ranks_.size(); ++other) {  // a late comer learns what the others were told
    if (ranks_[other] == RankState::lost) {
      send(client, MessageWriter(MessageType::rank_lost).number(other).text(why_lost_[other]).take());
    } else if (ranks_[other] == RankState::left) {
      send(client, MessageWriter(MessageType::rank_left).number(other).take());
    }
  }
  return true;
}

bool Rendezvous::handle(Client& client, MessageReader& message) {
  if (!client.joined) { return message.type() == MessageType::hello && hello(client, message); }
  switch (message.type()) {
    case MessageType::put: {
      const std::string key = message.text();
      std::string value = message.text();
      if (!message.done() || store_bytes_ + key.size() + value.size() > kMaxStoreBytes) { return false; }
      const auto [first, last] = getters_.equal_range(key);
      for (auto waiter = first; waiter != last; ++waiter) {
        const auto to = clients_.find(waiter->second.fd);
        if (to == clients_.end()) { continue; }
        send(to->second, MessageWriter(MessageType::value).number(waiter->second.request).text(value).take());
      }
      getters_.erase(first, last);
      store_bytes_ += key.size() + value.size();
      store_[key] = std::move(value);
      return true;
    }
    case MessageType::get: {
      const std::uint64_t request = message.number();
      const std::string key = message.text();
      if (!message.done()) { return false; }
      if (const auto found = store_.find(key); found != store_.end()) {
        send(client, MessageWriter(MessageType::value).number(request).text(found->second).take());
      } else {
        getters_.emplace(key, Waiter{client.socket.get(), request});
      }
      return true;
    }
    case MessageType::barrier: {
      const std::uint64_t request = message.number();
      const std::string name = message.text();
      if (!message.done() || (barriers_.size() >= kMaxBarriers && !barriers_.contains(name))) { return false; }
      arrive(client, request, name);
      return true;
    }
    case MessageType::event: {
      const std::string value = message.text();
      if (!message.done() || event_bytes_ + value.size() > kMaxStoreBytes) { return false; }
      event_bytes_ += value.size();
      events_.push_back(MessageWriter(MessageType::event_from).number(client.rank).text(value).take());
      send_to_all(events_.back());
      return true;
    }
    case MessageType::bye:
      client.joined = false;  // closing is no longer a loss
      for (const auto& [fd, other] : clients_) {
        if (other.joined && other.rank == client.rank) { return true; }  // another part of the same process stays
      }
      mark_left(client.rank);
      return true;
    default:
      return false;
  }
}

void Rendezvous::arrive(Client& client, std::uint64_t request, const std::string& name) {
  Barrier& barrier = barriers_[name];
  barrier.arrived.insert(client.rank);
  barrier.waiters.push_back({client.socket.get(), request});
  finish_barriers();
}

// Releases barriers where all have arrived, and breaks those that somebody gone can no longer reach.
void Rendezvous::finish_barriers() {
  for (auto it = barriers_.begin(); it != barriers_.end();) {
    Barrier& barrier = it->second;
    std::string broken;
    for (unsigned rank = 0; rank < ranks_.size() && broken.empty(); ++rank) {
      if (barrier.arrived.contains(rank)) { continue; }
      if (ranks_[rank] == RankState::lost) { broken = fmt::format("rank {} is lost: {}", rank, why_lost_[rank]); }
      if (ranks_[rank] == RankState::left) { broken = fmt::format("rank {} has left", rank); }
    }
    if (broken.empty() && barrier.arrived.size() < ranks_.size()) {
      ++it;
      continue;
    }
    for (const Waiter& waiter : barrier.waiters) {
      const auto to = clients_.find(waiter.fd);
      if (to == clients_.end()) { continue; }
      send(to->second, broken.empty() ? MessageWriter(MessageType::released).number(waiter.request).take()
                                      : MessageWriter(MessageType::broken).number(waiter.request).text(broken).take());
    }
    it = barriers_.erase(it);
  }
}

void Rendezvous::send(Client& client, std::string frame) {
  client.out += frame;
  flush(client);
}

void Rendezvous::send_to_all(const std::string& frame) {
  for (auto& [fd, client] : clients_) {
    if (client.joined) { send(client, frame); }
  }
}

void Rendezvous::flush(Client& client) {
  while (!client.out.empty()) {
    const ssize_t sent = ::send(client.socket.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) { continue; }
      if (errno != EAGAIN) { client.out.clear(); }  // the read side sees the end and drops it
      break;
    }
    client.out.erase(0, static_cast<std::size_t>(sent));
  }
  // A rank that stopped reading must not take the launcher's memory with it.
  if (client.out.size() > kMaxUnsentBytes) { ::shutdown(client.socket.get(), SHUT_RDWR); }
  watch(epoll_.get(), client.socket.get(), client.out.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

void Rendezvous::drop(int fd, const std::string& why) {
  const auto found = clients_.find(fd);
  if (found == clients_.end()) { return; }
  const bool joined = found->second.joined;
  const unsigned rank = found->second.rank;
  clients_.erase(found);
  std::erase_if(getters_, [fd](const auto& entry) { return entry.second.fd == fd; });
  // The descriptor's number may be used again, so no waiter may keep it.
  for (auto& [name, barrier] : barriers_) {
    std::erase_if(barrier.waiters, [fd](const Waiter& waiter) { return waiter.fd == fd; });
  }
  if (!joined) { return; }
  const std::string better = explain ? explain(rank) : std::string();
  mark_lost(rank, better.empty() ? why : better);
}

void Rendezvous::mark_lost(unsigned rank, const std::string& why) {
  if (ranks_[rank] == RankState::left || ranks_[rank] == RankState::lost) { return; }
  ranks_[rank] = RankState::lost;
  why_lost_[rank] = why;
  send_to_all(MessageWriter(MessageType::rank_lost).number(rank).text(why).take());
  finish_barriers();
}

void Rendezvous::mark_left(unsigned rank) {
  if (ranks_[rank] == RankState::left || ranks_[rank] == RankState::lost) { return; }
  ranks_[rank] = RankState::left;
  why_lost_[rank] = "it left";
  send_to_all(MessageWriter(MessageType::rank_left).number(rank).take());
  finish_barriers();
}

}  // namespace hal::fabric
