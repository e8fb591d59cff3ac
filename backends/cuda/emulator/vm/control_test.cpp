// SPDX-License-Identifier: Apache-2.0
// Divergence, barriers, convergence, faults and the sharing of a grid between threads.
#include <fmt/format.h>

#include "vm/test_device.hpp"

#include <halyard_catch.hpp>

using namespace hal::emulated_cuda;

namespace {

std::string kernel(const std::string& body) {
  return fmt::format(R"(.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{{
  .reg .pred %p<4>; .reg .b32 %r<12>; .reg .b64 %d<6>;
  .shared .align 4 .b8 box[1024];
  ld.param.u64 %d1, [out];
  mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
  mad.lo.u32 %r4, %r2, %r3, %r1;
  mul.wide.u32 %d2, %r4, 4; add.u64 %d3, %d1, %d2;
{}
}}
)",
                     body);
}

struct Ran {
  Fault fault;
  std::vector<std::uint32_t> out;
};
Ran run(const std::string& body, std::uint32_t blocks, std::uint32_t threads) {
  TestDevice device;
  const LoadedModule module = device.load(kernel(body));
  const std::uint64_t out = device.upload(std::vector<std::uint32_t>(blocks * threads, 0));
  LaunchShape shape;
  shape.grid[0] = blocks;
  shape.block[0] = threads;
  const Fault fault = device.launch(module.kernels[0], shape, out);
  return {fault, device.download<std::uint32_t>(out, blocks * threads)};
}

}  // namespace

TEST_CASE("nested divergence and loops of different lengths come together again") {
  const Ran r = run(R"(
  mov.u32 %r5, 0; mov.u32 %r6, 0;
LOOP:
  setp.ge.u32 %p1, %r6, %r1; @%p1 bra OUT;
  and.b32 %r7, %r6, 1; setp.eq.u32 %p2, %r7, 0; @%p2 bra EVEN;
  add.u32 %r5, %r5, 100; bra NEXT;
EVEN:
  add.u32 %r5, %r5, 1;
NEXT:
  add.u32 %r6, %r6, 1; bra LOOP;
OUT:
  activemask.b32 %r8; setp.ne.u32 %p3, %r8, -1; @%p3 mov.u32 %r5, 7777777;
  st.global.u32 [%d3], %r5; ret;)",
                    1, 64);
  REQUIRE(r.fault.kind == FaultKind::none);
  for (std::uint32_t t = 0; t < 64; ++t) { REQUIRE(r.out[t] == (t + 1) / 2 + t / 2 * 100); }
}

TEST_CASE("a barrier holds until the slowest warp comes, also from diverged code") {
  const Ran r = run(R"(
  setp.lt.u32 %p1, %r1, 40; @%p1 bra A;
  mov.u32 %r5, 1; bar.sync 1; bra JOIN;
A:
  mov.u32 %r5, 2; bar.sync 1;
JOIN:
  shl.b32 %r6, %r1, 2; mov.u32 %r7, box; add.u32 %r6, %r7, %r6;
  st.shared.u32 [%r6], %r5; bar.sync 0;
  sub.u32 %r8, 95, %r1; shl.b32 %r8, %r8, 2; add.u32 %r8, %r8, %r7; ld.shared.u32 %r9, [%r8];
  st.global.u32 [%d3], %r9; ret;)",
                    1, 96);
  REQUIRE(r.fault.kind == FaultKind::none);
  for (std::uint32_t t = 0; t < 96; ++t) { REQUIRE(r.out[t] == (95 - t < 40 ? 2u : 1u)); }
}

TEST_CASE("threads that have ended do not hold a barrier up; members that have ended do not hold a shuffle up") {
  const Ran r = run(R"(
  setp.ge.u32 %p1, %r1, 50; @%p1 ret;
  bar.sync 0;
  shfl.sync.idx.b32 %r5, %r1, 3, 31, 0xffffffff;
  st.global.u32 [%d3], %r5; ret;)",
                    1, 64);
  REQUIRE(r.fault.kind == FaultKind::none);
  REQUIRE(r.out[10] == 3);
  REQUIRE(r.out[40] == 35);
  REQUIRE(r.out[60] == 0);
}

TEST_CASE("a shuffle waits for all its members to arrive") {
  const Ran r = run(R"(
  mov.u32 %r5, %r1; setp.lt.u32 %p1, %r1, 7; @%p1 bra LONG; bra MEET;
LONG:
  add.u32 %r5, %r5, 1000;
MEET:
  shfl.sync.idx.b32 %r6, %r5, 0, 31, 0xffffffff;
  st.global.u32 [%d3], %r6; ret;)",
                    1, 32);
  REQUIRE(r.fault.kind == FaultKind::none);
  REQUIRE(r.out[31] == 1000);
}

TEST_CASE("a lane that spins lets the lane it waits for run") {
  const Ran r = run(R"(
  mov.u32 %r5, 0; st.shared.u32 [box], %r5; bar.sync 0;
  setp.eq.u32 %p1, %r1, 33; @%p1 bra SET;
SPIN:
  ld.volatile.shared.u32 %r6, [box]; setp.eq.u32 %p2, %r6, 0; @%p2 bra SPIN;
  bra DONE;
SET:
  mov.u32 %r7, 5; st.volatile.shared.u32 [box], %r7; mov.u32 %r6, 5;
DONE:
  st.global.u32 [%d3], %r6; ret;)",
                    1, 64);
  REQUIRE(r.fault.kind == FaultKind::none);
  REQUIRE(r.out[0] == 5);
  REQUIRE(r.out[34] == 5);
}

TEST_CASE("a branch table sends each lane its way, and an index outside faults") {
  const char* const body = R"(
  and.b32 %r5, %r1, {};
T:
  .branchtargets A, B, C;
  brx.idx %r5, T;
A:
  mov.u32 %r6, 10; bra DONE;
B:
  mov.u32 %r6, 20; bra DONE;
C:
  mov.u32 %r6, 30;
DONE:
  st.global.u32 [%d3], %r6; ret;)";
  std::string two = body, three = body;
  two.replace(two.find("{}"), 2, "2");
  three.replace(three.find("{}"), 2, "3");
  const Ran r = run(two, 1, 32);
  REQUIRE(r.fault.kind == FaultKind::none);
  for (std::uint32_t t = 0; t < 32; ++t) { REQUIRE(r.out[t] == ((t & 2) != 0 ? 30u : 10u)); }
  REQUIRE(run(three, 1, 32).fault.kind == FaultKind::trap);
}

TEST_CASE("a grid is spread over threads and every block runs once") {
  const Ran r = run(R"(
  mov.u32 %r5, 0; mov.u32 %r6, 0;
LOOP:
  add.u32 %r5, %r5, %r4; add.u32 %r6, %r6, 1; setp.lt.u32 %p1, %r6, 20; @%p1 bra LOOP;
  atom.global.add.u32 %r7, [%d3], %r5; ret;)",
                    200, 128);
  REQUIRE(r.fault.kind == FaultKind::none);
  for (std::uint32_t i = 0; i < 200 * 128; ++i) { REQUIRE(r.out[i] == i * 20); }
}

TEST_CASE("faults name kind, place and thread") {
  SECTION("misaligned") {
    const Ran r = run("add.u64 %d3, %d3, 2; st.global.u32 [%d3], %r1; ret;", 1, 32);
    REQUIRE(r.fault.kind == FaultKind::misaligned_address);
  }
  SECTION("shared memory") {
    const Ran r = run("st.shared.u32 [box+1024], %r1; ret;", 1, 32);
    REQUIRE(r.fault.kind == FaultKind::illegal_address);
  }
  SECTION("null") {
    const Ran r = run("mov.u64 %d3, 0; setp.eq.u32 %p1, %r1, 9; @%p1 st.global.u32 [%d3], %r1; ret;", 1, 32);
    REQUIRE(r.fault.kind == FaultKind::illegal_address);
    REQUIRE(r.fault.thread == 9);
    REQUIRE(r.fault.line == 12);
  }
  SECTION("trap") {
    const Ran r = run("setp.eq.u32 %p1, %r4, 70; @%p1 trap; ret;", 4, 32);
    REQUIRE(r.fault.kind == FaultKind::trap);
    REQUIRE(r.fault.cta[0] == 2);
    REQUIRE(r.fault.thread == 6);
  }
  SECTION("threads that wait for each other") {
    const Ran r = run("setp.lt.u32 %p1, %r1, 32; @%p1 bar.sync 1; bar.sync 2; bar.sync 1, 96; ret;", 1, 64);
    REQUIRE(r.fault.kind == FaultKind::deadlock);
  }
}
