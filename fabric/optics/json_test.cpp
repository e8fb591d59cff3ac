// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/json.hpp"

#include <halyard_catch.hpp>

#include <string>

using namespace hal::fabric;

namespace {
std::string error_of(std::string_view text) {
  auto parsed = parse_json(text, "x.json");
  return parsed ? "accepted" : parsed.error().what;
}
}  // namespace

TEST_CASE("json: values keep their places", "[fabric]") {
  auto root = parse_json("{\"a\": [1, -2.5e3, true, null],\n  \"b\": \"x\\u00e9\\n\\ud83d\\ude00\"}", "x.json");
  REQUIRE(root);
  REQUIRE(root->find("a")->items.size() == 4);
  CHECK(root->find("a")->items[1].number == -2500.0);
  CHECK(root->find("a")->items[2].boolean);
  CHECK(root->find("b")->at.line == 2);
  CHECK(root->find("b")->at.column == 8);
  CHECK(root->find("b")->string == "x\xc3\xa9\n\xf0\x9f\x98\x80");
  CHECK(root->find("c") == nullptr);
}

TEST_CASE("json: what is wrong is named with line and column", "[fabric]") {
  CHECK(error_of("") == "x.json:1:1: expected a value, found the end of the text");
  CHECK(error_of("{\"a\": 1,\n \"a\": 2}") == "x.json:2:5: the key \"a\" is there twice");
  CHECK(error_of("[1,]") == "x.json:1:4: expected a value, found ']'");
  CHECK(error_of("[01]") == "x.json:1:3: a number may not begin with 0");
  CHECK(error_of("[1e999]") == "x.json:1:7: the number 1e999 does not fit a double");
  CHECK(error_of("{} x") == "x.json:1:4: found 'x' after the end of the document");
  CHECK(error_of("\"\\ud800\"") == "x.json:1:8: a lone surrogate in a string");
  CHECK(error_of("\"a\nb\"") == "x.json:1:3: control byte 0x0a in a string");
  CHECK(error_of("tru") == "x.json:1:1: expected 'true'");
  CHECK(error_of("{\"a\" 1}") == "x.json:1:6: expected ':' after \"a\", found '1'");
  CHECK(error_of("\"abc") == "x.json:1:5: a string is not closed");
  CHECK(error_of(std::string(1000, '[')) == "x.json:1:18: nested deeper than 16 levels");
}
