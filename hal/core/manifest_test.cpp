// SPDX-License-Identifier: Apache-2.0
#include <halyard_catch.hpp>

#include "core/signature.hpp"

using hal::core::parse_manifest;

TEST_CASE("manifest: entries and parameters with every field") {
  const auto parsed = parse_manifest(R"(
# two entries
entry saxpy kernel group=128,2 shared=64
  scalar n u32
  buffer x in f32
  buffer y inout f32 16   # at least 16 elements
entry scores graph
  tensor t out bf16 4,8
)")
                          .value();
  REQUIRE(parsed.views().size() == 2);
  const hal_signature& saxpy = parsed.views()[0];
  CHECK(std::string(saxpy.name) == "saxpy");
  CHECK(saxpy.kind == HAL_KERNEL);
  CHECK(saxpy.group_size[0] == 128);
  CHECK(saxpy.group_size[1] == 2);
  CHECK(saxpy.group_size[2] == 1);
  CHECK(saxpy.shared_bytes == 64);
  REQUIRE(saxpy.param_count == 3);
  CHECK(saxpy.params[0].bytes == 4);
  CHECK(saxpy.params[1].bytes == 0);
  CHECK(saxpy.params[2].bytes == 64);
  CHECK(saxpy.params[2].direction == HAL_INOUT);
  CHECK(parsed.views()[1].params[0].bytes == 64);
}

TEST_CASE("manifest: each mistake names its line") {
  const auto line_of = [](const char* text) { return std::string(parse_manifest(text).error().what()); };
  CHECK(line_of("").find("names no entry") != std::string::npos);
  CHECK(line_of("scalar n u32").find("line 1") != std::string::npos);
  CHECK(line_of("\nentry a kernel\nentry a kernel").find("line 3") != std::string::npos);
  CHECK(line_of("entry a thing").find("'kernel' or a 'graph'") != std::string::npos);
  CHECK(line_of("entry a kernel group=0x").find("line 1") != std::string::npos);
  CHECK(line_of("entry a kernel\nbuffer x sideways f32").find("no direction") != std::string::npos);
  CHECK(line_of("entry a kernel\nbuffer x in f33").find("no element type") != std::string::npos);
  CHECK(line_of("entry a kernel\ntensor x in f32").find("no dimensions") != std::string::npos);
  CHECK(line_of("entry a kernel\ntensor x in f32 0").find("out of range") != std::string::npos);
  CHECK(line_of("entry a kernel\ntensor x in f32 99999999999,99999999999").find("out of range") != std::string::npos);
  CHECK(line_of("entry a kernel\nscalar n u32 4").find("line 2") != std::string::npos);
  CHECK(line_of("entry a kernel\nscalar n u32 # fine\nwhat").find("line 3") != std::string::npos);
}
