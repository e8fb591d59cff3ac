// SPDX-License-Identifier: Apache-2.0
// For tests that wait for what another thread brings about.
#pragma once

#include <chrono>
#include <thread>

namespace hal::test {

// How long something may take that should happen. It decides nothing but how long a broken build hangs.
inline constexpr std::chrono::seconds kSoon{20};

// Waits until `condition` holds once; false if it has not by then. Naps soon, which leaves the core to what is awaited.
template <class Condition>
bool eventually(Condition condition, std::chrono::steady_clock::duration limit = kSoon) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (int looks = 0; !condition(); ++looks) {
    if (std::chrono::steady_clock::now() > end) { return false; }
    if (looks < 1000) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  return true;
}

}  // namespace hal::test
