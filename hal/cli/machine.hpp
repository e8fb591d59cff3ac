// SPDX-License-Identifier: Apache-2.0
// What a reader of a report must know about the machine it was made on.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace hal::cli {

struct Machine {
  std::string processor;  // "unknown" if the system does not say
  unsigned cores = 1;     // that this process may run on
  std::uint64_t memory_bytes = 0;
  std::uint64_t available_bytes = 0;
  std::array<double, 3> load{};  // 1, 5 and 15 minutes
};

Machine read_machine();

}  // namespace hal::cli
