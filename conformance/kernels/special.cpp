// SPDX-License-Identifier: Apache-2.0
// Programs that are specialised: by constants when they are loaded, by extents when they run.
#include <cstring>

#include "conformance/kernels/pack.hpp"
#include "hal/host_kernel.h"

namespace hal::conformance {
namespace {

// In the order of the manifest: u32, f32, i64, u8.
constexpr char kConstants[] =
    "constant spec_count u32 16\n"
    "constant spec_scale f32 0.5\n"
    "constant spec_wide i64 -1\n"
    "constant spec_small u8 200\n"
    "entry spec_constants kernel group=1\n"
    "  buffer out out u64 4\n";
constexpr char kExtents[] =
    "entry spec_extents kernel group=1\n"
    "  tensor x in f32 rows,columns\n"
    "  tensor y in f32 rows,3\n"
    "  buffer out out i64 2\n";

void spec_constants(const hal_host_group* group, void* const* args) {
  auto* out = static_cast<unsigned char*>(args[0]);
  std::memset(out, 0, 32);
  std::memcpy(out, group->constants[0], 4);
  std::memcpy(out + 8, group->constants[1], 4);
  std::memcpy(out + 16, group->constants[2], 8);
  std::memcpy(out + 24, group->constants[3], 1);
}

void spec_extents(const hal_host_group*, void* const* args) {
  auto* out = static_cast<std::int64_t*>(args[2]);
  std::memcpy(out, args[3], 8);
  std::memcpy(out + 1, args[4], 8);
}

constexpr hal_host_entry kEntries[] = {{"spec_constants", spec_constants}, {"spec_extents", spec_extents}};
constexpr hal_host_functions kFunctions = HAL_HOST_FUNCTIONS(kEntries, 2);

// Written by hand: what is read, and in what width, is the point of it.
constexpr char kPtx[] = R"(.version 7.8
.target sm_80
.address_size 64
.visible .const .align 4 .u32 spec_count;
.visible .const .align 4 .f32 spec_scale;
.visible .const .align 8 .u64 spec_wide;
.visible .const .align 1 .u8 spec_small;
.visible .entry spec_constants(.param .u64 out)
{
  .reg .b32 %r<4>;
  .reg .b64 %rd<9>;
  ld.param.u64 %rd1, [out];
  cvta.to.global.u64 %rd2, %rd1;
  ld.const.u32 %r1, [spec_count];
  cvt.u64.u32 %rd3, %r1;
  st.global.u64 [%rd2], %rd3;
  ld.const.b32 %r2, [spec_scale];
  cvt.u64.u32 %rd4, %r2;
  st.global.u64 [%rd2+8], %rd4;
  ld.const.u64 %rd5, [spec_wide];
  st.global.u64 [%rd2+16], %rd5;
  ld.const.u8 %r3, [spec_small];
  cvt.u64.u32 %rd6, %r3;
  st.global.u64 [%rd2+24], %rd6;
  ret;
}
.visible .entry spec_extents(.param .u64 x, .param .u64 y, .param .u64 out, .param .u64 rows, .param .u64 columns)
{
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [out];
  cvta.to.global.u64 %rd2, %rd1;
  ld.param.u64 %rd3, [rows];
  st.global.u64 [%rd2], %rd3;
  ld.param.u64 %rd4, [columns];
  st.global.u64 [%rd2+8], %rd4;
  ret;
}
)";

}  // namespace

std::vector<PackImage> special_pack(Special special) {
  const char* manifest = special == Special::constants ? kConstants : kExtents;
  return {{"host.functions", &kFunctions, sizeof(hal_host_functions), manifest, false},
          {"ptx", kPtx, sizeof kPtx, manifest, true}};
}

PackImage special_for(Case& t, Special special) {
  std::string reasons;
  for (PackImage& each : special_pack(special)) {
    const hal_image image = each.image();
    const hal_verdict verdict = hal_device_check(t.device(), &image);
    if (verdict.support != HAL_NO) { return each; }
    reasons += "; " + each.format + ": " + verdict.why;
  }
  fail_case(HAL_HERE, "the device takes no image with constants and dynamic dimensions" + reasons);
}

}  // namespace hal::conformance
