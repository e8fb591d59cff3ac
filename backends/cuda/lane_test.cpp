// SPDX-License-Identifier: Apache-2.0
// What a stream has done, and may still do, when its lane's failure is told.
#include "lane.hpp"

#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <future>
#include <halyard_catch.hpp>
#include <optional>
#include <vector>

#include "driver_kit/harness.hpp"
#include "scale_kernel.hpp"

using hal::kit::Harness;
using namespace hal::cuda;

extern "C" hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out);

namespace {

// Host functions that the stream takes before it refuses one.
Fn_LaunchHostFunc* g_launch = nullptr;
std::atomic<int> g_left;

struct Fixture {
  Fixture() {
    ::setenv("HALYARD_CUDA_LIBRARIES", EMULATED_CUDA, 1);
    host.emplace(hal_driver_entry);
    device = host->open(0);
    api = const_cast<Api*>(&static_cast<Device*>(device->impl())->api());
    g_launch = api->LaunchHostFunc;
    g_left = INT_MAX;
    api->LaunchHostFunc = [](CUstream stream, CUhostFn function, void* user) {
      return g_left-- > 0 ? g_launch(stream, function, user) : CUDA_ERROR_OUT_OF_MEMORY;
    };
  }
  std::optional<Harness> host;
  std::unique_ptr<Harness::Device> device;
  Api* api = nullptr;
};

}  // namespace

TEST_CASE("cuda lane: what is left of a command that could not be enqueued whole comes to its end before it fails") {
  Fixture fixture;
  constexpr std::uint64_t kBytes = 6 << 20;  // in two pieces
  std::vector<std::byte> bytes(kBytes, std::byte{7});
  hal_buffer* buffer = fixture.device->allocate(kBytes);
  Harness::Lane lane(*fixture.device);
  std::promise<void> go;
  std::atomic<bool> open{false}, told_while_closed{false};
  lane.at_failure = [&] { told_while_closed = !open; };
  const auto stream = Lane::of(lane.get())->stream();
  const CUhostFn gate = [](void* user) { static_cast<std::promise<void>*>(user)->get_future().wait(); };
  REQUIRE(g_launch(stream, gate, &go) == CUDA_SUCCESS);

  const hal_command copy = hal::kit::copy(hal::kit::whole(buffer), hal_host(bytes.data(), kBytes));
  g_left = 1;  // the second piece is refused, the first waits on the stream
  CHECK(lane.submit({copy, hal_command{}}) == 2);
  for (int time = 0; time < 100; ++time) { lane.ops().notify(fixture.host->driver(), lane.get()); }
  CHECK(lane.failure() == nullptr);
  open = true;
  go.set_value();
  CHECK_FALSE(lane.wait(2));
  CHECK_FALSE(told_while_closed);
  CHECK((lane.failed_number() == 1 && lane.completed() == 0));
  CHECK(hal_error_describe(lane.failure()).code == HAL_OUT_OF_DEVICE_MEMORY);
}

TEST_CASE("cuda lane: a lost context fails a lane when what runs on its stream has come to its end") {
  Fixture fixture;
  Harness::Lane lane(*fixture.device), other(*fixture.device);
  struct {
    std::promise<void> inside, go;
  } gate;
  std::atomic<bool> open{false}, told_while_closed{false};
  lane.at_failure = [&] { told_while_closed = !open; };
  const CUhostFn hold = [](void* user) {
    auto& at = *static_cast<decltype(&gate)>(user);
    at.inside.set_value();
    at.go.get_future().wait();
  };
  REQUIRE(g_launch(Lane::of(lane.get())->stream(), hold, &gate) == CUDA_SUCCESS);
  lane.submit({hal_command{}});
  gate.inside.get_future().wait();

  // A kernel that writes where there is no memory loses the context for all streams.
  const ScaleSignature scale;
  hal_program* program = fixture.device->load({"ptx", kScale, std::strlen(kScale), nullptr}, {&scale.signature, 1});
  hal_arg args[3] = {};
  args[0] = hal::kit::buffer_arg(hal::kit::whole(fixture.device->allocate(64)));
  args[1].kind = args[2].kind = HAL_ARG_SCALAR;
  args[1].size = args[2].size = 4;
  const std::uint32_t too_many = 17;
  std::memcpy(args[1].value.scalar, &too_many, 4);
  hal_command run = hal::kit::run(program, args);
  run.as.run.has_grid = 1;
  run.as.run.grid.groups[0] = run.as.run.grid.groups[1] = run.as.run.grid.groups[2] = 1;
  CHECK_FALSE(other.wait(other.submit({run})));
  CHECK(hal_error_describe(other.failure()).code == HAL_DEVICE_LOST);

  for (int time = 0; time < 100; ++time) { lane.ops().notify(fixture.host->driver(), lane.get()); }
  CHECK(lane.failure() == nullptr);
  open = true;
  gate.go.set_value();
  CHECK_FALSE(lane.wait(1));
  CHECK_FALSE(told_while_closed);
  CHECK((lane.failed_number() == 1 && lane.completed() == 0));
}
