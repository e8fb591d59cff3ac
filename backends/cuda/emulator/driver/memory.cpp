// SPDX-License-Identifier: Apache-2.0
#include "driver/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace hal::emulated_cuda {

using namespace cuda::abi;

namespace {

constexpr int kPoison = 0xff;  // floating point: NaN; indices: wild
constexpr std::uint64_t kReturnToSystem = 1u << 20;

std::uint64_t rounded(std::uint64_t bytes, std::uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

DeviceMemory::DeviceMemory(std::uint64_t capacity) : capacity_(rounded(capacity, 1u << 21)) {
  free_.emplace();  // all that may throw
  file_ = memfd_create("halyard-emulated-cuda", MFD_CLOEXEC);
  if (file_ < 0 || ftruncate(file_, static_cast<off_t>(capacity_)) != 0) { return; }
  void* reserved = mmap(nullptr, capacity_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void* backing = mmap(nullptr, capacity_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_, 0);
  if (reserved == MAP_FAILED || backing == MAP_FAILED) {
    if (reserved != MAP_FAILED) { munmap(reserved, capacity_); }
    if (backing != MAP_FAILED) { munmap(backing, capacity_); }
    return;
  }
  base_ = static_cast<std::byte*>(reserved);
  backing_ = static_cast<std::byte*>(backing);
  auto all = free_.extract(free_.begin());
  all.key() = reinterpret_cast<std::uint64_t>(base_);
  all.mapped() = {all.key(), capacity_, backing_, MemoryKind::unknown};
  free_.insert(std::move(all));
}

DeviceMemory::~DeviceMemory() {
  for (const auto& [address, allocation] : live_) {
    if (allocation.kind == MemoryKind::pinned) { std::free(allocation.bytes); }
  }
  if (base_ != nullptr) { munmap(base_, capacity_); }
  if (backing_ != nullptr) { munmap(backing_, capacity_); }
  if (file_ >= 0) { close(file_); }
}

std::uint64_t DeviceMemory::used() const {
  const std::shared_lock lock(mutex_);
  return used_;
}

std::uint64_t DeviceMemory::allocate(std::uint64_t bytes) {
  if (bytes == 0 || bytes > capacity_) { return 0; }
  const std::uint64_t size = rounded(bytes, kAlignment);
  Allocation made;
  {
    const std::unique_lock lock(mutex_);
    const auto fits = [size](const auto& entry) { return entry.second.length >= size; };
    const auto hole = std::ranges::find_if(free_, fits);
    if (hole == free_.end()) { return 0; }
    made = {hole->first, bytes, hole->second.bytes, MemoryKind::device};
    live_.emplace(made.begin, made);  // all that may throw
    auto rest = free_.extract(hole);
    rest.key() += size;
    rest.mapped() = {rest.key(), rest.mapped().length - size, rest.mapped().bytes + size, MemoryKind::unknown};
    if (rest.mapped().length != 0) { free_.insert(std::move(rest)); }
    used_ += size;
  }
  std::memset(made.bytes, kPoison, bytes);  // nobody else knows the address yet
  return made.begin;
}

bool DeviceMemory::release(std::uint64_t address) {
  const std::unique_lock lock(mutex_);
  const auto it = live_.find(address);
  if (it == live_.end() || it->second.kind != MemoryKind::device) { return false; }
  const std::uint64_t offset = address - reinterpret_cast<std::uint64_t>(base_);
  const std::uint64_t size = rounded(it->second.length, kAlignment);
  used_ -= size;
  if (size >= kReturnToSystem) {
    const std::uint64_t first = rounded(offset, 4096), last = (offset + size) / 4096 * 4096;
    (void)fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first),
                    static_cast<off_t>(last - first));
  }
  it->second.length = size;
  it->second.kind = MemoryKind::unknown;
  auto hole = free_.insert(live_.extract(it)).position;  // giving back needs no memory
  if (const auto next = std::next(hole); next != free_.end() && next->first == address + size) {
    hole->second.length += next->second.length;
    free_.erase(next);
  }
  if (hole == free_.begin()) { return true; }
  if (const auto before = std::prev(hole); before->first + before->second.length == address) {
    before->second.length += hole->second.length;
    free_.erase(hole);
  }
  return true;
}

void* DeviceMemory::allocate_host(std::uint64_t bytes) {
  if (bytes == 0 || bytes > (std::uint64_t{1} << 46)) { return nullptr; }
  void* pointer = std::aligned_alloc(4096, rounded(bytes, 4096));
  if (pointer == nullptr) { return nullptr; }
  std::memset(pointer, kPoison, bytes);
  const auto address = reinterpret_cast<std::uint64_t>(pointer);
  try {
    const std::unique_lock lock(mutex_);
    live_[address] = {address, bytes, static_cast<std::byte*>(pointer), MemoryKind::pinned};
  } catch (const std::bad_alloc&) {
    std::free(pointer);
    return nullptr;
  }
  return pointer;
}

bool DeviceMemory::release_host(void* pointer) {
  {
    const std::unique_lock lock(mutex_);
    const auto it = live_.find(reinterpret_cast<std::uint64_t>(pointer));
    if (it == live_.end() || it->second.kind != MemoryKind::pinned) { return false; }
    live_.erase(it);
  }
  std::free(pointer);
  return true;
}

CUresult DeviceMemory::register_host(void* pointer, std::uint64_t bytes) {
  const auto begin = reinterpret_cast<std::uint64_t>(pointer);
  if (begin == 0 || bytes == 0 || begin + bytes < begin) { return CUDA_ERROR_INVALID_VALUE; }
  const std::unique_lock lock(mutex_);
  const auto after = live_.lower_bound(begin);
  const bool next_overlaps = after != live_.end() && after->first - begin < bytes;
  const bool last_overlaps =
      after != live_.begin() && begin - std::prev(after)->first < std::prev(after)->second.length;
  if (next_overlaps || last_overlaps) { return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED; }
  try {
    live_.emplace(begin, Allocation{begin, bytes, static_cast<std::byte*>(pointer), MemoryKind::registered});
  } catch (const std::bad_alloc&) { return CUDA_ERROR_OUT_OF_MEMORY; }
  return CUDA_SUCCESS;
}

bool DeviceMemory::unregister_host(void* pointer) {
  const std::unique_lock lock(mutex_);
  const auto it = live_.find(reinterpret_cast<std::uint64_t>(pointer));
  if (it == live_.end() || it->second.kind != MemoryKind::registered) { return false; }
  live_.erase(it);
  return true;
}

Allocation DeviceMemory::around(std::uint64_t address) const {
  const std::shared_lock lock(mutex_);
  auto it = live_.upper_bound(address);
  if (it == live_.begin()) { return {}; }
  --it;
  return address - it->first < it->second.length ? it->second : Allocation{};
}

bool DeviceMemory::find(std::uint64_t address, MemoryRange& range) const {
  const Allocation a = around(address);
  if (a.kind == MemoryKind::unknown) { return false; }
  range = {a.begin, a.length, a.bytes};
  return true;
}

}  // namespace hal::emulated_cuda
