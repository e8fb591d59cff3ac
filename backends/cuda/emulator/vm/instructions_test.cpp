// SPDX-License-Identifier: Apache-2.0
// One small PTX body per case: registers are loaded with 64-bit inputs a, b, c of each lane, the body computes d.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "vm/operations.hpp"
#include "vm/test_device.hpp"

#include <halyard_catch.hpp>

using namespace hal::emulated_cuda;

namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

u64 bits(float x) { return std::bit_cast<u32>(x); }
u64 bits(double x) { return std::bit_cast<u64>(x); }
u64 bits(int x) { return static_cast<u32>(x); }

// Runs `body` in 32 lanes; %a %b %c are b64 inputs, %d the b64 result; %w0..%w7 b32, %h0..%h7 b16, %f0..%f7 f32,
// %e0..%e7 f64, %p0..%p3 predicates, %r0.. b64. Lane l reads element l of each input (cyclic).
std::vector<u64> run(const std::string& body, std::vector<u64> a, std::vector<u64> b = {0}, std::vector<u64> c = {0},
                     const std::string& target = "sm_80") {
  const auto spread = [](std::vector<u64>& v) {
    const std::size_t n = v.size();
    for (std::size_t i = n; i < 32; ++i) { v.push_back(v[i % n]); }
  };
  spread(a);
  spread(b);
  spread(c);
  const std::string text = fmt::format(R"(.version 8.6
.target {}
.address_size 64
.visible .entry k(.param .u64 out, .param .u64 pa, .param .u64 pb, .param .u64 pc)
{{
  .reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %w<8>; .reg .f32 %f<8>; .reg .f64 %e<8>; .reg .b64 %r<8>, %a, %b, %c, %d, %o, %t;
  .shared .align 8 .b8 box[512];
  mov.u32 %w0, %tid.x;
  mul.wide.u32 %t, %w0, 8;
  ld.param.u64 %a, [pa]; add.u64 %a, %a, %t; ld.global.u64 %a, [%a];
  ld.param.u64 %b, [pb]; add.u64 %b, %b, %t; ld.global.u64 %b, [%b];
  ld.param.u64 %c, [pc]; add.u64 %c, %c, %t; ld.global.u64 %c, [%c];
  ld.param.u64 %o, [out]; add.u64 %o, %o, %t;
  mov.u64 %d, 0;
  cvt.u32.u64 %w1, %a; cvt.u32.u64 %w2, %b; cvt.u32.u64 %w3, %c;
  mov.b32 %f1, %w1; mov.b32 %f2, %w2; mov.b32 %f3, %w3;
  mov.b64 %e1, %a; mov.b64 %e2, %b; mov.b64 %e3, %c;
  cvt.u16.u64 %h1, %a; cvt.u16.u64 %h2, %b; cvt.u16.u64 %h3, %c;
  {}
  st.global.u64 [%o], %d;
  ret;
}}
)",
                                       target, body);
  TestDevice device;
  const LoadedModule module = device.load(text);
  const u64 out = device.upload(std::vector<u64>(32, 0xeeeeeeeeeeeeeeeeull));
  LaunchShape shape;
  shape.block[0] = 32;
  const Fault fault =
      device.launch(module.kernels[0], shape, out, device.upload(a), device.upload(b), device.upload(c));
  REQUIRE(fault.kind == FaultKind::none);
  return device.download<u64>(out, 32);
}

const char* const kOut32 = " cvt.u64.u32 %d, %w4;";
const char* const kOutF = " mov.b32 %w4, %f4; cvt.u64.u32 %d, %w4;";
const char* const kOut16 = " cvt.u64.u16 %d, %h4;";
const char* const kOutP = " selp.b64 %d, 1, 0, %p1;";

u64 word(const std::string& op, u64 a, u64 b = 0, u64 c = 0) { return run(op + kOut32, {a}, {b}, {c})[7]; }
u64 wide(const std::string& op, u64 a, u64 b = 0, u64 c = 0) { return run(op, {a}, {b}, {c})[7]; }
float single(const std::string& op, float a, float b = 0, float c = 0) {
  return std::bit_cast<float>(static_cast<u32>(run(op + kOutF, {bits(a)}, {bits(b)}, {bits(c)})[7]));
}
double real(const std::string& op, double a, double b = 0, double c = 0) {
  return std::bit_cast<double>(run(op + " mov.b64 %d, %e4;", {bits(a)}, {bits(b)}, {bits(c)})[7]);
}
u64 half(const std::string& op, u64 a, u64 b = 0, u64 c = 0) { return run(op + kOut16, {a}, {b}, {c})[7]; }
bool holds(const std::string& op, u64 a, u64 b = 0, u64 c = 0) { return run(op + kOutP, {a}, {b}, {c})[7] != 0; }

const float kNaN = std::numeric_limits<float>::quiet_NaN();
const float kInf = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("integer arithmetic wraps, divides and takes halves of products") {
  CHECK(word("add.s32 %w4, %w1, %w2;", 0x7fffffff, 1) == 0x80000000);
  CHECK(word("sub.u32 %w4, %w1, %w2;", 0, 1) == 0xffffffff);
  CHECK(word("add.sat.s32 %w4, %w1, %w2;", 0x7fffffff, 1) == 0x7fffffff);
  CHECK(word("sub.sat.s32 %w4, %w1, %w2;", 0x80000000, 1) == 0x80000000);
  CHECK(word("mul.lo.s32 %w4, %w1, %w2;", bits(-3), 7) == static_cast<u32>(-21));
  CHECK(word("mul.hi.u32 %w4, %w1, %w2;", 0xffffffff, 0xffffffff) == 0xfffffffe);
  CHECK(word("mul.hi.s32 %w4, %w1, %w2;", 0xffffffff, 0xffffffff) == 0);
  CHECK(word("mad.lo.s32 %w4, %w1, %w2, %w3;", 5, 6, 7) == 37);
  CHECK(word("mad.hi.u32 %w4, %w1, %w2, %w3;", 0x80000000, 4, 1) == 3);
  CHECK(wide("mul.wide.s32 %d, %w1, %w2;", bits(-2), 3) == static_cast<u64>(-6));
  CHECK(wide("mul.wide.u32 %d, %w1, %w2;", 0xffffffff, 2) == 0x1fffffffe);
  CHECK(wide("mad.wide.u32 %d, %w1, %w2, %c;", 0xffffffff, 2, 2) == 0x200000000);
  CHECK(wide("mul.hi.u64 %d, %a, %b;", ~0ull, ~0ull) == ~0ull - 1);
  CHECK(wide("mul.hi.s64 %d, %a, %b;", ~0ull, 1) == ~0ull);
  CHECK(word("mul.wide.u16 %w4, %h1, %h2;", 0xffff, 0xffff) == 0xfffe0001);
  CHECK(word("div.s32 %w4, %w1, %w2;", bits(-7), 2) == static_cast<u32>(-3));
  CHECK(word("rem.s32 %w4, %w1, %w2;", bits(-7), 2) == static_cast<u32>(-1));
  CHECK(word("div.s32 %w4, %w1, %w2;", 0x80000000, bits(-1)) == 0x80000000);
  CHECK(word("div.u32 %w4, %w1, %w2;", 7, 0) == 0xffffffff);
  CHECK(word("rem.u32 %w4, %w1, %w2;", 7, 0) == 7);
  CHECK(wide("div.u64 %d, %a, %b;", 1ull << 40, 3) == (1ull << 40) / 3);
  CHECK(word("min.s32 %w4, %w1, %w2;", bits(-1), 1) == 0xffffffff);
  CHECK(word("min.u32 %w4, %w1, %w2;", bits(-1), 1) == 1);
  CHECK(word("max.s32 %w4, %w1, %w2;", bits(-1), 1) == 1);
  CHECK(word("abs.s32 %w4, %w1;", bits(-5)) == 5);
  CHECK(word("neg.s32 %w4, %w1;", 5) == static_cast<u32>(-5));
  CHECK(word("sad.s32 %w4, %w1, %w2, %w3;", bits(-5), 5, 1) == 11);
  CHECK(word("dp4a.s32.s32 %w4, %w1, %w2, %w3;", 0x01ff0302, 0x01010101, 10) == 10 + 1 - 1 + 3 + 2);
  CHECK(word("dp4a.u32.u32 %w4, %w1, %w2, %w3;", 0x01ff0302, 0x01010101, 10) == 10 + 1 + 255 + 3 + 2);
  CHECK(half("add.u16 %h4, %h1, %h2;", 0xffff, 2) == 1);
}

TEST_CASE("logic, shifts and bit fields") {
  CHECK(word("and.b32 %w4, %w1, %w2;", 0xf0f0, 0xff00) == 0xf000);
  CHECK(word("or.b32 %w4, %w1, %w2;", 0xf0f0, 0xff00) == 0xfff0);
  CHECK(word("xor.b32 %w4, %w1, %w2;", 0xf0f0, 0xff00) == 0x0ff0);
  CHECK(word("not.b32 %w4, %w1;", 1) == 0xfffffffe);
  CHECK(word("cnot.b32 %w4, %w1;", 0) == 1);
  CHECK(word("shl.b32 %w4, %w1, %w2;", 3, 4) == 48);
  CHECK(word("shl.b32 %w4, %w1, %w2;", 3, 32) == 0);
  CHECK(word("shr.u32 %w4, %w1, %w2;", 0x80000000, 31) == 1);
  CHECK(word("shr.u32 %w4, %w1, %w2;", 0x80000000, 200) == 0);
  CHECK(word("shr.s32 %w4, %w1, %w2;", 0x80000000, 200) == 0xffffffff);
  CHECK(word("shr.b32 %w4, %w1, 4;", 0x80000000) == 0x08000000);
  CHECK(wide("shl.b64 %d, %a, %w2;", 1, 40) == 1ull << 40);
  CHECK(word("shf.l.wrap.b32 %w4, %w1, %w2, %w3;", 0x80000000, 1, 1) == 3);
  CHECK(word("shf.r.wrap.b32 %w4, %w1, %w2, %w3;", 0x80000000, 1, 1) == 0xc0000000);
  CHECK(word("shf.l.clamp.b32 %w4, %w1, %w2, %w3;", 7, 1, 40) == 7);
  CHECK(word("shf.r.clamp.b32 %w4, %w1, %w2, %w3;", 7, 1, 40) == 1);
  CHECK(word("popc.b32 %w4, %w1;", 0xf0f) == 8);
  CHECK(word("popc.b64 %w4, %a;", ~0ull) == 64);
  CHECK(word("clz.b32 %w4, %w1;", 0) == 32);
  CHECK(word("clz.b64 %w4, %a;", 1) == 63);
  CHECK(word("brev.b32 %w4, %w1;", 1) == 0x80000000);
  CHECK(wide("brev.b64 %d, %a;", 1) == 1ull << 63);
  CHECK(word("bfind.u32 %w4, %w1;", 0x100) == 8);
  CHECK(word("bfind.shiftamt.u32 %w4, %w1;", 0x100) == 23);
  CHECK(word("bfind.s32 %w4, %w1;", bits(-1)) == 0xffffffff);
  CHECK(word("bfe.u32 %w4, %w1, 4, 8;", 0xabcd) == 0xbc);
  CHECK(word("bfe.s32 %w4, %w1, 4, 8;", 0xabcd) == 0xffffffbc);
  CHECK(word("bfe.u32 %w4, %w1, 28, 8;", 0xabcd1234) == 0xa);
  CHECK(word("bfi.b32 %w4, %w1, %w2, 8, 8;", 0xff, 0x12345678) == 0x1234ff78);
  CHECK(wide("bfi.b64 %d, %a, %b, 32, 32;", 0xaaaaaaaa, 0x55555555) == 0xaaaaaaaa55555555);
  CHECK(word("prmt.b32 %w4, %w1, %w2, 0x5410;", 0x11223344, 0xaabbccdd) == 0xccdd3344);
  CHECK(word("prmt.b32 %w4, %w1, %w2, 0x000c;", 0x11223384, 0xaabbccdd) == 0x848484ff);
  CHECK(word("lop3.b32 %w4, %w1, %w2, %w3, 0x96;", 0xf0, 0xcc, 0xaa) == (0xf0 ^ 0xcc ^ 0xaa));
  CHECK(word("lop3.b32 %w4, %w1, %w2, %w3, 0xe8;", 0xf0, 0xcc, 0xaa) == 0xe8);
  CHECK(wide("mov.b32 %w4, {%h1, %h2}; cvt.u64.u32 %d, %w4;", 0x1111, 0x2222) == 0x22221111);
  CHECK(wide("mov.b64 %d, {%w1, 5};", 9) == 0x500000009);
  CHECK(wide("mov.b64 {_, %w4}, %a; cvt.u64.u32 %d, %w4;", 0x700000001) == 7);
  CHECK(half("mov.b32 {%h4, _}, %w1;", 0x12345678) == 0x5678);
}

TEST_CASE("single precision") {
  CHECK(single("add.f32 %f4, %f1, %f2;", 1.5f, 2.25f) == 3.75f);
  CHECK(single("sub.rn.f32 %f4, %f1, %f2;", 1.5f, 2.25f) == -0.75f);
  CHECK(single("mul.f32 %f4, %f1, 0f40000000;", 1.5f) == 3.0f);
  CHECK(single("fma.rn.f32 %f4, %f1, %f2, %f3;", 1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -1.0f) ==
        std::fma(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -1.0f));
  CHECK(single("fma.rm.f32 %f4, %f1, %f2, %f3;", 1.0f, 1.0f, -0x1p-30f) == 1.0f - 0x1p-24f);
  CHECK(single("fma.rp.f32 %f4, %f1, %f2, %f3;", 1.0f, 1.0f, 0x1p-30f) == 1.0f + 0x1p-23f);
  CHECK(single("add.rz.f32 %f4, %f1, %f2;", 1.0f, 0x1p-24f * 1.5f) == 1.0f);
  CHECK(single("mad.rn.f32 %f4, %f1, %f2, %f3;", 2.0f, 3.0f, 4.0f) == 10.0f);
  CHECK(single("add.ftz.f32 %f4, %f1, %f2;", 1e-40f, 1e-40f) == 0.0f);
  CHECK(single("add.f32 %f4, %f1, %f2;", 1e-40f, 1e-40f) > 0.0f);
  CHECK(single("add.sat.f32 %f4, %f1, %f2;", 1.0f, 1.0f) == 1.0f);
  CHECK(single("mul.sat.f32 %f4, %f1, %f2;", kNaN, 1.0f) == 0.0f);
  CHECK(single("div.rn.f32 %f4, %f1, %f2;", 1.0f, 3.0f) == 1.0f / 3.0f);
  CHECK(single("div.full.f32 %f4, %f1, %f2;", 1.0f, 3.0f) == 1.0f / 3.0f);
  CHECK(single("div.rz.f32 %f4, %f1, %f2;", 2.0f, 3.0f) == std::nextafter(2.0f / 3.0f, 0.0f));
  CHECK(single("rcp.approx.ftz.f32 %f4, %f1;", 4.0f) == 0.25f);
  CHECK(single("rcp.rn.f32 %f4, %f1;", 0.0f) == kInf);
  CHECK(single("sqrt.rn.f32 %f4, %f1;", 2.0f) == std::sqrt(2.0f));
  CHECK(single("sqrt.approx.f32 %f4, %f1;", 9.0f) == 3.0f);
  CHECK(single("rsqrt.approx.f32 %f4, %f1;", 16.0f) == 0.25f);
  CHECK(single("ex2.approx.f32 %f4, %f1;", 3.0f) == 8.0f);
  CHECK(single("lg2.approx.f32 %f4, %f1;", 8.0f) == 3.0f);
  CHECK(single("sin.approx.f32 %f4, %f1;", 0.5f) == Approx(std::sin(0.5f)));
  CHECK(single("cos.approx.f32 %f4, %f1;", 0.5f) == Approx(std::cos(0.5f)));
  CHECK(single("tanh.approx.f32 %f4, %f1;", 0.5f) == Approx(std::tanh(0.5f)));
  CHECK(single("abs.f32 %f4, %f1;", -2.0f) == 2.0f);
  CHECK(single("neg.f32 %f4, %f1;", -2.0f) == 2.0f);
  CHECK(single("min.f32 %f4, %f1, %f2;", kNaN, 2.0f) == 2.0f);
  CHECK(std::isnan(single("min.NaN.f32 %f4, %f1, %f2;", kNaN, 2.0f)));
  CHECK(std::signbit(single("min.f32 %f4, %f1, %f2;", 0.0f, -0.0f)));
  CHECK(!std::signbit(single("max.f32 %f4, %f1, %f2;", 0.0f, -0.0f)));
  CHECK(single("copysign.f32 %f4, %f1, %f2;", -1.0f, 3.0f) == -3.0f);
}

TEST_CASE("double precision") {
  CHECK(real("add.f64 %e4, %e1, %e2;", 1.0, 0x1p-50) == 1.0 + 0x1p-50);
  CHECK(real("fma.rn.f64 %e4, %e1, %e2, %e3;", 3.0, 5.0, 0.5) == 15.5);
  CHECK(real("mul.rz.f64 %e4, %e1, %e2;", 3.0, 5.0) == 15.0);
  CHECK(real("div.rn.f64 %e4, %e1, %e2;", 1.0, 3.0) == 1.0 / 3.0);
  CHECK(real("rcp.rn.f64 %e4, %e1;", 8.0) == 0.125);
  CHECK(real("rcp.approx.ftz.f64 %e4, %e1;", 8.0) == 0.125);
  CHECK(real("rcp.approx.ftz.f64 %e4, %e1;", 3.0) == 0x1.55555p-2);  // 20 bits of the mantissa
  CHECK(real("rcp.approx.ftz.f64 %e4, %e1;", 0x1p-1060) == std::numeric_limits<double>::infinity());
  CHECK(real("rsqrt.approx.ftz.f64 %e4, %e1;", 4.0) == 0.5);
  CHECK(real("sqrt.rn.f64 %e4, %e1;", 2.0) == std::sqrt(2.0));
  CHECK(real("min.f64 %e4, %e1, %e2;", -1.0, 2.0) == -1.0);
  CHECK(real("neg.f64 %e4, %e1;", -1.0) == 1.0);
  CHECK(real("abs.f64 %e4, %e1;", -1.0) == 1.0);
  CHECK(real("mov.f64 %e4, 0d4000000000000000;", 0.0) == 2.0);
}

TEST_CASE("half precision and bfloat16") {
  CHECK(half("add.f16 %h4, %h1, %h2;", 0x3c00, 0x4000) == 0x4200);                   // 1 + 2
  CHECK(half("mul.f16 %h4, %h1, %h2;", 0x4200, 0xc000) == 0xc600);                   // 3 * -2
  CHECK(half("fma.rn.f16 %h4, %h1, %h2, %h3;", 0x4000, 0x4000, 0x3c00) == 0x4500);   // 5
  CHECK(half("fma.rn.bf16 %h4, %h1, %h2, %h3;", 0x4000, 0x4000, 0x3f80) == 0x40a0);  // 5
  CHECK(half("fma.rn.relu.f16 %h4, %h1, %h2, %h3;", 0xc000, 0x4000, 0x3c00) == 0);
  CHECK(half("add.f16 %h4, %h1, %h2;", 0x0001, 0x0001) == 0x0002);  // subnormals
  CHECK(half("add.f16 %h4, %h1, %h2;", 0x7bff, 0x7bff) == 0x7c00);  // overflow
  CHECK(half("sub.bf16 %h4, %h1, %h2;", 0x4040, 0x3f80) == 0x4000);
  CHECK(half("max.f16 %h4, %h1, %h2;", 0x7e00, 0x3c00) == 0x3c00);
  CHECK(half("neg.bf16 %h4, %h1;", 0x3f80) == 0xbf80);
  CHECK(half("abs.f16 %h4, %h1;", 0xbc00) == 0x3c00);
  CHECK(half("ex2.approx.f16 %h4, %h1;", 0x4000) == 0x4400);
  CHECK(half("tanh.approx.f16 %h4, %h1;", 0) == 0);
  CHECK(word("add.f16x2 %w4, %w1, %w2;", 0x3c004000, 0x3c004000) == 0x40004400);
  CHECK(word("fma.rn.bf16x2 %w4, %w1, %w2, %w3;", 0x3f804000, 0x40004000, 0) == 0x40004080);
  CHECK(word("neg.f16x2 %w4, %w1;", 0x3c003c00) == 0xbc00bc00);
  for (u32 h = 0; h < 0x10000; h += 7) {  // f16 -> f32 -> f16 is exact for numbers
    if ((h & 0x7fff) > 0x7c00) { continue; }
    if (h % 1001 != 0) { continue; }
    CHECK(half("cvt.f32.f16 %f4, %h1; cvt.rn.f16.f32 %h4, %f4;", h) == h);
  }
}

TEST_CASE("conversions") {
  const auto to_int = [](const char* how, float x) {
    return static_cast<int>(static_cast<u32>(word(fmt::format("cvt.{}.s32.f32 %w4, %f1;", how), bits(x))));
  };
  CHECK(to_int("rni", 2.5f) == 2);
  CHECK(to_int("rzi", -2.7f) == -2);
  CHECK(to_int("rmi", -2.1f) == -3);
  CHECK(to_int("rpi", 2.1f) == 3);
  CHECK(to_int("rzi", 3e9f) == std::numeric_limits<int>::max());
  CHECK(to_int("rzi", -3e9f) == std::numeric_limits<int>::min());
  CHECK(to_int("rzi", kNaN) == 0);
  CHECK(word("cvt.rzi.u32.f32 %w4, %f1;", bits(-1.0f)) == 0);
  CHECK(word("cvt.rzi.u32.f32 %w4, %f1;", bits(4e9f)) == 4000000000u);
  CHECK(wide("cvt.rzi.u64.f64 %d, %e1;", bits(1e30)) == ~0ull);
  CHECK(single("cvt.rn.f32.s32 %f4, %w1;", std::bit_cast<float>(-7)) == -7.0f);
  CHECK(single("cvt.rn.f32.u32 %f4, %w1;", std::bit_cast<float>(-1)) == 4294967296.0f);
  CHECK(single("cvt.rz.f32.u32 %f4, %w1;", std::bit_cast<float>(-1)) == 4294967040.0f);
  CHECK(real("cvt.rn.f64.s64 %e4, %a;", std::bit_cast<double>(std::int64_t{-9})) == -9.0);
  CHECK(real("cvt.f64.f32 %e4, %f1;", std::bit_cast<double>(bits(1.5f))) == 1.5);
  CHECK(single("cvt.rn.f32.f64 %f4, %e1;", 0) == 0.0f);
  CHECK(single("cvt.rmi.f32.f32 %f4, %f1;", -1.5f) == -2.0f);
  CHECK(single("cvt.rni.f32.f32 %f4, %f1;", 2.5f) == 2.0f);
  CHECK(single("cvt.sat.f32.f32 %f4, %f1;", 7.0f) == 1.0f);
  CHECK(wide("cvt.s64.s32 %d, %w1;", bits(-4)) == static_cast<u64>(-4));
  CHECK(wide("cvt.u64.u32 %d, %w1;", bits(-4)) == 0xfffffffc);
  CHECK(word("cvt.s32.s8 %w4, %w1;", 0x80) == 0xffffff80);
  CHECK(word("cvt.u32.u8 %w4, %h1;", 0x1ff) == 0xff);
  CHECK(word("cvt.sat.u8.s32 %w4, %w1;", 300) == 255);
  CHECK(word("cvt.sat.s16.s32 %w4, %w1;", bits(-40000)) == 0xffff8000);
  CHECK(half("cvt.rn.f16.f32 %h4, %f1;", bits(65520.0f)) == 0x7c00);
  CHECK(half("cvt.rn.f16.f32 %h4, %f1;", bits(0x1p-24f)) == 1);
  CHECK(half("cvt.rn.bf16.f32 %h4, %f1;", bits(1.00390625f)) == 0x3f80);  // tie to even
  CHECK(half("cvt.rn.relu.bf16.f32 %h4, %f1;", bits(-1.0f)) == 0);
  CHECK(word("cvt.rn.f16x2.f32 %w4, %f1, %f2;", bits(1.0f), bits(2.0f)) == 0x3c004000);
  CHECK(word("cvt.rn.bf16x2.f32 %w4, %f1, %f2;", bits(1.0f), bits(2.0f)) == 0x3f804000);
  CHECK(half("cvt.rn.f16.s32 %h4, %w1;", 2049) == 0x6800);
  CHECK(word("cvt.rzi.s32.f16 %w4, %h1;", 0xc500) == static_cast<u32>(-5));
}

TEST_CASE("comparisons and selection") {
  CHECK(holds("setp.lt.s32 %p1, %w1, %w2;", bits(-1), 1));
  CHECK(!holds("setp.lt.u32 %p1, %w1, %w2;", bits(-1), 1));
  CHECK(holds("setp.hi.u32 %p1, %w1, %w2;", bits(-1), 1));
  CHECK(holds("setp.eq.b64 %p1, %a, %b;", 1ull << 40, 1ull << 40));
  CHECK(holds("setp.ge.f32 %p1, %f1, %f2;", bits(2.0f), bits(2.0f)));
  CHECK(!holds("setp.ne.f32 %p1, %f1, %f2;", bits(kNaN), bits(2.0f)));
  CHECK(holds("setp.neu.f32 %p1, %f1, %f2;", bits(kNaN), bits(2.0f)));
  CHECK(holds("setp.ltu.f32 %p1, %f1, %f2;", bits(kNaN), bits(2.0f)));
  CHECK(holds("setp.nan.f32 %p1, %f1, %f2;", bits(kNaN), bits(2.0f)));
  CHECK(!holds("setp.num.f64 %p1, %e1, %e2;", bits(std::numeric_limits<double>::quiet_NaN())));
  CHECK(holds("setp.lt.ftz.f32 %p1, %f1, %f2;", bits(-1e-40f), bits(1.0f)));
  CHECK(!holds("setp.lt.ftz.f32 %p1, %f1, %f2;", bits(0.0f), bits(1e-40f)));
  CHECK(holds("setp.gt.f16 %p1, %h1, %h2;", 0x4000, 0x3c00));
  CHECK(holds("setp.eq.s32 %p2, 1, 1; setp.lt.and.s32 %p1, %w1, %w2, %p2;", 1, 2));
  CHECK(!holds("setp.eq.s32 %p2, 1, 1; setp.lt.and.s32 %p1, %w1, %w2, !%p2;", 1, 2));
  CHECK(holds("setp.lt.s32 %p2|%p1, %w1, %w2;", 3, 2));
  CHECK(holds("setp.eq.s32 %p2, 1, 2; not.pred %p1, %p2;", 0));
  CHECK(holds("setp.eq.s32 %p2, 1, 2; or.pred %p1, %p2, !%p2;", 0));
  CHECK(holds("setp.eq.s32 %p2, 1, 1; mov.pred %p3, %p2; xor.pred %p1, %p3, 0;", 0));
  CHECK(holds("testp.infinite.f32 %p1, %f1;", bits(-kInf)));
  CHECK(holds("testp.subnormal.f32 %p1, %f1;", bits(1e-40f)));
  CHECK(holds("testp.notanumber.f64 %p1, %e1;", bits(std::numeric_limits<double>::quiet_NaN())));
  CHECK(word("setp.gt.s32 %p1, %w1, 3; selp.b32 %w4, %w1, %w2, !%p1;", 4, 9) == 9);
}

TEST_CASE("memory spaces, vectors and atomics") {
  CHECK(wide("mov.u32 %w5, box; mov.u32 %w6, %tid.x; mad.lo.u32 %w5, %w6, 8, %w5; st.shared.u64 [%w5], %a; bar.sync 0; "
             "ld.shared.u64 %d, [%w5];",
             77) == 77);
  CHECK(wide("mov.u64 %r1, box; cvta.shared.u64 %r1, %r1; add.u64 %r1, %r1, %t; st.u64 [%r1], %a; ld.volatile.u64 %d, "
             "[%r1];",
             5) == 5);
  CHECK(wide("st.global.v2.u32 [%o], {%w1, %w2}; ld.global.v2.b32 {%w4, %w5}, [%o]; mov.b64 %d, {%w5, %w4};", 1, 2) ==
        0x100000002);
  CHECK(wide("st.global.u64 [%o], %a; ld.global.s8 %w4, [%o+1]; cvt.s64.s32 %d, %w4;", 0x8000) ==
        static_cast<u64>(-128));
  CHECK(wide("st.global.u64 [%o], %a; ld.global.u8 %h4, [%o+1]; cvt.u64.u16 %d, %h4;", 0x8000) == 128);
  CHECK(wide("st.global.u64 [%o], %a; ld.global.nc.L1::no_allocate.u32 %w4, [%o+4]; cvt.u64.u32 %d, %w4;",
             3ull << 32) == 3);
  CHECK(wide("st.release.gpu.global.u64 [%o], %a; ld.acquire.gpu.global.u64 %d, [%o]; fence.acq_rel.gpu; membar.gl;",
             12) == 12);
  // All 32 lanes add into one word; the last one to come sees all others.
  const std::string atom =
      "mov.u32 %w5, 0; st.shared.u32 [box], %w5; bar.sync 0; atom.shared.{} %w4, [box], {}; bar.sync 0; ld.shared.u32 "
      "%w4, [box];";
  const auto shared = [&](const char* op, const char* value) {
    return word(fmt::format(fmt::runtime(atom), op, value), 6);
  };
  CHECK(shared("add.u32", "%w1") == 192);
  CHECK(shared("max.s32", "%w1") == 6);
  CHECK(shared("min.u32", "%w1") == 0);
  CHECK(shared("or.b32", "%w1") == 6);
  CHECK(shared("xor.b32", "%w1") == 0);
  CHECK(shared("exch.b32", "%w1") == 6);
  CHECK(shared("inc.u32", "40") == 32);
  CHECK(shared("cas.b32", "0, %w1") == 6);
  CHECK(single("mov.u32 %w5, 0; st.shared.u32 [box], %w5; bar.sync 0; red.shared.add.f32 [box], %f1; bar.sync 0; "
               "ld.shared.f32 %f4, [box];",
               0.5f) == 16.0f);
  CHECK(wide("st.global.u64 [%o], %a; atom.global.add.u64 %r1, [%o], 5; ld.global.u64 %d, [%o];", 7) == 12);
}

TEST_CASE("lanes talk to each other") {
  std::vector<u64> lane(32);
  for (std::size_t i = 0; i < 32; ++i) { lane[i] = i; }
  const auto up = run(std::string("shfl.sync.up.b32 %w4|%p1, %w1, 1, 0, 0xffffffff;") + kOut32, lane);
  CHECK(up[0] == 0);
  CHECK(up[5] == 4);
  CHECK(run(std::string("shfl.sync.bfly.b32 %w4, %w1, 3, 31, -1;") + kOut32, lane)[5] == 6);
  CHECK(run(std::string("shfl.sync.idx.b32 %w4, %w1, 9, 31, -1;") + kOut32, lane)[5] == 9);
  CHECK(run(std::string("shfl.sync.down.b32 %w4, %w1, 4, 0x181f, -1;") + kOut32, lane)[6] == 6);  // segments of 8
  CHECK(run(std::string("setp.lt.u32 %p1, %w1, 4; vote.sync.ballot.b32 %w4, !%p1, -1;") + kOut32, lane)[0] ==
        0xfffffff0);
  CHECK(run(std::string("setp.lt.u32 %p2, %w1, 32; vote.sync.all.pred %p1, %p2, -1;") + kOutP, lane)[3] == 1);
  CHECK(run(std::string("setp.lt.u32 %p2, %w1, 3; vote.sync.uni.pred %p1, %p2, -1;") + kOutP, lane)[3] == 0);
  CHECK(run(std::string("redux.sync.add.u32 %w4, %w1, -1;") + kOut32, lane)[9] == 496);
  CHECK(run(std::string("and.b32 %w5, %w1, 3; match.any.sync.b32 %w4, %w5, -1;") + kOut32, lane)[1] == 0x22222222);
  CHECK(run(std::string("match.all.sync.b32 %w4|%p1, %w1, -1;") + kOut32, lane)[1] == 0);
  CHECK(run(std::string("elect.sync _|%p1, -1;") + kOutP, lane)[0] == 1);
  CHECK(run(std::string("mov.u32 %w4, %lanemask_lt;") + kOut32, lane)[4] == 15);
  CHECK(run(std::string("setp.ge.u32 %p1, %w1, 16; mov.u32 %w4, 0; @%p1 activemask.b32 %w4;") + kOut32, lane)[20] ==
        0xffff0000);
}

TEST_CASE("every operation that the decoder can name is registered once for the running CPU") {
  CHECK(operations().size() > 900);
  CHECK(operations().find("add.f32") != nullptr);
  CHECK(operations().find("add.f33") == nullptr);
}
