// SPDX-License-Identifier: Apache-2.0
#include "conformance/kernels/pack.hpp"

#include "conformance/kernels/host_pack.hpp"
#include "conformance_pack.hpp"

namespace hal::conformance {

std::vector<PackImage> kernel_pack() {
  return {{"host.functions", &host_pack(), sizeof(hal_host_functions), kPackManifest, false},
          {"ptx", kPackPtx, sizeof kPackPtx, kPackManifest, true}};  // with its NUL: the PTX loader wants one
}

PackImage pack_for(Case& t) {
  std::string reasons;
  for (PackImage& each : kernel_pack()) {
    const hal_image image = each.image();
    const hal_verdict verdict = hal_device_check(t.device(), &image);
    if (verdict.support != HAL_NO) { return each; }
    reasons += "; " + each.format + ": " + verdict.why;
  }
  fail_case(HAL_HERE, "the device says 'kernel' and takes no image of the kernel pack" + reasons);
}

Owned<hal_program> load_pack(Case& t) {
  const PackImage pack = pack_for(t);
  const hal_image image = pack.image();
  Owned<hal_program> program;
  EXPECT_OK(hal_program_load(t.device(), &image, program.out()));
  return program;
}

std::uint32_t entry_of(hal_program* program, const char* name) {
  std::uint32_t entry = UINT32_MAX;
  EXPECT_OK(hal_program_entry(program, name, &entry));
  return entry;
}

}  // namespace hal::conformance
