// SPDX-License-Identifier: Apache-2.0
// HBM of a partition and host memory that the device reaches.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "driver/internal.hpp"

namespace rngd::driver {

namespace {
constexpr std::uint64_t kPage = 4096;
unsigned long long u(std::uint64_t value) { return static_cast<unsigned long long>(value); }
}  // namespace

Pinned::Pinned(Pinned&& other) noexcept { *this = std::move(other); }

Pinned& Pinned::operator=(Pinned&& other) noexcept {
  std::swap(bus_, other.bus_);
  std::swap(data_, other.data_);
  std::swap(iova_, other.iova_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Pinned::~Pinned() {
  if (data_ == nullptr) { return; }
  bus_->unmap_host(bus_->context, iova_, bytes_);
  munmap(data_, bytes_);
}

rngd_status Pinned::make(const rngd_bus& bus, std::uint64_t bytes, Pinned& out, rngd_error* error) {
  if (bytes > 1ull << 46) {
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "%llu bytes of host memory cannot be had", u(bytes));
  }
  const std::uint64_t size = (std::max<std::uint64_t>(bytes, 1) + kPage - 1) / kPage * kPage;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "%llu bytes of host memory cannot be had", u(size));
  }
  std::uint64_t iova = 0;
  if (const int code = bus.map_host(bus.context, memory, size, &iova); code != 0) {
    munmap(memory, size);
    return fail(error, code == -ENOMEM ? RNGD_OUT_OF_HOST_MEMORY : RNGD_OUT_OF_RESOURCES,
                "the bus cannot map %llu bytes of host memory for the device (error %d)", u(size), -code);
  }
  Pinned made;
  made.bus_ = &bus;
  made.data_ = static_cast<std::byte*>(memory);
  made.iova_ = iova;
  made.bytes_ = size;
  out = std::move(made);
  return RNGD_OK;
}

void Heap::reset(std::uint64_t base, std::uint64_t bytes) {
  free_.clear();
  taken_.clear();
  used_ = 0;
  if (bytes != 0) { free_.emplace(base, bytes); }
}

bool Heap::take(std::uint64_t bytes, std::uint64_t& address) {
  const std::uint64_t size = (bytes + kGranule - 1) / kGranule * kGranule;
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < size) { continue; }
    address = it->first;
    taken_.emplace(address, size);  // all that may throw
    auto hole = free_.extract(it);
    hole.key() += size;
    hole.mapped() -= size;
    if (hole.mapped() != 0) { free_.insert(std::move(hole)); }
    used_ += size;
    return true;
  }
  return false;
}

std::uint64_t Heap::give(std::uint64_t address) {
  const auto found = taken_.find(address);
  if (found == taken_.end()) { return 0; }
  const std::uint64_t size = found->second;
  used_ -= size;
  auto block = free_.insert(taken_.extract(found)).position;  // giving back needs no memory
  if (const auto next = std::next(block); next != free_.end() && block->first + block->second == next->first) {
    block->second += next->second;
    free_.erase(next);
  }
  if (block != free_.begin()) {
    if (const auto previous = std::prev(block); previous->first + previous->second == block->first) {
      previous->second += block->second;
      free_.erase(block);
    }
  }
  return size;
}

std::uint64_t Heap::taken_at(std::uint64_t address) const {
  const auto found = taken_.find(address);
  return found == taken_.end() ? 0 : found->second;
}

std::uint64_t Heap::largest() const {
  std::uint64_t result = 0;
  for (const auto& [address, bytes] : free_) { result = std::max(result, bytes); }
  return result;
}

}  // namespace rngd::driver

using namespace rngd::driver;

rngd_status rngd_memory_alloc(rngd_partition* partition, uint64_t bytes, rngd_address* out, rngd_error* error) {
  if (bytes == 0) { return fail(error, RNGD_INVALID_ARGUMENT, "an allocation of 0 bytes"); }
  if (partition->device->lost.load()) { return fail(error, RNGD_DEVICE_LOST, "the device was reset"); }
  const std::scoped_lock lock(partition->mutex);
  std::uint64_t address = 0;
  const std::uint64_t free_bytes = partition->info.memory_bytes - partition->heap.used();
  try {
    if (bytes > free_bytes || !partition->heap.take(bytes, address)) {
      return fail(error, RNGD_OUT_OF_MEMORY, "%llu bytes asked, %llu free in the partition, %llu in one piece",
                  u(bytes), u(free_bytes), u(partition->heap.largest()));
    }
  } catch (const std::bad_alloc&) {
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "no host memory to note an allocation of %llu bytes", u(bytes));
  }
  *out = {address, RNGD_SPACE_HBM, 0};
  return RNGD_OK;
}

rngd_status rngd_memory_free(rngd_partition* partition, rngd_address address, rngd_error* error) {
  std::uint64_t bytes = 0;
  {
    const std::scoped_lock lock(partition->mutex);
    bytes = address.space == RNGD_SPACE_HBM ? partition->heap.taken_at(address.value) : 0;
  }
  if (bytes == 0) { return fail(error, RNGD_INVALID_ARGUMENT, "no allocation starts at 0x%llx", u(address.value)); }
  // Whoever gets these bytes next must not find the old ones: poison first, then reuse.
  if (!partition->device->lost.load()) {
    rngd::rqi::SubmissionEntry entry{};
    entry.opcode = static_cast<std::uint8_t>(rngd::rqi::AdminOpcode::discard_memory);
    entry.body.discard = {address.value, bytes, partition->context, 0, 0, 0};
    if (const rngd_status status = partition->device->admin(entry, nullptr, error, "DISCARD_MEMORY");
        status != RNGD_OK && status != RNGD_DEVICE_LOST) {
      return status;
    }
  }
  const std::scoped_lock lock(partition->mutex);
  partition->heap.give(address.value);
  return RNGD_OK;
}

rngd_status rngd_memory_map(rngd_partition* partition, rngd_address address, uint64_t bytes, void** out,
                            rngd_error* error) {
  const rngd_bus& bus = partition->device->bus;
  const std::scoped_lock lock(partition->mutex);
  const std::uint64_t taken = address.space == RNGD_SPACE_HBM ? partition->heap.taken_at(address.value) : 0;
  if (taken == 0 || bytes > taken) {
    return fail(error, RNGD_INVALID_ARGUMENT, "no allocation of %llu bytes starts at 0x%llx", u(bytes),
                u(address.value));
  }
  *out = bus.map_bar == nullptr ? nullptr : bus.map_bar(bus.context, rngd::rqi::kBarHbm, address.value, bytes);
  return *out != nullptr ? RNGD_OK : fail(error, RNGD_UNSUPPORTED, "the bus has no aperture to HBM");
}

void rngd_memory_unmap(rngd_partition* partition, rngd_address address, uint64_t bytes) {
  const rngd_bus& bus = partition->device->bus;
  if (bus.unmap_bar != nullptr) { bus.unmap_bar(bus.context, rngd::rqi::kBarHbm, address.value, bytes); }
}

rngd_status rngd_host_alloc(rngd_device* device, uint64_t bytes, void** out, rngd_address* address, rngd_error* error) {
  if (bytes == 0) { return fail(error, RNGD_INVALID_ARGUMENT, "an allocation of 0 bytes"); }
  const std::uint64_t size = (bytes + kPage - 1) / kPage * kPage;
  void* memory =
      bytes > 1ull << 46 ? MAP_FAILED : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return fail(error, RNGD_OUT_OF_HOST_MEMORY, "%llu bytes of host memory cannot be had", u(bytes));
  }
  const rngd_status status = rngd_host_register(device, memory, size, address, error);
  if (status != RNGD_OK) {
    munmap(memory, size);
    return status;
  }
  *out = memory;
  return RNGD_OK;
}

void rngd_host_free(rngd_device* device, void* pointer, rngd_address address, uint64_t bytes) {
  const std::uint64_t size = (bytes + kPage - 1) / kPage * kPage;
  rngd_host_unregister(device, address, size);
  munmap(pointer, size);
}

rngd_status rngd_host_register(rngd_device* device, void* pointer, uint64_t bytes, rngd_address* out,
                               rngd_error* error) {
  std::uint64_t iova = 0;
  if (const int code = device->bus.map_host(device->bus.context, pointer, bytes, &iova); code != 0) {
    return fail(error, code == -ENOMEM ? RNGD_OUT_OF_HOST_MEMORY : RNGD_INVALID_ARGUMENT,
                "the bus cannot map %llu bytes at %p for the device (error %d)", u(bytes), pointer, -code);
  }
  *out = {iova, RNGD_SPACE_HOST, 0};
  return RNGD_OK;
}

void rngd_host_unregister(rngd_device* device, rngd_address address, uint64_t bytes) {
  device->bus.unmap_host(device->bus.context, address.value, bytes);
}
