// SPDX-License-Identifier: Apache-2.0
#include "fabric/transport/engine.hpp"

#include <rdma/fi_errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace hal::fabric {
namespace {

using namespace std::chrono_literals;

constexpr auto kSpin = 10us;   // about 50 round trips of a cache line at its worst
constexpr auto kYield = 60us;  // after that a sleeping wake-up costs less than it saves
constexpr auto kRetry = 1ms;   // how long "again" rests while nothing else happens
constexpr auto kLongest = 100ms;
constexpr int kCompletionsAtOnce = 64;
constexpr auto kConnectPoll = 5ms;

const char* name_of(EndpointRequest::Kind kind) {
  switch (kind) {
    case EndpointRequest::Kind::put:
      return "put";
    case EndpointRequest::Kind::get:
      return "get";
    case EndpointRequest::Kind::send:
      return "send";
    case EndpointRequest::Kind::recv:
      return "recv";
  }
  return "operation";
}

std::int64_t milliseconds(Engine::Clock::duration span) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(span).count();
}

}  // namespace

struct Engine::Pending {
  fi_context2 context{};  // first, so that its address is the operation's
  Operation operation;
  Clock::time_point begun;
  fid_mr* local = nullptr;
  bool posted = false;
  bool given_up = false;  // the provider still has it
};

Result<std::unique_ptr<Engine>> Engine::start(const Options& options) {
  std::unique_ptr<Engine> self(new Engine);
  self->options_ = options;
  HAL_FABRIC_TRY(self->endpoint_, Endpoint::open(options.providers));
  HAL_FABRIC_TRY(self->liveness_, Liveness::open(options.rank, options.liveness));
  PortAddress address;
  address.rank = options.rank;
  address.cookie = self->liveness_->cookie();
  address.liveness_port = self->liveness_->port();
  address.provider = self->endpoint_->provider();
  address.endpoint = self->endpoint_->name();
  self->address_ = address.encode();
  self->epoll_ = Descriptor(::epoll_create1(EPOLL_CLOEXEC));
  self->doorbell_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!self->epoll_ || !self->doorbell_) { return fail_errno(HAL_UNAVAILABLE, errno, "no descriptors to sleep on"); }
  for (const int fd : {self->endpoint_->wait_fd(), self->doorbell_.get(), self->liveness_->fd()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(self->epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return fail_errno(HAL_UNAVAILABLE, errno, "the completion queue cannot be slept on");
    }
  }
  self->thread_ = std::thread([engine = self.get()] { engine->loop(); });
  return self;
}

void Engine::stop() {
  if (!thread_.joinable()) { return; }
  run([this] {
    for (bool again = true; again;) {
      again = false;
      for (auto& [pending, owned] : pending_) {
        if (pending->given_up) { continue; }
        give_up(pending, fail(HAL_CANCELLED, "{}: the fabric port was closed", describe(pending->operation)));
        again = true;  // the map may have changed
        break;
      }
    }
    stop_ = true;
  });
  thread_.join();
}

Engine::~Engine() {
  stop();
  for (auto& [pending, owned] : pending_) {
    if (pending->local != nullptr) { ::fi_close(&pending->local->fid); }
  }
  endpoint_.reset();  // before the contexts and memory that it still knows
}

void Engine::wake() {
  if (parked_.load(std::memory_order_seq_cst)) {
    const std::uint64_t one = 1;
    (void)!::write(doorbell_.get(), &one, sizeof one);
  }
}

void Engine::run(std::function<void()> work) {
  {
    const std::lock_guard lock(work_mutex_);
    work_.push_back(std::move(work));
  }
  wake();
}

void Engine::run_and_wait(const std::function<void()>& work) {
  std::promise<void> finished;
  run([&] {
    work();
    finished.set_value();
  });
  finished.get_future().wait();
}

Result<void> Engine::connect(std::string_view bytes, std::uint32_t rank, std::chrono::milliseconds timeout) {
  HAL_FABRIC_TRY(const PortAddress address, PortAddress::decode(bytes));
  if (address.rank != rank) {
    return fail(HAL_INVALID_ARGUMENT, "asked to connect to rank {} by the address of rank {}", rank, address.rank);
  }
  if (address.provider != endpoint_->provider()) {
    return fail(HAL_INVALID_ARGUMENT,
                "rank {} uses libfabric's {}, this port uses {}; set HALYARD_FABRIC_PROVIDER alike", rank,
                address.provider, endpoint_->provider());
  }
  Result<void> result;
  run_and_wait([&] {
    if (peers_.contains(rank)) {
      result = fail(HAL_BUSY, "rank {} is connected already", rank);
      return;
    }
    if (const auto gone = gone_.find(rank); gone != gone_.end()) {
      result = fail(HAL_PEER_LOST, "rank {} is gone: {}", rank, gone->second);
      return;
    }
    auto endpoint = endpoint_->insert(address.endpoint);
    if (!endpoint) {
      result = std::unexpected(std::move(endpoint).error());
      return;
    }
    peers_[rank] = {address, *endpoint, {}};
    liveness_->watch(address.cookie, address.liveness_port, Clock::now());
  });
  if (!result) { return result; }
  const auto deadline = Clock::now() + timeout;
  while (true) {
    bool answered = false;
    std::string gone;
    run_and_wait([&] {
      Clock::time_point when;
      answered = liveness_->answered(address.cookie, when);
      if (const auto peer = peers_.find(rank); peer != peers_.end()) { gone = peer->second.gone; }
    });
    if (answered) { return {}; }
    if (!gone.empty() || Clock::now() >= deadline) {
      disconnect(rank);
      return fail(HAL_PEER_LOST, "rank {} cannot be reached: {}", rank,
                  gone.empty() ? fmt::format("nobody answered in {} ms", timeout.count()) : gone);
    }
    std::this_thread::sleep_for(kConnectPoll);
  }
}

void Engine::disconnect(std::uint32_t rank) {
  run_and_wait([&] {
    const auto found = peers_.find(rank);
    if (found == peers_.end()) { return; }
    std::vector<Pending*> theirs;
    for (auto& [pending, owned] : pending_) {
      if (pending->operation.peer == rank && !pending->given_up) { theirs.push_back(pending); }
    }
    for (Pending* pending : theirs) {
      if (!pending_.contains(pending) || pending->given_up) { continue; }
      give_up(pending, fail(HAL_CANCELLED, "{}: this side disconnected", describe(pending->operation)));
    }
    liveness_->forget(found->second.address.cookie);
    // The provider may still know the address by operations that were given up.
    peers_.erase(found);
  });
}

Result<Engine::Exposed> Engine::expose(void* data, std::size_t bytes) {
  Result<Exposed> result;
  run_and_wait([&] {
    auto region = endpoint_->register_memory(data, bytes, true);
    if (!region) {
      result = std::unexpected(std::move(region).error());
      return;
    }
    result->region = endpoint_->describe(*region, data, bytes);
    result->handle = std::shared_ptr<void>(*region, [this](void* handle) {
      const auto close = [handle] { ::fi_close(&static_cast<fid_mr*>(handle)->fid); };
      if (std::this_thread::get_id() == thread_.get_id()) {
        close();
      } else {
        run_and_wait(close);
      }
    });
  });
  return result;
}

void Engine::peer_gone(std::uint32_t rank, const std::string& why, bool for_ever) {
  run([this, rank, why, for_ever] {
    if (for_ever) { gone_.emplace(rank, why); }
    mark_gone(rank, why);
  });
}

void Engine::mark_gone(std::uint32_t rank, const std::string& why) {
  const auto found = peers_.find(rank);
  if (found == peers_.end() || !found->second.gone.empty()) { return; }
  found->second.gone = why;
  liveness_->forget(found->second.address.cookie);
  std::vector<Pending*> theirs;
  for (auto& [pending, owned] : pending_) {
    if (pending->operation.peer == rank && !pending->given_up) { theirs.push_back(pending); }
  }
  for (Pending* pending : theirs) {
    // A callback of an earlier one may have ended this one.
    if (!pending_.contains(pending) || pending->given_up) { continue; }
    give_up(pending, fail(HAL_PEER_LOST, "{}: rank {} is gone: {}", describe(pending->operation), rank, why));
  }
}

std::string Engine::describe(const Operation& o) const {
  const bool message = o.kind == EndpointRequest::Kind::send || o.kind == EndpointRequest::Kind::recv;
  return fmt::format("{} of {} bytes {} rank {}{}", name_of(o.kind), o.bytes,
                     o.kind == EndpointRequest::Kind::put || o.kind == EndpointRequest::Kind::send ? "to" : "from",
                     o.peer, message ? fmt::format(" with tag {}", o.tag) : "");
}

std::string Engine::last_answer(const Operation& operation) const {
  Clock::time_point when;
  const auto peer = peers_.find(operation.peer);
  if (peer == peers_.end() || !liveness_->answered(peer->second.address.cookie, when)) { return "never answered"; }
  return fmt::format("last answered {} ms ago", milliseconds(Clock::now() - when));
}

void Engine::begin(Operation operation) {
  const auto refuse = [&](std::unexpected<Failure> why) { operation.done(std::move(why)); };
  const auto peer = peers_.find(operation.peer);
  if (peer == peers_.end()) { return refuse(fail(HAL_INVALID_ARGUMENT, "{}: not connected", describe(operation))); }
  if (!peer->second.gone.empty()) {
    return refuse(
        fail(HAL_PEER_LOST, "{}: rank {} is gone: {}", describe(operation), operation.peer, peer->second.gone));
  }
  if (operation.tag > kMaxTag) {
    return refuse(fail(HAL_INVALID_ARGUMENT, "{}: tags end at {}", describe(operation), kMaxTag));
  }
  if (operation.bytes > endpoint_->max_message()) {
    return refuse(fail(HAL_INVALID_ARGUMENT, "{}: one operation of {} moves up to {} bytes", describe(operation),
                       endpoint_->provider(), endpoint_->max_message()));
  }
  const bool one_sided = operation.kind == EndpointRequest::Kind::put || operation.kind == EndpointRequest::Kind::get;
  if (one_sided && (operation.remote_offset > operation.remote.length ||
                    operation.bytes > operation.remote.length - operation.remote_offset)) {
    return refuse(
        fail(HAL_OUT_OF_RANGE, "{}: ends outside the peer's {} bytes", describe(operation), operation.remote.length));
  }
  auto owned = std::make_unique<Pending>();
  Pending* pending = owned.get();
  pending->operation = std::move(operation);
  pending->begun = Clock::now();
  pending_.emplace(pending, std::move(owned));
  deadlines_.emplace(pending->begun + options_.deadline, pending);
  if (endpoint_->wants_local_memory_registered()) {
    auto region = endpoint_->register_memory(pending->operation.data, pending->operation.bytes, false);
    if (!region) { return finish(pending, std::unexpected(std::move(region).error())); }
    pending->local = *region;
  }
  // Behind others that wait, or the provider would see them out of order.
  const std::int64_t status = waiting_.empty() ? post(*pending) : -FI_EAGAIN;
  if (status == -FI_EAGAIN) {
    waiting_.push_back(pending);
  } else if (status != 0) {
    finish(pending, endpoint_->library().fail(HAL_EXECUTION_FAILED, status, describe(pending->operation)));
  }
}

std::int64_t Engine::post(Pending& pending) {
  const Operation& o = pending.operation;
  EndpointRequest request;
  request.kind = o.kind;
  request.peer = peers_.at(o.peer).endpoint;
  request.data = o.data;
  request.bytes = o.bytes;
  request.descriptor = pending.local != nullptr ? ::fi_mr_desc(pending.local) : nullptr;
  request.remote_address = o.remote.address + o.remote_offset;
  request.remote_key = o.remote.key;
  const std::uint64_t sender = o.kind == EndpointRequest::Kind::send ? options_.rank : o.peer;
  request.tag = sender << 48 | o.tag;
  request.stamp = o.stamp;
  request.context = &pending.context;
  const std::int64_t status = endpoint_->post(request);
  pending.posted = status == 0;
  return status;
}

void Engine::complete(Pending* pending, const EndpointCompletion& completion) {
  if (completion.error == 0) {
    finish(pending, OperationResult{completion.bytes, completion.stamp});
    return;
  }
  const Operation& o = pending->operation;
  if (completion.error == FI_ECANCELED) {
    finish(pending, fail(HAL_CANCELLED, "{} was called back", describe(o)));
    return;
  }
  if (completion.error == FI_ETRUNC || completion.error == FI_EMSGSIZE) {
    finish(pending, fail(HAL_OUT_OF_RANGE, "{}: the message is longer than that", describe(o)));
    return;
  }
  finish(pending, endpoint_->library().fail(
                      HAL_EXECUTION_FAILED, -completion.error,
                      fmt::format("{}{}{}", describe(o), completion.detail.empty() ? "" : ": ", completion.detail)));
}

// The provider no longer has it.
void Engine::finish(Pending* pending, Result<OperationResult> result) {
  const auto found = pending_.find(pending);
  const std::unique_ptr<Pending> owned = std::move(found->second);
  pending_.erase(found);
  deadlines_.erase({owned->begun + options_.deadline, pending});
  std::erase(waiting_, pending);
  if (owned->local != nullptr) { ::fi_close(&owned->local->fid); }
  if (!owned->given_up) { owned->operation.done(std::move(result)); }
}

void Engine::give_up(Pending* pending, std::unexpected<Failure> why) {
  if (!pending->posted) { return finish(pending, std::move(why)); }
  pending->given_up = true;
  deadlines_.erase({pending->begun + options_.deadline, pending});
  // A receive can be called back, and then completes as cancelled; others stay until the provider lets go of them.
  if (pending->operation.kind == EndpointRequest::Kind::recv) { endpoint_->cancel(&pending->context); }
  const auto done = std::exchange(pending->operation.done, nullptr);
  done(std::move(why));
}

void Engine::call_back(const void* owner) {
  std::vector<Pending*> theirs;
  for (auto& [pending, owned] : pending_) {
    const Operation& o = pending->operation;
    if (o.owner == owner && o.kind == EndpointRequest::Kind::recv && !pending->given_up) { theirs.push_back(pending); }
  }
  for (Pending* pending : theirs) {
    if (!pending_.contains(pending) || pending->given_up) { continue; }
    if (pending->posted) {
      endpoint_->cancel(&pending->context);
    } else {
      finish(pending, fail(HAL_CANCELLED, "{} was called back", describe(pending->operation)));
    }
  }
}

bool Engine::take_work() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(work_mutex_);
    work.swap(work_);
  }
  for (const auto& one : work) { one(); }
  return !work.empty();
}

bool Engine::take_completions() {
  EndpointCompletion completion;
  int count = 0;
  while (count < kCompletionsAtOnce && endpoint_->poll(completion)) {
    ++count;
    if (completion.context != nullptr) { complete(static_cast<Pending*>(completion.context), completion); }
  }
  return count > 0;
}

bool Engine::post_waiting() {
  bool any = false;
  while (!waiting_.empty()) {
    Pending* pending = waiting_.front();
    const std::int64_t status = post(*pending);
    if (status == -FI_EAGAIN) {
      // One peer that does not take anything must not hold up the others; each keeps its own order.
      const std::uint32_t stuck = pending->operation.peer;
      const auto other = std::find_if(waiting_.begin(), waiting_.end(),
                                      [stuck](const Pending* p) { return p->operation.peer != stuck; });
      if (other != waiting_.end()) { std::rotate(waiting_.begin(), other, waiting_.end()); }
      return any;
    }
    any = true;
    waiting_.erase(waiting_.begin());
    if (status != 0) {
      finish(pending, endpoint_->library().fail(HAL_EXECUTION_FAILED, status, describe(pending->operation)));
    }
  }
  return any;
}

void Engine::watch_clock(Clock::time_point now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Pending* pending = deadlines_.begin()->second;
    const Operation& o = pending->operation;
    give_up(pending, fail(HAL_DEADLINE_EXCEEDED, "{} did not complete in {} ms; the peer {}", describe(o),
                          options_.deadline.count(), last_answer(o)));
  }
  if (now < liveness_->next_ask()) { return; }
  liveness_->receive(now);  // answers that came while this thread did not run count
  for (const std::uint64_t cookie : liveness_->ask(now)) {
    for (const auto& [rank, peer] : peers_) {
      if (peer.address.cookie != cookie) { continue; }
      mark_gone(rank, fmt::format("it has not answered {} times in {} ms", options_.liveness.unanswered,
                                  options_.liveness.unanswered * options_.liveness.every.count()));
      break;
    }
  }
}

void Engine::park(Clock::time_point now) {
  parked_.store(true, std::memory_order_seq_cst);
  bool sleep = false;
  {
    // Whoever adds work after this look sees parked_ and rings.
    const std::lock_guard lock(work_mutex_);
    sleep = work_.empty();
  }
  if (sleep && endpoint_->may_sleep()) {
    auto until = std::min(now + kLongest, liveness_->next_ask());
    if (!waiting_.empty()) { until = std::min(until, now + kRetry); }
    if (!deadlines_.empty()) { until = std::min(until, deadlines_.begin()->first); }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
    std::array<epoll_event, 3> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(std::max<std::int64_t>(left, 0)));
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == doorbell_.get()) {
        std::uint64_t rings = 0;
        (void)!::read(fd, &rings, sizeof rings);
      } else if (fd == liveness_->fd()) {
        liveness_->receive(Clock::now());
      }
    }
  }
  parked_.store(false, std::memory_order_seq_cst);
}

void Engine::loop() {
  auto idle_since = Clock::now();
  while (!stop_) {
    bool busy = take_work();
    busy = take_completions() || busy;
    busy = post_waiting() || busy;
    const auto now = Clock::now();
    watch_clock(now);
    if (busy) {
      idle_since = now;
    } else if (now - idle_since < kSpin) {
      continue;  // reading the queue is slow enough
    } else if (now - idle_since < kYield) {
      ::sched_yield();
    } else {
      park(now);
    }
  }
}

}  // namespace hal::fabric
