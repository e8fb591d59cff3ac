// SPDX-License-Identifier: Apache-2.0
// Points as file descriptors and file descriptors as signals.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/times.h>
#include <unistd.h>

#include <halyard_catch.hpp>
#include <memory>

#include "core/order_fixture.hpp"

using namespace hal::test;

namespace {

bool readable(int fd, std::chrono::milliseconds timeout) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(timeout.count())) == 1 && (entry.revents & POLLIN) != 0;
}

struct Fd {
  int fd;
  explicit Fd(int given) : fd(given) { REQUIRE(fd >= 0); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { close(); }
  void close() {
    if (fd >= 0) { ::close(fd); }
    fd = -1;
  }
};

int descriptors() {
  int open = 0;
  for (int fd = 0; fd < 1024; ++fd) { open += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0; }
  return open;
}

}  // namespace

TEST_CASE("order: an exported point's descriptor is readable once the point is reached, and not before") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  const Point held = f.queue.fill(f.at(0), std::uint32_t{4}, {.waits = {gate.at(1)}}).value();
  const Fd fd(hal::export_fd(held).value()), plain(hal::export_fd(gate.at(1)).value()),
      again(hal::export_fd(held).value());
  CHECK_FALSE(readable(fd.fd, 0ms));
  CHECK_FALSE(readable(plain.fd, 0ms));
  REQUIRE(gate.signal(1));
  REQUIRE(readable(plain.fd, 20s));
  REQUIRE(readable(fd.fd, 20s));
  CHECK(hal::wait(held, 0ns));
  CHECK(f.word(0) == 4);
  CHECK(readable(fd.fd, 0ms));  // stays so
  CHECK(readable(again.fd, 20s));
  CHECK(readable(Fd(hal::export_fd(held).value()).fd, 0ms));
  CHECK(readable(Fd(hal::export_fd(Point{}).value()).fd, 0ms));
  CHECK((::fcntl(fd.fd, F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("order: an exported point's descriptor is readable when the point is lost, by failure or by release") {
  Fixture f;
  hal::Timeline broken = f.instance.timeline(0, "broken").value();
  auto released = std::make_unique<hal::Timeline>(f.instance.timeline(0, "released").value());
  const Fd one(hal::export_fd(broken.at(1)).value()), two(hal::export_fd(released->at(1)).value());
  CHECK_FALSE(readable(one.fd, 0ms));
  broken.fail(hal::Error(HAL_EXECUTION_FAILED, "broke"));
  released.reset();
  CHECK(readable(one.fd, 20s));
  CHECK(readable(two.fd, 20s));
  CHECK(broken.wait(1, 0ns).error().code() == HAL_EXECUTION_FAILED);
}

TEST_CASE("order: an exported descriptor may be closed at any time, and none is left behind") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline(0, "gate").value();
  const int before = descriptors();
  for (int i = 0; i < 20; ++i) { ::close(hal::export_fd(gate.at(1)).value()); }
  const Fd innocent(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));  // gets a number that was ours
  REQUIRE(gate.signal(1));
  CHECK_FALSE(readable(innocent.fd, 0ms));
  CHECK(descriptors() == before + 1);
}

TEST_CASE("order: an imported descriptor signals when it becomes readable, and work waits for it") {
  Fixture f;
  hal::Timeline line = f.instance.timeline(0, "line").value();
  Fd source(::eventfd(0, EFD_CLOEXEC));
  REQUIRE(line.import_fd(7, source.fd));
  const Point held = f.queue.fill(f.at(0), std::uint32_t{9}, {.waits = {line.at(7)}}).value();
  const hal::Result<void> late = hal::wait(held, 1ms);
  REQUIRE_FALSE(late);
  CHECK(contains(late.error().text(), "an imported file descriptor is to signal 7 to timeline 'line'"));
  std::uint64_t one = 1;
  REQUIRE(::write(source.fd, &one, 8) == 8);
  REQUIRE(hal::wait(held, kSoon));
  CHECK(f.word(0) == 9);
  CHECK(line.value().value() == 7);
  REQUIRE(::read(source.fd, &one, 8) == 8);  // nothing was read from it
  CHECK(one == 1);
}

TEST_CASE("order: an exported point imported elsewhere carries order from one instance to another") {
  Fixture f, g;
  hal::Timeline gate = f.instance.timeline(0, "gate").value(), line = g.instance.timeline(0, "line").value();
  const Point made = f.queue.fill(f.at(0), std::uint32_t{3}, {.waits = {gate.at(1)}}).value();
  Fd fd(hal::export_fd(made).value());
  REQUIRE(line.import_fd(1, fd.fd));
  fd.close();  // the core has its own
  const hal::Slice from = hal::host(std::span<const std::byte>(f.buffer.host().data(), 4));
  const Point used = g.queue.copy(from, g.at(1), {.waits = {line.at(1)}}).value();
  CHECK_FALSE(hal::wait(used, 0ns));
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(used, kSoon));
  CHECK(g.word(1) == 3);
}

TEST_CASE("order: a pipe hung up without a byte fails the timeline, one with a byte signals it") {
  Fixture f;
  hal::Timeline dead = f.instance.timeline(0, "dead").value(), fine = f.instance.timeline(0, "fine").value(),
                peer = f.instance.timeline(0, "peer").value();
  std::array<int, 2> a{}, b{}, s{};
  REQUIRE(::pipe(a.data()) == 0);
  REQUIRE(::pipe(b.data()) == 0);
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, s.data()) == 0);
  REQUIRE(dead.import_fd(1, a[0]));
  REQUIRE(fine.import_fd(1, b[0]));
  REQUIRE(peer.import_fd(1, s[0]));
  ::close(a[1]);
  REQUIRE(::write(b[1], "x", 1) == 1);
  ::close(b[1]);
  REQUIRE(::write(s[1], "x", 1) == 1);
  const hal::Result<void> result = dead.wait(1, kSoon);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == HAL_UNAVAILABLE);
  CHECK(contains(result.error().text(), "was hung up before it was readable"));
  CHECK(fine.wait(1, kSoon));
  CHECK(peer.wait(1, kSoon));
  for (const int fd : {a[0], b[0], s[0], s[1]}) { ::close(fd); }
}

TEST_CASE("order: a socket hung up without a byte fails the timeline, one with a byte signals it") {
  // Unlike a pipe's, its end is something to read.
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET}) {
    for (const auto& [with_byte, before] :
         {std::pair{false, false}, std::pair{false, true}, std::pair{true, false}, std::pair{true, true}}) {
      CAPTURE(kind, with_byte, before);
      Fixture f;
      hal::Timeline line = f.instance.timeline(0, "line").value();
      std::array<int, 2> ends{};
      REQUIRE(::socketpair(AF_UNIX, kind, 0, ends.data()) == 0);
      const Fd ours(ends[0]);
      Fd theirs(ends[1]);
      if (before) { REQUIRE(line.import_fd(1, ours.fd)); }
      if (with_byte) { REQUIRE(::write(theirs.fd, "x", 1) == 1); }
      theirs.close();
      if (!before) { REQUIRE(line.import_fd(1, ours.fd)); }
      const hal::Result<void> result = line.wait(1, kSoon);
      CHECK(result.has_value() == with_byte);
      if (!result) {
        CHECK(result.error().code() == HAL_UNAVAILABLE);
        CHECK(contains(result.error().text(), "was hung up before it was readable"));
      }
    }
  }
}

TEST_CASE("order: imports are refused with reasons, and let go with their timeline") {
  Fixture f;
  hal::Timeline line = f.instance.timeline(5, "line").value();
  Fd source(::eventfd(0, EFD_CLOEXEC));
  const Fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const auto refused = [](const hal::Result<void>& result, const char* part) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(contains(result.error().text(), part));
  };
  refused(line.import_fd(5, source.fd), "is not above it");
  refused(line.import_fd(6, -1), "descriptor -1 is not open");
  refused(line.import_fd(6, file.fd), "cannot be waited for");
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const Fd read_end(ends[0]), write_end(ends[1]);
  refused(line.import_fd(6, write_end.fd), "open for writing only");
  CHECK(line.import_fd(6, read_end.fd));
  const int open = descriptors();
  refused(line.import_fd(7, file.fd), "cannot be waited for");
  CHECK(descriptors() <= open);
  hal_error* owned = hal_timeline_import_fd(hal_queue_timeline(f.queue.get()), 50, source.fd);
  CHECK(hal_error_describe(owned).code == HAL_INVALID_ARGUMENT);
  hal_release(owned);
  int out = -1;
  hal_error* null_out = hal_point_export_fd(line.at(6), nullptr);
  CHECK(hal_error_describe(null_out).code == HAL_INVALID_ARGUMENT);
  hal_release(null_out);
  (void)out;
  const int before = descriptors();
  {
    hal::Timeline doomed = f.instance.timeline(0, "doomed").value();
    for (std::uint64_t i = 1; i <= 5; ++i) { REQUIRE(doomed.import_fd(i, source.fd)); }
    CHECK(descriptors() >= before + 5);
    const Point held = f.queue.barrier({.waits = {doomed.at(1)}}).value();
    doomed = f.instance.timeline(0, "another").value();
    CHECK(hal::wait(held, kSoon).error().code() == HAL_CANCELLED);
  }
  CHECK(eventually([&] { return descriptors() <= before + 2; }));  // the epoll and its bell stay
}

TEST_CASE("order: a lower import does not move a timeline that stands higher, and many arrive in any order") {
  Fixture f;
  hal::Timeline line = f.instance.timeline(0, "line").value();
  std::vector<std::unique_ptr<Fd>> sources;
  for (std::uint64_t i = 0; i < 30; ++i) {
    sources.push_back(std::make_unique<Fd>(::eventfd(0, EFD_CLOEXEC)));
    REQUIRE(line.import_fd(i + 1, sources.back()->fd));
  }
  const int open = descriptors();
  const std::uint64_t one = 1;
  REQUIRE(::write(sources[20]->fd, &one, 8) == 8);
  REQUIRE(line.wait(21, kSoon));
  for (std::size_t i = 0; i < 20; ++i) { REQUIRE(::write(sources[i]->fd, &one, 8) == 8); }
  REQUIRE(::write(sources[29]->fd, &one, 8) == 8);
  REQUIRE(line.wait(30, kSoon));
  CHECK(line.value().value() == 30);
  CHECK(eventually([&] { return descriptors() <= open - 22; }));  // those that were written have been let go
}

TEST_CASE("order: a descriptor that becomes readable after the last signal submitted is lost is ignored") {
  Fixture f;
  hal::Timeline line = f.instance.timeline(0, "line").value(), gate = f.instance.timeline(0, "gate").value(),
                after = f.instance.timeline(0, "after").value();
  hal::Queue other = f.device.queue("other").value();
  const Point lost = other.barrier({.waits = {gate.at(1)}, .signals = {line.at(1)}}).value();
  const Fd source(::eventfd(0, EFD_CLOEXEC));
  REQUIRE(line.import_fd(2, source.fd));
  gate.fail(hal::Error(HAL_PEER_LOST, "the only one"));
  REQUIRE_FALSE(hal::wait(lost, kSoon));
  // Nobody looks at the timeline before the descriptor has come: it has been let go, and the engine has done more.
  const int open = descriptors();
  const std::uint64_t one = 1;
  REQUIRE(::write(source.fd, &one, 8) == 8);
  REQUIRE(eventually([&] { return descriptors() < open; }));
  const Point later = f.queue.barrier({.waits = {after.at(1)}}).value();
  REQUIRE(after.signal(1));
  REQUIRE(hal::wait(later, kSoon));
  CHECK(contains(line.wait(2, kSoon).error().text(), "the only one"));
}

TEST_CASE("order: an import that waits costs no processor time") {
  Manual m;  // has no threads of its own
  hal::Timeline line = m.instance.timeline(0, "line").value();
  Fd source(::eventfd(0, EFD_CLOEXEC));
  REQUIRE(line.import_fd(1, source.fd));
  hal::Queue queue = m.device.queue("rings").value();
  for (std::uint64_t i = 1; i <= 5; ++i) {  // gives the thread that waits something else to do
    hal::Timeline gate = m.instance.timeline(0, "gate").value();
    const Point held = queue.barrier({.waits = {gate.at(1)}}).value();
    REQUIRE(gate.signal(1));
    REQUIRE(eventually([&] { return m.control.taken("rings") == i; }));
    m.control.complete("rings", i);
    REQUIRE(hal::wait(held, kSoon));
  }
  rusage from{}, to{};
  ::getrusage(RUSAGE_SELF, &from);
  CHECK(line.wait(1, 300ms).error().code() == HAL_DEADLINE_EXCEEDED);
  ::getrusage(RUSAGE_SELF, &to);
  // A thread that polled would show in its switches however slow the machine is, one that spun in its time.
  CHECK((to.ru_nvcsw - from.ru_nvcsw) + (to.ru_nivcsw - from.ru_nivcsw) < 100);
  const auto spent = [](const timeval& then, const timeval& now) {
    return (now.tv_sec - then.tv_sec) * 1'000'000 + now.tv_usec - then.tv_usec;
  };
  CHECK(spent(from.ru_utime, to.ru_utime) + spent(from.ru_stime, to.ru_stime) < 150'000);
}
