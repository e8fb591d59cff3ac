// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "cuda.hpp"
#include "driver_kit/lane_progress.hpp"

namespace hal::cuda {

// An in-order lane on a stream. After each command the stream writes the command's number into a pinned word; pump()
// carries that word over to the core. Kernels that find a bad index write the command's number into a second word.
class Lane final : public hal_lane, kit::DeviceLane {
 public:
  // CUDA blocks its caller when about a thousand launches are pending; submit() must not block, so it takes fewer.
  static constexpr std::uint64_t kMostInFlight = 256;

  static Result<std::unique_ptr<Lane>> create(Device& device, void* core);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  std::uint32_t submit(std::uint64_t first, std::span<const hal_command> commands);
  // Publishes what is done, and the failure if there is one. Any thread. True if something was published.
  bool pump() { return progress_.look(); }
  // Nothing is left to publish.
  bool settled() const;
  bool wait_for(Lane& other, std::uint64_t number);

  static Lane* of(hal_lane* lane) { return static_cast<Lane*>(lane); }
  Device& device() const { return device_; }
  CUstream stream() const { return stream_; }
  const Api& api() const { return device_.api(); }
  // Where kernels report a bad index.
  CUdeviceptr fault_word() const { return words_address_ + 8; }
  // Memory for the intermediates of graphs: one arena for all of them, because stream order keeps their uses apart.
  bool has_arena(std::uint64_t bytes) const { return bytes <= arena_bytes_; }
  CUdeviceptr arena() const { return arena_; }
  // Only while the lane takes no commands.
  Result<void> grow_arena(std::uint64_t bytes);
  Result<void> launch(CUkernel kernel, const std::uint32_t (&grid)[3], const std::uint32_t (&block)[3],
                      std::uint32_t shared_bytes, void** parameters);

 private:
  // Bytes that a host function moves in stream order.
  struct HostStep {
    std::byte* to = nullptr;
    const std::byte* from = nullptr;  // null: fill
    std::uint64_t bytes = 0, pattern = 0, pattern_bytes = 1;
    std::uint64_t number = 0;
    Lane* lane = nullptr;
  };
  struct Words {
    std::uint64_t done = 0;
    std::uint64_t fault = 0;
  };

  Lane(Device& device, void* core_lane);
  Result<void> open();
  // False if something has to be obtained before: see hold().
  Result<bool> enqueue(std::uint64_t number, const hal_command& command);
  Result<void> hold(std::uint64_t number, const hal_command& command);
  void run_held();
  // Behind a command goes its number.
  Result<void> number_behind(std::uint64_t number);
  Result<void> copy(std::uint64_t number, const hal_slice& to, const hal_slice& from);
  Result<void> fill(std::uint64_t number, const hal_slice& to, std::uint64_t pattern, std::uint64_t pattern_bytes);
  Result<void> timestamp(std::uint64_t number, const hal_slice& to);
  Result<void> host_step(HostStep step);
  Result<void> need_staging();
  bool pinned(const std::byte* memory) const;
  std::uint64_t done_count() const { return __atomic_load_n(&words_->done, __ATOMIC_ACQUIRE); }
  std::uint64_t done() noexcept override;
  bool stop() noexcept override;

  Device& device_;
  CUstream stream_ = nullptr;
  Words* words_ = nullptr;  // pinned; written by the device
  CUdeviceptr words_address_ = 0;
  std::byte* staging_ = nullptr;  // pinned; stream order keeps its uses apart
  CUdeviceptr scratch_ = 0;       // 8 bytes of device memory
  // Whoever the lane's order belongs to at the moment: who submits, or the device's background thread while a command
  // is held that has something to obtain first.
  CUdeviceptr arena_ = 0;
  std::uint64_t arena_bytes_ = 0;
  std::vector<std::pair<std::uint64_t, CUdeviceptr>> old_arenas_;  // with the last command that may use it
  kit::HeldCommand held_;
  kit::Background::Job obtain_{[](void* of) { static_cast<Lane*>(of)->run_held(); }, this};
  std::atomic<std::uint64_t> submitted_{0};
  std::atomic<std::uint64_t> hold_{0};  // submit() takes nothing before this command is done
  kit::LaneProgress progress_{*this, *this};

  // Held while a host function moves bytes: where the context is lost those still queued may be called all the same.
  std::mutex stepping_;
  bool steps_end_ = false;

  mutable std::mutex mutex_;  // of what follows
  std::deque<HostStep> host_steps_;
  std::vector<CUevent> events_;
};

}  // namespace hal::cuda
