// SPDX-License-Identifier: Apache-2.0
// hal_instructions PATH COUNT: takes one path of the library COUNT times on the host device, for tools/instructions.py
// to count instructions by the difference of two counts. Prints nothing; what it costs to begin and end is in both
// runs.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>

#include "cli/bench/row.hpp"
#include "cli/bench/timing.hpp"

namespace {

using namespace std::chrono_literals;
using namespace hal;

Result<void> finish(const Point& point) { return wait(point, 30s); }

struct Subject {
  Device device;
  Queue queue;
  Entry entry;
  cli::bench::EmptyArguments buffers;
  std::array<Arg, 3> args;
  Commands recorded;
  Command command, barrier;
  Queue others;
  Timeline gate, line;
  std::uint64_t signalled = 0;
  Point held{};
};

constexpr int kGroup = 256;

// What the loop around a C submission and its wait costs: two calls of the same form into another unit.
using Submit = decltype(&hal_queue_submit);
using Wait = decltype(&hal_wait);
Submit volatile no_submit = [](hal_queue*, const hal_command*, std::uint32_t, const hal_sync*,
                               hal_point*) -> hal_error* { return nullptr; };
Wait volatile no_wait = [](const hal_point*, std::uint32_t, hal_wait_mode, std::uint64_t,
                           std::uint32_t*) -> hal_error* { return nullptr; };

using Path = std::function<Result<void>(Subject&)>;

// Each does kGroup operations but those marked.
std::map<std::string, Path> paths() {
  std::map<std::string, Path> all;
  const auto each = [](auto submit) -> Path {
    return [submit](Subject& on) -> Result<void> {
      for (int i = 0; i < kGroup; ++i) {
        HAL_TRY(const Point done, submit(on));
        HAL_CHECK(finish(done));
      }
      return {};
    };
  };
  // The C functions alone, with a command that is there already: what peers with a C interface are counted by.
  const auto plain = [](auto command) -> Path {
    return [command](Subject& on) -> Result<void> {
      for (int i = 0; i < kGroup; ++i) {
        Point done{};
        HAL_CHECK(check(hal_queue_submit(on.queue.get(), command(on), 1, nullptr, &done)));
        HAL_CHECK(check(hal_wait(&done, 1, HAL_WAIT_ALL, 30'000'000'000U, nullptr)));
      }
      return {};
    };
  };
  all["loop"] = [](Subject& on) -> Result<void> {
    for (int i = 0; i < kGroup; ++i) {
      Point done{};
      HAL_CHECK(check(no_submit(on.queue.get(), &on.command, 1, nullptr, &done)));
      HAL_CHECK(check(no_wait(&done, 1, HAL_WAIT_ALL, 30'000'000'000U, nullptr)));
    }
    return {};
  };
  all["barrier"] = plain([](Subject& on) { return &on.barrier; });
  all["barrier in C++"] = each([](Subject& on) { return on.queue.barrier(); });
  all["dispatch"] = plain([](Subject& on) { return &on.command; });
  all["dispatch in C++"] = each([](Subject& on) { return on.queue.run(on.entry, on.args, Grid(1)); });
  const auto signals = [](Subject& on) -> Result<void> {
    for (int i = 0; i < kGroup; ++i) {
      const Point signal = on.line.at(++on.signalled);
      const hal_sync sync{nullptr, &signal, 0, 1, nullptr};
      HAL_CHECK(check(hal_queue_submit(on.queue.get(), &on.barrier, 1, &sync, nullptr)));
      HAL_CHECK(check(hal_wait(&signal, 1, HAL_WAIT_ALL, 30'000'000'000U, nullptr)));
    }
    return {};
  };
  all["signal"] = signals;
  // Others are to signal more and are held back: nobody may walk over what they promised.
  all["signal among 1,000"] = [signals](Subject& on) -> Result<void> {
    for (std::uint64_t i = 0; on.signalled == 0 && i < 1000; ++i) {
      HAL_TRY(on.held, on.others.barrier({.waits = {on.gate.at(1)}, .signals = {on.line.at(1'000'000'000 + i)}}));
    }
    return signals(on);
  };
  all["copy"] = each([](Subject& on) { return on.queue.copy(on.buffers.x.slice(0, 64), on.buffers.y.slice(0, 64)); });
  all["fill"] = each([](Subject& on) { return on.queue.fill(on.buffers.x.slice(0, 64), std::uint32_t{7}); });
  all["pipelined"] = [](Subject& on) -> Result<void> {
    Point last{};
    for (int i = 0; i < kGroup; ++i) {
      HAL_CHECK(check(hal_queue_submit(on.queue.get(), &on.command, 1, nullptr, &last)));
    }
    return finish(last);
  };
  all["replay"] = [](Subject& on) -> Result<void> {
    HAL_TRY(const Point done, on.queue.execute(on.recorded));
    return finish(done);
  };
  all["recording"] = [](Subject& on) -> Result<void> {
    HAL_TRY(const Commands made, on.device.record(std::vector<Command>(kGroup, on.command)));
    return {};
  };
  all["buffer"] = [](Subject& on) -> Result<void> {
    for (int i = 0; i < kGroup; ++i) { HAL_TRY(const Buffer made, on.device.buffer(1U << 20U)); }
    return {};
  };
  all["call"] = [](Subject& on) -> Result<void> {
    for (int i = 0; i < kGroup; ++i) { cli::bench::keep(hal_queue_timeline(on.queue.get())); }
    return {};
  };
  all["event of a trace"] = [](Subject&) -> Result<void> {
    // Never let go: what is traced is written then.
    static const auto& traced = *[] {
      ::setenv("HALYARD_TRACE", "/dev/null", 1);
      return new Result<Instance>(Instance::create("host"));
    }();
    if (!traced) { return Error(traced.error()); }
    for (int i = 0; i < kGroup / 2; ++i) {
      hal_range_begin(traced->get(), "range");
      hal_range_end(traced->get());
    }
    return {};
  };
  return all;
}

Result<void> run(const Path& path, long count) {
  HAL_TRY(const Instance instance, Instance::create("host"));
  HAL_TRY(const Device device, instance.open("host:0"));
  Subject on{device, {}, {}, {}, {Arg(0), Arg(0), Arg(0)}, {}, {}, command::barrier(), {}, {}, {}, 0, {}};
  HAL_TRY(on.queue, device.queue("instructions"));
  HAL_TRY(on.others, device.queue("others"));
  HAL_TRY(on.gate, instance.timeline(0, "gate"));
  HAL_TRY(on.line, instance.timeline(0, "line"));
  HAL_TRY(on.entry, cli::bench::empty_kernel(device));
  HAL_TRY(on.buffers, cli::bench::empty_arguments(device));
  on.args = on.buffers.all();
  on.command = command::run(on.entry, on.args, Grid(1));
  HAL_TRY(on.recorded, device.record(std::vector<Command>(kGroup, on.command)));
  for (long i = 0; i < count; ++i) { HAL_CHECK(path(on)); }
  HAL_CHECK(on.gate.signal(1));
  return finish(on.held);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, Path> all = paths();
  if (argc == 2 && std::string(argv[1]) == "--list") {
    for (const auto& [name, path] : all) { std::puts(name.c_str()); }
    return 0;
  }
  const auto found = argc == 3 ? all.find(argv[1]) : all.end();
  char* end = nullptr;
  const long count = argc == 3 ? std::strtol(argv[2], &end, 10) : 0;
  if (found == all.end() || *end != 0 || count <= 0) {
    std::fprintf(stderr, "usage: hal_instructions PATH COUNT | --list\nCOUNT times %d operations of the path\n",
                 kGroup);
    return 2;
  }
  const Result<void> done = run(found->second, count);
  if (!done) { std::fprintf(stderr, "%s\n", std::string(done.error().text()).c_str()); }
  return done ? 0 : 1;
}
