// SPDX-License-Identifier: Apache-2.0
// Where the core tells what it does, if somebody listens. hal/layers/trace.cpp writes it to a Perfetto file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "hal/driver.h"

namespace hal::core {

class Timeline;

class Tracer {
 public:
  virtual ~Tracer() = default;
  // Called under the queue's lock, in queue order, with the commands as the driver will get them. `number` is the last.
  virtual void submitted(Timeline& lane, std::uint64_t number, std::span<const hal_command> commands,
                         const hal_sync& sync) = 0;
};

// NULL unless HALYARD_TRACE names a file.
std::unique_ptr<Tracer> make_tracer();

}  // namespace hal::core
