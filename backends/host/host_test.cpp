// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <halyard_catch.hpp>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "driver_kit/harness.hpp"
#include "failing_allocations.hpp"
#include "hal/host_kernel.h"

using hal::kit::buffer_arg, hal::kit::copy, hal::kit::fill, hal::kit::Harness, hal::kit::whole;

namespace {

const char* const kModes[] = {"", "mode=weak&seed=3", "mode=weak&seed=4", "mode=minimal"};

// y = a x + y; and, to see the groups, each counts its visits and writes its shared memory.
void axpy(const hal_host_group* group, void* const* args) {
  const std::uint32_t n = *static_cast<const std::uint32_t*>(args[0]);
  const float a = *static_cast<const float*>(args[1]);
  const auto* x = static_cast<const float*>(args[2]);
  auto* y = static_cast<float*>(args[3]);
  const std::uint32_t first = group->group[0] * group->group_size[0];
  for (std::uint32_t i = first; i < first + group->group_size[0] && i < n; ++i) { y[i] += a * x[i]; }
}

void visit(const hal_host_group* group, void* const* args) {
  auto* visits = static_cast<std::uint32_t*>(args[0]);
  const std::uint32_t flat =
      group->group[0] + group->group_count[0] * (group->group[1] + group->group_count[1] * group->group[2]);
  std::memset(group->shared, 0x5a, group->shared_bytes);
  visits[flat] += 1 + group->shared_bytes * 256;
}

const hal_host_entry kEntries[] = {{"axpy", axpy}, {"visit", visit}};
const hal_host_functions kFunctions = HAL_HOST_FUNCTIONS(kEntries, 2);

hal_signature signature(const char* name, std::uint64_t shared = 0) {
  hal_signature out{};
  out.name = name;
  out.kind = HAL_KERNEL;
  out.shared_bytes = shared;
  return out;
}

template <class T>
hal_arg scalar_arg(T value) {
  hal_arg arg{};
  arg.kind = HAL_ARG_SCALAR;
  arg.size = sizeof(T);
  std::memcpy(arg.value.scalar, &value, sizeof(T));
  return arg;
}

hal_command run(hal_program* program, std::uint32_t entry, const std::vector<hal_arg>& args, hal_grid grid) {
  hal_command command = hal::kit::run(program, args);
  command.as.run.entry = entry;
  command.as.run.grid = grid;
  command.as.run.has_grid = 1;
  return command;
}

hal_image image_of(const void* bytes, std::uint64_t size) { return {"host.functions", bytes, size, "", nullptr, 0}; }

}  // namespace

TEST_CASE("host: one real device, listed without being opened") {
  Harness host{std::string(HOST_DRIVER)};
  REQUIRE(host.ops().device_count(host.driver()) == 1);
  hal_device_info info{};
  host.ops().device_describe(host.driver(), 0, &info);
  CHECK(std::string(info.uri) == "host:0");
  CHECK(std::string(info.name).find("Host CPU (") == 0);
  CHECK(info.is_emulated == 0);
  CHECK(info.usable == 1);
  CHECK(info.memory_bytes > 0);
}

TEST_CASE("host: unknown parts, parameters and modes are named") {
  Harness host{std::string(HOST_DRIVER)};
  hal_device_traits traits{};
  for (const auto& [params, part, word] :
       {std::tuple{"mode=lazy", "", "eager, weak, minimal"}, std::tuple{"", "pe0", "'pe0'"},
        std::tuple{"speed=3", "", "'speed'"}, std::tuple{"seed=x", "", "'x'"}}) {
    hal_error* error = host.try_open(0, params, part, &traits);
    CHECK(hal_error_describe(error).code == HAL_INVALID_ARGUMENT);
    CHECK(std::string(hal_error_text(error)).find(word) != std::string::npos);
    hal_release(error);
  }
}

TEST_CASE("host: fills and copies move exactly their bytes, in every mode") {
  for (const char* mode : kModes) {
    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, mode);
    hal_buffer* a = device->allocate(4099);
    hal_buffer* b = device->allocate(4099);
    CHECK((a->memory.host == nullptr) == (std::string(mode) == "mode=minimal"));
    Harness::Lane lane(*device);
    for (const std::uint64_t width : {1U, 2U, 4U, 8U}) {
      std::vector<unsigned char> out(4099, 0xee), expected(4099, 0x11);
      const std::uint64_t pattern = 0xfedcba9876543210U;
      const std::uint64_t length = 1000 / width * width;
      for (std::uint64_t i = 0; i < length; ++i) {
        expected[3 + i] = static_cast<unsigned char>(pattern >> (i % width * 8));
      }
      lane.submit({fill(whole(a), 0x11, 1), fill({a, 3, length}, pattern, width), copy(whole(b), whole(a)),
                   copy(hal_host(out.data(), out.size()), whole(b))});
      lane.finish();
      CHECK(out == expected);
    }
  }
}

TEST_CASE("host: a large copy arrives whole from and to odd addresses") {
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0);
  constexpr std::uint64_t kBytes = (std::uint64_t{17} << 20U) + 5;
  hal_buffer* a = device->allocate(kBytes + 64);
  std::vector<unsigned char> in(kBytes), out(kBytes);
  for (std::uint64_t i = 0; i < kBytes; ++i) { in[i] = static_cast<unsigned char>(i * 2654435761U >> 13U); }
  Harness::Lane lane(*device);
  lane.submit({copy({a, 3, kBytes}, hal_host(in.data(), kBytes)), copy(hal_host(out.data(), kBytes), {a, 3, kBytes})});
  lane.finish();
  CHECK(in == out);
}

TEST_CASE("host: memory is aligned, distinct, and refused with figures when there is none") {
  for (const char* mode : kModes) {
    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, mode);
    std::vector<std::pair<std::uintptr_t, std::uint64_t>> ranges;
    for (const std::uint64_t bytes : {1U, 63U, 64U, 4096U, 262144U, 3U << 20U, 5U}) {
      const hal_buffer* buffer = device->allocate(bytes);
      const auto at = reinterpret_cast<std::uintptr_t>(buffer->memory.impl);
      CHECK(at % 64 == 0);
      CHECK(buffer->memory.bytes >= bytes);
      CHECK(buffer->memory.offset == 0);
      std::memset(buffer->memory.impl, 1, bytes);
      for (const auto& [other, size] : ranges) { CHECK((at + bytes <= other || other + size <= at)); }
      ranges.emplace_back(at, bytes);
    }
    hal_memory memory{};
    hal_error* error = host.ops().memory_allocate(host.driver(), device->impl(), UINT64_MAX - 4096, &memory);
    CHECK(hal_error_describe(error).code == HAL_OUT_OF_DEVICE_MEMORY);
    CHECK(std::string(hal_error_text(error)).find("are free, the largest block has") != std::string::npos);
    hal_release(error);
  }
}

TEST_CASE("host: mode weak poisons fresh memory, the same way for the same seed") {
  std::vector<std::vector<unsigned char>> seen;
  for (const char* mode : {"mode=weak&seed=5", "mode=weak&seed=5", "mode=weak&seed=6"}) {
    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, mode);
    std::vector<unsigned char> bytes;
    for (int i = 0; i < 8; ++i) {
      const hal_buffer* buffer = device->allocate(16);
      CHECK(reinterpret_cast<std::uintptr_t>(buffer->memory.impl) % 128 == 64);
      bytes.push_back(*static_cast<unsigned char*>(buffer->memory.host));
      CHECK(bytes.back() >= 0x80);
    }
    seen.push_back(bytes);
  }
  CHECK(seen[0] == seen[1]);
  CHECK(seen[0] != seen[2]);
}

TEST_CASE("host: kernels run every group once with captured arguments, in every mode") {
  for (const char* mode : kModes) {
    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, mode);
    const hal_signature signatures[] = {signature("visit", 8), signature("axpy")};
    hal_program* program = device->load(image_of(&kFunctions, sizeof(kFunctions)), signatures);
    hal_buffer* visits = device->allocate(2 * 3 * 5 * 4);
    hal_buffer* x = device->allocate(1000 * 4);
    hal_buffer* y = device->allocate(1000 * 4);
    std::vector<std::uint32_t> counted(30);
    std::vector<float> in(1000), out(1000);
    std::iota(in.begin(), in.end(), 0.0F);

    Harness::Lane lane(*device);
    {
      const std::vector<hal_arg> for_visit{buffer_arg(whole(visits))};
      std::vector<hal_arg> for_axpy{scalar_arg(1000U), scalar_arg(2.0F), buffer_arg(whole(x)), buffer_arg(whole(y))};
      lane.submit({fill(whole(visits), 0, 4), run(program, 0, for_visit, {{2, 3, 5}, {1, 1, 1}, 24}),
                   copy(whole(x), hal_host(in.data(), 4000)), copy(whole(y), hal_host(in.data(), 4000)),
                   run(program, 1, for_axpy, {{8, 1, 1}, {128, 1, 1}, 0})});
      std::fill(for_axpy.begin(), for_axpy.end(), hal_arg{});
    }
    lane.submit({copy(hal_host(counted.data(), 120), whole(visits)), copy(hal_host(out.data(), 4000), whole(y))});
    lane.finish();
    for (const std::uint32_t count : counted) { CHECK(count == 1 + 32 * 256); }
    for (std::size_t i = 0; i < 1000; ++i) { REQUIRE(out[i] == 3.0F * in[i]); }
  }
}

TEST_CASE("host: a launch of one group gets all its arguments, however many its entries take") {
  static constexpr auto sum = [](const hal_host_group*, void* const* args) {
    std::uint64_t total = 0;
    for (int i = 1; i <= 5; ++i) { total += *static_cast<const std::uint64_t*>(args[i]); }
    static_cast<std::uint64_t*>(args[0])[0] = total;
  };
  static constexpr auto long_sum = [](const hal_host_group* group, void* const* args) {
    sum(group, args);
    const auto* last = static_cast<const unsigned char*>(args[6]);  // of 16 bytes
    static_cast<std::uint64_t*>(args[0])[0] += last[0] + 256U * last[15];
  };
  static const hal_host_entry entries[] = {{"sum", sum}, {"long_sum", long_sum}};
  static const hal_host_functions functions = HAL_HOST_FUNCTIONS(entries, 2);
  const std::vector<hal_param> params(7, hal_param{});
  hal_signature six = signature("sum"), seven = signature("long_sum");
  six.params = seven.params = params.data();
  six.param_count = 6;
  seven.param_count = 7;
  for (const char* mode : kModes) {
    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, mode);
    hal_buffer* out = device->allocate(16);
    for (const bool both : {false, true}) {
      const std::vector<hal_signature> signatures = both ? std::vector{six, seven} : std::vector{six};
      hal_program* program = device->load(image_of(&functions, sizeof(functions)), signatures);
      Harness::Lane lane(*device);
      for (std::uint64_t round = 0; round < 40; ++round) {
        std::vector<hal_arg> args{buffer_arg(whole(out))};
        for (std::uint64_t i = 1; i <= 5; ++i) { args.push_back(scalar_arg(round + (i << 32U))); }
        hal_arg wide{HAL_ARG_SCALAR, 16, {}};
        wide.value.scalar[0] = 7;
        wide.value.scalar[15] = 9;
        if (both) { args.push_back(wide); }
        std::uint64_t got = 0;
        lane.submit({run(program, both ? 1 : 0, args, {{1, 1, 1}, {1, 1, 1}, 0})});
        lane.submit({copy(hal_host(&got, 8), {out, 0, 8})});
        args.assign(args.size(), hal_arg{});  // what the launch needs is its own by now
        lane.finish();
        REQUIRE(got == 5 * round + (std::uint64_t{15} << 32U) + (both ? 7 + 256 * 9 : 0));
      }
    }
  }
}

TEST_CASE("host: a launch with shared memory needs no host memory after the first") {
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0, "threads=1");
  const hal_signature signatures[] = {signature("visit", 8)};
  hal_program* program = device->load(image_of(&kFunctions, sizeof(kFunctions)), signatures);
  hal_buffer* visits = device->allocate(4);
  const std::vector<hal_arg> args{buffer_arg(whole(visits))};
  std::uint32_t counted = 0;
  Harness::Lane lane(*device);
  lane.submit({fill(whole(visits), 0, 4), run(program, 0, args, {{1, 1, 1}, {1, 1, 1}, 24})});
  lane.finish();
  hal::test::fail_every(1);
  lane.submit({run(program, 0, args, {{1, 1, 1}, {1, 1, 1}, 24})});
  lane.finish();
  const std::uint64_t failures = hal::test::failures();
  hal::test::fail_no_more();
  CHECK(failures == 0);
  lane.submit({copy(hal_host(&counted, 4), whole(visits))});
  lane.finish();
  CHECK(counted == 2 * (1 + 32 * 256));
}

TEST_CASE("host: images that are not what they claim are refused with field and offset") {
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0);
  const hal_signature missing = signature("nobody");
  const hal_host_entry unnamed[] = {{nullptr, axpy}}, empty[] = {{"axpy", nullptr}};
  struct Case {
    hal_host_functions table;
    std::uint64_t size;
    hal_code code;
    const char* word;
  };
  const Case cases[] = {
      {{1, 1, 1, kEntries}, sizeof(kFunctions), HAL_INVALID_IMAGE, "magic at offset 0"},
      {{HAL_HOST_FUNCTIONS_MAGIC, 9, 1, kEntries}, sizeof(kFunctions), HAL_INCOMPATIBLE, "version at offset 4"},
      {HAL_HOST_FUNCTIONS(kEntries, 0), sizeof(kFunctions), HAL_INVALID_IMAGE, "entry_count at offset 8"},
      {HAL_HOST_FUNCTIONS(nullptr, 1), sizeof(kFunctions), HAL_INVALID_IMAGE, "entries at offset 16"},
      {HAL_HOST_FUNCTIONS(unnamed, 1), sizeof(kFunctions), HAL_INVALID_IMAGE, "entry 0 has no name"},
      {HAL_HOST_FUNCTIONS(empty, 1), sizeof(kFunctions), HAL_INVALID_IMAGE, "'axpy') has no function"},
      {kFunctions, 7, HAL_INVALID_IMAGE, "this one 7"},
      {kFunctions, sizeof(kFunctions), HAL_INVALID_IMAGE, "entry 'nobody'"}};
  for (const Case& bad : cases) {
    const hal_image image = image_of(&bad.table, bad.size);
    void* program = nullptr;
    hal_error* error = host.ops().program_load(host.driver(), device->impl(), &image, &missing, 1, &program);
    CHECK(hal_error_describe(error).code == bad.code);
    CHECK(std::string(hal_error_text(error)).find(bad.word) != std::string::npos);
    hal_release(error);
  }
  const hal_image ptx{"ptx", "x", 1, "", nullptr, 0};
  CHECK(host.ops().program_check(host.driver(), device->impl(), &ptx).support == HAL_NO);
}

TEST_CASE("host: capabilities answer with reasons, and minimal declares nothing optional") {
  Harness host{std::string(HOST_DRIVER)};
  const auto eager = host.open(0), minimal = host.open(0, "mode=minimal");
  const auto ask = [&](const Harness::Device& device, const char* feature) {
    return host.ops().supports(host.driver(), device.impl(), feature);
  };
  for (const char* feature :
       {"kernel", "graph", "timestamp", "host-visible", "dtype.bf16", "dtype.f64", "dtype.i4", "image.hal.graph"}) {
    CHECK(ask(*eager, feature).support == HAL_YES);
  }
  for (const char* feature : {"fabric", "partition", "dtype.u64", "image.ptx"}) {
    CHECK(ask(*eager, feature).support == HAL_NO);
    CHECK(std::string(ask(*eager, feature).why) != "unknown feature");
  }
  CHECK(std::string(ask(*eager, "dtype.f99").why) == "unknown feature");
  CHECK(ask(*minimal, "timestamp").support == HAL_NO);
  CHECK((minimal->traits().ops & (1U << HAL_OP_TIMESTAMP)) == 0);
  std::uint64_t number = 0;
  CHECK(host.ops().number(host.driver(), eager->impl(), "memory.alignment", &number) == 1);
  CHECK(number == 64);
  CHECK(host.ops().number(host.driver(), minimal->impl(), "memory.alignment", &number) == 0);
}

TEST_CASE("host: timestamps do not go back") {
  for (const char* mode : {"", "mode=weak&seed=9"}) {
    Harness host{std::string(HOST_DRIVER)};
    const auto device = host.open(0, mode);
    hal_buffer* buffer = device->allocate(16);
    hal_command first{}, second{};
    first.op = second.op = HAL_OP_TIMESTAMP;
    first.as.timestamp.to = {buffer, 0, 8};
    second.as.timestamp.to = {buffer, 8, 8};
    std::uint64_t times[2] = {};
    Harness::Lane lane(*device);
    lane.submit({first, second, copy(hal_host(times, 16), whole(buffer))});
    lane.finish();
    CHECK(times[0] > 0);
    CHECK(times[1] >= times[0]);
  }
}

TEST_CASE(
    "host: what the profile says is denied with a reason in every mode, and minimal denies all that is optional") {
  Harness host{std::string(HOST_DRIVER)};
  std::ifstream profile(HOST_PROFILE);
  std::vector<std::string> denied;
  for (std::string line; std::getline(profile, line);) {
    if (line.starts_with('"')) { denied.push_back(line.substr(1, line.find('"', 1) - 1)); }
  }
  REQUIRE(denied.size() >= 4);
  for (const char* mode : kModes) {
    const auto device = host.open(0, mode);
    for (const std::string& feature : denied) {
      const hal_verdict verdict = host.ops().supports(host.driver(), device->impl(), feature.c_str());
      CHECK(verdict.support == HAL_NO);
      CHECK(std::string(verdict.why) != "unknown feature");
    }
  }
  const auto minimal = host.open(0, "mode=minimal");
  for (const char* feature : {"timestamp", "host-visible", "virtual-memory", "share.fd", "import.host", "constants"}) {
    CHECK(host.ops().supports(host.driver(), minimal->impl(), feature).support == HAL_NO);
    CHECK(std::string(host.ops().supports(host.driver(), minimal->impl(), feature).why).find("minimal") !=
          std::string::npos);
  }
  std::uint64_t number = 0;
  for (const char* name : {"memory.alignment", "memory.used", "group.size", "cpu.cores", "threads"}) {
    CHECK(host.ops().number(host.driver(), minimal->impl(), name, &number) == 0);
  }
}

namespace {

struct Meeting {
  std::atomic<int> inside{0};
  std::atomic<bool> wrong{false};
};

// The first group takes long; the others wait until two threads are inside.
void meet(const hal_host_group* group, void* const* args) {
  Meeting& meeting = **static_cast<Meeting**>(args[0]);
  auto* visits = static_cast<std::uint32_t*>(args[1]);
  const auto began = std::chrono::steady_clock::now();
  std::memset(group->shared, static_cast<int>(group->group[1]), group->shared_bytes);
  if (group->group[0] == 0 && group->group[1] == 0) {
    while (std::chrono::steady_clock::now() - began < std::chrono::milliseconds(1)) {}
  } else {
    ++meeting.inside;
    while (meeting.inside < 2 && std::chrono::steady_clock::now() - began < std::chrono::seconds(60)) {
      std::this_thread::yield();
    }
    if (meeting.inside < 2) { meeting.wrong = true; }
  }
  for (std::uint32_t i = 0; i < group->shared_bytes; ++i) {
    if (static_cast<unsigned char*>(group->shared)[i] != group->group[1]) { meeting.wrong = true; }
  }
  ++visits[group->group[0] + group->group_count[0] * group->group[1]];
}

}  // namespace

TEST_CASE("host: a long launch spreads over the threads: each group once, its shared memory its own") {
  Harness host{std::string(HOST_DRIVER)};
  const auto device = host.open(0, "threads=3");
  const hal_host_entry entries[] = {{"meet", meet}};
  const hal_host_functions table = HAL_HOST_FUNCTIONS(entries, 1);
  const hal_signature signatures[] = {signature("meet", 256)};
  hal_program* program = device->load(image_of(&table, sizeof table), signatures);
  hal_buffer* visits = device->allocate(5 * 13 * 4);
  for (int time = 0; time < 10; ++time) {
    Meeting meeting;
    Meeting* address = &meeting;
    const std::vector<hal_arg> args{scalar_arg(address), buffer_arg(whole(visits))};
    Harness::Lane lane(*device);
    lane.submit({fill(whole(visits), 0, 4), run(program, 0, args, {{5, 13, 1}, {1, 1, 1}, 0})});
    lane.finish();
    CHECK_FALSE(meeting.wrong);
    CHECK(meeting.inside >= 2);
    for (int i = 0; i < 65; ++i) { REQUIRE(static_cast<const std::uint32_t*>(visits->memory.host)[i] == 1); }
  }
}
