// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/params.hpp"

#include <halyard_catch.hpp>
#include <string>

#include "driver_kit/errors.hpp"
#include "driver_kit/verdicts.hpp"

using hal::kit::Params;

namespace {

std::string refusal(const hal::Result<void>& result) { return std::string(result.error().what()); }

hal::Result<void> read(const char* text) {
  HAL_TRY(auto params, Params::parse("host", text));
  HAL_TRY(const std::size_t mode, params.choice("mode", {"eager", "weak"}));
  HAL_TRY(const std::uint64_t seed, params.number("seed", 7));
  HAL_CHECK(params.done());
  CHECK(mode == 1);
  CHECK(seed == 0x2a);
  return {};
}

}  // namespace

TEST_CASE("params: known keys are read and absent ones take their defaults") {
  CHECK(read("mode=weak&seed=0x2a"));
  CHECK(read("seed=42&mode=weak"));
  auto none = Params::parse("host", "");
  REQUIRE(none);
  CHECK(*none->number("seed", 7) == 7);
  CHECK(*none->choice("mode", {"eager", "weak"}) == 0);
  CHECK(none->text("name", "x") == "x");
}

TEST_CASE("params: what is wrong is named with what was expected") {
  CHECK(refusal(read("mode")).find("position 0 is 'mode'; expected key=value") != std::string::npos);
  CHECK(refusal(read("mode=weak&=3")).find("position 10") != std::string::npos);
  CHECK(refusal(read("mode=lazy")).find("expected one of: eager, weak") != std::string::npos);
  CHECK(refusal(read("seed=12x")).find("'12x'; expected a number") != std::string::npos);
  CHECK(refusal(read("seed=99999999999999999999")).find("expected a number") != std::string::npos);
  CHECK(refusal(read("seed=1&seed=2")).find("given twice") != std::string::npos);
  CHECK(refusal(read("mode=weak&speed=1")).find("'speed' is unknown; this device knows: mode, seed") !=
        std::string::npos);
  CHECK(read("x=1&mode").error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("errors: nothing thrown inside a driver crosses the table") {
  hal_error* memory = hal::kit::guarded("mine", []() -> hal_error* { throw std::bad_alloc(); });
  CHECK(hal_error_describe(memory).code == HAL_OUT_OF_HOST_MEMORY);
  hal_error* other = hal::kit::guarded("mine", []() -> hal::Result<void> { throw std::runtime_error("odd"); });
  CHECK(hal_error_describe(other).code == HAL_INTERNAL);
  CHECK(std::string(hal_error_text(other)).find("odd") != std::string::npos);
  CHECK(std::string(hal_error_describe(other).origin) == "mine");
  hal_release(memory);
  hal_release(other);
  CHECK(hal::kit::guarded("mine", []() -> hal::Result<void> { return {}; }) == nullptr);
}

TEST_CASE("verdicts: equal reasons share one address and hostile variety is bounded") {
  hal::kit::Verdicts verdicts;
  const char* first = verdicts.no("because").why;
  for (int i = 0; i < 10'000; ++i) { (void)verdicts.no("reason " + std::to_string(i)); }
  CHECK(verdicts.no("because").why == first);
  CHECK(std::string(verdicts.no("one more").why).find("too many") != std::string::npos);
}
