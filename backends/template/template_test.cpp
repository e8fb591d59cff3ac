// SPDX-License-Identifier: Apache-2.0
#include <halyard_catch.hpp>
#include <string>

#include "driver_kit/harness.hpp"

using hal::kit::Harness;

namespace {

// UNSUPPORTED, naming the step of the porting guide.
void expect_step(hal_error* error, const char* step) {
  CHECK(hal_error_describe(error).code == HAL_UNSUPPORTED);
  CHECK(std::string(hal_error_text(error)).find(std::string("docs/porting.md, step ") + step) != std::string::npos);
  hal_release(error);
}

}  // namespace

TEST_CASE("template: it loads, lists one device, opens it, and names the step for everything else") {
  Harness host{std::string(TEMPLATE_DRIVER)};
  REQUIRE(host.ops().device_count(host.driver()) == 1);
  const auto device = host.open(0);
  CHECK(device->traits().ops == 0);
  hal_memory memory{};
  expect_step(host.ops().memory_allocate(host.driver(), device->impl(), 64, &memory), "4");
  hal_lane* lane = nullptr;
  expect_step(host.ops().lane_create(host.driver(), device->impl(), "", nullptr, &lane), "5");
  const hal_image image{"hal.graph", "x", 1, nullptr};
  void* program = nullptr;
  expect_step(host.ops().program_load(host.driver(), device->impl(), &image, nullptr, 0, &program), "6");
  CHECK(host.ops().program_check(host.driver(), device->impl(), &image).support == HAL_NO);
  CHECK(host.ops().supports(host.driver(), device->impl(), "kernel").support == HAL_NO);
  CHECK(std::string(host.ops().supports(host.driver(), device->impl(), "wings").why) == "unknown feature");
}
