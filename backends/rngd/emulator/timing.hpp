// SPDX-License-Identifier: Apache-2.0
// Every constant of the timing and energy model, profile "measured". Tags as in docs/emulation/rngd.md; grades: A
// vendor, B third-party silicon data, C secondary, D ours. Time never changes a result.
#pragma once
#include <algorithm>
#include <cstdint>

#include "emulator/execute.hpp"

namespace rngd::emulator {

struct Timing {
  std::uint64_t clock_hz = 1'000'000'000;           // [DOCS] A; other clocks have been reported
  double command_ns = 200;                          // fetch and complete one entry; unknown, D
  double launch_ns = 20'000;                        // EXEC_GRAPH; unknown, D
  double partition_change_ns = 2'000'000;           // unknown, D
  double firmware_boot_ns = 1'500'000'000;          // unknown, D
  double dma_startup_cycles = 1'900;                // [KC] B: 1,100 to 2,700
  double tdma_bytes_per_cycle = 256;                // per PE [BOOK] A
  double host_bytes_per_ns = 3.77;                  // per PE, host to device [HETERO] B
  double hbm_bytes_per_ns = 210;                    // per PE [HETERO] B: 200 to 219
  double tensor_macs_per_cycle = 16'384;            // bf16, per PE: 64 slices x 256 [ISCA] C
  double vector_lanes_per_cycle = 256;              // f32, per PE: 64 slices x 4 [ISCA] C
  double sram_bytes_per_cycle = 64.0 * 128;         // per PE [BOOK] A
  double schedule_factor = 2.1;                     // silicon against the static schedule [KC-SNU] B
  double default_timeout_ns = 10e9;                 // of a queue that names none, D
  double idle_watts = 38.01, watts_per_pe = 32.71;  // fit over 0 to 8 busy PEs [HETERO] B

  double cycles_to_ns(double cycles) const { return cycles * 1e9 / static_cast<double>(clock_hz); }

  /// One operation of a program on `pes` PEs: units overlap, so the slowest decides.
  double operation_ns(const Work& work, unsigned pes) const {
    const double compute = cycles_to_ns(static_cast<double>(work.tensor_macs) / tensor_macs_per_cycle +
                                        static_cast<double>(work.vector_lanes) / vector_lanes_per_cycle);
    const double sram = cycles_to_ns(static_cast<double>(work.bytes_moved) / sram_bytes_per_cycle);
    const double hbm = static_cast<double>(work.hbm_bytes) / hbm_bytes_per_ns;
    const double startup = work.hbm_bytes != 0 ? cycles_to_ns(dma_startup_cycles) : 0;
    return startup + schedule_factor * std::max({compute, sram, hbm}) / pes;
  }

  double copy_ns(std::uint64_t bytes, bool crosses_link, unsigned pes) const {
    const double rate =
        crosses_link ? host_bytes_per_ns * pes : tdma_bytes_per_cycle * pes * static_cast<double>(clock_hz) / 1e9;
    return cycles_to_ns(dma_startup_cycles) + static_cast<double>(bytes) / rate;
  }
};

}  // namespace rngd::emulator
