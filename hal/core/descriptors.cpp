// SPDX-License-Identifier: Apache-2.0
// Points as file descriptors, and file descriptors as signals.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/api.hpp"
#include "core/queue.hpp"
#include "core/timeline.hpp"

namespace hal::core {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.take()) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) { ::close(fd_); }
  }
  int get() const { return fd_; }
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Error no_descriptor(const char* what) {
  return Error(HAL_UNAVAILABLE,
               fmt::format("{}: {}; close some, or raise the limit of open files", what, std::strerror(errno)));
}

Result<int> export_point(const hal_point& point) {
  HAL_CHECK(refuse_captured(point));
  Descriptor made(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (made.get() < 0) { return no_descriptor("no descriptor to export a point with"); }
  // The caller may close its own at any time, and the number may then be somebody else's: we write to a duplicate.
  Descriptor ours(::fcntl(made.get(), F_DUPFD_CLOEXEC, 0));
  if (ours.get() < 0) { return no_descriptor("no descriptor to export a point with"); }
  Timeline* from = point.timeline != nullptr ? cast(point.timeline) : nullptr;
  Observer* observer = from != nullptr ? from->instance().observer() : nullptr;
  auto ring = [ours = std::move(ours), from, observer, value = point.value](const hal_error*) {
    if (observer != nullptr) { observer->observed(*from, value); }  // before anybody can act on it
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(ours.get(), &one, sizeof one);
  };
  if (point.timeline == nullptr) {
    ring(nullptr);
  } else {
    cast(point.timeline)->when(point.value, std::move(ring));
  }
  return made.take();
}

// What happened to a descriptor, as the timeline learns it.
void arrived(Timeline& timeline, std::uint64_t value, std::uint32_t events) {
  if ((events & EPOLLIN) != 0) {
    if (Observer* observer = timeline.instance().observer()) { observer->signalled(timeline, value); }
    timeline.advance(value);
    return;
  }
  timeline.fail(Error(HAL_UNAVAILABLE,
                      fmt::format("the descriptor that was to signal {} to timeline '{}' {} before it was readable",
                                  value, timeline.label(), (events & EPOLLERR) != 0 ? "broke" : "was hung up"),
                      "core", "", 0)
                    .release());
}

Result<void> import(Timeline& timeline, std::uint64_t value, int fd) {
  if (timeline.is_lane()) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("queue '{}' owns this timeline; only its work moves it", timeline.label()));
  }
  if (timeline.failed()) { return {}; }  // as a signal after failure
  if (const std::uint64_t now = timeline.value(); value <= now) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("timeline '{}' stands at {}; a signal to {} is not above it",
                                                   timeline.label(), now, value));
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("descriptor {} is not open; timeline '{}' cannot wait for it", fd, timeline.label()));
  }
  if ((flags & O_ACCMODE) == O_WRONLY) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("descriptor {} is open for writing only and never becomes readable, so it signals nothing "
                             "to timeline '{}'; import the end that is read",
                             fd, timeline.label()));
  }
  const int ours = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (ours < 0) { return no_descriptor("no descriptor to import a signal with"); }
  Engine& engine = timeline.instance().engine();
  const std::uint64_t ticket = engine.next_ticket();
  timeline.add_import(ticket, value);  // before it can arrive
  // The claim runs under the engine's lock, and dispose() unwatches under it too: the timeline is still there.
  Result<void> watched = engine.watch(ticket, ours, [&timeline, value, ticket](std::uint32_t events) -> Task {
    Ref<Timeline> kept = try_share(&timeline);
    if (!kept) { return {}; }
    return [kept = std::move(kept), value, events, ticket] {
      kept->drop_import(ticket);
      arrived(*kept, value, events);
    };
  });
  if (!watched) { timeline.drop_import(ticket); }
  return watched;
}

}  // namespace
}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_point_export_fd(hal_point point, int* out) {
  return guarded("hal_point_export_fd", {out}, [&]() -> hal::Result<void> {
    HAL_TRY(*out, export_point(point));
    return {};
  });
}

extern "C" hal_error* hal_timeline_import_fd(hal_timeline* timeline, std::uint64_t value, int fd) {
  return guarded("hal_timeline_import_fd", {timeline}, [&] { return import(*cast(timeline), value, fd); });
}
