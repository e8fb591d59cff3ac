// SPDX-License-Identifier: Apache-2.0
// Recordings inside recordings, scalars and lengths that come at replay, capture, and replay from several threads.
#include <algorithm>
#include <array>
#include <atomic>
#include <halyard_catch.hpp>
#include <thread>

#include "hal/hal.hpp"
#include "hal/host_kernel.h"

using namespace std::chrono_literals;

namespace {

// out[i] = i < n ? value : out[i]
void put_value(const hal_host_group*, void* const* args) {
  auto* out = static_cast<std::uint32_t*>(args[2]);
  for (std::uint32_t i = 0; i < *static_cast<const std::uint32_t*>(args[0]); ++i) {
    out[i] = *static_cast<const std::uint32_t*>(args[1]);
  }
}
// sums[row] = the sum of a row; the extents come behind the arguments.
void sum_rows(const hal_host_group*, void* const* args) {
  const auto* x = static_cast<const float*>(args[0]);
  auto* sums = static_cast<float*>(args[1]);
  const std::int64_t rows = *static_cast<const std::int64_t*>(args[2]);
  const std::int64_t columns = *static_cast<const std::int64_t*>(args[3]);
  for (std::int64_t r = 0; r < rows; ++r) {
    sums[r] = 0;
    for (std::int64_t c = 0; c < columns; ++c) { sums[r] += x[r * columns + c]; }
  }
}
// out[0] = the items of a group
void group_size(const hal_host_group* group, void* const* args) {
  if (group->group[0] != 0) { return; }
  *static_cast<std::uint32_t*>(args[0]) = group->group_size[0] * group->group_size[1] * group->group_size[2];
}
constexpr hal_host_entry kEntries[] = {{"put_value", put_value}, {"sum_rows", sum_rows}, {"group_size", group_size}};
constexpr hal_host_functions kFunctions = HAL_HOST_FUNCTIONS(kEntries, 3);
constexpr const char* kManifest =
    "entry put_value kernel\n scalar n u32\n scalar value u32\n buffer out out u32\n"
    "entry sum_rows kernel\n tensor x in f32 rows,columns\n tensor sums out f32 rows\n"
    "entry group_size kernel group=4,3\n buffer out out u32\n";

struct Fixture {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device device = instance.open("host:0").value();
  hal::Queue queue = device.queue("q").value();
  hal::Program program = device.load({"host.functions", std::as_bytes(std::span(&kFunctions, 1)), kManifest}).value();
  hal::Entry put = program.entry("put_value").value();
  hal::Entry sum = program.entry("sum_rows").value();

  template <class T, std::size_t N>
  std::array<T, N> read(const hal::Buffer& buffer) {
    std::array<T, N> out{};
    REQUIRE(hal::wait(queue.copy(buffer.slice(0, sizeof out), hal::host(out)).value(), 20s));
    return out;
  }
};

}  // namespace

TEST_CASE("program: what does not fit a kernel's entry is refused, and what fits runs as the entry says") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  const auto code = [&](const hal::Entry& entry, std::initializer_list<hal::Arg> args, hal::Grid grid) {
    const auto run = f.queue.run(entry, args, grid);
    return run ? HAL_OK : run.error().code();
  };
  CHECK(code(f.put, {std::uint64_t{1}, 9U, out}, hal::Grid(1)) == HAL_INVALID_ARGUMENT);
  CHECK(code(f.put, {1U, 9U, out}, hal::Grid(0)) == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.run(f.put, {1U, 9U, out}).error().what().find("needs a grid") != std::string_view::npos);
  CHECK(code(f.sum, {1U, 9U}, hal::Grid(1)) == HAL_INVALID_ARGUMENT);  // as the first entry begins
  hal::Device weak = f.instance.open("host:0?mode=weak").value();
  hal::Buffer there = weak.buffer(16).value();
  CHECK(weak.queue().value().run(f.put, {1U, 9U, there}, hal::Grid(1)).error().code() == HAL_INVALID_ARGUMENT);
  f.queue.fill(out, 0U).value();
  REQUIRE(f.queue.run(f.put, {1U, 9U, out.slice(0, 4)}, hal::Grid(1)));
  const hal::Entry size = f.program.entry("group_size").value();
  REQUIRE(f.queue.run(size, {out.slice(4, 4)}, hal::Grid(2)));
  REQUIRE(f.queue.run(size, {out.slice(8, 4)}, hal::Grid(2).group(5)));
  const std::array<hal::Arg, 1> last{out.slice(12, 4)};
  hal::Command own = hal::command::run(size, last, hal::Grid(1));
  std::ranges::fill(own.as.run.grid.group_size, 0U);  // as C programs give it
  REQUIRE(f.queue.submit({&own, 1}));
  CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{9, 12, 5, 12});
}

TEST_CASE("program: a run of a buffer that a free before it in the same submission gives back is refused") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  const std::array<hal::Arg, 3> args{1U, 9U, out};
  const std::array commands{hal::command::free(out), hal::command::run(f.put, args, hal::Grid(1))};
  CHECK(f.queue.submit(commands).error().code() == HAL_INVALID_ARGUMENT);
  REQUIRE(f.queue.run(f.put, args, hal::Grid(1)));  // it is not freed
}

TEST_CASE("recording: what a table gives is looked at again, and the rest of it ends where it does") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  const std::array<hal::Arg, 3> args{1U, 9U, hal::slot(0, 0, 4)};
  hal::Commands run = f.device.record(std::array{hal::command::run(f.put, args, hal::Grid(1))}).value();
  hal::Device weak = f.instance.open("host:0?mode=weak").value();
  hal::Buffer there = weak.buffer(16).value();
  const std::array<hal::Slice, 1> foreign{there}, outside{hal_slice{out.get(), 14, 8}};
  CHECK(f.queue.execute(run, foreign).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.execute(run, outside).error().code() == HAL_OUT_OF_RANGE);
  hal::Commands rest = f.device.record(std::array{hal::command::fill(hal::slot(0, 4, HAL_REST), 7U)}).value();
  const std::array<hal::Slice, 1> some{out.slice(0, 12)};
  f.queue.fill(out, 0U).value();
  REQUIRE(f.queue.execute(rest, some));
  CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{0, 7, 7, 0});
}

TEST_CASE("recording: many replays in one submission have arguments of their own") {
  Fixture f;
  constexpr std::size_t kMany = 64;
  const std::array<hal::Arg, 3> args{1U, hal::scalar_slot<std::uint32_t>(0), hal::slot(1, 0, 4)};
  hal::Commands recording = f.device.record(std::array{hal::command::run(f.put, args, hal::Grid(1))}).value();
  hal::Buffer out = f.device.buffer(4 * kMany).value();
  std::vector<std::uint32_t> values(kMany);
  std::vector<std::array<hal::Slice, 2>> slots(kMany);
  std::vector<hal::Command> commands;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    values[i] = 1000 + i;
    slots[i] = {hal_host(&values[i], 4), out.slice(std::uint64_t{4} * i, 4)};
    commands.push_back(hal::command::execute(recording, slots[i]));
  }
  REQUIRE(f.queue.submit(commands));
  const auto found = f.read<std::uint32_t, kMany>(out);
  for (std::uint32_t i = 0; i < kMany; ++i) { CHECK(found[i] == 1000 + i); }
}

TEST_CASE("recording: a recording inside a recording, with slots passed through, fixed and shifted") {
  Fixture f;
  const std::array inner_commands{hal::command::fill(hal::slot(0, 0, 4), std::uint32_t{7}), hal::command::barrier(),
                                  hal::command::copy(hal::slot(0, 0, 4), hal::slot(1, 4, 4))};
  hal::Commands inner = f.device.record(inner_commands).value();
  hal::Buffer fixed = f.device.buffer(8).value(), a = f.device.buffer(16).value(), b = f.device.buffer(16).value();
  // Slot 2 of the outer recording, from byte 8 on, is slot 0 of the inner; its slot 1 is `fixed` the second time.
  const std::array through{hal::slot(2, 8, 4), hal::slot(0, 0, 8)};
  const std::array half{hal::slot(2, 0, HAL_REST), hal::Slice(fixed)};
  const std::array outer_commands{hal::command::execute(inner, through), hal::command::execute(inner, half)};
  hal::Commands outer = f.device.record(outer_commands).value();
  inner = {};  // the outer recording has its own copy
  f.queue.fill(a, 0U).value();
  f.queue.fill(b, 0U).value();
  f.queue.fill(fixed, 0U).value();
  const std::array<hal::Slice, 3> slots{a, b, b};
  REQUIRE(f.queue.execute(outer, slots));
  CHECK(f.read<std::uint32_t, 4>(a) == std::array<std::uint32_t, 4>{0, 7, 0, 0});
  CHECK(f.read<std::uint32_t, 4>(b) == std::array<std::uint32_t, 4>{7, 0, 7, 0});
  CHECK(f.read<std::uint32_t, 2>(fixed) == std::array<std::uint32_t, 2>{0, 7});

  const std::array<hal::Slice, 2> few{a, b};
  CHECK(f.queue.execute(outer, few).error().code() == HAL_INVALID_ARGUMENT);
  const std::array<hal::Slice, 3> small{a, b, b.slice(0, 11)};
  CHECK(f.queue.execute(outer, small).error().code() == HAL_OUT_OF_RANGE);
}

TEST_CASE("recording: what is wrong with a nested recording is said when it is recorded") {
  Fixture f;
  hal::Buffer buffer = f.device.buffer(16).value();
  const std::array one{hal::command::fill(hal::slot(1, 0, 8), 1.0F)};
  hal::Commands inner = f.device.record(one).value();
  const auto code = [&](std::span<const hal::Slice> slots) {
    const std::array outer{hal::command::execute(inner, slots)};
    return f.device.record(outer).error().code();
  };
  const std::array<hal::Slice, 1> few{buffer};
  CHECK(code(few) == HAL_INVALID_ARGUMENT);
  const std::array<hal::Slice, 2> short_slot{buffer, hal::slot(0, 0, 7)}, short_buffer{buffer, buffer.slice(9, 7)},
      outside{buffer, hal_slice{buffer.get(), 12, 8}}, high{buffer, hal::slot(256, 0, 8)};
  CHECK(code(short_slot) == HAL_OUT_OF_RANGE);
  CHECK(code(short_buffer) == HAL_OUT_OF_RANGE);
  CHECK(code(outside) == HAL_OUT_OF_RANGE);
  CHECK(code(high) == HAL_INVALID_ARGUMENT);

  // Depth and size are bounded.
  hal::Commands level = f.device.record(std::array{hal::command::barrier()}).value();
  for (int depth = 1; depth <= 32; ++depth) {
    level = f.device.record(std::array{hal::command::execute(level)}).value();
  }
  CHECK(f.device.record(std::array{hal::command::execute(level)}).error().what().find("nested 33 deep") !=
        std::string_view::npos);
  REQUIRE(hal::wait(f.queue.execute(level).value(), 20s));
  const std::vector<hal::Command> many(4096, hal::command::barrier());
  hal::Commands wide = f.device.record(many).value();
  const std::vector<hal::Command> wider(4097, hal::command::execute(wide));
  CHECK(f.device.record(wider).error().what().find("16777216") != std::string_view::npos);
}

TEST_CASE("recording: scalars come at replay, by slot") {
  Fixture f;
  const std::array<hal::Arg, 3> args{hal::scalar_slot<std::uint32_t>(0), hal::scalar_slot<std::uint32_t>(3, 4),
                                     hal::slot(1, 0, 16)};
  hal::Commands recording = f.device.record(std::array{hal::command::run(f.put, args, hal::Grid(1))}).value();
  hal::Buffer out = f.device.buffer(16).value();
  f.queue.fill(out, 0U).value();
  for (std::uint32_t round = 1; round <= 4; ++round) {
    std::array<std::uint32_t, 2> pair{99, 10 * round};
    std::uint32_t n = round;
    const std::array<hal::Slice, 4> slots{hal_host(&n, sizeof n), out, {}, hal::host(pair)};
    REQUIRE(f.queue.execute(recording, slots));
    n = 4, pair = {77, 77};  // read during the call
    const auto found = f.read<std::uint32_t, 4>(out);
    for (std::uint32_t i = 0; i < 4; ++i) { CHECK(found[i] == (i < round ? 10 * round : 0)); }
  }
  const std::uint32_t n = 1;
  const std::array<hal::Slice, 4> device_memory{out, out, {}, out};
  CHECK(f.queue.execute(recording, device_memory).error().what().find("stands for a scalar of 4 bytes") !=
        std::string_view::npos);
  const std::array<hal::Slice, 4> narrow{hal_host(&n, 3), out, {}, hal_host(&n, 4)};
  CHECK(f.queue.execute(recording, narrow).error().code() == HAL_OUT_OF_RANGE);
  const std::array<hal::Slice, 4> host_memory{hal_host(&n, 4), hal::slot(0, 0, 16), {}, hal_host(&kEntries, 8)};
  CHECK(f.queue.execute(recording, host_memory).error().code() == HAL_INVALID_ARGUMENT);

  // Half filled in by an outer recording: the value is read when that is recorded.
  std::uint32_t four = 4;
  const std::array<hal::Slice, 4> partly{hal_host(&four, 4), hal::slot(0, 0, 16), {}, hal::slot(1, 0, 8)};
  hal::Commands outer = f.device.record(std::array{hal::command::execute(recording, partly)}).value();
  four = 1;
  const std::array<std::uint32_t, 2> pair{0, 55};
  const std::array<hal::Slice, 2> slots{out, hal::host(pair)};
  REQUIRE(f.queue.execute(outer, slots));
  CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{55, 55, 55, 55});

  // Sizes are known when recorded; a slot outside of recordings is refused.
  const std::array<hal::Arg, 3> wide{hal::scalar_slot<std::uint64_t>(0), 1U, hal::slot(1, 0, 16)};
  CHECK(f.device.record(std::array{hal::command::run(f.put, wide, hal::Grid(1))}).error().code() ==
        HAL_INVALID_ARGUMENT);
  CHECK(f.queue.run(f.put, {hal::scalar_slot<std::uint32_t>(0), 1U, out}, hal::Grid(1)).error().code() ==
        HAL_INVALID_ARGUMENT);
}

TEST_CASE("recording: a fill's pattern and a run's grid come at replay, by slot") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  const hal::Entry size = f.program.entry("group_size").value();
  const std::array<hal::Arg, 1> args{out.slice(8, 4)};
  const std::array commands{hal::command::by_slot(hal::command::fill(hal::slot(1, 0, 8), std::uint16_t{0xDEAD}), 0, 2),
                            hal::command::by_slot(hal::command::run(size, args, hal::Grid(1)), 2)};
  hal::Commands recording = f.device.record(commands).value();
  f.queue.fill(out, 0U).value();
  for (std::uint32_t round = 1; round <= 4; ++round) {
    std::array<std::uint16_t, 2> patterns{0xDEAD, static_cast<std::uint16_t>(0x1100 + round)};
    hal_grid grid = hal::Grid(1).group(round, 2);
    const std::array<hal::Slice, 3> slots{hal::host(patterns), out.slice(0, 8), hal_host(&grid, sizeof grid)};
    REQUIRE(f.queue.execute(recording, slots));
    patterns = {0xDEAD, 0xDEAD}, grid = {};  // read during the call
    const std::uint32_t twice = 0x11001100 + round * 0x10001;
    CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{twice, twice, 2 * round, 0});
  }
  // Zeros are the entry's own group, as they are in a grid that is recorded.
  const std::uint32_t four = 0x44444444;
  const hal_grid own = hal::Grid(1);
  const std::array<hal::Slice, 3> good{hal_host(&four, 4), out.slice(0, 8), hal_host(&own, sizeof own)};
  REQUIRE(f.queue.execute(recording, good));
  CHECK(f.read<std::uint32_t, 3>(out)[2] == 12);

  // Inside another recording: passed through and shifted, or read when that is recorded.
  std::array<hal_grid, 2> grids{hal::Grid(1).group(5), hal::Grid(1).group(7)};
  const std::array<hal::Slice, 3> passed{hal_host(&four, 4), out.slice(0, 8), hal::slot(0, sizeof(hal_grid), HAL_REST)};
  const std::array<hal::Slice, 3> fixed{hal::slot(1, 0, 4), out.slice(0, 8), hal::host(grids)};
  hal::Commands outer =
      f.device.record(std::array{hal::command::execute(recording, fixed), hal::command::execute(recording, passed)})
          .value();
  grids[0] = hal::Grid(0);
  const std::array<hal::Slice, 2> table{hal::host(grids), hal_host(&four, 4)};
  REQUIRE(f.queue.execute(outer, table));
  CHECK(f.read<std::uint32_t, 3>(out) == std::array<std::uint32_t, 3>{four, four, 7});

  const auto refusal = [&](const hal::Commands& what, std::span<const hal::Slice> slots, hal_code code) {
    const auto refused = f.queue.execute(what, slots);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == code);
    return std::string(refused.error().what());
  };
  const auto has = [](const char* part) { return Catch::Matchers::Contains(part); };
  const hal_grid none = hal::Grid(1, 0);
  std::array<hal::Slice, 3> bad = good;
  bad[2] = hal_host(&none, sizeof none);
  CHECK_THAT(refusal(recording, bad, HAL_INVALID_ARGUMENT),
             has("groups[1] is 0; the least is 1 (slot 2 gives the grid)"));
  bad[2] = hal_host(&own, sizeof own - 1);
  CHECK_THAT(refusal(recording, bad, HAL_OUT_OF_RANGE), has("slot 2 is given 27 bytes"));
  bad[2] = out;
  CHECK_THAT(refusal(recording, bad, HAL_OUT_OF_RANGE), has("slot 2 is given 16 bytes"));
  bad = good;
  bad[0] = out.slice(0, 4);
  CHECK_THAT(refusal(recording, bad, HAL_INVALID_ARGUMENT),
             has("slot 0 stands for a pattern of 2 bytes and is given a buffer"));
  CHECK(f.read<std::uint32_t, 3>(out) == std::array<std::uint32_t, 3>{four, four, 7});
}

TEST_CASE("recording: a value by slot that cannot be is refused when it is recorded, and outside of recordings") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  const auto refusal = [&](const hal::Command& command, hal_code code = HAL_INVALID_ARGUMENT) {
    const auto refused = f.device.record(std::array{command});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == code);
    return std::string(refused.error().what());
  };
  const auto has = [](const char* part) { return Catch::Matchers::Contains(part); };
  const hal::Command fill = hal::command::fill(out, std::uint32_t{7});
  CHECK_THAT(refusal(hal::command::by_slot(fill, 256)), has("'pattern' names slot 256; the highest is 255"));
  CHECK_THAT(refusal(hal::command::by_slot(fill, UINT32_MAX - 1)), has("the highest is 255"));
  CHECK_THAT(refusal(hal::command::by_slot(fill, 0, UINT64_MAX - 3), HAL_OUT_OF_RANGE), has("wraps"));
  CHECK_THAT(refusal(hal::command::by_slot(hal::command::copy(out.slice(0, 4), out.slice(4, 4)), 0)),
             has("by_slot is 1, and it has no value that a slot could give"));
  CHECK_THAT(refusal(hal::command::by_slot(hal::command::prepare(f.sum), 3)), has("no value that a slot could give"));
  hal::Command odd = hal::command::by_slot(fill, 0);
  odd.as.fill.pattern_bytes = 3;
  CHECK_THAT(refusal(odd), has("pattern_bytes is 3"));
  const auto direct = f.queue.submit(std::array{hal::command::by_slot(fill, 4)});
  REQUIRE_FALSE(direct);
  CHECK(direct.error().code() == HAL_INVALID_ARGUMENT);
  CHECK_THAT(std::string(direct.error().what()), has("'pattern' names slot 4; slots stand only in recordings"));
  // Of no length it does nothing, and still wants its slot.
  hal::Commands empty =
      f.device.record(std::array{hal::command::by_slot(hal::command::fill(out.slice(0, 0), 1U), 1)}).value();
  const std::uint32_t number = 5;
  const std::array<hal::Slice, 2> slots{hal::Slice{}, hal_host(&number, 4)};
  REQUIRE(hal::wait(f.queue.execute(empty, slots).value(), 20s));
  CHECK(f.queue.execute(empty, std::span(slots).first(1)).error().code() == HAL_INVALID_ARGUMENT);
  // A capture records it, too.
  REQUIRE(f.queue.begin_capture());
  REQUIRE(f.queue.submit(std::array{hal::command::by_slot(hal::command::fill(out, std::uint32_t{7}), 1)}));
  hal::Commands captured = f.queue.end_capture().value();
  REQUIRE(f.queue.execute(captured, slots));
  CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{5, 5, 5, 5});
}

TEST_CASE("program: extents of dynamic dimensions from slices, by hand and by slot") {
  Fixture f;
  hal::Buffer x = f.device.buffer(24 * 4).value(), sums = f.device.buffer(24 * 4).value();
  std::array<float, 24> ones{};
  ones.fill(1);
  f.queue.copy(hal::host(ones), x).value();
  // 'columns' follows from 'rows', which the second tensor's length tells.
  REQUIRE(f.queue.run(f.sum, {x.slice(0, 96), sums.slice(0, 32)}, hal::Grid(1)));
  CHECK(f.read<float, 8>(sums) == std::array<float, 8>{3, 3, 3, 3, 3, 3, 3, 3});
  REQUIRE(f.queue.run(f.sum, {x.slice(0, 80), sums.slice(0, 16), hal::extent(4), hal::extent(5)}, hal::Grid(1)));
  CHECK(f.read<float, 4>(sums) == std::array<float, 4>{5, 5, 5, 5});
  CHECK(f.queue.run(f.sum, {x.slice(0, 80), sums.slice(0, 12)}, hal::Grid(1)).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.run(f.sum, {x.slice(0, 80), sums.slice(0, 16), hal::extent(4), hal::extent(4)}, hal::Grid(1))
            .error()
            .code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.run(f.sum, {x, sums, hal::extent(4)}, hal::Grid(1)).error().code() == HAL_INVALID_ARGUMENT);

  // One recording, many shapes: lengths to the end of what a replay gives.
  const std::array<hal::Arg, 2> rest{hal::slot(0, 0, HAL_REST), hal::slot(1, 0, HAL_REST)};
  hal::Commands shapes = f.device.record(std::array{hal::command::run(f.sum, rest, hal::Grid(1))}).value();
  for (std::uint64_t rows = 1; rows <= 4; ++rows) {
    const std::array<hal::Slice, 2> slots{x.slice(0, rows * 6 * 4), sums.slice(0, rows * 4)};
    REQUIRE(f.queue.execute(shapes, slots));
    const auto found = f.read<float, 4>(sums);
    for (std::uint64_t r = 0; r < rows; ++r) { CHECK(found[r] == 6); }
  }
  const std::array<hal::Slice, 2> uneven{x.slice(0, 20), sums.slice(0, 8)};
  CHECK(f.queue.execute(shapes, uneven).error().what().find("no whole number of 'columns'") != std::string_view::npos);
  // Extents by slot, and a fixed shape that is wrong already when it is recorded.
  const std::array<hal::Arg, 4> by_slot{x.slice(0, 24), sums.slice(0, 8), hal::scalar_slot<std::int64_t>(0),
                                        hal::scalar_slot<std::int64_t>(1)};
  hal::Commands given = f.device.record(std::array{hal::command::run(f.sum, by_slot, hal::Grid(1))}).value();
  const std::int64_t two = 2, three = 3;
  const std::array<hal::Slice, 2> good{hal_host(&two, 8), hal_host(&three, 8)},
      bad{hal_host(&three, 8), hal_host(&two, 8)};
  REQUIRE(f.queue.execute(given, good));
  CHECK(f.queue.execute(given, bad).error().code() == HAL_INVALID_ARGUMENT);
  const std::array<hal::Arg, 2> wrong{hal::slot(0, 0, 20), hal::slot(1, 0, 8)};
  CHECK(f.device.record(std::array{hal::command::run(f.sum, wrong, hal::Grid(1))}).error().code() ==
        HAL_INVALID_ARGUMENT);
}

TEST_CASE("program: a preparation takes the extents of its entry's symbols, all of them or none") {
  Fixture f;
  REQUIRE(hal::wait(f.queue.prepare(f.sum).value(), 20s));
  const std::array<hal::Arg, 2> good{hal::extent(4), hal::extent(6)};
  REQUIRE(hal::wait(f.queue.prepare(f.sum, good).value(), 20s));
  const auto refusal = [&](const hal::Entry& entry, std::span<const hal::Arg> extents) {
    const auto refused = f.queue.prepare(entry, extents);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
    return std::string(refused.error().what());
  };
  const auto has = [](const char* part) { return Catch::Matchers::Contains(part); };
  CHECK_THAT(refusal(f.sum, std::span(good).first(1)), has("takes no arguments, or 2 extents, got 1"));
  CHECK_THAT(refusal(f.put, good), has("takes no arguments, got 2"));
  const std::array<hal::Arg, 2> zero{hal::extent(4), hal::extent(0)}, narrow{hal::extent(4), 6U},
      slot{hal::scalar_slot<std::int64_t>(0), hal::extent(6)};
  CHECK_THAT(refusal(f.sum, zero), has("is given 0 as the extent of 'columns'"));
  CHECK_THAT(refusal(f.sum, narrow), has("takes the extent of 'columns' as an i64 scalar of 8 bytes in argument 1"));
  CHECK_THAT(refusal(f.sum, slot), has("'rows' names slot 0; slots stand only in recordings"));
  hal::Commands by_slot = f.device.record(std::array{hal::command::prepare(f.sum, slot)}).value();
  hal::Commands shifted = [&] {
    const std::array<hal::Slice, 1> passed{hal::slot(2, 8, 8)};
    return f.device.record(std::array{hal::command::execute(by_slot, passed)}).value();
  }();
  std::array<std::int64_t, 2> rows{0, 4};
  const std::array<hal::Slice, 3> table{hal_host(&rows[1], 8), {}, hal::host(rows)};
  REQUIRE(hal::wait(f.queue.execute(by_slot, table).value(), 20s));
  REQUIRE(hal::wait(f.queue.execute(shifted, table).value(), 20s));
  rows[1] = 0;
  CHECK_THAT(std::string(f.queue.execute(shifted, table).error().what()), has("is given 0 as the extent of 'rows'"));
  const std::array<hal::Arg, 2> short_slot{hal::scalar_slot<std::int32_t>(0), hal::extent(6)};
  CHECK(f.device.record(std::array{hal::command::prepare(f.sum, short_slot)}).error().code() == HAL_INVALID_ARGUMENT);

  // Their own copies wherever a command is kept: behind a run's arguments in a recording, nested, captured, held back.
  hal::Buffer x = f.device.buffer(96).value(), sums = f.device.buffer(32).value();
  std::array<float, 24> ones{};
  ones.fill(1);
  f.queue.copy(hal::host(ones), x).value();
  const std::array<hal::Arg, 2> args{x, sums};
  hal::Commands inner = [&] {
    const std::array<hal::Arg, 2> gone = good;
    return f.device
        .record(std::array{hal::command::prepare(f.sum, gone), hal::command::run(f.sum, args, hal::Grid(1)),
                           hal::command::prepare(f.sum, gone)})
        .value();
  }();
  hal::Commands outer = f.device.record(std::array{hal::command::execute(inner), hal::command::barrier()}).value();
  hal::Timeline gate = f.instance.timeline().value();
  const hal::Point held = f.queue.execute(outer, {}, {.waits = {gate.at(1)}}).value();
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(held, 20s));
  CHECK(f.read<float, 8>(sums) == std::array<float, 8>{3, 3, 3, 3, 3, 3, 3, 3});
  REQUIRE(f.queue.begin_capture());
  REQUIRE(f.queue.prepare(f.sum, good));
  hal::Commands captured = f.queue.end_capture().value();
  REQUIRE(hal::wait(f.queue.execute(captured).value(), 20s));
}

TEST_CASE("capture: what is submitted is recorded and does not run") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  f.queue.fill(out, 0U).value();
  const std::uint64_t before = f.queue.barrier().value().value;
  REQUIRE(f.queue.begin_capture());
  CHECK(f.queue.begin_capture().error().what().find("captures already") != std::string_view::npos);
  const hal::Point first = f.queue.fill(out.slice(0, 4), 5U).value();
  const hal::Point second = f.queue.copy(out.slice(0, 4), hal::slot(0, 0, 4), {.waits = {first}}).value();
  REQUIRE(f.queue.run(f.put, {1U, 9U, out.slice(12, 4)}, hal::Grid(1)));
  CHECK(hal::wait(second, 1s).error().what().find("capture") != std::string_view::npos);
  hal::Queue other = f.device.queue("other").value();
  CHECK(other.barrier({.waits = {second}}).error().code() == HAL_INVALID_ARGUMENT);
  hal::Commands recording = f.queue.end_capture().value();
  CHECK(f.queue.end_capture().error().code() == HAL_INVALID_ARGUMENT);

  CHECK(f.queue.barrier().value().value == before + 1);  // nothing took a number, nothing ran
  CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{0, 0, 0, 0});
  const std::array<hal::Slice, 1> slots{out.slice(8, 4)};
  REQUIRE(f.queue.execute(recording, slots));
  CHECK(f.read<std::uint32_t, 4>(out) == std::array<std::uint32_t, 4>{5, 0, 5, 9});
}

TEST_CASE("capture: a queue that was cancelled takes nothing more, and gives no recording") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  const auto cancelled = [](const auto& result) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_CANCELLED);
  };
  REQUIRE(f.queue.begin_capture());
  REQUIRE(f.queue.fill(out, 1U));
  f.queue.cancel();
  cancelled(f.queue.fill(out, 2U));
  cancelled(f.queue.end_capture());
  cancelled(f.queue.begin_capture());
  CHECK(f.queue.end_capture().error().code() == HAL_INVALID_ARGUMENT);  // it has ended

  hal::Queue spoilt = f.device.queue("spoilt").value();
  REQUIRE(spoilt.begin_capture());
  CHECK_FALSE(spoilt.call([]() -> hal::Result<void> { return {}; }));
  spoilt.cancel();
  cancelled(spoilt.end_capture());
}

TEST_CASE("capture: what cannot be captured is refused at its verb and spoils the capture") {
  Fixture f;
  hal::Buffer out = f.device.buffer(16).value();
  hal::Timeline gate = f.instance.timeline().value();
  hal::Pool pool = f.device.pool().value();
  const hal::Point outside = f.queue.barrier().value();
  const auto spoilt = [&](auto verb) {
    REQUIRE(f.queue.begin_capture());
    REQUIRE(f.queue.fill(out, 1U));
    const auto refused = verb();
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
    const hal::Error end = f.queue.end_capture().error();
    CHECK(std::string(end.text()).find("spoilt") != std::string::npos);
  };
  spoilt([&] { return f.queue.fill(out, 2U, {.waits = {gate.at(1)}}); });
  spoilt([&] { return f.queue.fill(out, 2U, {.waits = {outside}}); });
  spoilt([&] {  // a point of the same capture, but of what comes later
    hal_point point = f.queue.fill(out, 2U).value();
    point.value += 2;
    return f.queue.fill(out, 2U, {.waits = {hal::Point{point}}});
  });
  spoilt([&] { return f.queue.fill(out, 2U, {.signals = {gate.at(1)}}); });
  spoilt([&] { return f.queue.call([]() -> hal::Result<void> { return {}; }); });
  spoilt([&] { return f.queue.free(out); });
  spoilt([&] { return f.queue.alloc(pool, 64); });
  CHECK(f.read<std::uint32_t, 1>(out).size() == 1);  // the queue lives
}

TEST_CASE("capture: whoever would be told of a captured point is refused") {
  Fixture f;
  hal::Buffer buffer = f.device.buffer(16).value();
  REQUIRE(f.queue.begin_capture());
  const hal_point captured = f.queue.fill(buffer, 1U).value();
  const auto code_of = [](hal_error* error) {
    const hal_code code = hal_error_describe(error).code;
    hal_release(error);
    return code;
  };
  int fd = -1;
  CHECK(code_of(hal_point_export_fd(captured, &fd)) == HAL_INVALID_ARGUMENT);
  CHECK(fd == -1);
  CHECK(code_of(hal_timeline_on_reached(
            captured.timeline, captured.value, [](void*, const hal_error*) {}, nullptr)) == HAL_INVALID_ARGUMENT);
  hal::Timeline other = f.instance.timeline().value();
  const std::array<hal_point, 2> any{other.at(1), captured};
  CHECK(code_of(hal_wait(any.data(), 2, HAL_WAIT_ANY, 1'000'000'000, nullptr)) == HAL_INVALID_ARGUMENT);
  REQUIRE(f.queue.end_capture());
}

TEST_CASE("recording: another device's address range is looked up again at each replay") {
  hal::Instance instance = hal::Instance::create("host:null").value();
  hal::Device host = instance.open("host:0").value(), device = instance.open("null:0").value();
  hal::Queue queue = device.queue().value();
  const std::uint64_t unit = host.number("virtual.granularity").value();
  hal::VirtualBuffer range = host.reserve(unit).value();
  hal::Buffer out = device.buffer(64).value();
  REQUIRE(range.map(0, host.physical(unit).value(), 0, unit));
  hal::Commands recording = device.record(std::array{hal::command::copy(range.slice(0, 64), out.slice(0, 64))}).value();
  REQUIRE(queue.execute(recording, {}));
  REQUIRE(queue.finish(20s));
  REQUIRE(range.unmap(0, unit));
  CHECK(queue.execute(recording, {}).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("recording: several threads replay one recording at once") {
  Fixture f;
  constexpr std::uint32_t kThreads = 4, kRounds = 200;
  const std::array<hal::Arg, 3> args{1U, hal::scalar_slot<std::uint32_t>(0), hal::slot(1, 0, 4)};
  const std::array commands{hal::command::run(f.put, args, hal::Grid(1)), hal::command::barrier(),
                            hal::command::copy(hal::slot(1, 0, 4), hal::slot(1, 4, 4))};
  const hal::Commands recording = f.device.record(commands).value();
  std::array<hal::Buffer, kThreads> outs;
  for (hal::Buffer& out : outs) { out = f.device.buffer(8 * kRounds).value(); }
  std::atomic<std::uint32_t> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        hal::Queue mine = t % 2 == 0 ? f.queue : f.device.queue("own").value();
        hal::Point last{};
        for (std::uint32_t i = 0; i < kRounds; ++i) {
          const std::uint32_t value = t * 1000 + i;
          const std::array<hal::Slice, 2> slots{hal_host(&value, 4), outs[t].slice(8 * i, 8)};
          auto done = mine.execute(recording, slots);
          if (!done) {
            ++wrong;
          } else {
            last = *done;
          }
        }
        if (!hal::wait(last, 20s)) { ++wrong; }
        const auto* found = reinterpret_cast<const std::uint32_t*>(outs[t].host().data());
        for (std::uint32_t i = 0; i < 2 * kRounds; ++i) { wrong += found[i] != t * 1000 + i / 2; }
      });
    }
  }
  CHECK(wrong == 0);
}
