/* SPDX-License-Identifier: Apache-2.0 */
#include <hal/host_kernel.h>

HAL_HOST_IMAGE()
HAL_HOST_KERNEL(one) {
  hal_for_each_item(i, group, 64) { ((float*)args[0])[i] = 1; }
}
