// SPDX-License-Identifier: Apache-2.0
// Virtual memory: addresses are reserved without access, physical memory is an anonymous file that is mapped over them.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "driver_kit/errors.hpp"
#include "host.hpp"

namespace hal::host {
namespace {

struct Physical {
  int fd = -1;
  std::uint64_t bytes = 0;
  bool counted = false;  // imported memory is another's

  Physical() = default;
  Physical(const Physical&) = delete;
  Physical& operator=(const Physical&) = delete;
  ~Physical() {
    if (fd >= 0) { ::close(fd); }
  }
};

int protection(hal_access access) {
  return access == HAL_ACCESS_NONE ? PROT_NONE : access == HAL_ACCESS_READ ? PROT_READ : PROT_READ | PROT_WRITE;
}

std::byte* at(const hal_memory& range, std::uint64_t offset) { return static_cast<std::byte*>(range.impl) + offset; }

bool minimal(void* device) { return device_of(device).mode == Mode::minimal; }

hal_error* not_here() { return fail(HAL_UNSUPPORTED, "mode=minimal declares nothing optional, so no virtual memory"); }

// A mapping that the system refuses: for what it maps, or because no memory is left for the mapping itself.
hal_error* refused(const char* what, int problem) {
  if (problem == EACCES || problem == EPERM) {
    return fail(HAL_INVALID_ARGUMENT, fmt::format("{}: the memory is not shared for this access", what), problem);
  }
  return fail(HAL_OUT_OF_HOST_MEMORY, fmt::format("{}: no memory is left for another mapping", what), problem);
}

}  // namespace

std::uint64_t page_size() {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

hal_error* range_reserve(hal_driver*, void* device, std::uint64_t bytes, hal_memory* out) {
  if (minimal(device)) { return not_here(); }
  void* address = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return fail(HAL_OUT_OF_DEVICE_MEMORY, fmt::format("no range of {} addresses is free", bytes), errno);
  }
  *out = {address, address, reinterpret_cast<std::uintptr_t>(address), 0, bytes};
  return nullptr;
}

void range_release(hal_driver*, void*, const hal_memory* range) { ::munmap(range->impl, range->bytes); }

hal_error* range_map(hal_driver*, void*, const hal_memory* range, std::uint64_t offset, void* physical,
                     std::uint64_t from, std::uint64_t bytes, hal_access access) {
  if (::mmap(at(*range, offset), bytes, protection(access), MAP_SHARED | MAP_FIXED,
             static_cast<Physical*>(physical)->fd, static_cast<off_t>(from)) != MAP_FAILED) {
    return nullptr;
  }
  const int problem = errno;
  // Some failures come when the system has taken the reservation away already: nobody else may move in.
  ::mmap(at(*range, offset), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
         0);
  return refused("the system did not map the memory", problem);
}

hal_error* range_protect(hal_driver*, void*, const hal_memory* range, std::uint64_t offset, std::uint64_t bytes,
                         hal_access access) {
  if (::mprotect(at(*range, offset), bytes, protection(access)) == 0) { return nullptr; }
  return refused("the system did not change the protection", errno);
}

void range_unmap(hal_driver*, void*, const hal_memory* range, std::uint64_t offset, std::uint64_t bytes) {
  // Mapped over, not unmapped: the addresses stay reserved.
  ::mmap(at(*range, offset), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

hal_error* physical_create(hal_driver*, void* device, std::uint64_t bytes, void** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    Device& self = device_of(device);
    if (minimal(device)) { return not_here(); }
    auto made = std::make_unique<Physical>();
    if (!self.reserve(bytes)) { return out_of_memory(self, bytes, 0); }
    made->fd = ::memfd_create("halyard physical memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int problem = made->fd < 0 ? errno : 0;
    // The pages are taken now: later they would be missing in the middle of a command. The size is sealed, because
    // whoever touches pages that another process has cut off is ended; and the seals are, because one more could forbid
    // the others to write.
    if (problem == 0) { problem = ::posix_fallocate(made->fd, 0, static_cast<off_t>(bytes)); }
    if (problem == 0 && ::fcntl(made->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      problem = errno;
    }
    if (problem != 0) {
      self.used_bytes.fetch_sub(bytes, std::memory_order_relaxed);
      if (problem == EMFILE || problem == ENFILE) {
        return fail(HAL_UNAVAILABLE, "no file descriptor is left for physical memory", problem);
      }
      return out_of_memory(self, bytes, problem);
    }
    made->bytes = bytes;
    made->counted = true;
    *out = made.release();
    return nullptr;
  });
}

void physical_free(hal_driver*, void* device, void* physical) {
  const std::unique_ptr<Physical> self(static_cast<Physical*>(physical));
  if (self->counted) { device_of(device).used_bytes.fetch_sub(self->bytes, std::memory_order_relaxed); }
}

hal_error* physical_export_fd(hal_driver*, void*, void* physical, int* out) {
  const int fd = ::fcntl(static_cast<Physical*>(physical)->fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) { return fail(HAL_UNAVAILABLE, "no file descriptor is left", errno); }
  *out = fd;
  return nullptr;
}

hal_error* physical_import_fd(hal_driver*, void* device, int fd, std::uint64_t bytes, void** out) {
  return kit::guarded(kOrigin, [&]() -> hal_error* {
    if (minimal(device)) { return not_here(); }
    struct stat file{};
    if (::fstat(fd, &file) != 0) {
      return fail(HAL_INVALID_ARGUMENT, fmt::format("descriptor {} is not open", fd), errno);
    }
    const int seals = ::fcntl(fd, F_GET_SEALS);
    constexpr int kNeeded = F_SEAL_SHRINK | F_SEAL_SEAL;
    if (seals < 0 || (seals & kNeeded) != kNeeded) {
      return fail(HAL_INVALID_ARGUMENT,
                  fmt::format("descriptor {} is no shared memory whose size is sealed for good (F_SEAL_SHRINK and "
                              "F_SEAL_SEAL); hal_physical_export_fd() makes such",
                              fd));
    }
    if ((::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
      return fail(HAL_INVALID_ARGUMENT,
                  fmt::format("descriptor {} may not be written ({}), and physical memory is read and written", fd,
                              (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0 ? "F_SEAL_WRITE" : "O_RDONLY"));
    }
    if (static_cast<std::uint64_t>(file.st_size) < bytes) {
      return fail(HAL_INVALID_ARGUMENT,
                  fmt::format("descriptor {} holds {} bytes, {} were asked for", fd, file.st_size, bytes));
    }
    auto made = std::make_unique<Physical>();
    made->fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (made->fd < 0) { return fail(HAL_UNAVAILABLE, "no file descriptor is left", errno); }
    made->bytes = bytes;
    *out = made.release();
    return nullptr;
  });
}

}  // namespace hal::host
