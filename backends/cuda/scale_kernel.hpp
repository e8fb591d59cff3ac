// SPDX-License-Identifier: Apache-2.0
// For tests: a kernel that multiplies `count` floats by a factor, 64 threads a group.
#pragma once

#include "hal/driver.h"

namespace hal::cuda {

inline constexpr const char* kScale = R"(.version 7.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 data, .param .u32 count, .param .f32 factor)
{
  .reg .pred %p; .reg .b32 %r<6>; .reg .f32 %f<3>; .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [data]; ld.param.u32 %r1, [count]; ld.param.f32 %f1, [factor];
  mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x;
  mad.lo.s32 %r5, %r3, %r4, %r2;
  setp.ge.u32 %p, %r5, %r1;
  @%p bra DONE;
  mul.wide.u32 %rd2, %r5, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.global.f32 %f2, [%rd3];
  mul.f32 %f2, %f2, %f1;
  st.global.f32 [%rd3], %f2;
DONE:
  ret;
}
)";

struct ScaleSignature {
  hal_param params[3] = {};
  hal_signature signature{};
  ScaleSignature() {
    params[0] = {"data", HAL_PARAM_BUFFER, HAL_INOUT, HAL_F32, 0, {}, 0, {}};
    params[1] = {"count", HAL_PARAM_SCALAR, HAL_IN, HAL_U32, 0, {}, 4, {}};
    params[2] = {"factor", HAL_PARAM_SCALAR, HAL_IN, HAL_F32, 0, {}, 4, {}};
    signature.name = "scale";
    signature.kind = HAL_KERNEL;
    signature.param_count = 3;
    signature.params = params;
    signature.group_size[0] = 64;
    signature.group_size[1] = signature.group_size[2] = 1;
  }
};

}  // namespace hal::cuda
