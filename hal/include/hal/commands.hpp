// SPDX-License-Identifier: Apache-2.0
// A recorded list of commands with numbered slots; replayed by Queue::execute(), recorded by Device::record() or
// captured from a queue.
#pragma once

#include "hal/handle.hpp"
#include "hal/result.hpp"

namespace hal {

class Commands : public Handle<hal_commands> {
 public:
  using Handle::Handle;
};

}  // namespace hal
