// SPDX-License-Identifier: Apache-2.0
#include "driver/stream.hpp"

#include <cstdio>
#include <cstring>

#include "threads/thread.hpp"

namespace hal::emulated_cuda {

using namespace cuda::abi;

namespace {

thread_local bool inside_host_function = false;

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

CUresult code_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::none:
    case FaultKind::cancelled:
      return CUDA_SUCCESS;
    case FaultKind::illegal_address:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::misaligned_address:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::trap:
      return CUDA_ERROR_LAUNCH_FAILED;
    case FaultKind::deadlock:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
  }
  return CUDA_ERROR_UNKNOWN;
}

const char* text_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::illegal_address:
      return "illegal address";
    case FaultKind::misaligned_address:
      return "misaligned address";
    case FaultKind::trap:
      return "trap";
    case FaultKind::deadlock:
      return "threads wait for each other";
    default:
      return "nothing";
  }
}

template <class T>
bool satisfied(const std::byte* at, std::uint64_t value, unsigned how) {
  const T seen = __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_SEQ_CST);
  const T want = static_cast<T>(value);
  switch (how) {
    case CU_STREAM_WAIT_VALUE_GEQ:
      return static_cast<std::make_signed_t<T>>(seen - want) >= 0;  // cyclic, as documented
    case CU_STREAM_WAIT_VALUE_EQ:
      return seen == want;
    case CU_STREAM_WAIT_VALUE_AND:
      return (seen & want) != 0;
    default:
      return static_cast<T>(~(seen | want)) != 0;
  }
}

}  // namespace

bool Stream::in_host_function() { return inside_host_function; }

Stream::Stream(std::shared_ptr<Shared> shared, unsigned flags, int priority)
    : shared_(std::move(shared)),
      flags_(flags),
      priority_(priority),
      made_(shared_->streams.fetch_add(1) + 1),
      worker_(threads::start_thread("emulated-cuda", [this] { work(); })) {}

Stream::~Stream() {
  close();
  worker_.join();
}

void Stream::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
}

CUresult Stream::enqueue(Command&& command) noexcept {
  bool wake = false;
  try {
    const std::lock_guard lock(mutex_);
    Command& taken = pending_.emplace_back(std::move(command));
    if (taken.kind == Command::Kind::record) { taken.value = taken.event->recorded.fetch_add(1) + 1; }
    submitted_.store(submitted_.load(std::memory_order_relaxed) + 1);
    wake = std::exchange(sleeping_, false);
  } catch (const std::bad_alloc&) { return CUDA_ERROR_OUT_OF_MEMORY; }
  if (wake) { wake_.notify_one(); }
  return CUDA_SUCCESS;
}

void Stream::wait(std::uint64_t number) {
  shared_->signals.wait([&] { return completed_.load() >= number; });
}

void Stream::work() {
  std::vector<Command> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      while (pending_.empty()) {
        if (closing_) { return; }
        sleeping_ = true;
        wake_.wait(lock);
      }
      sleeping_ = false;
      std::swap(batch, pending_);
    }
    for (Command& command : batch) {
      // After a fault nothing executes any more, but everything still comes to an end.
      if (!shared_->failed() || command.kind == Command::Kind::free_memory) { execute(command); }
      completed_.store(completed_.load(std::memory_order_relaxed) + 1);
      shared_->signals.notify();
    }
    batch.clear();
  }
}

void Stream::execute(Command& c) {
  switch (c.kind) {
    case Command::Kind::copy:
      std::memmove(c.to, c.from, c.bytes);
      break;
    case Command::Kind::copy_staged:
      std::memcpy(c.to, c.data.data(), c.data.size());
      break;
    case Command::Kind::fill:
      if (c.width == 1) {
        std::memset(c.to, static_cast<int>(c.value & 0xff), c.bytes);
      } else {
        for (std::uint64_t i = 0; i < c.bytes; ++i) { std::memcpy(c.to + i * c.width, &c.value, c.width); }
      }
      break;
    case Command::Kind::launch:
      launch(c);
      break;
    case Command::Kind::record:
      c.event->time_ns.store(now_ns());
      c.event->completed.store(c.value);
      shared_->signals.notify();
      break;
    case Command::Kind::wait_event:
      shared_->signals.wait([&] { return c.event->completed.load() >= c.value || shared_->failed(); });
      break;
    case Command::Kind::host_function:
      inside_host_function = true;
      c.function(c.user);
      inside_host_function = false;
      break;
    case Command::Kind::write_value:
      if (c.width == 8) {
        __atomic_store_n(reinterpret_cast<std::uint64_t*>(c.to), c.value, __ATOMIC_SEQ_CST);
      } else {
        __atomic_store_n(reinterpret_cast<std::uint32_t*>(c.to), static_cast<std::uint32_t>(c.value), __ATOMIC_SEQ_CST);
      }
      shared_->signals.notify();
      break;
    case Command::Kind::wait_value:
      shared_->signals.poll([&] {
        return shared_->failed() || (c.width == 8 ? satisfied<std::uint64_t>(c.from, c.value, c.flags)
                                                  : satisfied<std::uint32_t>(c.from, c.value, c.flags));
      });
      break;
    case Command::Kind::free_memory:
      shared_->memory.release(c.value);
      break;
  }
}

void Stream::launch(Command& c) {
  c.shape.grid_id = shared_->grids.fetch_add(1);
  const std::byte* parameters = c.data.empty() ? c.parameters.data() : c.data.data();
  Fault fault;
  try {
    fault = run_grid(*c.program, c.shape, parameters, shared_->memory);
  } catch (const std::bad_alloc&) {
    shared_->fail(CUDA_ERROR_OUT_OF_MEMORY);
    return;
  }
  if (fault.kind == FaultKind::none) { return; }
  if (shared_->log) {
    std::fprintf(stderr, "halyard-emulated-cuda: kernel '%s', block (%u, %u, %u), thread %u, PTX line %u: %s 0x%llx\n",
                 c.program->name.c_str(), fault.cta[0], fault.cta[1], fault.cta[2], fault.thread, fault.line,
                 text_of(fault.kind), static_cast<unsigned long long>(fault.address));
  }
  shared_->fail(code_of(fault.kind));
}

}  // namespace hal::emulated_cuda
