// SPDX-License-Identifier: Apache-2.0
// Runs a recording again, on the devices that it names or on another one, and compares what it writes.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "hal/hal.hpp"
#include "recording/format.hpp"

namespace hal::recording {

// What came out otherwise than in the recording.
struct Difference {
  std::string where;   // "buffer 3 'weights'", "host memory"
  std::string writer;  // "command 0 (run 'saxpy') of submission 7 on queue 'q', submitted at main.cpp:12"
  std::string what;    // "byte 128 is 0x01 and was 0x00", or that the checksums differ
};

struct Outcome {
  std::size_t submissions = 0, commands = 0, compared = 0;
  std::uint64_t compared_bytes = 0;
  std::vector<Difference> differences;  // in order; the first is the one to look at
};

struct ReplayOptions {
  std::string device;                                            // a URI for everything; empty: as recorded
  std::chrono::nanoseconds deadline = std::chrono::seconds(60);  // of each wait
};

// Errors: UNSUPPORTED  the recording holds something that a replay cannot do, named; else what the device answers, with
// the place in the recording.
Result<Outcome> replay(const Instance& instance, const std::vector<Record>& records, const ReplayOptions& options);

}  // namespace hal::recording
