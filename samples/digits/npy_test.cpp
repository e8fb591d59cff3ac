// SPDX-License-Identifier: Apache-2.0
#include "digits/npy.hpp"

#include <cstring>
#include <halyard_catch.hpp>
#include <string>
#include <string_view>

namespace {

// A version 1 file with the given dictionary and data.
std::string file_of(const std::string& dictionary, const std::string& data) {
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(dictionary.size() & 0xFFU);
  file += static_cast<char>(dictionary.size() >> 8U);
  return file + dictionary + data;
}

hal::Result<digits::Array> parse(const std::string& file) {
  return digits::parse_npy(std::as_bytes(std::span(file)), "test.npy");
}

std::string refusal(const std::string& file, hal_code code) {
  const auto result = parse(file);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == code);
  return std::string(result.error().what());
}

const std::string kGood = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }";

}  // namespace

TEST_CASE("npy: type, shape and data are read") {
  const auto array = parse(file_of(kGood, std::string(24, '\x01'))).value();
  CHECK(array.dtype == hal::DType::i32);
  CHECK(array.shape == hal::graph::Shape{2, 3});
  CHECK(array.bytes == std::vector<std::byte>(24, std::byte{1}));
}

TEST_CASE("npy: a scalar and one dimension") {
  CHECK(parse(file_of("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "x")).value().shape.empty());
  CHECK(parse(file_of("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", "xy")).value().shape ==
        hal::graph::Shape{2});
}

TEST_CASE("npy: bad files are refused with place and reason") {
  using Catch::Matchers::Contains;
  CHECK_THAT(refusal("", HAL_INVALID_IMAGE), Contains("magic"));
  CHECK_THAT(refusal("\x93NUMPY", HAL_INVALID_IMAGE), Contains("byte 6: version is 0"));
  CHECK_THAT(refusal(std::string("\x93NUMPY\x04\x00", 8), HAL_INVALID_IMAGE), Contains("version is 4"));
  CHECK_THAT(refusal(std::string("\x93NUMPY\x02\x00\x01", 9), HAL_INVALID_IMAGE), Contains("ends inside"));
  CHECK_THAT(refusal(std::string("\x93NUMPY\x01\x00\xFF\xFF{", 11), HAL_INVALID_IMAGE), Contains("65535"));
  CHECK_THAT(refusal(file_of("{}", ""), HAL_INVALID_IMAGE), Contains("'descr'"));
  CHECK_THAT(refusal(file_of(kGood, std::string(23, ' ')), HAL_INVALID_IMAGE), Contains("23 bytes follow"));
  CHECK_THAT(refusal(file_of(kGood, std::string(25, ' ')), HAL_INVALID_IMAGE), Contains("has 24"));
  const auto changed = [](std::string_view from, const std::string& to) {
    std::string text = kGood;
    return file_of(text.replace(text.find(from), from.size(), to), std::string(24, ' '));
  };
  CHECK_THAT(refusal(changed("<i4", ">i4"), HAL_UNSUPPORTED), Contains("'>i4'"));
  CHECK_THAT(refusal(changed("<i4", "O"), HAL_UNSUPPORTED), Contains("'O'"));
  CHECK_THAT(refusal(changed("False", "True"), HAL_UNSUPPORTED), Contains("fortran_order is True"));
  CHECK_THAT(refusal(changed("'fortran", "'descr': '<f8', 'fortran"), HAL_INVALID_IMAGE), Contains("once each"));
  CHECK_THAT(refusal(changed("2, 3", "2, -3"), HAL_INVALID_IMAGE), Contains("sizes begin at 1"));
  CHECK_THAT(refusal(changed("2, 3", "2, x"), HAL_INVALID_IMAGE), Contains("whole numbers"));
  CHECK_THAT(refusal(changed("2, 3", "0, 3"), HAL_INVALID_IMAGE), Contains("sizes begin at 1"));
  CHECK_THAT(refusal(changed("2, 3", "99999999999, 99999999999"), HAL_INVALID_IMAGE), Contains("sizes begin at 1"));
  CHECK_THAT(refusal(changed("2, 3", "99999999999999999999"), HAL_INVALID_IMAGE), Contains("whole numbers"));
  CHECK_THAT(refusal(changed("2, 3", "1, 1, 1, 1, 1, 1, 1, 1, 6"), HAL_UNSUPPORTED), Contains("8 dimensions"));
}

TEST_CASE("npy: every truncation of a good file is refused") {
  const std::string file = file_of(kGood, std::string(24, '\x01'));
  for (std::size_t length = 0; length < file.size(); ++length) { CHECK_FALSE(parse(file.substr(0, length))); }
}

TEST_CASE("npy: a missing file is named") {
  const auto result = digits::load_npy("no/such.npy");
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == HAL_NOT_FOUND);
}
