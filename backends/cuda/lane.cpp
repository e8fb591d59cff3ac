// SPDX-License-Identifier: Apache-2.0
#include "lane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "driver_kit/errors.hpp"
#include "driver_kit/slices.hpp"
#include "graph_kernels_loader.hpp"

namespace hal::cuda {

namespace {

constexpr std::uint64_t kStagingBytes = 4u << 20;
constexpr std::uint64_t kHelpNs = 30'000;

}  // namespace

Lane::Lane(Device& device, void* core_lane) : hal_lane{}, device_(device) {
  device_.expect(this);
  host = device.host;
  core = core_lane;
  wake_at = UINT64_MAX;
}

Result<std::unique_ptr<Lane>> Lane::create(Device& device, void* core) {
  std::unique_ptr<Lane> lane(new Lane(device, core));
  HAL_CHECK(lane->open());
  return lane;
}

Result<void> Lane::open() {
  device_.enter();
  HAL_TRY(const GraphKernels* kernels, device_.graph_kernels());  // so that submit() never compiles
  (void)kernels;
  HAL_CHECK(check(api(), api().StreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate failed"));
  void* words = nullptr;
  HAL_CHECK(
      check(api(), api().MemHostAlloc(&words, sizeof(Words), CU_MEMHOSTALLOC_DEVICEMAP), "cuMemHostAlloc failed"));
  words_ = new (words) Words;
  HAL_CHECK(
      check(api(), api().MemHostGetDevicePointer(&words_address_, words_, 0), "cuMemHostGetDevicePointer failed"));
  return check(api(), api().MemAlloc(&scratch_, sizeof(std::uint64_t)), "cuMemAlloc failed");
}

Lane::~Lane() {
  device_.background.forget(obtain_);
  device_.forget(this);
  device_.enter();
  if (stream_ != nullptr) {
    api().StreamSynchronize(stream_);  // host functions may still read our steps
    api().StreamDestroy(stream_);
  }
  for (CUevent event : events_) { api().EventDestroy(event); }
  if (words_ != nullptr) { api().MemFreeHost(words_); }
  if (staging_ != nullptr) { api().MemFreeHost(staging_); }
  if (scratch_ != 0) { api().MemFree(scratch_); }
  if (arena_ != 0) { api().MemFree(arena_); }
  for (const auto& [number, arena] : old_arenas_) { api().MemFree(arena); }
}

// ---- submission ----

std::uint32_t Lane::submit(std::uint64_t first, std::span<const hal_command> commands) {
  if (progress_.failed()) { return static_cast<std::uint32_t>(commands.size()); }  // nothing executes after a failure
  std::uint64_t done = done_count();
  std::uint32_t taken = 0;
  for (const hal_command& command : commands) {
    const std::uint64_t number = first + taken;
    if (done < hold_ || number - 1 - std::min(done, number - 1) >= kMostInFlight) {
      done = done_count();
      if (done < hold_ || number - 1 - done >= kMostInFlight) {
        device_.watch(this);  // the core comes again when we publish
        break;
      }
    }
    if (hold_ != 0) {  // that command is done: well, or with a bad index, which nobody may have published yet
      if (__atomic_load_n(&words_->fault, __ATOMIC_ACQUIRE) != 0) {
        device_.watch(this);
        return static_cast<std::uint32_t>(commands.size());
      }
      hold_ = 0;
    }
    bool held = false;
    hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
      HAL_TRY(const bool handed, enqueue(number, command));
      if (handed) { return number_behind(number); }
      HAL_CHECK(hold(number, command));
      held = true;
      return {};
    });
    if (held) { return taken + 1; }
    // Before the number is shown as submitted: wait_for() of another lane looks at the number first.
    if (error != nullptr) { progress_.fail(number, error); }
    submitted_.store(number);
    if (command.op == HAL_OP_RUN && static_cast<Program*>(command.as.run.program->impl)->may_fail()) { hold_ = number; }
    ++taken;
    if (progress_.failed()) {
      device_.watch(this);
      return static_cast<std::uint32_t>(commands.size());
    }
  }
  return taken;
}

Result<void> Lane::number_behind(std::uint64_t number) {
  return check(api(), api().StreamWriteValue64(stream_, words_address_, number, CU_STREAM_WRITE_VALUE_DEFAULT),
               "cuStreamWriteValue64 failed");
}

// Takes a command whose turn it is, but which has something to obtain first that may take long. Until it is done
// nothing else is taken, so that the background thread has the lane's order to itself.
Result<void> Lane::hold(std::uint64_t number, const hal_command& command) {
  held_.hold(number, command);
  if (command.op == HAL_OP_RUN) { device_.lazy_loads.fetch_add(1, std::memory_order_relaxed); }
  obtain_.serves = command.as.run.program->impl;
  hold_ = number;  // first: no other lane waits for it on the device
  submitted_.store(number);
  return device_.background.post(obtain_);
}

void Lane::run_held() {
  device_.enter();
  const hal_command& command = held_.command;
  auto& program = *static_cast<Program*>(command.as.run.program->impl);
  hal_error* error = kit::guarded(kOrigin, [&]() -> Result<void> {
    // Once more if others have used so much meanwhile that what was obtained went again.
    for (bool done = false; !done && !progress_.failed();) {
      HAL_CHECK(program.obtain(*this, command));
      if (command.op == HAL_OP_PREPARE) { break; }
      HAL_TRY(done, program.enqueue(*this, held_.number, command));
    }
    return number_behind(held_.number);
  });
  if (error != nullptr) { progress_.fail(held_.number, error); }
  device_.watch(this);
}

Result<void> Lane::grow_arena(std::uint64_t bytes) {
  if (has_arena(bytes)) { return {}; }
  const std::uint64_t done = done_count();
  std::erase_if(old_arenas_,
                [&](const auto& old) { return old.first <= done && api().MemFree(old.second) == CUDA_SUCCESS; });
  old_arenas_.reserve(old_arenas_.size() + 1);
  CUdeviceptr made = 0;
  const CUresult result = api().MemAlloc(&made, bytes);
  if (result != CUDA_SUCCESS) {
    return fail(api(), result, fmt::format("{} bytes for a graph's intermediates", bytes));
  }
  if (arena_ != 0) { old_arenas_.emplace_back(submitted_.load(), arena_); }
  arena_ = made;
  arena_bytes_ = bytes;
  return {};
}

Result<bool> Lane::enqueue(std::uint64_t number, const hal_command& command) {
  switch (command.op) {
    case HAL_OP_BARRIER:
      break;
    case HAL_OP_FILL:
      HAL_CHECK(fill(number, command.as.fill.to, command.as.fill.pattern, command.as.fill.pattern_bytes));
      break;
    case HAL_OP_COPY:
      HAL_CHECK(copy(number, command.as.copy.to, command.as.copy.from));
      break;
    case HAL_OP_RUN:
      return static_cast<Program*>(command.as.run.program->impl)->enqueue(*this, number, command);
    case HAL_OP_PREPARE:
      return false;
    case HAL_OP_TIMESTAMP:
      HAL_CHECK(timestamp(number, command.as.timestamp.to));
      break;
    default:
      return kit::error(kOrigin, HAL_UNSUPPORTED,
                        fmt::format("operation {} does not exist on CUDA devices", command.op));
  }
  return true;
}

bool Lane::pinned(const std::byte* memory) const {
  unsigned type = 0;
  return api().PointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, reinterpret_cast<CUdeviceptr>(memory)) ==
             CUDA_SUCCESS &&
         type == CU_MEMORYTYPE_HOST;
}

Result<void> Lane::need_staging() {
  if (staging_ != nullptr) { return {}; }
  void* made = nullptr;
  HAL_CHECK(check(api(), api().MemHostAlloc(&made, kStagingBytes, 0), "cuMemHostAlloc of the staging buffer failed"));
  staging_ = static_cast<std::byte*>(made);
  return {};
}

Result<void> Lane::host_step(HostStep step) {
  HostStep* kept = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t done = done_count();
    while (!host_steps_.empty() && host_steps_.front().number <= done) { host_steps_.pop_front(); }
    kept = &host_steps_.emplace_back(step);
    kept->lane = this;
  }
  const CUhostFn run = [](void* user) {  // no CUDA call in here
    const auto& s = *static_cast<const HostStep*>(user);
    const std::lock_guard lock(s.lane->stepping_);
    if (s.lane->steps_end_) { return; }
    if (s.from != nullptr) {
      std::memmove(s.to, s.from, s.bytes);
      return;
    }
    for (std::uint64_t i = 0; i < s.bytes; i += s.pattern_bytes) { std::memcpy(s.to + i, &s.pattern, s.pattern_bytes); }
  };
  return check(api(), api().LaunchHostFunc(stream_, run, kept), "cuLaunchHostFunc failed");
}

// CUDA's copies of pageable memory would read it now, or block until it is written. So such bytes go through a pinned
// buffer, and host functions move them when it is their turn.
Result<void> Lane::copy(std::uint64_t number, const hal_slice& to, const hal_slice& from) {
  const std::uint64_t bytes = from.length;
  if (to.buffer != nullptr && from.buffer != nullptr) {
    return check(api(), api().MemcpyDtoDAsync(kit::device_address(to), kit::device_address(from), bytes, stream_),
                 "cuMemcpyDtoDAsync failed");
  }
  if (to.buffer == nullptr && from.buffer == nullptr) {
    return host_step({kit::host_address(to), kit::host_address(from), bytes, 0, 1, number});
  }
  std::byte* memory = kit::host_address(to.buffer == nullptr ? to : from);
  const CUdeviceptr device = kit::device_address(to.buffer == nullptr ? from : to);
  if (pinned(memory)) {
    return to.buffer == nullptr
               ? check(api(), api().MemcpyDtoHAsync(memory, device, bytes, stream_), "cuMemcpyDtoHAsync failed")
               : check(api(), api().MemcpyHtoDAsync(device, memory, bytes, stream_), "cuMemcpyHtoDAsync failed");
  }
  HAL_CHECK(need_staging());
  for (std::uint64_t at = 0; at < bytes; at += kStagingBytes) {
    const std::uint64_t part = std::min(kStagingBytes, bytes - at);
    if (to.buffer == nullptr) {
      HAL_CHECK(check(api(), api().MemcpyDtoHAsync(staging_, device + at, part, stream_), "cuMemcpyDtoHAsync failed"));
      HAL_CHECK(host_step({memory + at, staging_, part, 0, 1, number}));
    } else {
      HAL_CHECK(host_step({staging_, memory + at, part, 0, 1, number}));
      HAL_CHECK(check(api(), api().MemcpyHtoDAsync(device + at, staging_, part, stream_), "cuMemcpyHtoDAsync failed"));
    }
  }
  return {};
}

Result<void> Lane::fill(std::uint64_t number, const hal_slice& to, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  if (to.buffer == nullptr) {
    return host_step({kit::host_address(to), nullptr, to.length, pattern, pattern_bytes, number});
  }
  const CUdeviceptr address = kit::device_address(to);
  if (pattern_bytes == 1) {
    return check(api(), api().MemsetD8Async(address, static_cast<unsigned char>(pattern), to.length, stream_),
                 "cuMemsetD8Async failed");
  }
  if (pattern_bytes == 2 && address % 2 == 0) {
    return check(api(), api().MemsetD16Async(address, static_cast<unsigned short>(pattern), to.length / 2, stream_),
                 "cuMemsetD16Async failed");
  }
  if (pattern_bytes == 4 && address % 4 == 0) {
    return check(api(), api().MemsetD32Async(address, static_cast<unsigned>(pattern), to.length / 4, stream_),
                 "cuMemsetD32Async failed");
  }
  HAL_TRY(const GraphKernels* kernels, device_.graph_kernels());
  return kernels->fill(*this, address, to.length, pattern, static_cast<std::uint32_t>(pattern_bytes));
}

Result<void> Lane::timestamp(std::uint64_t number, const hal_slice& to) {
  HAL_TRY(const GraphKernels* kernels, device_.graph_kernels());
  HAL_CHECK(kernels->timestamp(*this, scratch_));
  if (to.buffer != nullptr) {
    return check(api(), api().MemcpyDtoDAsync(kit::device_address(to), scratch_, 8, stream_),
                 "cuMemcpyDtoDAsync failed");
  }
  HAL_CHECK(need_staging());
  HAL_CHECK(check(api(), api().MemcpyDtoHAsync(staging_, scratch_, 8, stream_), "cuMemcpyDtoHAsync failed"));
  return host_step({kit::host_address(to), staging_, 8, 0, 1, number});
}

Result<void> Lane::launch(CUkernel kernel, const std::uint32_t (&grid)[3], const std::uint32_t (&block)[3],
                          std::uint32_t shared_bytes, void** parameters) {
  // A kernel may stand for a function; its context is the stream's.
  const CUresult result = api().LaunchKernel(reinterpret_cast<CUfunction>(kernel), grid[0], grid[1], grid[2], block[0],
                                             block[1], block[2], shared_bytes, stream_, parameters, nullptr);
  if (result == CUDA_SUCCESS) { return {}; }
  return fail(
      api(), result,
      fmt::format("cuLaunchKernel failed: {} x {} x {} groups of {} x {} x {} threads, {} bytes of shared memory",
                  grid[0], grid[1], grid[2], block[0], block[1], block[2], shared_bytes));
}

// ---- completion ----

std::uint64_t Lane::done() noexcept {
  const std::uint64_t done = done_count();
  // The device writes this word before it writes the number of the command as done.
  const std::uint64_t fault = __atomic_load_n(&words_->fault, __ATOMIC_ACQUIRE);
  if (fault != 0 && fault <= done) {
    if (!progress_.failed()) {
      progress_.fail(fault, kit::make_error(kOrigin, HAL_OUT_OF_RANGE,
                                            "an index of a gather or scatter node lies outside its axis; the run ended "
                                            "there"));
    }
  } else if (done == hal_lane_completed(this) && done < submitted_.load()) {
    const CUresult state = api().StreamQuery(stream_);
    if (state != CUDA_SUCCESS && state != CUDA_ERROR_NOT_READY) {
      progress_.lose(fail(api(), state, "the device reported an error while it ran commands of this queue").release());
    }
  }
  return done;
}

// A command that could not be enqueued whole may have left something on the stream. Where the context is lost nothing
// of it executes any more, but for host functions.
bool Lane::stop() noexcept {
  if (api().StreamQuery(stream_) == CUDA_ERROR_NOT_READY) { return false; }  // the reaper looks again
  const std::lock_guard lock(stepping_);
  steps_end_ = true;
  return true;
}

bool Lane::settled() const { return progress_.is_told() || hal_lane_completed(this) >= submitted_.load(); }

bool Lane::wait_for(Lane& other, std::uint64_t number) {
  if (other.submitted_.load() < number) { return false; }
  // A run that can fail by itself moves the device's counter all the same; only the host learns that it failed, so only
  // the host may say that its point is reached.
  if (other.progress_.failed() || other.hold_.load() != 0) { return false; }
  if (other.done_count() >= number) { return true; }
  CUevent event = nullptr;
  if (api().EventCreate(&event, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) { return false; }
  // All that `other` was given so far; it cannot contain anything that waits for us in turn, because a wait for work
  // that is not submitted yet is refused above.
  const bool waits = api().EventRecord(event, other.stream_) == CUDA_SUCCESS &&
                     api().StreamWaitEvent(stream_, event, 0) == CUDA_SUCCESS;
  api().EventDestroy(event);  // lives on until the wait is over
  return waits;
}

// ---- the table ----

hal_error* lane_create(hal_driver*, void* device, const char*, void* core, hal_lane** out) {
  return kit::guarded(kOrigin, [&]() -> Result<void> {
    HAL_TRY(auto lane, Lane::create(*static_cast<Device*>(device), core));
    *out = lane.release();
    return {};
  });
}

void lane_destroy(hal_driver*, void*, hal_lane* lane) { delete Lane::of(lane); }

std::uint32_t submit(hal_driver*, hal_lane* lane, std::uint64_t first, const hal_command* commands,
                     std::uint32_t count) {
  Lane::of(lane)->device().enter();
  return Lane::of(lane)->submit(first, {commands, count});
}

void notify(hal_driver*, hal_lane* head) {
  Lane* lane = Lane::of(head);
  lane->device().enter();
  lane->pump();
  if (!lane->settled()) { lane->device().watch(lane); }
}

// The device works by itself; a waiting thread saves the reaper's wake-up by looking for a short while.
void help(hal_driver*, hal_lane* head, std::uint64_t number, std::uint64_t within_ns) {
  Lane* lane = Lane::of(head);
  lane->device().enter();
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(std::min(kHelpNs, within_ns));
  do {
    lane->pump();
    if (hal_lane_completed(head) >= number || lane->settled()) { return; }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < until);
}

std::uint32_t lane_wait(hal_driver*, hal_lane* lane, hal_lane* other, std::uint64_t number) {
  Lane::of(lane)->device().enter();
  return Lane::of(lane)->wait_for(*Lane::of(other), number) ? 1 : 0;
}

}  // namespace hal::cuda
