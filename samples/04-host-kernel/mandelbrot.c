/* SPDX-License-Identifier: Apache-2.0 */
/* One entry: how many steps each point of a grid stays near zero. A group is a piece of one row. */
#include <hal/host_kernel.h>

HAL_HOST_IMAGE()

HAL_HOST_KERNEL(mandelbrot) {
  const uint32_t width = *(const uint32_t*)args[0];
  const uint32_t steps = *(const uint32_t*)args[1];
  const float scale = *(const float*)args[2];
  uint32_t* out = (uint32_t*)args[3] + (uint64_t)group->group[1] * width;
  const float cy = (float)group->group[1] * scale - 1.25F;
  hal_for_each_item(i, group, width) {
    const float cx = (float)i * scale - 2.0F;
    float x = 0, y = 0;
    uint32_t stays = 0;
    for (uint32_t step = 0; step < steps; ++step) {
      const float xx = x * x, yy = y * y;
      stays += xx + yy <= 4.0F;
      y = 2 * x * y + cy;
      x = xx - yy + cx;
    }
    out[i] = stays;
  }
}
