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
#include <utility>

#include "fabric/thread.hpp"

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
  HAL_FABRIC_TRY(self->thread_, start_thread("hal-fabric", [engine = self.get()] { engine->loop(); }));
  return self;
}

template <class Visit>
void Engine::each_pending(Visit&& visit) noexcept {
  for (auto at = pending_.begin(); at != pending_.end();) {
    Pending* pending = at->first;
    if (!pending->given_up) { visit(pending); }
    at = pending_.upper_bound(pending);  // it, and others, may be gone
  }
}

template <class Of, class Why>
void Engine::give_up_all(Of&& of, Why&& why, hal_code code) noexcept {
  each_pending([&](Pending* pending) {
    if (of(*pending)) {
      give_up(pending, fail_surely(code, [&] { return why(pending->operation); }));
    }
  });
}

void Engine::stop() {
  if (!thread_.joinable()) { return; }
  run_and_wait([this] {
    give_up_all([](const Pending&) { return true; },
                [this](const Operation& o) { return fmt::format("{}: the fabric port was closed", describe(o)); },
                HAL_CANCELLED);
    stop_ = true;
  });
  thread_.join();
}

Engine::~Engine() {
  stop();
  drop(taken_);
  drop(work_);
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
  const auto task = std::make_shared<Task>();
  task->work = std::move(work);
  task->keep = task;
  add(*task);
}

void Engine::add(Task& task) noexcept {
  {
    const std::lock_guard lock(work_mutex_);
    *last_ = &task;
    last_ = &task.next;
  }
  wake();
}

void Engine::run_here(std::function<void()> work) {
  struct Waited {
    std::function<void()> work;
    std::exception_ptr thrown;
    bool done = false;
    std::mutex mutex;
    std::condition_variable changed;
  } waited;
  waited.work = std::move(work);
  Task task;
  task.work = [&waited] {  // one reference: std::function holds it in place
    try {
      waited.work();
    } catch (...) { waited.thrown = std::current_exception(); }
    const std::lock_guard lock(waited.mutex);
    waited.done = true;
    waited.changed.notify_one();  // under the lock: `waited` may go as soon as it is free
  };
  add(task);
  std::unique_lock lock(waited.mutex);
  waited.changed.wait(lock, [&] { return waited.done; });
  if (waited.thrown) { std::rethrow_exception(waited.thrown); }
}

void Engine::drop(Task*& tasks) noexcept {
  while (tasks != nullptr) {
    Task* task = std::exchange(tasks, tasks->next);
    const std::shared_ptr<void> keep = std::move(task->keep);
  }
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
    liveness_->watch(address.cookie, address.liveness_port, Clock::now());
    try {
      peers_[rank] = {address, *endpoint, {}};
    } catch (const std::bad_alloc&) {
      peers_.erase(rank);
      liveness_->forget(address.cookie);
      throw;
    }
  });
  if (!result) { return result; }
  const auto deadline = Clock::now() + timeout;
  while (true) {
    bool answered = false;
    std::string gone;
    try {
      run_and_wait([&] {
        Clock::time_point when;
        answered = liveness_->answered(address.cookie, when);
        if (const auto peer = peers_.find(rank); peer != peers_.end()) { gone = peer->second.gone; }
      });
    } catch (const std::bad_alloc&) {
      disconnect(rank);
      throw;
    }
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
    give_up_all([&](const Pending& pending) { return pending.operation.peer == rank; },
                [this](const Operation& o) { return fmt::format("{}: this side disconnected", describe(o)); },
                HAL_CANCELLED);
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
  give_up_all([&](const Pending& pending) { return pending.operation.peer == rank; },
              [&](const Operation& o) { return fmt::format("{}: rank {} is gone: {}", describe(o), rank, why); },
              HAL_PEER_LOST);
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

Result<void> Engine::check(const Operation& operation) const {
  const auto peer = peers_.find(operation.peer);
  if (peer == peers_.end()) { return fail(HAL_INVALID_ARGUMENT, "{}: not connected", describe(operation)); }
  if (!peer->second.gone.empty()) {
    return fail(HAL_PEER_LOST, "{}: rank {} is gone: {}", describe(operation), operation.peer, peer->second.gone);
  }
  if (operation.tag > kMaxTag) {
    return fail(HAL_INVALID_ARGUMENT, "{}: tags end at {}", describe(operation), kMaxTag);
  }
  if (operation.bytes > endpoint_->max_message()) {
    return fail(HAL_INVALID_ARGUMENT, "{}: one operation of {} moves up to {} bytes", describe(operation),
                endpoint_->provider(), endpoint_->max_message());
  }
  const bool one_sided = operation.kind == EndpointRequest::Kind::put || operation.kind == EndpointRequest::Kind::get;
  if (one_sided && (operation.remote_offset > operation.remote.length ||
                    operation.bytes > operation.remote.length - operation.remote_offset)) {
    return fail(HAL_OUT_OF_RANGE, "{}: ends outside the peer's {} bytes", describe(operation), operation.remote.length);
  }
  return {};
}

void Engine::begin(Operation operation) noexcept {
  Pending* pending = nullptr;
  try {
    if (auto well = check(operation); !well) { return operation.done(std::unexpected(std::move(well).error())); }
    if (waiting_.size() == waiting_.capacity()) { waiting_.reserve(2 * waiting_.size() + 16); }
    auto owned = std::make_unique<Pending>();
    owned->begun = Clock::now();
    const auto deadline = deadlines_.emplace(owned->begun + options_.deadline, owned.get()).first;
    try {
      pending_.emplace(owned.get(), nullptr);
    } catch (...) {
      deadlines_.erase(deadline);
      throw;
    }
    pending = owned.get();
    pending_[pending] = std::move(owned);
  } catch (const std::bad_alloc&) {
    return operation.done(fail_surely(
        HAL_OUT_OF_HOST_MEMORY, [&] { return fmt::format("{}: no host memory to begin it", describe(operation)); }));
  }
  pending->operation = std::move(operation);
  if (endpoint_->wants_local_memory_registered()) {
    Result<fid_mr*> region = nullptr;
    try {
      region = endpoint_->register_memory(pending->operation.data, pending->operation.bytes, false);
    } catch (const std::bad_alloc&) {  // for the words of why not
      region = fail_surely(HAL_OUT_OF_HOST_MEMORY, [] { return std::string("not registered"); });
    }
    if (!region) { return finish(pending, std::unexpected(std::move(region).error())); }
    pending->local = *region;
  }
  // Behind others that wait, or the provider would see them out of order.
  const std::int64_t status = waiting_.empty() ? post(*pending) : -FI_EAGAIN;
  if (status == -FI_EAGAIN) {
    waiting_.push_back(pending);  // there is room
  } else if (status != 0) {
    refused(pending, status, {});
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

// The provider does not do it, for its own reason.
void Engine::refused(Pending* pending, std::int64_t status, const std::string& detail) noexcept {
  const Operation& o = pending->operation;
  Result<OperationResult> why = fail_surely(HAL_EXECUTION_FAILED, [] { return std::string(); });
  try {
    why = endpoint_->library().fail(HAL_EXECUTION_FAILED, status,
                                    fmt::format("{}{}{}", describe(o), detail.empty() ? "" : ": ", detail));
  } catch (const std::bad_alloc&) { why.error() = Failure{HAL_EXECUTION_FAILED, "out of memory", {}, status}; }
  finish(pending, std::move(why));
}

void Engine::complete(Pending* pending, const EndpointCompletion& completion) noexcept {
  if (completion.error == 0) {
    finish(pending, OperationResult{completion.bytes, completion.stamp});
    return;
  }
  const Operation& o = pending->operation;
  if (completion.error == FI_ECANCELED) {
    finish(pending, fail_surely(HAL_CANCELLED, [&] { return fmt::format("{} was called back", describe(o)); }));
    return;
  }
  if (completion.error == FI_ETRUNC || completion.error == FI_EMSGSIZE) {
    finish(pending, fail_surely(HAL_OUT_OF_RANGE,
                                [&] { return fmt::format("{}: the message is longer than that", describe(o)); }));
    return;
  }
  refused(pending, -completion.error, completion.detail);
}

// The provider no longer has it.
void Engine::finish(Pending* pending, Result<OperationResult> result) noexcept {
  const auto found = pending_.find(pending);
  const std::unique_ptr<Pending> owned = std::move(found->second);
  pending_.erase(found);
  deadlines_.erase({owned->begun + options_.deadline, pending});
  std::erase(waiting_, pending);
  if (owned->local != nullptr) { ::fi_close(&owned->local->fid); }
  if (!owned->given_up) { owned->operation.done(std::move(result)); }
}

void Engine::give_up(Pending* pending, std::unexpected<Failure> why) noexcept {
  if (!pending->posted) { return finish(pending, std::move(why)); }
  pending->given_up = true;
  deadlines_.erase({pending->begun + options_.deadline, pending});
  // A receive can be called back, and then completes as cancelled; others stay until the provider lets go of them.
  if (pending->operation.kind == EndpointRequest::Kind::recv) { endpoint_->cancel(&pending->context); }
  const auto done = std::exchange(pending->operation.done, nullptr);
  done(std::move(why));
}

void Engine::call_back(const void* owner) noexcept {
  each_pending([&](Pending* pending) {
    const Operation& o = pending->operation;
    if (o.owner != owner || o.kind != EndpointRequest::Kind::recv) { return; }
    if (pending->posted) {
      endpoint_->cancel(&pending->context);
    } else {
      finish(pending, fail_surely(HAL_CANCELLED, [&] { return fmt::format("{} was called back", describe(o)); }));
    }
  });
}

bool Engine::take_work() {
  if (taken_ == nullptr) {
    const std::lock_guard lock(work_mutex_);
    taken_ = std::exchange(work_, nullptr);
    last_ = &work_;
  }
  bool any = false;
  while (taken_ != nullptr) {
    Task* const task = taken_;
    Task* const next = std::exchange(task->next, nullptr);
    taken_ = next;  // before: whoever waits for it may let go of it, and its own work may add it again
    const std::shared_ptr<void> keep = std::move(task->keep);
    try {
      task->work();
    } catch (const std::bad_alloc&) {
      task->keep = keep;
      task->next = next;
      taken_ = task;
      return any;
    }
    any = true;
  }
  return any;
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
    if (status != 0) { refused(pending, status, {}); }
  }
  return any;
}

void Engine::watch_clock(Clock::time_point now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Pending* pending = deadlines_.begin()->second;
    const Operation& o = pending->operation;
    give_up(pending, fail_surely(HAL_DEADLINE_EXCEEDED, [&] {
              return fmt::format("{} did not complete in {} ms; the peer {}", describe(o), options_.deadline.count(),
                                 last_answer(o));
            }));
  }
  if (now < liveness_->next_ask()) { return; }
  try {
    watch_peers(now);
  } catch (const std::bad_alloc&) {}  // who does not answer is found again at the next question
}

void Engine::watch_peers(Clock::time_point now) {
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
    sleep = work_ == nullptr;
  }
  if (sleep && endpoint_->may_sleep()) {
    auto until = std::min(now + kLongest, liveness_->next_ask());
    if (!waiting_.empty() || taken_ != nullptr) { until = std::min(until, now + kRetry); }
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
