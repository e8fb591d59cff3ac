// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "driver_kit/errors.hpp"
#include "host.hpp"

namespace hal::host {

namespace {

// From here on memory is mapped: whole pages, huge ones where they fit, and touched before it is handed out, because a
// page fault inside a command costs more than most commands. Very large blocks stay untouched: most are used in part.
constexpr std::uint64_t kMappedFrom = 256U << 10U;
constexpr std::uint64_t kHuge = 2U << 20U;
constexpr std::uint64_t kTouchUpTo = 64U << 20U;

// mode=weak hands out addresses with no more alignment than declared: 64 past a multiple of 128.
constexpr std::uint64_t kSkew = 64;

std::uint64_t mapped_length(std::uint64_t bytes) { return (bytes + kSkew + kHuge - 1) & ~(kHuge - 1); }

// A page fault costs 1.8 us where it was measured; one call for all pages costs a fraction of it.
void touch(std::byte* pages, std::uint64_t length) {
#if defined(MADV_POPULATE_WRITE)
  if (::madvise(pages, length, MADV_POPULATE_WRITE) == 0) { return; }
#endif
  constexpr std::uint64_t kPage = 4096;  // a kernel before 5.14
  for (std::uint64_t at = 0; at < length; at += kPage) { *reinterpret_cast<volatile std::byte*>(pages + at) = {}; }
}

// The kernel aligns large mappings to 2 MiB only by chance, so map one huge page more and give the ends back.
void* map_pages(std::uint64_t length) {
  void* raw =
      ::mmap(nullptr, length + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) { return nullptr; }
  auto* bytes = static_cast<std::byte*>(raw);
  const std::uint64_t head = (kHuge - (reinterpret_cast<std::uintptr_t>(raw) & (kHuge - 1))) & (kHuge - 1);
  if (head > 0) { ::munmap(bytes, head); }
  if (kHuge - head > 0) { ::munmap(bytes + head + length, kHuge - head); }
  ::madvise(bytes + head, length, MADV_HUGEPAGE);
  if (length <= kTouchUpTo) { touch(bytes + head, length); }
  return bytes + head;
}

// Whole lines of 128 bytes, and room for the skew.
std::uint64_t heap_length(std::uint64_t bytes) { return (bytes + kSkew + 127U) & ~std::uint64_t{127}; }

}  // namespace

hal_error* out_of_memory(const Device& device, std::uint64_t bytes, int error_number) {
  const std::uint64_t used = device.used_bytes.load(std::memory_order_relaxed);
  const std::uint64_t total = device.memory_bytes;
  const std::uint64_t free = used < total ? total - used : 0;
  return fail(HAL_OUT_OF_DEVICE_MEMORY,
              fmt::format("{} bytes were asked for; {} of {} bytes are free, the largest block has at most {}", bytes,
                          free, total, free),
              error_number);
}

// Memory of the application's allocator, of the C library's, or mapped; NULL if there is none.
static void* obtain(const Device& device, std::uint64_t bytes) {
  if (const hal_allocator* own = device.driver->api->allocator) {
    return own->allocate(own->user, heap_length(bytes), 128);
  }
  return bytes >= kMappedFrom ? map_pages(mapped_length(bytes)) : std::aligned_alloc(128, heap_length(bytes));
}

// Counted before it is taken: two threads together must not pass the limit. The system would promise more than it has
// and kill the process later.
bool Device::reserve(std::uint64_t bytes) {
  const std::uint64_t before = used_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (bytes <= memory_bytes && before <= memory_bytes - bytes) { return true; }
  used_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

hal_error* memory_allocate(hal_driver*, void* device, std::uint64_t bytes, hal_memory* out) {
  Device& self = device_of(device);
  if (!self.reserve(bytes)) { return out_of_memory(self, bytes, 0); }
  void* impl = obtain(self, bytes);
  if (impl == nullptr && self.mode == Mode::weak) {
    give_back_freed(self);  // what is only kept must not be what is missing
    impl = obtain(self, bytes);
  }
  if (impl == nullptr) {
    const int error_number = errno;
    self.used_bytes.fetch_sub(bytes, std::memory_order_relaxed);
    if (self.driver->api->allocator == nullptr) { return out_of_memory(self, bytes, error_number); }
    return fail(HAL_OUT_OF_HOST_MEMORY,
                fmt::format("the application's allocator was asked for {} bytes and gave none", heap_length(bytes)));
  }
  *out = {};
  out->impl = impl;
  out->bytes = bytes;
  if (self.mode == Mode::weak) {
    out->impl = static_cast<std::byte*>(impl) + kSkew;
    const std::uint64_t number = self.allocations.fetch_add(1, std::memory_order_relaxed);
    const auto poison = static_cast<int>(0x80U | self.perturb.pick(number, 17, 0x80));
    std::memset(out->impl, poison, bytes);
  }
  if (self.mode != Mode::minimal) {
    out->host = out->impl;
    out->address = reinterpret_cast<std::uintptr_t>(out->host);
  }
  return nullptr;
}

namespace {

// `impl` as given out, and the bytes asked for.
void release(const Device& device, void* impl, std::uint64_t bytes, std::uint64_t skew) {
  void* raw = static_cast<std::byte*>(impl) - skew;
  if (const hal_allocator* own = device.driver->api->allocator) {
    own->deallocate(own->user, raw, heap_length(bytes), 128);
  } else if (bytes >= kMappedFrom) {
    ::munmap(raw, mapped_length(bytes));
  } else {
    std::free(raw);
  }
}

// What mode weak had kept after it was freed.
void release_kept(Device& device, const Quarantine::Block& block, std::optional<std::uint64_t> written) {
  if (written) {
    try {
      const std::string text = fmt::format(
          "{}: memory of {} bytes was written at offset {} after it had been freed; some work was not waited for",
          device.uri, block.bytes, *written);
      device.driver->api->log(device.driver->api, HAL_LOG_ERROR, kOrigin, text.c_str());
    } catch (const std::bad_alloc&) {}  // then nobody is told; the memory goes back all the same
  }
  release(device, block.begin, block.bytes, kSkew);
}

}  // namespace

void memory_free(hal_driver*, void* device, const hal_memory* memory) {
  Device& self = device_of(device);
  self.used_bytes.fetch_sub(memory->bytes, std::memory_order_relaxed);
  if (self.mode != Mode::weak) { return release(self, memory->impl, memory->bytes, 0); }
  const auto poison = static_cast<int>(0x80U | self.perturb.pick(memory->bytes, 19, 0x80));
  self.quarantine.keep({static_cast<std::byte*>(memory->impl), memory->bytes, poison},
                       [&](const Quarantine::Block& block, auto written) { release_kept(self, block, written); });
}

void give_back_freed(Device& device) {
  device.quarantine.drain([&](const Quarantine::Block& block, auto written) { release_kept(device, block, written); });
}

hal_error* memory_import(hal_driver*, void* device, void* address, std::uint64_t bytes, hal_memory* out) {
  if (device_of(device).mode == Mode::minimal) {
    return fail(HAL_UNSUPPORTED, "mode=minimal declares nothing optional, so no import of host memory");
  }
  *out = {address, address, reinterpret_cast<std::uintptr_t>(address), 0, bytes};
  return nullptr;
}

void memory_unimport(hal_driver*, void*, const hal_memory*) {}

}  // namespace hal::host
