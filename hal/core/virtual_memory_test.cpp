// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <vector>

#include "core/host_fixture.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;
using hal::test::eventually;

namespace {

struct Fixture : hal::test::HostQueue {
  std::uint64_t unit = device.number("virtual.granularity").value();

  void finish() { REQUIRE(queue.finish(20s)); }
};

}  // namespace

TEST_CASE("virtual: memory appears where it is mapped, twice if it is mapped twice") {
  Fixture f;
  hal::Physical memory = f.device.physical(2 * f.unit).value();
  hal::VirtualBuffer range = f.device.reserve(4 * f.unit).value();
  CHECK(f.queue.fill(range.slice(0, 8), std::uint8_t{1}).error().code() == HAL_INVALID_ARGUMENT);
  REQUIRE(range.map(0, memory, 0, 2 * f.unit));
  REQUIRE(range.map(2 * f.unit, memory, 0, 2 * f.unit));
  // A ring: what is written over the end of the first copy is seen at its beginning.
  f.queue.fill(range.slice(2 * f.unit - 4, 8), std::uint8_t{0x5a}).value();
  f.finish();
  const std::span<std::byte> bytes = range.host();
  CHECK(bytes[0] == std::byte{0x5a});
  CHECK(bytes[3] == std::byte{0x5a});
  CHECK(bytes[4] == std::byte{0});  // made of zeros
  CHECK(bytes[2 * f.unit - 1] == std::byte{0x5a});
  // Mapped, but not all of it.
  REQUIRE(range.unmap(2 * f.unit, 2 * f.unit));
  CHECK(f.queue.fill(range.slice(2 * f.unit - 4, 8), std::uint8_t{1}).error().code() == HAL_INVALID_ARGUMENT);
  REQUIRE(f.queue.fill(range.slice(2 * f.unit - 4, 4), std::uint8_t{1}));
  f.finish();
}

TEST_CASE("virtual: work submitted before an unmap keeps its memory, work after it is refused") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline().value();
  hal::VirtualBuffer range = f.device.reserve(f.unit).value();
  hal::Buffer out = f.device.buffer(f.unit).value();
  {
    hal::Physical memory = f.device.physical(f.unit).value();
    REQUIRE(range.map(0, memory, 0, f.unit));
  }  // the mapping owns it
  REQUIRE(hal::wait(f.queue.fill(range, std::uint8_t{0x33}).value(), 20s));
  const hal::Point copied = f.queue.copy(range, out, {.waits = {gate.at(1)}}).value();
  REQUIRE(range.unmap(0, f.unit));
  CHECK(f.queue.copy(range, out).error().what().find("nothing is mapped") != std::string_view::npos);
  hal::Physical other = f.device.physical(f.unit).value();
  CHECK(range.map(0, other, 0, f.unit).error().code() == HAL_BUSY);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(copied, 20s));
  CHECK(out.host()[f.unit - 1] == std::byte{0x33});
  // The device follows soon: on a thread of the core, which no point of ours can name.
  REQUIRE(eventually([&] {
    f.queue.barrier().value();
    f.finish();
    return range.map(0, other, 0, f.unit).has_value();
  }));
  REQUIRE(hal::wait(f.queue.copy(range, out).value(), 20s));
  CHECK(out.host()[0] == std::byte{0});
}

TEST_CASE("virtual: protection is kept for copies, fills and recordings") {
  Fixture f;
  hal::Physical memory = f.device.physical(f.unit).value();
  hal::VirtualBuffer range = f.device.reserve(2 * f.unit).value();
  hal::Buffer other = f.device.buffer(f.unit).value();
  REQUIRE(range.map(f.unit, memory, 0, f.unit));
  const std::array commands{hal::command::fill(range.slice(f.unit, 16), std::uint32_t{7})};
  hal::Commands recording = f.device.record(commands).value();
  f.queue.execute(recording).value();
  f.finish();
  REQUIRE(range.protect(f.unit, f.unit, HAL_ACCESS_READ));
  CHECK(f.queue.execute(recording).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.fill(range.slice(f.unit, 16), std::uint8_t{1}).error().what().find("read-only") !=
        std::string_view::npos);
  CHECK(f.queue.copy(other, range.slice(f.unit, f.unit)).error().code() == HAL_INVALID_ARGUMENT);
  f.queue.copy(range.slice(f.unit, f.unit), other).value();
  f.finish();
  CHECK(other.host()[0] == std::byte{7});
  REQUIRE(range.protect(f.unit, f.unit, HAL_ACCESS_NONE));
  CHECK(f.queue.copy(range.slice(f.unit, f.unit), other).error().code() == HAL_INVALID_ARGUMENT);
  REQUIRE(range.protect(f.unit, f.unit, HAL_ACCESS_READ_WRITE));
  f.queue.execute(recording).value();
  f.finish();
}

TEST_CASE("virtual: rights that are taken stay for work submitted before, and then go") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline().value();
  hal::Physical memory = f.device.physical(f.unit).value();
  hal::VirtualBuffer range = f.device.reserve(f.unit).value();
  REQUIRE(range.map(0, memory, 0, f.unit));
  const hal::Point filled = f.queue.fill(range, std::uint8_t{7}, {.waits = {gate.at(1)}}).value();
  REQUIRE(range.protect(0, f.unit, HAL_ACCESS_READ));
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(filled, 20s));
  CHECK(range.host()[f.unit - 1] == std::byte{7});
  // The device follows soon. The system writes no byte of a pipe to where this process may not.
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  REQUIRE(::write(ends[1], "x", 1) == 1);
  int tries = 0;
  for (; ::read(ends[0], range.host().data(), 1) == 1 && tries < 100'000; ++tries) {
    REQUIRE(::write(ends[1], "x", 1) == 1);
    f.queue.barrier().value();
    f.finish();
  }
  CHECK(tries < 100'000);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("virtual: what does not fit is refused with the numbers") {
  Fixture f;
  CHECK(f.device.reserve(0).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.device.reserve(f.unit + 1).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.device.physical(1).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.device.physical(std::uint64_t{1} << 60).error().code() == HAL_OUT_OF_DEVICE_MEMORY);
  hal::VirtualBuffer range = f.device.reserve(4 * f.unit).value();
  hal::Physical memory = f.device.physical(2 * f.unit).value();
  CHECK(range.map(1, memory, 0, f.unit).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(range.map(0, memory, 1, f.unit).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(range.map(0, memory, 0, 0).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(range.map(0, memory, 0, f.unit, HAL_ACCESS_NONE).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(range.map(0, memory, f.unit, 2 * f.unit).error().code() == HAL_OUT_OF_RANGE);
  CHECK(range.map(3 * f.unit, memory, 0, 2 * f.unit).error().code() == HAL_OUT_OF_RANGE);
  CHECK(range.map(UINT64_MAX - f.unit + 1, memory, 0, 2 * f.unit)
            .error()
            .what()
            .find(std::to_string(2 * f.unit) + " bytes from byte ") != std::string_view::npos);
  REQUIRE(range.map(f.unit, memory, 0, 2 * f.unit));
  CHECK(range.map(0, memory, 0, 2 * f.unit).error().code() == HAL_INVALID_ARGUMENT);  // overlaps
  CHECK(range.unmap(0, 2 * f.unit).error().what().find("cut the mapping") != std::string_view::npos);
  CHECK(range.protect(0, 3 * f.unit, HAL_ACCESS_READ).error().code() == HAL_INVALID_ARGUMENT);  // a hole
  REQUIRE(range.unmap(0, 4 * f.unit));
  REQUIRE(range.unmap(0, 4 * f.unit));
  CHECK(f.queue.free(range).error().code() == HAL_INVALID_ARGUMENT);
  hal::Buffer plain = f.device.buffer(f.unit).value();
  CHECK(
      hal_code(hal::check(hal_virtual_map(plain.get(), 0, memory.get(), 0, f.unit, HAL_ACCESS_READ)).error().code()) ==
      HAL_INVALID_ARGUMENT);
  hal::Device minimal = f.instance.open("host:0?mode=minimal").value();
  CHECK(minimal.supports("virtual-memory").support == HAL_NO);
  CHECK(minimal.reserve(f.unit).error().code() == HAL_UNSUPPORTED);
  CHECK(minimal.physical(f.unit).error().code() == HAL_UNSUPPORTED);
  CHECK(minimal.import_fd(0, f.unit).error().code() == HAL_UNSUPPORTED);
  std::array<std::byte, 8> bytes{};
  CHECK(minimal.import_host(bytes).error().code() == HAL_UNSUPPORTED);
}

TEST_CASE("share: two instances and two processes see the same bytes through a descriptor") {
  Fixture f;
  hal::Physical memory = f.device.physical(f.unit).value();
  hal::VirtualBuffer range = f.device.reserve(f.unit).value();
  REQUIRE(range.map(0, memory, 0, f.unit));
  REQUIRE(hal::wait(f.queue.fill(range, std::uint8_t{0x41}).value(), 20s));
  const int fd = memory.export_fd().value();

  hal::Instance second = hal::Instance::create("host").value();
  hal::Device there = second.open("host:0").value();
  hal::Physical imported = there.import_fd(fd, f.unit).value();
  hal::VirtualBuffer seen = there.reserve(f.unit).value();
  REQUIRE(seen.map(0, imported, 0, f.unit, HAL_ACCESS_READ));
  CHECK(seen.host()[f.unit - 1] == std::byte{0x41});

  const pid_t child = fork();
  if (child == 0) {  // another process, with nothing but the descriptor
    void* mapped = mmap(nullptr, f.unit, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED || *static_cast<unsigned char*>(mapped) != 0x41) { _exit(1); }
    *static_cast<unsigned char*>(mapped) = 0x42;
    _exit(0);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(seen.host()[0] == std::byte{0x42});
  CHECK(range.host()[0] == std::byte{0x42});

  // Its size is sealed: nobody can cut pages off under the others.
  CHECK(ftruncate(fd, 0) != 0);
  CHECK(there.import_fd(fd, 2 * f.unit).error().code() == HAL_INVALID_ARGUMENT);
  close(fd);
  CHECK(there.import_fd(fd, f.unit).error().code() == HAL_INVALID_ARGUMENT);  // closed
  std::array<int, 2> ends{};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  CHECK(there.import_fd(ends[0], f.unit).error().what().find("sealed") != std::string_view::npos);
  const int loose = memfd_create("loose", MFD_CLOEXEC);
  REQUIRE(ftruncate(loose, static_cast<off_t>(f.unit)) == 0);
  CHECK(there.import_fd(loose, f.unit).error().code() == HAL_INVALID_ARGUMENT);
  for (const int open : {ends[0], ends[1], loose}) { close(open); }
}

TEST_CASE(
    "share: a descriptor that could lose its rights later, or has not enough of them, is refused with the reason") {
  Fixture f;
  hal::Physical memory = f.device.physical(f.unit).value();
  const int fd = memory.export_fd().value();
  CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) != 0);  // whoever has the descriptor cannot lock the others out
  const auto refused = [&](int given, const char* part) {
    const auto made = f.device.import_fd(given, f.unit);
    REQUIRE(!made);
    CHECK(made.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(std::string(made.error().what()).find(part) != std::string::npos);
  };
  const int read_only = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(read_only >= 0);
  refused(read_only, "may not be written (O_RDONLY)");
  const auto sealed = [&](int seals) {
    const int made = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(ftruncate(made, static_cast<off_t>(f.unit)) == 0);
    REQUIRE(fcntl(made, F_ADD_SEALS, seals) == 0);
    return made;
  };
  const int open_ended = sealed(F_SEAL_SHRINK), locked = sealed(F_SEAL_SHRINK | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE),
            enough = sealed(F_SEAL_SHRINK | F_SEAL_SEAL);
  refused(open_ended, "sealed for good");
  refused(locked, "may not be written (F_SEAL_WRITE)");
  CHECK(f.device.import_fd(enough, f.unit));
  for (const int each : {fd, read_only, open_ended, locked, enough}) { close(each); }
}

TEST_CASE("import: the caller's memory is the buffer, until it is released and all work is done") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline().value();
  std::vector<std::byte> mine(4096, std::byte{1}), out(4096);
  std::atomic<int> released{0};
  const auto note = [](void* user) { static_cast<std::atomic<int>*>(user)->fetch_add(1); };
  hal::Point read;
  {
    hal::Buffer buffer = f.device.import_host(mine, note, &released).value();
    CHECK(buffer.host().data() == mine.data());
    REQUIRE(hal::wait(f.queue.fill(buffer.slice(0, 2048), std::uint8_t{9}).value(), 20s));
    CHECK(mine[0] == std::byte{9});
    CHECK(mine[2048] == std::byte{1});
    CHECK(f.queue.free(buffer).error().code() == HAL_INVALID_ARGUMENT);
    read = f.queue.copy(buffer, hal::host(out), {.waits = {gate.at(1)}}).value();
  }
  CHECK(released == 0);
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(read, 20s));
  f.queue = {};
  f.device = {};
  gate = {};
  f.instance = {};  // runs what is left
  for (int tries = 0; released == 0 && tries < 100'000; ++tries) { usleep(100); }
  CHECK(released == 1);
  CHECK(out[0] == std::byte{9});
  Fixture again;
  CHECK(hal_code(hal::check(hal_buffer_import_host(again.device.get(), nullptr, 8, nullptr, nullptr, nullptr))
                     .error()
                     .code()) == HAL_INVALID_ARGUMENT);
  CHECK(again.device.import_host({mine.data(), 0}).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(again.device.import_host({mine.data(), SIZE_MAX}).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("overlap: a buffer and its own host address are the same bytes") {
  Fixture f;
  hal::Buffer buffer = f.device.buffer(256).value();
  const hal::Slice seen = hal_host(buffer.host().data() + 100, 64);
  CHECK(f.queue.copy(buffer.slice(50, 64), seen).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.copy(seen, buffer.slice(120, 64)).error().code() == HAL_INVALID_ARGUMENT);
  REQUIRE(hal::wait(f.queue.copy(seen, buffer.slice(164, 64)).value(), 20s));  // they only touch
  hal::Device weak = f.instance.open("host:0?mode=weak&seed=3").value();
  hal::Queue other = weak.queue().value();
  CHECK(other.copy(buffer.slice(50, 64), seen).error().code() == HAL_INVALID_ARGUMENT);  // another device's buffer
  std::array<std::byte, 64> bytes{};
  hal::Buffer a = f.device.import_host(bytes).value(), b = f.device.import_host(bytes).value();
  CHECK(f.queue.copy(a.slice(0, 32), b.slice(16, 32)).error().code() == HAL_INVALID_ARGUMENT);
}
