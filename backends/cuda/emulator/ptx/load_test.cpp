// SPDX-License-Identifier: Apache-2.0
// Text that must not load: every refusal names its line, and nothing crashes, however the text is cut.
#include <string>
#include <utility>

#include "vm/test_device.hpp"

#include <halyard_catch.hpp>

using namespace hal::emulated_cuda;

namespace {

const std::string kHead = ".version 7.0\n.target sm_80\n.address_size 64\n";

LoadError refused(const std::string& text) {
  auto result = load_module(text, [](const Symbol&) { return std::uint64_t{0x1000}; });
  const auto* error = std::get_if<LoadError>(&result);
  INFO(text);
  REQUIRE(error != nullptr);
  return *error;
}

}  // namespace

TEST_CASE("each refusal names its line and what it found") {
  const std::pair<const char*, const char*> kBodies[] = {
      {"frobnicate.b32 %r1, %r2;", "frobnicate"},
      {"add.s32 %r1, %r2;", "operands"},
      {"add.s32 %r1, %r2, %rd1;", "8 bytes"},
      {"add.s32 %r1, %r2, %r9;", "not declared"},
      {"add.wild.s32 %r1, %r2, %r2;", "wild"},
      {"ld.global.f32 %r1, [%p1];", "address register"},
      {"bra NOWHERE;", "NOWHERE"},
      {"mov.u32 %r1, %envreg3;", "%envreg3"},
      {"@%r1 ret;", "not a predicate"},
      {"call foo;", "call"},
      {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 %r1, %r1, %r1, %r1;", "mma"},
      {"mov.b32 %r1, {%h1, %h1, %h1};", "take a register apart"},
      {"lop3.b32 %r1, %r1, %r1, %r1, 256;", "table"},
      {"mov.f32 %r1, 1;", "floating"},
      {"st.param.u32 [x], %r1;", "parameters"},
      {"shfl.bfly.b32 %r1, %r1, 1, 31;", ".sync"},
      {"cvt.f32.f64 %r1, %rd1;", "not supported"},
      {"add.cc.u32 %r1, %r1, %r1;", "cc"},
      {"ld.global.v4.u32 {%r1, %r2}, [%rd1];", "2 registers for 4"},
      {"mov.u32 %r1, 99999999999999999999;", "64 bits"},
      {"mov.f32 %r1, 0f12;", "hexadecimal"},
      {"bar.red.popc.u32 %r1, 0, %p1;", "not supported"},
  };
  for (const auto& [body, expected] : kBodies) {
    const LoadError e = refused(
        kHead + ".entry k(.param .u64 x) {\n.reg .pred %p<2>; .reg .b16 %h<2>; .reg .b32 %r<4>; .reg .b64 %rd<4>;\n" +
        body + "\nret;\n}\n");
    INFO(e.message);
    CHECK(e.line == 6);
    CHECK(e.message.find(expected) != std::string::npos);
  }
}

TEST_CASE("modules that are damaged or not for this device") {
  CHECK(refused("").line == 1);
  CHECK(refused("hello").line == 1);
  CHECK(refused(".version 7.0\n.target sm_300\n").failure == LoadFailure::wrong_target);
  CHECK(refused(".version 7.0\n.target sm_100f_x\n").failure == LoadFailure::wrong_target);
  CHECK(refused(".version 30.1\n.target sm_80\n").failure == LoadFailure::unsupported_version);
  CHECK(refused(".version 7.0\n.target sm_80\n.address_size 32\n").line == 3);
  CHECK(refused(kHead + ".global .b8 x[99999999999];").line == 4);
  CHECK(refused(kHead + ".global .u32 x = foo;").line == 4);
  CHECK(refused(kHead + ".global .u32 x[2] = {1,2,3};").line == 4);
  CHECK(refused(kHead + ".global .u32 x; .global .u32 x;").message.find("twice") != std::string::npos);
  CHECK(refused(kHead + ".entry k() { .reg .b32 %r<999999>; }").message.find("65536") != std::string::npos);
  CHECK(refused(kHead + ".entry k() { L: L: }").message.find("twice") != std::string::npos);
  CHECK(refused(kHead + ".entry k() { .shared .b8 x[9999999]; }").message.find("shared") != std::string::npos);
  CHECK(refused(kHead + ".extern .global .u32 x;").message.find("another module") != std::string::npos);
  CHECK(refused(kHead + "/* open").message.find("comment") != std::string::npos);
  CHECK(refused(kHead + ".entry k() {" + std::string(100, '{')).message.find("nested") != std::string::npos);
  CHECK(refused(kHead + "\x01").message.find("0x01") != std::string::npos);
}

TEST_CASE("text that is cut anywhere, or has one character changed, never does worse than to be refused") {
  const std::string whole = read_text(HALYARD_TEST_KERNELS "/reduction.sm_80.ptx");
  const auto place = [](const Symbol&) { return std::uint64_t{0x1000}; };
  for (std::size_t n = 0; n < whole.size(); n += 3) { (void)load_module(whole.substr(0, n), place); }
  for (std::size_t n = 0; n < whole.size(); n += 5) {
    std::string changed = whole;
    changed[n] = "{}[];%.,0x:@"[n % 12];
    (void)load_module(changed, place);
  }
  SUCCEED();
}
