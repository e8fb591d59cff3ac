// SPDX-License-Identifier: Apache-2.0
#include "fabric/bootstrap/session.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <new>
#include <optional>

#include "fabric/thread.hpp"

namespace hal::fabric {
namespace {

template <class Integer>
bool parse(std::string_view text, Integer& out, int base = 10) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return status == std::errc{} && end == text.data() + text.size() && !text.empty();
}

struct Address {
  sockaddr_in name{};
  std::uint64_t cookie = 0;
};

Result<Address> parse_address(const std::string& text) {
  Address address;
  const std::size_t colon = text.find(':');
  const std::size_t slash = text.find('/');
  std::uint16_t port = 0;
  if (colon == std::string::npos || slash == std::string::npos || slash < colon ||
      ::inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.name.sin_addr) != 1 ||
      !parse(std::string_view(text).substr(colon + 1, slash - colon - 1), port) ||
      !parse(std::string_view(text).substr(slash + 1), address.cookie, 16)) {
    return fail(HAL_INVALID_ARGUMENT, "HALYARD_RENDEZVOUS is \"{}\"; it must be \"127.0.0.1:port/cookie\"", text);
  }
  if (ntohl(address.name.sin_addr.s_addr) >> 24 != 127) {
    return fail(HAL_INVALID_ARGUMENT, "HALYARD_RENDEZVOUS is \"{}\"; only loopback addresses are used", text);
  }
  address.name.sin_family = AF_INET;
  address.name.sin_port = htons(port);
  return address;
}

}  // namespace

Result<World> read_world(const std::function<const char*(const char* name)>& setting) {
  const char* rank = setting("HALYARD_RANK");
  const char* size = setting("HALYARD_WORLD_SIZE");
  const char* rendezvous = setting("HALYARD_RENDEZVOUS");
  World world;
  if (rank == nullptr && size == nullptr && rendezvous == nullptr) { return world; }
  if (rank == nullptr || size == nullptr || rendezvous == nullptr) {
    return fail(HAL_INVALID_ARGUMENT,
                "HALYARD_RANK, HALYARD_WORLD_SIZE and HALYARD_RENDEZVOUS go together; {} is not set",
                rank == nullptr   ? "HALYARD_RANK"
                : size == nullptr ? "HALYARD_WORLD_SIZE"
                                  : "HALYARD_RENDEZVOUS");
  }
  if (!parse(size, world.size) || world.size == 0) {
    return fail(HAL_INVALID_ARGUMENT, "HALYARD_WORLD_SIZE is \"{}\"; it must be a number above 0", size);
  }
  if (!parse(rank, world.rank) || world.rank >= world.size) {
    return fail(HAL_INVALID_ARGUMENT, "HALYARD_RANK is \"{}\"; it must be a number below HALYARD_WORLD_SIZE, {}", rank,
                world.size);
  }
  world.rendezvous = rendezvous;
  HAL_FABRIC_CHECK(parse_address(world.rendezvous));
  return world;
}

Result<std::unique_ptr<Session>> Session::join(const World& world, std::string_view role, Milliseconds timeout) {
  std::unique_ptr<Session> self(new Session(world));
  if (!world.rendezvous.empty()) { HAL_FABRIC_CHECK(self->connect(role, timeout)); }
  return self;
}

Result<void> Session::connect(std::string_view role, Milliseconds timeout) {
  HAL_FABRIC_TRY(const Address address, parse_address(world_.rendezvous));
  socket_ = Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  stop_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!socket_ || !stop_ ||
      ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.name), sizeof address.name) != 0) {
    return fail_errno(HAL_UNAVAILABLE, errno,
                      fmt::format("rank {} cannot reach its rendezvous {}", world_.rank,
                                  world_.rendezvous.substr(0, world_.rendezvous.find('/'))));
  }
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  connected_ = true;
  replies_[0];  // the welcome
  HAL_FABRIC_TRY(reader_, start_thread("hal-ranks", [this] { read_loop(); }));
  auto welcome =
      request(0, MessageWriter(MessageType::hello).number(address.cookie).number(world_.rank).text(role).take(),
              fmt::format("the rendezvous {} to welcome rank {}",
                          world_.rendezvous.substr(0, world_.rendezvous.find('/')), world_.rank),
              timeout);
  if (!welcome) { return std::unexpected(std::move(welcome).error()); }
  if (welcome->broken) { return fail(HAL_INVALID_ARGUMENT, "the rendezvous refused: {}", welcome->text); }
  return {};
}

Session::~Session() {
  if (!reader_.joinable()) { return; }
  try {
    (void)send(MessageWriter(MessageType::bye).take());
  } catch (const std::bad_alloc&) {}  // the others see the connection end
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  reader_.join();
}

Result<void> Session::send(const std::string& frame) {
  const std::lock_guard lock(send_mutex_);
  std::string_view rest = frame;
  while (!rest.empty()) {
    const ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) { continue; }
    if (sent < 0) { return fail_errno(HAL_UNAVAILABLE, errno, "the rendezvous is gone; was the launcher ended?"); }
    rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

std::string Session::gone_text() const {
  std::string text;
  for (const auto& [rank, why] : gone_) { text += fmt::format("; rank {} is gone: {}", rank, why); }
  return text;
}

Result<Session::Reply> Session::request(std::uint64_t id, const std::string& frame, const std::string& what,
                                        Milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  auto sent = send(frame);
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return replies_[id].done || !connected_ || !sent; });
  const Reply reply = replies_[id];
  replies_.erase(id);
  if (reply.done) { return reply; }
  if (!sent && connected_) { return std::unexpected(std::move(sent).error()); }
  if (!connected_) { return fail(lost_.code, "waited for {}, and {}", what, lost_.why); }
  return fail(HAL_DEADLINE_EXCEEDED, "waited {} ms for {}{}", timeout.count(), what, gone_text());
}

Result<void> Session::put(std::string_view key, std::string_view value) {
  if (key.size() + value.size() > kMaxMessageBytes - 64) {
    return fail(HAL_INVALID_ARGUMENT, "key and value have {} bytes, the limit is {}", key.size() + value.size(),
                kMaxMessageBytes - 64);
  }
  if (socket_) { return send(MessageWriter(MessageType::put).text(key).text(value).take()); }
  const std::lock_guard lock(mutex_);
  local_.insert_or_assign(std::string(key), std::string(value));
  changed_.notify_all();
  return {};
}

Result<std::string> Session::get(std::string_view key, Milliseconds timeout) {
  const std::string what = fmt::format("somebody to put \"{}\"", key);
  std::unique_lock lock(mutex_);
  if (!socket_) {
    const bool there = changed_.wait_for(lock, timeout, [&] { return local_.contains(key); });
    if (!there) { return fail(HAL_DEADLINE_EXCEEDED, "waited {} ms for {}", timeout.count(), what); }
    return local_.find(key)->second;
  }
  const std::uint64_t id = next_request_++;
  replies_[id];
  lock.unlock();
  auto reply = request(id, MessageWriter(MessageType::get).number(id).text(key).take(), what, timeout);
  if (!reply) { return std::unexpected(std::move(reply).error()); }
  return std::move(reply->text);
}

Result<std::vector<std::string>> Session::all_gather(std::string_view name, std::string_view value,
                                                     Milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  HAL_FABRIC_CHECK(put(fmt::format("{}/{}", name, world_.rank), value));
  std::vector<std::string> out;
  for (unsigned rank = 0; rank < world_.size; ++rank) {
    const auto left = std::chrono::ceil<Milliseconds>(deadline - std::chrono::steady_clock::now());
    HAL_FABRIC_TRY(out.emplace_back(), get(fmt::format("{}/{}", name, rank), std::max(left, Milliseconds(0))));
  }
  return out;
}

Result<void> Session::barrier(std::string_view name, Milliseconds timeout) {
  if (!socket_) { return {}; }
  std::unique_lock lock(mutex_);
  const std::uint64_t id = next_request_++;
  replies_[id];
  lock.unlock();
  auto reply = request(id, MessageWriter(MessageType::barrier).number(id).text(name).take(),
                       fmt::format("all {} ranks to reach barrier \"{}\"", world_.size, name), timeout);
  if (!reply) { return std::unexpected(std::move(reply).error()); }
  if (reply->broken) { return fail(HAL_PEER_LOST, "barrier \"{}\" cannot end: {}", name, reply->text); }
  return {};
}

Result<void> Session::broadcast(std::string_view value) {
  if (value.size() > kMaxMessageBytes - 64) {
    return fail(HAL_INVALID_ARGUMENT, "an event of {} bytes, the limit is {}", value.size(), kMaxMessageBytes - 64);
  }
  if (socket_) { return send(MessageWriter(MessageType::event).text(value).take()); }
  notify({Notice::Kind::event, world_.rank, std::string(value)});
  return {};
}

void Session::listen(std::function<void(const Notice&)> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
  if (!listener_) { return; }
  for (const Notice& notice : std::exchange(past_, {})) { listener_(notice); }
}

void Session::notify(Notice notice) {
  const std::lock_guard lock(listener_mutex_);
  if (listener_) {
    listener_(notice);
  } else {
    past_.push_back(std::move(notice));
  }
}

void Session::read_loop() noexcept {
  Lost lost;
  try {
    if (read_until_stopped()) { return; }
  } catch (const std::bad_alloc&) {
    lost = {HAL_OUT_OF_HOST_MEMORY, "there is no memory to read what the rendezvous says"};
  }
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
    lost_ = lost;
    changed_.notify_all();
  }
  ::shutdown(socket_.get(), SHUT_RDWR);  // the others learn that this rank hears nothing any more
  try {
    notify({Notice::Kind::rendezvous_gone, world_.rank, "the rendezvous is gone"});
  } catch (const std::bad_alloc&) {}  // whoever asks for something is told
}

bool Session::read_until_stopped() {
  MessageStream stream;
  char bytes[65536];
  while (true) {
    pollfd waits[2] = {{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) { return false; }
    if (waits[1].revents != 0) { return true; }
    if (waits[0].revents == 0) { continue; }
    const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR) { continue; }
    if (got <= 0) { return false; }
    stream.append({bytes, static_cast<std::size_t>(got)});
    while (auto message = stream.next()) { dispatch(*message); }
    if (stream.damaged()) { return false; }
  }
}

void Session::dispatch(MessageReader& message) {
  std::uint64_t number = 0;
  std::string text;
  switch (message.type()) {
    case MessageType::welcome:
    case MessageType::released:
      number = message.number();
      break;
    case MessageType::refused:
      text = message.text();
      break;
    case MessageType::rank_left:
      number = message.number();
      break;
    default:
      number = message.number();
      text = message.text();
      break;
  }
  if (!message.done()) { return; }
  const auto answer = [&](std::uint64_t id, bool broken) {
    const std::lock_guard lock(mutex_);
    const auto found = replies_.find(id);
    if (found == replies_.end()) { return; }  // whoever asked has given up
    found->second = {true, broken, text};
    changed_.notify_all();
  };
  const auto gone = [&](Notice::Kind kind, const std::string& why) {
    {
      const std::lock_guard lock(mutex_);
      gone_[static_cast<unsigned>(number)] = why;
    }
    notify({kind, static_cast<unsigned>(number), why});
  };
  switch (message.type()) {
    case MessageType::welcome:
      answer(0, false);
      break;
    case MessageType::refused:
      answer(0, true);
      break;
    case MessageType::value:
    case MessageType::released:
      answer(number, false);
      break;
    case MessageType::broken:
      answer(number, true);
      break;
    case MessageType::event_from:
      notify({Notice::Kind::event, static_cast<unsigned>(number), text});
      break;
    case MessageType::rank_lost:
      gone(Notice::Kind::lost, text);
      break;
    case MessageType::rank_left:
      gone(Notice::Kind::left, "it left");
      break;
    default:
      break;
  }
}

}  // namespace hal::fabric
