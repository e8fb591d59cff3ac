// SPDX-License-Identifier: Apache-2.0
// hal_recorder_instructions recorder COUNT: as hal_instructions (hal/cli/bench/instructions.cpp), of a launch what the
// flight recorder writes down. By itself, as it has a promise of its own; what it is made of is the core's.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/flight_recorder.hpp"

namespace {

constexpr std::uint64_t kGroup = 256;

void note_launches(std::uint64_t count) {
  static hal::core::FlightRecorder recorder;
  const std::array<hal_arg, 3> args{};
  hal_command command{};
  command.op = HAL_OP_RUN;
  command.as.run.args = args.data();
  command.as.run.arg_count = args.size();
  const hal::core::Launch launch;
  const hal_site site{__FILE__, __func__, __LINE__, 0};
  for (std::uint64_t number = 1; number <= count; ++number) {
    recorder.note_run(number, command, launch, site);
    asm volatile("" : : "r"(&recorder), "r"(&command) : "memory");  // somebody may read it, and change the command
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "";
  if (argc == 2 && path == "--list") {
    std::puts("recorder");
    return 0;
  }
  const unsigned long long count = argc == 3 && path == "recorder" ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (count == 0) {
    std::fprintf(stderr, "usage: hal_recorder_instructions recorder COUNT | --list\nCOUNT times %d launches\n",
                 static_cast<int>(kGroup));
    return 2;
  }
  note_launches(count * kGroup);
  return 0;
}
