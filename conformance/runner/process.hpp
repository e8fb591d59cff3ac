// SPDX-License-Identifier: Apache-2.0
// Runs cases in worker processes and outlives whatever they do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "conformance/runner/record.hpp"
#include "conformance/runner/worker.hpp"

namespace hal::conformance {

struct ProcessSettings {
  std::vector<std::string> self;        // the command line that reaches run_worker() in a new process
  unsigned batch = 16;                  // the most cases in one process
  std::uint64_t case_limit_ms = 20000;  // a case without an end by then is killed: Timeout
  bool stop_at_first_failure = false;
};

// Runs the named cases in order. A worker that crashes, hangs or leaves costs its current case only; the next worker
// goes on behind it. `on_record` (optional) sees each record as it arrives.
Outcome run_cases(const ProcessSettings& process, const WorkerSettings& worker, const std::vector<std::string>& names,
                  const std::function<void(const Record&)>& on_record = {});

// Only asks a worker what the device is. `why` gets the reason if there is none.
bool describe_device(const ProcessSettings& process, const WorkerSettings& worker, DeviceFacts& out, std::string& why);

}  // namespace hal::conformance
