// SPDX-License-Identifier: Apache-2.0
// An allocation fails at any point: the n-th of whole scripted lives of the library, for n = 1, 2, ... until a life
// needs fewer. Operator new and malloc in every library of ours, the application's allocator, and threads that the
// system refuses. Never a crash or a hang; every call does its job or says that memory was missing; every host function
// is called once; nothing is left behind; and the next life is none the worse.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cuda/scale_kernel.hpp"
#include "failing_allocations.hpp"
#include "hal/graph.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;
using hal::test::eventually;
using hal::test::kSoon;

namespace {

// The application's allocator: sees to it that what goes back is what was given.
struct Hook {
  std::atomic<std::int64_t> bytes{0};
  std::atomic<std::uint64_t> wrong{0};

  struct Head {
    std::uint64_t size, alignment;
  };
  static std::uint64_t room(std::uint64_t alignment) { return std::max<std::uint64_t>(alignment, 64); }

  hal_allocator table() {
    return {this,
            [](void* user, std::uint64_t size, std::uint64_t alignment) -> void* {
              auto& self = *static_cast<Hook*>(user);
              if (hal::test::fails_here()) { return nullptr; }
              if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > 4096) { ++self.wrong; }
              const std::uint64_t before = room(alignment);
              auto* raw =
                  static_cast<char*>(std::aligned_alloc(before, (size + before + before - 1) / before * before));
              if (raw == nullptr) { return nullptr; }
              const Head head{size, alignment};
              std::memcpy(raw, &head, sizeof head);
              self.bytes += static_cast<std::int64_t>(size);
              return raw + before;
            },
            [](void* user, void* address, std::uint64_t size, std::uint64_t alignment) {
              auto& self = *static_cast<Hook*>(user);
              char* raw = static_cast<char*>(address) - room(alignment);
              Head head{};
              std::memcpy(&head, raw, sizeof head);
              if (head.size != size || head.alignment != alignment) { ++self.wrong; }
              self.bytes -= static_cast<std::int64_t>(size);
              std::free(raw);
            }};
  }
};

// What a life met with.
struct Life {
  hal_allocator allocator{};
  std::string problem;  // the first error that is not about memory
  int errors = 0;
  std::atomic<int> accepted{0}, called{0};  // host functions

  static bool about_memory(const hal::Error& error) {
    for (const hal_error* at = error.get(); at != nullptr; at = hal_error_describe(at).cause) {
      const hal_error_info info = hal_error_describe(at);
      if (info.code == HAL_OUT_OF_HOST_MEMORY || info.code == HAL_OUT_OF_DEVICE_MEMORY) { return true; }
      const std::string what = info.what + std::string(info.vendor_name);
      for (const char* sign : {"memory", "bad_alloc", "no thread", "CUDA_ERROR_OPERATING_SYSTEM"}) {
        if (what.find(sign) != std::string::npos) { return true; }
      }
    }
    return false;
  }
  void note(const hal::Error& error, hal_code expected) {
    ++errors;
    if (error.code() != expected && !about_memory(error) && problem.empty()) { problem = std::string(error.text()); }
  }
  template <class T>
  std::optional<T> get(hal::Result<T> result, hal_code expected = HAL_OK) {
    if (result) { return std::move(*result); }
    note(result.error(), expected);
    return {};
  }
  bool ok(const hal::Result<void>& result, hal_code expected = HAL_OK) {
    if (result) { return true; }
    note(result.error(), expected);
    return false;
  }
  void wait(const std::optional<hal::Point>& point, hal_code expected = HAL_OK) {
    if (point) { ok(hal::wait(*point, kSoon), expected); }
  }
  hal::Command call() {
    hal::Command command{HAL_OP_CALL, 0, nullptr, {}};
    command.as.call = {[](void* user, const hal_error*) -> hal_error* {
                         ++static_cast<Life*>(user)->called;
                         return nullptr;
                       },
                       this};
    return command;
  }
  std::optional<hal::Instance> instance(const char* drivers, const char* layers = nullptr) {
    hal_instance_desc desc{};
    desc.struct_size = sizeof desc;
    desc.drivers = drivers;
    desc.layers = layers;
    desc.allocator = &allocator;
    desc.log = [](void*, hal_log_level, const char*, const char*) {};
    return get(hal::Instance::create(desc));
  }
};

// -------------------------------------------------------------------------------------------------------------- lives

struct Opened {
  std::optional<hal::Instance> instance;
  std::optional<hal::Device> device, far;

  bool usable() const { return device && far; }
};

// What is to be opened.
struct Places {
  const char *drivers, *uri, *second;
  const char* layers = nullptr;

  Opened open(Life& life) const {
    Opened made;
    made.instance = life.instance(drivers, layers);
    if (made.instance) { made.device = life.get(made.instance->open(uri), HAL_UNAVAILABLE); }
    if (made.device) { made.far = life.get(made.instance->open(second), HAL_UNAVAILABLE); }
    return made;
  }
};

// Work on two queues of one device and one of another: straight, held back, in parts, across, failing, cancelled.
void work(Life& life, Opened& on) {
  if (!on.usable()) { return; }
  auto& instance = on.instance;
  auto &device = on.device, &far = on.far;
  auto queue = life.get(device->queue("first")), other = life.get(device->queue("second"));
  auto distant = life.get(far->queue("a queue on the other device, with a name that is long"));
  auto gate = life.get(instance->timeline(0, "gate")), done = life.get(instance->timeline(0, "done"));
  auto a = life.get(device->buffer(4096)), b = life.get(device->buffer(4096)), c = life.get(far->buffer(4096));
  // What no order joins has bytes of its own.
  auto apart = life.get(device->buffer(8192)), remote = life.get(far->buffer(4096));
  if (!queue || !other || !distant || !gate || !done || !a || !b || !c || !apart || !remote) { return; }
  std::uint64_t number = 0;
  const auto numbered = [&](std::optional<hal::Point> point) {
    if (point && point->value != ++number) { life.problem = "what was refused has used up a number"; }
    return point;
  };
  life.wait(numbered(life.get(queue->fill(a->all(), 1U))));
  numbered(life.get(queue->fill(a->all(), 2U, {.waits = {gate->at(1)}, .signals = {done->at(1)}})));
  numbered(life.get(queue->copy(a->all(), b->all())));
  const auto after =
      life.get(other->copy(apart->slice(0, 64), apart->slice(64, 64), {.waits = {done->at(1), gate->at(1)}}));
  const auto crossed = life.get(queue->copy(b->all(), c->all()));
  const auto back = life.get(distant->copy(remote->all(), apart->slice(4096, 4096), {.waits = {gate->at(1)}}));
  const std::array parts{hal::command::fill(a->slice(0, 64), 3U), life.call(), hal::command::copy(b->all(), a->all())};
  auto whole = life.get(instance->timeline(0, "whole"));
  if (!whole) { return; }
  const auto mixed = life.get(queue->submit(parts, {.signals = {whole->at(1)}}));
  if (mixed) { ++life.accepted; }
  if (mixed && life.ok(gate->on_reached(1, [&life](const hal::Result<void>&) { ++life.called; }))) { ++life.accepted; }
  auto lost = life.get(instance->timeline(0, "never given"));
  if (lost) {
    life.get(other->fill(a->slice(0, 4), 1U, {.waits = {lost->at(1)}}), HAL_CANCELLED);
    if (life.get(other->submit({{life.call()}}))) { ++life.accepted; }
  }
  life.ok(hal::wait(gate->at(2), 1us), HAL_DEADLINE_EXCEEDED);
  life.ok(gate->signal(1));
  // What waits for signals that were never taken must not be waited for.
  if (after && crossed && back && mixed) {
    for (const auto& point : {crossed, back, mixed}) { life.wait(point, HAL_CANCELLED); }
  }
  lost.reset();
  hal_queue_cancel(other->get());
  life.get(other->barrier(), HAL_CANCELLED);
  if (device->supports("no such feature").support != HAL_NO) { life.problem = "it supports anything"; }
  hal_timeline_fail(done->get(), nullptr);
  life.ok(done->wait(2, kSoon), HAL_CANCELLED);
}

// Memory in the order of queues, ranges, imports, descriptors.
void memory(Life& life) {
  auto instance = life.instance("host");
  auto device = instance ? life.get(instance->open("host:0"), HAL_UNAVAILABLE) : std::nullopt;
  auto queue = device ? life.get(device->queue("q")) : std::nullopt;
  auto other = queue ? life.get(device->queue("other")) : std::nullopt;
  auto gate = other ? life.get(instance->timeline()) : std::nullopt;
  if (!gate) { return; }
  auto pool = life.get(device->pool(std::uint64_t{1} << 16U));
  for (int round = 0; pool && round < 2; ++round) {
    auto claimed = life.get(queue->alloc(*pool, 30'000));
    if (!claimed) { break; }
    life.get(queue->fill(claimed->all(), 1U, {.waits = {gate->at(1)}}));
    life.get(queue->submit({{hal::command::free(*claimed)}}));
    if (auto behind = life.get(other->alloc(*pool, 60'000))) { life.get(other->fill(behind->all(), 2U)); }
    life.ok(gate->signal(static_cast<std::uint64_t>(round) + 1));
    life.wait(life.get(queue->barrier()));
  }
  if (auto unit = life.get(device->number("virtual.granularity"))) {
    auto range = life.get(device->reserve(2 * *unit));
    auto physical = life.get(device->physical(*unit));
    if (range && physical && life.ok(range->map(*unit, *physical, 0, *unit, HAL_ACCESS_READ_WRITE))) {
      life.get(queue->fill(range->slice(*unit, 64), 1U));
      life.ok(range->protect(*unit, *unit, HAL_ACCESS_READ));
      life.ok(range->unmap(*unit, *unit));
    }
  }
  std::array<std::byte, 4096> own{};
  {
    auto imported = life.get(device->import_host(own));
    if (imported) { life.wait(life.get(queue->fill(imported->all(), 1U))); }
  }
  const auto later = life.get(queue->barrier({.waits = {gate->at(10)}}));
  if (later) {
    if (const auto fd = life.get(hal::export_fd(*later))) { ::close(*fd); }
  }
  const int event = ::eventfd(1, EFD_CLOEXEC);
  const bool comes = life.ok(gate->import_fd(10, event));
  ::close(event);
  if (comes) { life.wait(later); }
  if (!comes) { gate->fail(hal::Error(HAL_OUT_OF_HOST_MEMORY, "the signal never came")); }
  life.get(device->report(), HAL_UNSUPPORTED);
}

const std::vector<std::byte>& graph() {
  static const std::vector<std::byte> bytes = [] {
    hal::GraphBuilder b("add");
    const auto x = b.input("x", hal::DType::f32, {16, 16}), y = b.input("y", hal::DType::f32, {16, 16});
    b.output("sum", b.map({b.contract("ij,jk->ik", x, y), y}, hal::graph::arg(0) + hal::graph::arg(1)));
    return b.finish().value();
  }();
  return bytes;
}

// Programs, bundles, recordings, captures.
void programs(Life& life, Opened& on) {
  auto& instance = on.instance;
  auto& device = on.device;
  auto queue = on.usable() ? life.get(device->queue("q")) : std::nullopt;
  if (!queue) { return; }
  const std::array images{hal::Image{"no.such.format", graph()}, hal::Image{"hal.graph", graph()}};
  life.get(device->load(images[0]), HAL_INVALID_IMAGE);
  auto chosen = life.get(device->load_any(images), HAL_UNSUPPORTED);
  auto program = life.get(device->load(images[1]));
  auto entry = program ? life.get(program->entry("add")) : std::nullopt;
  auto x = life.get(device->buffer(1024)), y = life.get(device->buffer(1024)), sum = life.get(device->buffer(1024));
  if (!entry || !x || !y || !sum) { return; }
  life.get(program->serialize(), HAL_UNSUPPORTED);
  life.get(queue->fill(x->all(), 1.0F));
  life.get(queue->fill(y->all(), 2.0F));
  life.wait(life.get(queue->run(*entry, {*x, *y, *sum})));
  const std::array<hal::Arg, 3> args{hal::slot(0, 0, 1024), *y, *sum};
  const std::array commands{hal::command::run(*entry, args), hal::command::copy(sum->all(), x->all())};
  auto recording = life.get(device->record(commands));
  if (recording) {
    const std::array<hal::Slice, 1> slots{x->all()};
    auto gate = life.get(instance->timeline());
    if (gate) {
      const auto held = life.get(queue->execute(*recording, slots, {.waits = {gate->at(1)}}));
      life.ok(gate->signal(1));
      life.wait(held);
    }
  }
  if (life.ok(hal::check(hal_queue_capture_begin(queue->get())))) {
    life.get(queue->run(*entry, {*x, *y, *sum}));
    life.get(queue->fill(x->all(), 0U));
    hal_commands* captured = nullptr;
    if (life.ok(hal::check(hal_queue_capture_end(queue->get(), &captured)))) {
      const hal::Commands kept(captured);
      life.wait(life.get(queue->execute(kept)));
    }
  }
}

const char* const kScaleManifest =
    "entry scale kernel group=64\n  buffer data inout f32\n  scalar count u32\n  scalar factor f32\n";

// A kernel between copies from and to plain host memory, behind a gate too.
void kernels(Life& life, Opened& on) {
  auto& instance = on.instance;
  auto& device = on.device;
  auto queue = on.usable() ? life.get(device->queue("q")) : std::nullopt;
  if (!queue) { return; }
  auto program =
      life.get(device->load({"ptx", std::as_bytes(std::span(std::string_view(hal::cuda::kScale))), kScaleManifest}));
  auto entry = program ? life.get(program->entry("scale")) : std::nullopt;
  auto data = entry ? life.get(device->buffer(1024)) : std::nullopt;
  auto gate = data ? life.get(instance->timeline()) : std::nullopt;
  if (!gate) { return; }
  std::array<float, 256> in, out{};
  in.fill(3.0F);
  life.get(queue->prepare(*entry));
  life.get(queue->copy(hal::host(in), data->all()));
  life.get(queue->run(*entry, {*data, 256U, 2.0F}, hal::Grid(4)));
  life.get(queue->run(*entry, {*data, 256U, 2.0F}, hal::Grid(4), {.waits = {gate->at(1)}}));
  const auto copied = life.get(queue->copy(data->all(), hal::host(out)));
  life.ok(gate->signal(1));
  life.wait(copied);
  if (life.errors == 0 && std::ranges::count(out, 12.0F) != 256) { life.problem = "a wrong product"; }
}

// ---------------------------------------------------------------------------------------------------------- exhaustion

// `mend` is called before each life, with all the memory that there is; true if something was lost before. The first
// `dense` allocations fail one by one, then ever fewer of the rest: an emulator makes thousands.
template <class Live, class Mend>
void exhaust(Hook& hook, std::uint64_t dense, Live live, Mend mend) {
  const auto live_once = [&](Life& life) {
    life.allocator = hook.table();
    live(life);
    CHECK(eventually([&] { return life.called == life.accepted; }));
  };
  for (int i = 0; i < 3; ++i) {  // whatever is kept for ever is made here
    mend();
    Life life;
    live_once(life);
    INFO(life.problem);
    REQUIRE(life.problem.empty());
  }
  std::uint64_t failures = 0;
  std::int64_t left = 0;  // allocations
  // A thread that was started late, say, is kept; a leak comes back with the same allocation.
  const auto leaves_nothing = [&](std::uint64_t n, std::chrono::steady_clock::duration limit) {
    mend();
    const std::int64_t before = hal::test::live_allocations(), bytes = hook.bytes;
    Life life;
    INFO("allocation " << n << " fails");
    hal::test::fail_after(n);
    live_once(life);
    hal::test::fail_no_more();
    failures = hal::test::failures();
    INFO(life.problem);
    CHECK(life.problem.empty());
    const bool nothing =
        eventually([&] { return hook.bytes <= bytes && hal::test::live_allocations() <= before; }, limit);
    left = hal::test::live_allocations() - before;
    return nothing;
  };
  std::uint64_t n = 0;
  do {
    // What a life has lost keeps what is its own until it is closed.
    const bool nothing =
        leaves_nothing(n, 50ms) || mend() || leaves_nothing(n, 1s) || mend() || leaves_nothing(n, kSoon) || mend();
    INFO("allocation " << n << " fails; " << left << " allocations are left, and the allocator has given "
                       << hook.bytes.load() << " bytes");
    CHECK(nothing);
    n += 1 + n / dense;
  } while (failures != 0);
  CHECK(n > 50);
  WARN("needs " << n << " allocations");
  CHECK(hook.wrong == 0);
}

using Script = void (*)(Life& life, Opened& on);

// Whole lives, with their openings.
void exhaust(Script script, const Places& places, std::uint64_t dense = 256) {
  Hook hook;
  exhaust(
      hook, dense,
      [&](Life& life) {
        Opened opened = places.open(life);
        script(life, opened);
      },
      [] { return false; });
}

// Devices that stay open through all lives, so that no compiler of theirs takes the time; opened anew where a life has
// lost one.
void exhaust_open(Script script, const Places& places) {
  Hook hook;
  Opened opened;
  const auto answers = [](hal::Device& device) {
    auto queue = device.queue();
    const auto done = queue ? queue->barrier() : queue.error();
    return done && hal::wait(*done, kSoon);
  };
  const auto both_answer = [&] { return opened.usable() && answers(*opened.device) && answers(*opened.far); };
  const auto mend = [&] {
    if (both_answer()) { return false; }
    opened = {};
    Life life;
    life.allocator = hook.table();
    opened = places.open(life);
    REQUIRE(both_answer());  // and has made whatever its first queue makes
    return true;
  };
  exhaust(hook, 256, [&](Life& life) { script(life, opened); }, mend);
}

}  // namespace

TEST_CASE("exhaustion: work on the host device") { exhaust(work, {"host", "host:0", "host:0"}); }
TEST_CASE("exhaustion: work on a weak host device") { exhaust(work, {"host", "host:0?mode=weak&seed=3", "host:0"}); }
TEST_CASE("exhaustion: memory and descriptors") {
  Hook hook;
  exhaust(hook, 256, memory, [] { return false; });
}
TEST_CASE("exhaustion: programs and recordings") { exhaust(programs, {"host", "host:0", "host:0"}); }
TEST_CASE("exhaustion: layers that watch") {
  const auto folder = std::filesystem::temp_directory_path() / ("halyard-exhaustion-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const std::string layers =
      "validation,trace=" + (folder / "trace").string() + ",record=" + (folder / "recording").string();
  exhaust(work, {"host", "host:0", "host:0", layers.c_str()});
  std::filesystem::remove_all(folder);
}

// The emulated devices: what their openings need is mostly what their compilers do.
TEST_CASE("exhaustion: work on a card and the host") { exhaust_open(work, {"rngd:host", "rngd:0/pe0", "host:0"}); }
TEST_CASE("exhaustion: work on the host and a card") { exhaust_open(work, {"rngd:host", "host:0", "rngd:0/pe0"}); }
TEST_CASE("exhaustion: a whole life of a card") { exhaust(work, {"rngd:host", "rngd:0", "host:0"}); }
TEST_CASE("exhaustion: graphs on a card") { exhaust(programs, {"rngd:host", "rngd:0/pe0", "host:0"}); }
TEST_CASE("exhaustion: work on a GPU and the host") { exhaust_open(work, {"cuda:host", "cuda:0", "host:0"}); }
TEST_CASE("exhaustion: work on the host and a GPU") { exhaust_open(work, {"cuda:host", "host:0", "cuda:0"}); }
TEST_CASE("exhaustion: kernels on a GPU") { exhaust_open(kernels, {"cuda:host", "cuda:0", "host:0"}); }
TEST_CASE("exhaustion: graphs on a GPU") { exhaust_open(programs, {"cuda:host", "cuda:0", "host:0"}); }
TEST_CASE("exhaustion: a whole life of a GPU") { exhaust(work, {"cuda:host", "cuda:0", "host:0"}, 64); }
