// SPDX-License-Identifier: Apache-2.0
#include "fabric/port/lane.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>

#include "driver_kit/errors.hpp"
#include "driver_kit/slices.hpp"

namespace hal::fabric {
namespace {

// A copy is cut, so that a long one does not keep the engine from answering its peers.
constexpr std::uint64_t kCopyStep = std::uint64_t{1} << 20;

// Copies and fills inside a port, in virtual time: 100 GB/s. Ours.
Picoseconds local_time(std::uint64_t bytes) {
  return Picoseconds(static_cast<std::int64_t>(std::min(bytes, kMaxTransferBytes) * 10));
}

}  // namespace

PortLane::PortLane(Port& port, void* core_lane) : hal_lane{}, port_(port) {
  wake_at = UINT64_MAX;
  host = port.driver->host;
  core = core_lane;
  // One pointer, which std::function holds in place. Cannot be done anew: it may be added again from its first line on.
  task_.work = [this]() noexcept {
    woken_ = false;
    if (cancelled_) { port_.engine->call_back(this); }  // a receive that no message has reached has not begun
    advance();
  };
}

std::uint32_t PortLane::submit(std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  std::uint32_t taken = 0;
  // With nothing in flight the counter is ours to move: barriers are done where they stand.
  if (hal_lane_completed(this) == first - 1) {
    while (taken < count && commands[taken].op == HAL_OP_BARRIER) { ++taken; }
    if (taken > 0) { hal_lane_publish(this, first + taken - 1); }
    if (taken == count) { return taken; }
  }
  {
    const Picoseconds now = port_.plane->now();
    const std::lock_guard lock(mutex_);
    const std::uint64_t in_flight = first - 1 - hal_lane_completed(this);
    for (; taken < count && in_flight + taken < kCapacity; ++taken) {
      Slot& slot = waiting_[(oldest_ + held_++) % kCapacity];
      slot = {};
      slot.number = first + taken;
      slot.command = commands[taken];
      slot.submitted = now;
      if (slot.command.op != HAL_OP_CIRCUIT) { continue; }
      try {
        slot.permutation = slot.command.as.circuit.permutation;
      } catch (const std::bad_alloc&) { slot.starved = true; }
    }
  }
  wake();
  return taken;
}

void PortLane::wake() {
  if (woken_.exchange(true)) { return; }
  task_.keep = shared_from_this();
  port_.engine->add(task_);
}

void PortLane::cancel() {
  cancelled_ = true;
  wake();
}

void PortLane::close() {
  port_.engine->run_and_wait([this] {
    stopped_ = true;
    port_.engine->call_back(this);
    std::erase_if(port_.circuits, [this](const auto& entry) { return entry.second.get() == this; });
  });
}

void PortLane::advance() noexcept {
  while (!stopped_) {
    if (!running_) {
      const std::lock_guard lock(mutex_);
      if (held_ == 0) { return; }
      current_ = std::move(waiting_[oldest_]);
      oldest_ = (oldest_ + 1) % kCapacity;
      --held_;
      running_ = true;
      progress_ = 0;
      now_ = std::max(now_, current_.submitted);
    } else if (progress_ == 0) {
      return;  // its completion comes by itself
    }
    switch (cancelled_ && progress_ == 0 ? Outcome::done : execute()) {
      case Outcome::done:
        finish_current();
        break;
      case Outcome::pending:
        return;
      case Outcome::again:
        wake();
        return;
    }
  }
}

void PortLane::finish_current() {
  running_ = false;
  progress_ = 0;
  now_ = std::min(now_, kHorizon);
  port_.plane->advance(now_);
  hal_lane_publish(this, current_.number);
}

PortLane::Outcome PortLane::failed(const Failure& failure) {
  if (stopped_) { return Outcome::pending; }
  running_ = false;
  if (cancelled_) {  // the core knows of the failure; it waits for the numbers
    running_ = true;
    return Outcome::done;
  }
  stopped_ = true;
  hal_lane_fail(this, current_.number, to_error(failure));
  return Outcome::pending;
}

PortLane::Outcome PortLane::execute() noexcept {
  try {
    return execute_or_throw();
  } catch (const std::bad_alloc&) { return failed(Failure{HAL_OUT_OF_HOST_MEMORY, "out of memory", {}, 0}); }
}

PortLane::Outcome PortLane::execute_or_throw() {
  const hal_command& command = current_.command;
  switch (command.op) {
    case HAL_OP_BARRIER:
      return Outcome::done;
    case HAL_OP_COPY:
      return copy(command.as.copy.to, command.as.copy.from);
    case HAL_OP_FILL:
      return fill();
    case HAL_OP_PUT:
    case HAL_OP_GET:
      return transfer();
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      return message();
    case HAL_OP_CIRCUIT:
      return circuit();
    case HAL_OP_TIMESTAMP:
      return timestamp();
    default:
      return failed(Failure{HAL_UNSUPPORTED, fmt::format("a fabric port has no operation {}", command.op), {}, 0});
  }
}

PortLane::Outcome PortLane::copy(const hal_slice& to, const hal_slice& from) {
  const std::uint64_t step = std::min(kCopyStep, from.length - progress_);
  std::memcpy(kit::host_address(to) + progress_, kit::host_address(from) + progress_, step);
  progress_ += step;
  now_ += local_time(step);
  return progress_ == from.length ? Outcome::done : Outcome::again;
}

PortLane::Outcome PortLane::fill() {
  const auto& fill = current_.command.as.fill;
  const std::uint64_t step = std::min(kCopyStep, fill.to.length - progress_);  // a multiple of every pattern's size
  std::byte block[64];
  for (std::size_t i = 0; i < sizeof block; i += fill.pattern_bytes) {
    std::memcpy(block + i, &fill.pattern, fill.pattern_bytes);
  }
  std::byte* at = kit::host_address(fill.to) + progress_;
  for (std::uint64_t i = 0; i < step; i += sizeof block) {
    std::memcpy(at + i, block, std::min<std::uint64_t>(sizeof block, step - i));
  }
  progress_ += step;
  now_ += local_time(step);
  return progress_ == fill.to.length ? Outcome::done : Outcome::again;
}

PortLane::Outcome PortLane::timestamp() {
  now_ += std::chrono::nanoseconds(1);  // reading a clock takes time too, so that no reading is 0 and two differ
  const auto nanoseconds = static_cast<std::uint64_t>(now_.count() / 1000);
  std::memcpy(kit::host_address(current_.command.as.timestamp.to), &nanoseconds, sizeof nanoseconds);
  return Outcome::done;
}

bool PortLane::hold(const hal_slice& local, bool fill_it, Operation& operation) {
  std::byte* data = kit::host_address(local);
  if (local.buffer != nullptr) {
    operation.keep = static_cast<Allocation*>(local.buffer->memory.impl)->mapping;
    operation.data = data;
  } else {
    // The caller's memory is only promised until the point fails or is reached; an abandoned transfer lives longer.
    const std::shared_ptr<std::byte[]> bounce(new (std::nothrow) std::byte[local.length]);
    if (bounce == nullptr) { return false; }
    if (fill_it) { std::memcpy(bounce.get(), data, local.length); }
    operation.data = bounce.get();
    operation.keep = bounce;
  }
  operation.bytes = local.length;
  operation.owner = this;
  return true;
}

PortLane::Outcome PortLane::no_memory(const hal_slice& local) {
  return failed(fail_surely(HAL_OUT_OF_HOST_MEMORY, [&] {
                  return fmt::format(
                      "no host memory to stage {} bytes; use a buffer of the port, which needs no staging",
                      local.length);
                }).error());
}

// Starts it; `ends` is when it is over in virtual time, if nothing that arrives says later.
void PortLane::begin(Operation operation, const hal_slice& local, Picoseconds ends) {
  const bool brings = operation.kind == EndpointRequest::Kind::get || operation.kind == EndpointRequest::Kind::recv;
  const bool exact = operation.kind == EndpointRequest::Kind::recv;
  operation.done = [self = shared_from_this(), data = operation.data, to = kit::host_address(local),
                    length = local.length, peer = operation.peer, brings, exact, ends](Result<OperationResult> result) {
    if (self->stopped_) { return; }
    if (result && exact && result->bytes != length) {
      result = fail_surely(HAL_OUT_OF_RANGE, [&, bytes = result->bytes] {
        return fmt::format("recv of {} bytes from rank {}: the message has {}", length, peer, bytes);
      });
    }
    if (!result) {
      if (self->failed(result.error()) == Outcome::done) {
        self->finish_current();
        self->advance();
      }
      return;
    }
    if (brings && to != data) { std::memcpy(to, data, length); }
    self->now_ = std::max(self->now_, ends);
    if (exact) {
      const auto arrived = std::min<std::uint64_t>(result->stamp, static_cast<std::uint64_t>(kHorizon.count()));
      self->now_ = std::max(self->now_, Picoseconds(static_cast<std::int64_t>(arrived)));
    }
    self->finish_current();
    self->advance();
  };
  port_.engine->begin(std::move(operation));
}

PortLane::Outcome PortLane::transfer() {
  const auto& command = current_.command.as.transfer;
  const bool put = current_.command.op == HAL_OP_PUT;
  Operation operation;
  operation.kind = put ? EndpointRequest::Kind::put : EndpointRequest::Kind::get;
  operation.peer = static_cast<const PortPeer*>(command.peer->impl)->rank;
  operation.remote = {command.remote.key, command.remote.address, command.remote.length};
  Picoseconds start = now_;
  if (!put) {  // the question crosses first
    const auto asked = port_.plane->propagation(port_.rank, operation.peer, now_);
    if (!asked) { return failed(asked.error()); }
    start += *asked;
  }
  const auto times = put ? port_.plane->transfer(port_.rank, operation.peer, command.local.length, start)
                         : port_.plane->transfer(operation.peer, port_.rank, command.local.length, start);
  if (!times) { return failed(times.error()); }
  if (!hold(command.local, put, operation)) { return no_memory(command.local); }
  begin(std::move(operation), command.local, times->arrived);
  return Outcome::pending;
}

PortLane::Outcome PortLane::message() {
  const auto& command = current_.command.as.message;
  Operation operation;
  operation.peer = static_cast<const PortPeer*>(command.peer->impl)->rank;
  operation.tag = command.tag;
  Picoseconds ends = now_;
  if (current_.command.op == HAL_OP_SEND) {
    operation.kind = EndpointRequest::Kind::send;
    const auto times = port_.plane->transfer(port_.rank, operation.peer, command.local.length, now_);
    if (!times) { return failed(times.error()); }
    operation.stamp = static_cast<std::uint64_t>(times->arrived.count());
    ends = times->sent;
  } else {
    operation.kind = EndpointRequest::Kind::recv;
  }
  if (!hold(command.local, operation.kind == EndpointRequest::Kind::send, operation)) {
    return no_memory(command.local);
  }
  begin(std::move(operation), command.local, ends);
  return Outcome::pending;
}

// With a launcher the change is an event that every rank applies to its own plane, in one order; this lane goes on when
// the event has come back.
PortLane::Outcome PortLane::circuit() {
  if (current_.starved) { throw std::bad_alloc(); }
  const std::uint64_t id = port_.next_circuit++;
  const std::string text = fmt::format("circuit {} {} {}", id, now_.count(), current_.permutation);
  port_.circuits.emplace(id, shared_from_this());
  if (!port_.session) {
    port_.hear({Notice::Kind::event, port_.rank, text});
    return Outcome::pending;
  }
  if (const auto sent = port_.session->broadcast(text); !sent) {
    port_.circuits.erase(id);
    return failed(sent.error());
  }
  return Outcome::pending;
}

void PortLane::circuit_set(const Result<Reconfiguration>& result) {
  if (stopped_) { return; }
  Outcome outcome = Outcome::done;
  if (!result) {
    outcome = failed(result.error());
  } else if (!result->failed.empty()) {
    outcome = failed(fail_surely(HAL_EXECUTION_FAILED, [&] {
                       return fmt::format("permutation \"{}\" of the emulated plane is not whole: {}",
                                          current_.permutation, result->failed.front());
                     }).error());
  } else {
    now_ = std::max(now_, result->finished);
  }
  if (outcome == Outcome::done) {
    finish_current();
    // Not advance(): without a launcher this runs inside it.
    wake();
  }
}

void Port::hear(const Notice& notice) {
  if (notice.kind == Notice::Kind::lost || notice.kind == Notice::Kind::left) {
    engine->peer_gone(notice.rank, notice.text, notice.kind == Notice::Kind::lost);
    return;
  }
  constexpr std::string_view kCircuit = "circuit ";
  if (notice.kind != Notice::Kind::event || !notice.text.starts_with(kCircuit)) { return; }
  std::uint64_t id = 0;
  std::int64_t start = 0;
  const char* const end = notice.text.data() + notice.text.size();
  const auto first = std::from_chars(notice.text.data() + kCircuit.size(), end, id);
  if (first.ec != std::errc{} || first.ptr == end) { return; }
  const auto second = std::from_chars(first.ptr + 1, end, start);
  if (second.ec != std::errc{} || second.ptr == end) { return; }
  const auto result = plane->apply({second.ptr + 1, end}, Picoseconds(start));
  if (notice.rank != rank) { return; }
  const auto waiting = circuits.find(id);
  if (waiting == circuits.end()) { return; }
  const std::shared_ptr<PortLane> lane = waiting->second;
  circuits.erase(waiting);
  lane->circuit_set(result);
}

hal_error* lane_create(hal_driver*, void* device, const char*, void* core, hal_lane** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    auto lane = std::make_shared<PortLane>(port_of(device), core);
    lane->self_for_core = lane;
    *out = lane.get();
    return nullptr;
  });
}

void lane_destroy(hal_driver*, void*, hal_lane* lane) {
  const std::shared_ptr<PortLane> mine = std::exchange(PortLane::of(lane).self_for_core, nullptr);
  mine->close();
}

std::uint32_t submit(hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count) {
  return PortLane::of(lane).submit(first, commands, count);
}

void lane_cancel(hal_driver*, hal_lane* lane) { PortLane::of(lane).cancel(); }

}  // namespace hal::fabric
