// SPDX-License-Identifier: Apache-2.0
/**
 * Halyard's C++20 face: thin, header-only, over hal/hal.h.
 *
 *   hal::Instance instance = hal::Instance::create().value();
 *   hal::Device device = instance.open("host:0").value();
 *   hal::Queue queue = device.queue().value();
 *   hal::Buffer buffer = device.buffer(sizeof numbers).value();
 *   queue.copy(hal::host(numbers), buffer).value();                 // returns a Point at once
 *   hal::wait(queue.copy(buffer, hal::host(back)).value(), 1s).value();
 *
 * Every call that can fail returns Result<T>; .value() throws hal::Exception, HAL_TRY and HAL_CHECK pass the error on.
 */
#pragma once

#include "hal/buffer.hpp"
#include "hal/device.hpp"
#include "hal/error.hpp"
#include "hal/instance.hpp"
#include "hal/peer.hpp"
#include "hal/program.hpp"
#include "hal/queue.hpp"
#include "hal/result.hpp"
#include "hal/sync.hpp"
#include "hal/timeline.hpp"
