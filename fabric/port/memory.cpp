// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "driver_kit/errors.hpp"
#include "fabric/port/port.hpp"

namespace hal::fabric {

Result<std::shared_ptr<Mapping>> Mapping::make(std::size_t bytes) {
  std::shared_ptr<Mapping> made(new Mapping(bytes));
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return fail_errno(HAL_OUT_OF_DEVICE_MEMORY, errno, fmt::format("{} bytes of port memory", bytes));
  }
  made->data_ = static_cast<std::byte*>(data);
  return made;
}

Mapping::~Mapping() {
  if (data_ != nullptr) { ::munmap(data_, bytes_); }
}

void Mapping::give_pages_back() const noexcept { ::madvise(data_, bytes_, MADV_DONTNEED); }

namespace {

// Bytes that a port counts as used, for as long as nothing has been made of them.
struct Charge {
  Port& port;
  std::uint64_t bytes;
  ~Charge() {
    const std::lock_guard lock(port.mutex);
    port.used_bytes -= bytes;
  }
};

}  // namespace

hal_error* memory_allocate(hal_driver*, void* device, std::uint64_t bytes, hal_memory* out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    Port& port = port_of(device);
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t rounded = bytes <= port.limit_bytes ? (bytes + page - 1) / page * page : bytes;
    auto allocation = std::make_unique<Allocation>();
    {
      const std::lock_guard lock(port.mutex);
      const std::uint64_t left = port.limit_bytes - port.used_bytes;
      if (rounded > left) {
        return kit::make_error(
            kOrigin, HAL_OUT_OF_DEVICE_MEMORY,
            fmt::format("asked for {} bytes of port memory, {} of {} are free, and the largest block "
                        "is as large; free buffers or ask for less",
                        bytes, left, port.limit_bytes));
      }
      port.used_bytes += rounded;
    }
    Charge charge{port, rounded};
    auto mapping = Mapping::make(rounded);
    if (!mapping) { return to_error(mapping.error()); }
    charge.bytes = 0;  // the memory's from here on
    allocation->mapping = *std::move(mapping);
    *out = {};
    out->host = allocation->mapping->data();
    out->address = reinterpret_cast<std::uintptr_t>(out->host);
    out->bytes = bytes;
    out->impl = allocation.release();
    return nullptr;
  });
}

void memory_free(hal_driver*, void* device, const hal_memory* memory) {
  Port& port = port_of(device);
  const std::unique_ptr<Allocation> allocation(static_cast<Allocation*>(memory->impl));
  const bool was_exposed = allocation->exposed.handle != nullptr;
  allocation->exposed.handle.reset();  // from here on peers are refused
  const std::lock_guard lock(port.mutex);
  port.used_bytes -= allocation->mapping->bytes();
  if (was_exposed) { allocation->mapping->give_pages_back(); }
}

hal_error* memory_export(hal_driver*, void* device, const hal_memory* memory, hal_remote* out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    Port& port = port_of(device);
    auto& allocation = *static_cast<Allocation*>(memory->impl);
    const std::lock_guard lock(allocation.mutex);
    if (allocation.exposed.handle == nullptr) {
      auto exposed = port.engine->expose(allocation.mapping->data(), allocation.mapping->bytes());
      if (!exposed) { return to_error(exposed.error()); }
      {
        const std::lock_guard port_lock(port.mutex);
        port.exposed.push_back(allocation.mapping);
      }
      allocation.exposed = *std::move(exposed);
    }
    *out = {allocation.exposed.region.key, allocation.exposed.region.address + memory->offset, memory->bytes};
    return nullptr;
  });
}

}  // namespace hal::fabric
