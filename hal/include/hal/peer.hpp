// SPDX-License-Identifier: Apache-2.0
// The far side of a fabric port.
#pragma once

#include "hal/handle.hpp"

namespace hal {

class Peer : public Handle<hal_peer> {
 public:
  using Handle::Handle;
};

}  // namespace hal
