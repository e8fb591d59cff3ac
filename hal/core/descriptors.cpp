// SPDX-License-Identifier: Apache-2.0
// Points as file descriptors, and file descriptors as signals.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
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
  HAL_CHECK(check_point(point));
  Descriptor made(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (made.get() < 0) { return no_descriptor("no descriptor to export a point with"); }
  // The caller may close its own at any time, and the number may then be somebody else's: we write to a duplicate.
  Descriptor ours(::fcntl(made.get(), F_DUPFD_CLOEXEC, 0));
  if (ours.get() < 0) { return no_descriptor("no descriptor to export a point with"); }
  Timeline* from = point.timeline != nullptr ? cast(point.timeline) : nullptr;
  Observer* observer = from != nullptr ? from->instance().observer() : nullptr;
  auto ring = [ours = std::move(ours), from, observer, value = point.value](const hal_error*) {
    tell(observer, [&](Observer& told) { told.observed(*from, value); });  // before anybody can act on it
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

// Whether there is something to read. A socket whose other side has gone says so, as reading its end does not block.
bool is_signal(std::uint32_t events, int fd) {
  if ((events & EPOLLIN) == 0) { return false; }
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) { return true; }
  int bytes = 0;
  return ::ioctl(fd, FIONREAD, &bytes) != 0 || bytes > 0;
}

// What happened to a descriptor, as the timeline learns it.
void arrived(Timeline& timeline, std::uint64_t value, bool is_signal, std::uint32_t events) {
  if (is_signal) {
    tell(timeline.instance().observer(), [&](Observer& observer) { observer.signalled(timeline, value); });
    timeline.advance(value);
    return;
  }
  timeline.fail(worded(HAL_UNAVAILABLE, [&] {
    return Error(HAL_UNAVAILABLE,
                 fmt::format("the descriptor that was to signal {} to timeline '{}' {} before it was readable", value,
                             timeline.label(), (events & EPOLLERR) != 0 ? "broke" : "was hung up"),
                 "core", "", 0);
  }));
}

Result<void> import(Timeline& timeline, std::uint64_t value, int fd) {
  HAL_TRY(const bool counts, timeline.takes_signal(value));
  if (!counts) { return {}; }
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
  Descriptor ours(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (ours.get() < 0) { return no_descriptor("no descriptor to import a signal with"); }
  Engine& engine = timeline.instance().engine();
  const std::uint64_t ticket = engine.next_ticket();
  struct Arrival {
    Timeline* timeline;
    std::uint64_t value, ticket;
    std::uint32_t events = 0;
    bool is_signal = false;
    Ref<Timeline> kept{};
    Task task{};
    static void run(void* of) {
      const std::unique_ptr<Arrival> self(static_cast<Arrival*>(of));
      self->kept->drop_import(self->ticket);
      arrived(*self->kept, self->value, self->is_signal, self->events);
    }
  };
  auto arrival = std::unique_ptr<Arrival>(new Arrival{&timeline, value, ticket});
  // The claim runs under the engine's lock, and dispose() unwatches under it too: the timeline is still there.
  timeline.add_import(ticket, value);  // before it can arrive
  struct Import {                      // until it is watched
    Timeline* of;
    std::uint64_t ticket;
    ~Import() {
      if (of != nullptr) { of->drop_import(ticket); }
    }
  } made{&timeline, ticket};
  HAL_CHECK(engine.watch(ticket, ours.take(),
                         [arrival = std::move(arrival)](std::uint32_t events, int watched) mutable -> Task* {
                           arrival->kept = try_share(arrival->timeline);
                           if (!arrival->kept) { return nullptr; }
                           arrival->events = events;
                           arrival->is_signal = is_signal(events, watched);
                           arrival->task = {Arrival::run, arrival.get()};
                           return &arrival.release()->task;
                         }));
  made.of = nullptr;
  return {};
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
  return guarded("hal_timeline_import_fd", {timeline}, [&]() -> hal::Result<void> {
    HAL_CHECK(check_point({timeline, 0}));
    return import(*cast(timeline), value, fd);
  });
}
