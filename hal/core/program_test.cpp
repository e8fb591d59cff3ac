// SPDX-License-Identifier: Apache-2.0
// Programs, arguments and recordings on the host device, with a graph built here.
#include <array>
#include <halyard_catch.hpp>

#include "core/host_fixture.hpp"
#include "graph/add_graph.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;

namespace {

struct Fixture : hal::test::HostQueue {
  std::vector<std::byte> bytes = hal::add_graph(4);
  hal::Program program = device.load({"hal.graph", bytes}).value();
  hal::Entry add = program.entry("add").value();
  hal::Buffer x = device.buffer(16).value(), y = device.buffer(16).value(), sum = device.buffer(16).value();
};

}  // namespace

TEST_CASE("program: a graph runs with its own signature") {
  Fixture f;
  REQUIRE(f.add.signature().param_count == 3);
  CHECK(f.add.signature().kind == HAL_GRAPH);
  const std::array<float, 4> x{1, 2, 3, 4}, y{10, 20, 30, 40};
  std::array<float, 4> sum{};
  f.queue.copy(hal::host(x), f.x).value();
  f.queue.copy(hal::host(y), f.y).value();
  f.queue.run(f.add, {f.x, f.y, f.sum}).value();
  REQUIRE(hal::wait(f.queue.copy(f.sum, hal::host(sum)).value(), 20s));
  CHECK(sum == std::array<float, 4>{11, 22, 33, 44});
}

TEST_CASE("program: an extent that no slice's length tells is asked for, also for a symbol that no shape has") {
  Fixture f;
  hal::GraphBuilder builder("scaled");
  const std::int64_t n = builder.symbol("n");
  builder.symbol("unused");
  const hal::graph::Value x = builder.input("x", hal::DType::f32, {4});
  builder.output("y", builder.map({x}, hal::graph::arg(0) + hal::graph::size_of(n)));
  const std::vector<std::byte> bytes = builder.finish().value();
  const hal::Program program = f.device.load({"hal.graph", bytes}).value();
  const hal::Entry scaled = program.entry("scaled").value();
  const std::array<float, 4> ones{1, 1, 1, 1};
  f.queue.copy(hal::host(ones), f.x).value();
  const std::array<hal::Arg, 2> args{f.x, f.y};
  const std::array alone{hal::command::run(scaled, args)};
  const std::array behind{hal::command::barrier(), alone[0]};
  for (const std::span<const hal::Command> commands : {std::span<const hal::Command>(alone), {behind}}) {
    const auto refused = f.queue.submit(commands);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(refused.error().what().find("has a symbol 'n' whose extent no slice's length tells; give its 2 extents") !=
          std::string_view::npos);
  }
  f.queue.run(scaled, {f.x, f.y, hal::extent(3), hal::extent(1)}).value();
  std::array<float, 4> y{};
  REQUIRE(hal::wait(f.queue.copy(f.y, hal::host(y)).value(), 20s));
  CHECK(y == std::array<float, 4>{4, 4, 4, 4});
}

TEST_CASE("program: wrong arguments are refused before anything runs") {
  Fixture f;
  CHECK(f.queue.run(f.add, {f.x, f.y}).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.run(f.add, {f.x, f.y, 3.0F}).error().what().find("'sum'") != std::string_view::npos);
  CHECK(f.queue.run(f.add, {f.x, f.y, f.sum.slice(0, 12)}).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.run(f.add, {f.x, f.y, f.sum}, hal::Grid(1)).error().what().find("takes no grid") !=
        std::string_view::npos);
  hal::Command prepare = hal::command::prepare(f.add);
  prepare.as.run.has_grid = 1;
  prepare.as.run.grid = {{1, 1, 1}, {1, 1, 1}, 0};
  CHECK(f.queue.submit(std::span(&prepare, 1)).error().what().find("preparing entry 'add' takes no grid") !=
        std::string_view::npos);
  CHECK(f.device.record(std::span(&prepare, 1)).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.program.entry("subtract").error().what().find("add") != std::string_view::npos);
  CHECK(f.device.load({"no.such.format", f.bytes}).error().code() == HAL_INVALID_IMAGE);
  CHECK(f.device.load({"hal.graph", std::span(f.bytes).first(20)}).error().code() == HAL_INVALID_IMAGE);
  // What would be ignored unread is refused, by check and by load.
  for (const char* format : {"hal.graph", "hal.bundle", "hal.program"}) {
    const hal::Image image{format, f.bytes, "entry other kernel"};
    const hal::Error refused = f.device.load(image).error();
    CHECK(refused.code() == HAL_INVALID_ARGUMENT);
    CHECK(refused.what().find(std::string("images of format '") + format) != std::string_view::npos);
    const hal_image same = image.c();
    CHECK(hal_device_check(f.device.get(), &same).support == HAL_NO);
  }
}

TEST_CASE("commands: a recording is replayed with other buffers in its slots") {
  Fixture f;
  const std::array<hal::Arg, 3> args{hal::slot(0, 0, 16), hal::slot(1, 0, 16), hal::slot(2, 0, 16)};
  const std::array commands{hal::command::fill(hal::slot(0, 0, 16), 2.0F), hal::command::run(f.add, args),
                            hal::command::copy(hal::slot(2, 0, 16), hal::slot(2, 16, 16))};
  hal::Commands recording = f.device.record(commands).value();
  std::array<float, 8> out{};
  for (int round = 1; round <= 50; ++round) {
    hal::Buffer y = f.device.buffer(16).value(), result = f.device.buffer(32).value();
    f.queue.fill(y, static_cast<float>(round)).value();
    const std::array<hal::Slice, 3> slots{f.x, y, result};
    f.queue.execute(recording, slots).value();
    REQUIRE(hal::wait(f.queue.copy(result, hal::host(out)).value(), 20s));
    CHECK(out[0] == static_cast<float>(round) + 2);
    CHECK(out[7] == static_cast<float>(round) + 2);
  }
  const std::array<hal::Slice, 2> few{f.x, f.y};
  CHECK(f.queue.execute(recording, few).error().code() == HAL_INVALID_ARGUMENT);
  const std::array<hal::Slice, 3> small{f.x, f.y, f.sum};
  CHECK(f.queue.execute(recording, small).error().code() == HAL_OUT_OF_RANGE);
}

TEST_CASE("commands: what cannot be recorded is refused when recorded") {
  Fixture f;
  const std::array nested{hal::command::free(f.x)};
  CHECK(f.device.record(nested).error().code() == HAL_INVALID_ARGUMENT);
  const std::array wide{hal::command::fill(hal::slot(300, 0, 16), 1.0F)};
  CHECK(f.device.record(wide).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(f.queue.fill(hal::slot(0, 0, 16), 1.0F).error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("program: releasing a program and a recording right after submission is safe") {
  Fixture f;
  hal::Timeline gate = f.instance.timeline().value();
  hal::Point done{};
  {
    hal::Program doomed = f.device.load({"hal.graph", f.bytes}).value();
    hal::Entry add = doomed.entry("add").value();
    const std::array<hal::Arg, 3> args{f.x, f.y, f.sum};
    const std::array commands{hal::command::run(add, args)};
    hal::Commands recording = f.device.record(commands).value();
    f.queue.fill(f.x, 1.0F, {.waits = {gate.at(1)}}).value();
    f.queue.fill(f.y, 2.0F).value();
    done = f.queue.execute(recording).value();
  }
  REQUIRE(gate.signal(1));
  REQUIRE(hal::wait(done, 20s));
  float out = 0;
  std::memcpy(&out, f.sum.host().data(), 4);
  CHECK(out == 3.0F);
}
