/* SPDX-License-Identifier: Apache-2.0 */
/* What object_test.cpp loads. HAL_TEST_OLD makes an image of a version that nobody runs. */
#include "hal/host_kernel.h"

#if defined(HAL_TEST_OLD)
extern __attribute__((visibility("default"))) const uint32_t hal_host_image_abi;
const uint32_t hal_host_image_abi = 99;
#else
HAL_HOST_IMAGE()
#endif

HAL_HOST_KERNEL(axpy) {
  const float a = *(const float*)args[1];
  const float* x = (const float*)args[2];
  float* y = (float*)args[3];
  hal_for_each_item(i, group, *(const uint32_t*)args[0]) { y[i] += a * x[i]; }
}

/* A specialisation constant of the manifest. */
HAL_HOST_KERNEL(scale) {
  const uint32_t factor = *(const uint32_t*)group->constants[0];
  uint32_t* x = (uint32_t*)args[0];
  hal_for_each_item(i, group, 64) { x[i] *= factor; }
}

/* Each load has globals of its own. */
static uint32_t times;
HAL_HOST_KERNEL(count) {
  (void)group;
  *(uint32_t*)args[0] = ++times;
}
