// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace hal::emulated_cuda {

// Runs `work` on this thread and on the executor's helper threads at the same time; returns when all are done. Helpers
// that are busy with another grid are not waited for. HALYARD_EMULATED_CUDA_THREADS sets how many threads take part in
// all (default: as many as the machine has processors, at most 8).
void run_with_helpers(const std::function<void()>& work);

}  // namespace hal::emulated_cuda
