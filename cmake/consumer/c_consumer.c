/* SPDX-License-Identifier: Apache-2.0 */
/* The same API from C11. */
#include <hal/driver.h>
#include <hal/hal.h>

int host_devices(void);

int host_devices(void) {
  hal_instance_desc desc = {.struct_size = sizeof desc, .drivers = "host"};
  hal_instance* instance = 0;
  hal_error* error = hal_instance_create(&desc, &instance);
  if (error) {
    hal_release(error);
    return -1;
  }
  const int count = (int)hal_instance_device_count(instance);
  hal_release(instance);
  return count;
}
