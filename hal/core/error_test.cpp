// SPDX-License-Identifier: Apache-2.0
#include <halyard_catch.hpp>
#include <string>

#include "failing_allocations.hpp"
#include "hal/result.hpp"

namespace {

hal::Result<int> half(int n) {
  if (n % 2 != 0) { return hal::Error(HAL_INVALID_ARGUMENT, "odd number"); }
  return n / 2;
}

hal::Result<int> quarter(int n) {
  HAL_TRY(const int h, half(n));
  return half(h);
}

}  // namespace

TEST_CASE("error: the story has the sentence, the vendor's name and number, the site and each cause") {
  hal::Error first(HAL_DEVICE_LOST, "the card fell off the bus", "rngd", "RNGD_GONE", -7);
  hal::Error second = std::move(first).while_doing("submitting 3 commands");
  const std::string story(second.text());
  CHECK(second.code() == HAL_DEVICE_LOST);
  CHECK(story.find("submitting 3 commands") < story.find("because the card fell off the bus"));
  CHECK(story.find("RNGD_GONE -7") != std::string::npos);
  CHECK(story.find("error_test.cpp:") != std::string::npos);
}

TEST_CASE("error: a chain of 100,000 causes is released without growing the stack") {
  hal::Error error(HAL_INTERNAL, "first");
  for (int i = 0; i < 100'000; ++i) { error = std::move(error).while_doing("next"); }
  CHECK(error.code() == HAL_INTERNAL);
}

TEST_CASE("error: unknown codes have a fixed name and NULL is OK") {
  CHECK(std::string(hal_code_name(static_cast<hal_code>(31))) == "UNKNOWN_CODE");
  CHECK(std::string(hal_error_text(nullptr)) == "OK");
  CHECK(hal_error_describe(nullptr).code == HAL_OK);
}

TEST_CASE("error: one that says it is none is a fault of whoever made it") {
  hal_error_info info{};
  info.what = "nothing happened";
  const hal::Error error = hal::Error::adopt(hal_error_create(&info));
  CHECK(error.code() == HAL_INTERNAL);
  CHECK(error.what() == "nothing happened");
}

TEST_CASE("error: without memory the code is kept, and the cause if it says the same") {
  const hal::Error lost(HAL_DEVICE_LOST, "the card fell off the bus, and this is a long sentence about it");
  const std::string what = "a sentence that is too long to be kept without memory";
  const auto around = [&](hal_code code) {
    hal_error_info info{};
    info.code = code;
    info.what = what.c_str();
    info.cause = static_cast<hal_error*>(hal_retain(const_cast<hal_error*>(lost.get())));
    hal::test::fail_after(0);
    hal::Error made = hal::Error::adopt(hal_error_create(&info));
    hal::test::fail_no_more();
    return made;
  };
  CHECK(around(HAL_DEVICE_LOST).get() == lost.get());
  for (int i = 0; i < 3; ++i) {
    const hal::Error bare = around(HAL_OUT_OF_RANGE);
    CHECK(bare.code() == HAL_OUT_OF_RANGE);
    CHECK(bare.info().cause == nullptr);
    CHECK(bare.text().find("no memory") != std::string_view::npos);
    CHECK(bare.text() == bare.what());
  }
  // A story that cannot be told is told later.
  const hal::Error again(HAL_INVALID_ARGUMENT, "the buffer was freed already, long before anybody asked for it");
  hal::test::fail_after(0);
  CHECK(again.text() == again.what());
  hal::test::fail_no_more();
  CHECK(again.text().find("[INVALID_ARGUMENT") != std::string_view::npos);
}

TEST_CASE("result: HAL_TRY passes values on and errors out") {
  CHECK(*quarter(8) == 2);
  REQUIRE_FALSE(quarter(6));
  CHECK(quarter(6).error().what() == "odd number");
  CHECK_THROWS_AS(quarter(6).value(), hal::Exception);
}
