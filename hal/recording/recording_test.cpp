// SPDX-License-Identifier: Apache-2.0
#include "recording/format.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <iterator>
#include <numeric>
#include <thread>

#include "failing_allocations.hpp"
#include "graph/add_graph.hpp"
#include "hal/graph.hpp"
#include "hal/hal.hpp"
#include "recording/replay.hpp"

namespace {

using namespace std::chrono_literals;
using hal::test::eventually;
using hal::test::kSoon;
namespace recording = hal::recording;

std::string place(const std::string& name) {
  return (std::filesystem::temp_directory_path() / ("halyard_recording_test_" + name)).string();
}

hal::Instance recorded(const std::string& path, const char* drivers = "host") {
  const std::string layers = "record=" + path;
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = drivers;
  desc.layers = layers.c_str();
  return hal::Instance::create(desc).value();
}

// The file is whole once the last object has gone, which a thread of the instance may see to.
std::vector<std::byte> file_of(const std::string& path) {
  std::vector<char> bytes;
  INFO(path);
  REQUIRE(eventually([&] {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
    std::uint64_t size = 0;
    if (bytes.size() > recording::kHeaderBytes) { std::memcpy(&size, bytes.data() + 16, 8); }
    return size != 0 && size + recording::kHeaderBytes == bytes.size();
  }));
  const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
  return {first, first + bytes.size()};
}

// Two queues, a graph, a recorded list with slots, a timeline, a host call that changes host memory, a refused
// submission, and host memory that is used twice.
std::vector<std::byte> record_program() {
  const std::string path = place("program.halrec");
  {
    const hal::Instance instance = recorded(path);
    const hal::Device device = instance.open("host:0").value();
    hal::Queue up = device.queue("up").value(), work = device.queue("work").value();
    const std::vector<std::byte> bytes = hal::add_graph(64);
    hal::Program program = device.load({"hal.graph", bytes}).value();
    const hal::Entry add = program.entry("add").value();
    hal::Buffer x = device.buffer(256).value(), y = device.buffer(256).value(), sum = device.buffer(256).value();
    hal::Timeline timeline = instance.timeline(0, "t").value();
    std::vector<float> a(64), b(64), out(64), again(64);
    std::iota(a.begin(), a.end(), 1.0F);
    std::iota(b.begin(), b.end(), 100.0F);

    CHECK(!up.fill(x.slice(250, 16), std::uint8_t{1}));  // refused: beyond the end
    CHECK(up.copy(hal::host(a), x));
    CHECK(up.copy(hal::host(b), y, {.signals = {timeline.at(2)}}));
    const std::array<hal::Arg, 3> args{hal::Arg(x), hal::Arg(y), hal::Arg(sum)};
    CHECK(work.run(add, args, {}, {.waits = {timeline.at(1)}}));
    const hal::Point first = work.copy(sum, hal::host(out)).value();
    CHECK(hal::wait(first, kSoon));
    CHECK(out[3] == 4.0F + 103.0F);

    // A call in queue order changes what the next copy reads.
    CHECK(work.call([&]() -> hal::Result<void> {
      a[0] = 1000.0F;
      return {};
    }));
    CHECK(hal::wait(work.barrier().value(), kSoon));
    CHECK(work.copy(hal::host(a), x));
    hal_command fill{}, copy{};
    fill.op = HAL_OP_FILL;
    fill.as.fill = {hal_slot(0, 0, 128), 0, 4};
    copy.op = HAL_OP_COPY;
    copy.label = "second half";
    copy.as.copy = {hal_slot(1, 0, 256), x.all()};
    const std::array<hal_command, 2> listed{fill, copy};
    hal::Commands list = device.record(listed).value();
    const std::array<hal_slice, 2> slots{y.all(), sum.all()};
    hal_command execute{};
    execute.op = HAL_OP_EXECUTE;
    execute.as.execute = {list.get(), slots.data(), slots.size()};
    REQUIRE(hal::check(hal_queue_submit(work.get(), &execute, 1, nullptr, nullptr)));
    CHECK(work.run(add, args));
    const hal::Point last = work.copy(sum, hal::host(again)).value();
    CHECK(hal::wait(last, kSoon));
    CHECK(again[0] == 1000.0F);
    CHECK(again[40] == 41.0F + 140.0F);
  }
  return file_of(path);
}

// A list whose slots give a pattern, the extents of a preparation and of a run, and the run's lengths.
std::vector<std::byte> record_values() {
  const std::string path = place("values.halrec");
  {
    const hal::Instance instance = recorded(path);
    const hal::Device device = instance.open("host:0").value();
    hal::Queue queue = device.queue("q").value();
    hal::GraphBuilder b("double");
    const auto x = b.input("x", hal::DType::i32, {b.symbol("n")});
    b.output("y", b.map({x}, hal::graph::arg(0) * 2.0));
    const std::vector<std::byte> bytes = b.finish().value();
    hal::Program program = device.load({"hal.graph", bytes}).value();
    const hal::Entry entry = program.entry("double").value();
    const std::array<hal::Arg, 1> extent{hal::scalar_slot<std::int64_t>(1, 8)};
    const std::array<hal::Arg, 3> args{hal::slot(2, 0, HAL_REST), hal::slot(3, 0, HAL_REST),
                                       hal::scalar_slot<std::int64_t>(1, 8)};
    const std::array commands{hal::command::by_slot(hal::command::fill(hal::slot(2, 0, HAL_REST), 0U), 0, 4),
                              hal::command::prepare(entry, extent), hal::command::run(entry, args)};
    hal::Commands list = device.record(commands).value();
    for (std::uint32_t round = 1; round <= 3; ++round) {
      hal::Buffer in = device.buffer(16 * round).value(), out = device.buffer(16 * round).value();
      std::array<std::uint32_t, 2> pattern{0, 100 * round};
      std::array<std::int64_t, 2> extents{0, 4 * round};
      const std::array<hal::Slice, 4> slots{hal::host(pattern), hal::host(extents), in, out};
      REQUIRE(queue.execute(list, slots));
      pattern = {}, extents = {};
      std::vector<std::uint32_t> found(4 * round);
      REQUIRE(hal::wait(queue.copy(out, hal::host(found)).value(), kSoon));
      CHECK(found == std::vector<std::uint32_t>(4 * round, 200 * round));
    }
  }
  return file_of(path);
}

// A kernel that writes how many groups there are, launched with grids from a slot.
std::vector<std::byte> record_grids() {
  constexpr const char* kPtx = R"(.version 7.0
.target sm_80
.address_size 64
.visible .entry groups(.param .u64 out)
{
  .reg .u64 %rd<2>;
  .reg .u32 %r<2>;
  ld.param.u64 %rd1, [out];
  mov.u32 %r1, %nctaid.x;
  st.global.u32 [%rd1], %r1;
  ret;
})";
  const std::string path = place("grids.halrec");
  {
    const hal::Instance instance = recorded(path, "cuda");
    const hal::Device device = instance.open("cuda:0").value();
    hal::Queue queue = device.queue("q").value();
    const auto ptx = std::as_bytes(std::span(kPtx, std::strlen(kPtx) + 1));
    hal::Program program = device.load({"ptx", ptx, "entry groups kernel group=1\n buffer out out u32\n"}).value();
    hal::Buffer out = device.buffer(4).value();
    const std::array<hal::Arg, 1> args{out};
    const hal::Command run = hal::command::run(program.entry("groups").value(), args, hal::Grid(1));
    hal::Commands list = device.record(std::array{hal::command::by_slot(run, 0)}).value();
    for (std::uint32_t round = 1; round <= 3; ++round) {
      hal_grid grid = hal::Grid(round);
      const std::array<hal::Slice, 1> slots{hal_host(&grid, sizeof grid)};
      REQUIRE(queue.execute(list, slots));
      grid = {};
      std::array<std::uint32_t, 1> found{};
      REQUIRE(hal::wait(queue.copy(out, hal::host(found)).value(), 20s));
      CHECK(found[0] == round);
    }
  }
  return file_of(path);
}

hal::Result<recording::Outcome> replay_on(const std::vector<recording::Record>& records, const std::string& device) {
  const std::string driver = device.substr(0, device.find(':'));
  const hal::Instance instance = hal::Instance::create(driver).value();
  return recording::replay(instance, records, {device, 20s});
}

// The other device is one that subtracts.
void spoil(std::vector<recording::Record>& records) {
  for (recording::Record& record : records) {
    if (record.kind != recording::Kind::program) { continue; }
    hal::GraphBuilder b("add");
    const auto x = b.input("x", hal::DType::f32, {64});
    const auto y = b.input("y", hal::DType::f32, {64});
    b.output("sum", b.map({x, y}, hal::graph::arg(0) - hal::graph::arg(1)));
    record.bytes = b.finish().value();
  }
}

std::vector<std::byte> file_from(const std::vector<recording::Record>& records) {
  std::vector<std::byte> body;
  for (const recording::Record& record : records) { recording::append(body, record); }
  std::vector<std::byte> out = recording::header(body.size(), recording::checksum(body));
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

// On every device that computes: as many submissions, at least so many buffers compared, and none differs.
void comes_out_the_same(const std::vector<recording::Record>& records, std::size_t submissions,
                        std::size_t least_compared) {
  for (const char* device : {"host:0", "host:0?mode=weak&seed=7", "host:0?mode=minimal", "rngd:0", "cuda:0"}) {
    INFO(device);
    const auto outcome = replay_on(records, device);
    if (!outcome) { FAIL(outcome.error().text()); }
    CHECK(outcome->submissions == submissions);
    CHECK(outcome->compared >= least_compared);
    for (const recording::Difference& one : outcome->differences) { FAIL_CHECK(one.where << " " << one.what); }
  }
}

}  // namespace

TEST_CASE("recording: a program recorded on the host comes out the same there and on other devices") {
  comes_out_the_same(recording::read(record_program()).value(), 10, 4);
}

TEST_CASE("recording: what slots gave is in a recording, and its replays give it again") {
  comes_out_the_same(recording::read(record_values()).value(), 6, 6);
  const auto grids = replay_on(recording::read(record_grids()).value(), "cuda:0");
  if (!grids) { FAIL(grids.error().text()); }
  CHECK(grids->compared == 3);
  CHECK(grids->differences.empty());
}

TEST_CASE("recording: a value that is in no slot is refused with its place") {
  auto records = recording::read(record_values()).value();
  for (recording::Record& record : records) {
    if (record.kind != recording::Kind::list) { continue; }
    REQUIRE(record.commands[0].slices.size() == 2);
    record.commands[0].slices[1] = {recording::In::host, 0, 64, 4};
  }
  const auto refused = recording::read(file_from(records));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().what().find("must be in a slot") != std::string_view::npos);
}

TEST_CASE("recording: the first difference is named with its buffer and the command that wrote it") {
  auto records = recording::read(record_program()).value();
  spoil(records);
  const auto outcome = replay_on(records, "host:0").value();
  REQUIRE(!outcome.differences.empty());
  const recording::Difference& first = outcome.differences.front();
  INFO(first.where << "; " << first.writer << "; " << first.what);
  CHECK(first.writer.find("on queue 'work', submitted at ") != std::string::npos);
  CHECK(first.writer.find("recording_test.cpp:") != std::string::npos);
  CHECK(first.what.find(" and was 0x") != std::string::npos);
}

TEST_CASE("recording: of what one wait has shown the first difference is the oldest, under its label") {
  const std::string path = place("chain.halrec");
  {
    const hal::Instance instance = recorded(path);
    const hal::Device device = instance.open("host:0").value();
    hal::Queue queue = device.queue("q").value();
    const std::vector<std::byte> bytes = hal::add_graph(64);
    hal::Program program = device.load({"hal.graph", bytes}).value();
    hal::Buffer x = device.buffer(256).value(), sum = device.buffer(256).value(), copied = device.buffer(256).value();
    sum.label("result");
    std::vector<float> out(64);
    REQUIRE(queue.fill(x, 1.0F));
    REQUIRE(queue.run(program.entry("add").value(), {x, x, sum}));
    REQUIRE(queue.copy(sum, copied));
    REQUIRE(hal::wait(queue.copy(copied, hal::host(out)).value(), kSoon));
    CHECK(out[63] == 2.0F);
  }
  auto records = recording::read(file_of(path)).value();
  spoil(records);
  const auto outcome = replay_on(records, "host:0").value();
  REQUIRE(outcome.differences.size() == 3);
  const recording::Difference& first = outcome.differences.front();
  INFO(first.where << "; " << first.writer);
  CHECK(first.where.find("'result'") != std::string::npos);
  CHECK(first.writer.find("(run)") != std::string::npos);
  CHECK(outcome.differences.back().where.find("host memory") != std::string::npos);
}

TEST_CASE("recording: what one wait has shown is not in memory all at once") {
  constexpr std::uint64_t kBuffers = 48, kBytes = 1U << 20U;
  const std::string path = place("many-" + std::to_string(::getpid()));
  {
    const hal::Instance instance = recorded(path);
    const hal::Device device = instance.open("host:0").value();
    hal::Queue queue = device.queue("q").value();
    std::vector<hal::Buffer> buffers;
    for (std::uint64_t i = 0; i < kBuffers; ++i) {
      buffers.push_back(device.buffer(kBytes).value());
      REQUIRE(queue.fill(buffers.back(), static_cast<std::uint8_t>(i)));
    }
    hal::test::watch_bytes();
    REQUIRE(hal::wait(queue.barrier().value(), 20s));
    CHECK(hal::test::most_bytes() < kBuffers * kBytes / 4);
  }
  std::uint64_t contents = 0;
  const std::vector<recording::Record> records = recording::read(file_of(path)).value();
  for (const recording::Record& record : records) {
    contents += record.kind == recording::Kind::expect ? record.bytes.size() : 0;
  }
  CHECK(contents == kBuffers * kBytes);
  std::filesystem::remove(path);
}

TEST_CASE("recording: damaged files are errors with the place, whatever byte is wrong") {
  const std::vector<std::byte> good = record_program();
  REQUIRE(recording::read(good));
  CHECK(recording::read({}).error().code() == HAL_INVALID_IMAGE);
  CHECK(recording::read(std::span(good).first(20)).error().code() == HAL_INVALID_IMAGE);
  CHECK(recording::read(std::span(good).first(good.size() - 8)).error().code() == HAL_INVALID_IMAGE);
  std::vector<std::byte> other = good;
  other[8] = std::byte{9};
  CHECK(recording::read(other).error().code() == HAL_INCOMPATIBLE);
  other = good;
  other[good.size() - 1] ^= std::byte{1};
  CHECK(recording::read(other).error().what().find("checksum") != std::string_view::npos);
  // With the checksum put right: refused with the place, or another recording that is well formed.
  for (std::size_t at = recording::kHeaderBytes; at < good.size(); at += 3) {
    other = good;
    other[at] ^= std::byte{0xff};
    const std::span<const std::byte> body = std::span(other).subspan(recording::kHeaderBytes);
    const std::vector<std::byte> head = recording::header(body.size(), recording::checksum(body));
    std::memcpy(other.data(), head.data(), head.size());
    const auto read = recording::read(other);
    if (!read && read.error().what().find("at byte ") == std::string_view::npos) { FAIL_CHECK(read.error().text()); }
  }
}

TEST_CASE("recording: what a replay cannot do is named") {
  recording::Record limit;
  limit.kind = recording::Kind::limit;
  limit.text = "virtual memory was used";
  const auto records = recording::read(file_from({limit})).value();
  const auto outcome = replay_on(records, "host:0");
  REQUIRE(!outcome);
  CHECK(outcome.error().code() == HAL_UNSUPPORTED);
  CHECK(outcome.error().text().find("virtual memory") != std::string_view::npos);
}
