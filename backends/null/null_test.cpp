// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <halyard_catch.hpp>

#include "driver_kit/harness.hpp"

using hal::kit::Harness;

TEST_CASE("null: every command is done at once and no byte moves") {
  Harness host{std::string(NULL_DRIVER)};
  const auto device = host.open(0);
  const hal_buffer* buffer = device->allocate(64);
  CHECK(buffer->memory.host == nullptr);
  CHECK(device->allocate(64)->memory.address != buffer->memory.address);

  Harness::Lane lane(*device);
  char target[8] = "before";
  hal_command copy{};
  copy.op = HAL_OP_COPY;
  copy.as.copy.from = {const_cast<hal_buffer*>(buffer), 0, sizeof(target)};
  copy.as.copy.to = hal_host(target, sizeof(target));
  lane.submit({copy, copy});
  CHECK(lane.completed() == 2);
  CHECK(std::strcmp(target, "before") == 0);
}

TEST_CASE("null: parts and parameters are refused") {
  Harness host{std::string(NULL_DRIVER)};
  hal_device_traits traits{};
  for (const auto& [params, part] : {std::pair{"seed=1", ""}, std::pair{"", "pe0"}}) {
    hal_error* error = host.try_open(0, params, part, &traits);
    CHECK(hal_error_describe(error).code == HAL_INVALID_ARGUMENT);
    hal_release(error);
  }
}
