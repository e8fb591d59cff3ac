// SPDX-License-Identifier: Apache-2.0
#include "core/uri.hpp"

#include <halyard_catch.hpp>

using hal::core::parse_uri;

TEST_CASE("uri: every part is read") {
  const auto uri = parse_uri("rngd:12/pe0-3?mode=weak&seed=7").value();
  CHECK(uri.driver == "rngd");
  CHECK(uri.index == 12);
  CHECK(uri.part == "pe0-3");
  CHECK(uri.params == "mode=weak&seed=7");
  CHECK(parse_uri("host").value().index == 0);
}

TEST_CASE("uri: a bad character is shown with its position") {
  CHECK(parse_uri("").error().what().find("position 0") != std::string_view::npos);
  CHECK(parse_uri("host:").error().what().find("position 5") != std::string_view::npos);
  CHECK(parse_uri("host:0/").error().what().find("position 7") != std::string_view::npos);
  CHECK(parse_uri("host:0?").error().what().find("position 7") != std::string_view::npos);
  CHECK(parse_uri("host:0 x").error().what().find("position 6") != std::string_view::npos);
  CHECK(parse_uri("host:123456").error().code() == HAL_INVALID_ARGUMENT);
  CHECK(parse_uri("host:99999999999999999999").error().what().find("5 digits at position 5") != std::string_view::npos);
  CHECK(parse_uri("ho\nst:0").error().what().find('\n') == std::string_view::npos);
  CHECK(parse_uri(std::string(10'000, 'a')).error().code() == HAL_INVALID_ARGUMENT);
}
