// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
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
  for (const char* group : {"group=0", "group=4,0", "group=1,1,0"}) {
    CHECK(line_of((std::string("\nentry a kernel ") + group).c_str()).find("line 2: '" + std::string(group)) !=
          std::string::npos);
  }
  CHECK(line_of("entry a kernel group=1 group=1").find("'group=1' is the second of its kind") != std::string::npos);
  CHECK(line_of("entry a kernel shared=8 group=1 shared=16").find("'shared=16' is the second") != std::string::npos);
  CHECK(line_of("entry a kernel\nscalar n u32\nbuffer n in u32").find("line 3") != std::string::npos);
  CHECK(parse_manifest("entry a kernel\nscalar n u32\nentry b kernel\nscalar n u32"));
}

TEST_CASE("manifest: a dimension may be a symbol") {
  const auto parsed = parse_manifest(R"(
entry rows kernel
  tensor x in f32 n,4
  tensor y out f32 n,m
  tensor z in i8 -1,m
entry other kernel
  tensor x in f32 m
)")
                          .value();
  const hal_signature& rows = parsed.views()[0];
  REQUIRE(rows.symbol_count == 3);
  CHECK(std::string(rows.symbols[0]) == "n");
  CHECK(std::string(rows.symbols[1]) == "m");
  CHECK(std::string(rows.symbols[2]) == "z.0");
  CHECK(rows.params[0].dims[0] == -1);
  CHECK(rows.params[0].dims[1] == 4);
  CHECK(rows.params[0].bytes == 0);
  CHECK(rows.params[2].symbols[0] == 2);
  CHECK(rows.params[2].symbols[1] == 1);
  REQUIRE(parsed.views()[1].symbol_count == 1);  // each entry has its own
  CHECK(parsed.views()[1].params[0].symbols[0] == 0);
  CHECK_FALSE(parse_manifest("entry a kernel\nbuffer x in f32 n").has_value());
  CHECK_FALSE(parse_manifest("entry a kernel\ntensor x in f32 n,").has_value());
  CHECK_FALSE(parse_manifest("entry a kernel\ntensor x in f32 n,n,n,n,n,n,n,n,n").has_value());
}

TEST_CASE("manifest: extents come from the lengths of slices, or from the caller") {
  const auto parsed =
      parse_manifest("entry rows kernel\ntensor x in f32 n,4\ntensor y out f32 n,m\nscalar s u32").value();
  const hal_signature& rows = parsed.views()[0];
  const auto tensor = [](std::uint64_t bytes) {
    hal_arg arg{};
    arg.kind = HAL_ARG_BUFFER;
    arg.value.slice = hal_host(&arg, bytes);
    return arg;
  };
  const auto number = [](std::int64_t value, std::uint32_t size = 8) {
    hal_arg arg{};
    arg.kind = HAL_ARG_SCALAR;
    arg.size = size;
    std::memcpy(arg.value.scalar, &value, 8);
    return arg;
  };
  std::array<std::int64_t, 2> extents{};
  const auto bind = [&](std::vector<hal_arg> args) { return hal::core::bind_extents(rows, args, extents); };
  const auto why = [&](std::vector<hal_arg> args) { return std::string(bind(std::move(args)).error().what()); };
  REQUIRE(bind({tensor(48), tensor(60), number(1, 4)}));
  CHECK(extents == std::array<std::int64_t, 2>{3, 5});
  REQUIRE(bind({tensor(48), tensor(60), number(1, 4), number(3), number(5)}));
  CHECK(why({tensor(40), tensor(60), number(1, 4)}).find("no whole number of 'n'") != std::string::npos);
  CHECK(why({tensor(48), tensor(64), number(1, 4)}).find("no whole number of 'm'") != std::string::npos);
  CHECK(why({tensor(48), tensor(60), number(1, 4), number(3), number(4)}).find("48 bytes; got a slice of 60") !=
        std::string::npos);
  CHECK(why({tensor(48), tensor(60), number(1, 4), number(3), number(0)}).find("given 0 as the extent of 'm'") !=
        std::string::npos);
  CHECK(why({tensor(48), tensor(60), number(1, 4), number(3), number(5, 4)}).find("i64 scalar") != std::string::npos);
  CHECK_FALSE(bind({tensor(48), tensor(60), number(1, 4), number(INT64_MAX), number(INT64_MAX)}).has_value());

  const auto square = parse_manifest("entry square kernel\ntensor x in f32 n,n").value();
  const hal_arg only = tensor(64);
  const auto told = hal::core::bind_extents(square.views()[0], {&only, 1}, std::span(extents).first(1));
  CHECK(std::string(told.error().what()).find("give its 1 extents") != std::string::npos);
}

TEST_CASE("manifest: specialisation constants") {
  const auto parsed =
      parse_manifest(
          "constant rows u32 0x10\nconstant scale f32 -2.5\nconstant deep i64 -3\nconstant fast bool true\n"
          "entry a kernel")
          .value();
  REQUIRE(parsed.constants().size() == 4);
  std::uint32_t rows = 0;
  float scale = 0;
  std::memcpy(&rows, parsed.constants()[0].value, 4);
  std::memcpy(&scale, parsed.constants()[1].value, 4);
  CHECK(rows == 16);
  CHECK(scale == -2.5F);
  CHECK(parsed.constants()[2].size == 8);
  CHECK(parsed.constants()[3].value[0] == 1);
  const auto line_of = [](const char* text) { return std::string(parse_manifest(text).error().what()); };
  CHECK(line_of("constant a u8 256\nentry a kernel").find("'256' is no default") != std::string::npos);
  CHECK(line_of("constant a f16 1\nentry a kernel").find("no default for a constant of type f16") != std::string::npos);
  CHECK(line_of("constant a bool 1\nentry a kernel").find("line 1") != std::string::npos);
  CHECK(line_of("constant a u8 1\nconstant a u8 1\nentry a kernel").find("twice") != std::string::npos);
  CHECK(line_of("entry a kernel\nconstant a u8 1").find("come first") != std::string::npos);
  CHECK(line_of("constant a u8 1 2\nentry a kernel").find("more on the line") != std::string::npos);
}
