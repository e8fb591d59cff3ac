// SPDX-License-Identifier: Apache-2.0
// A fence in all threads of the process, paid for by the thread that asks for it. One side of a protocol "store mine,
// then look at yours" may then do without a fence of its own: the side that is taken a thousand times as often.
#pragma once

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace hal::threads {

// After this every thread of the process has seen what this one stored before, and this one sees what they stored
// before loads that they have done. Takes microseconds. False if the kernel cannot: membarrier(2), Linux 4.14.
inline bool fence_other_threads() {
  static const bool registered =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;  // takes up to milliseconds
  return registered && ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

}  // namespace hal::threads
