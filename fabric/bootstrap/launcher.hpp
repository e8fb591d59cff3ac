// SPDX-License-Identifier: Apache-2.0
// Runs N ranks of a program on this machine: what `halyard launch -n N program...` does.
#pragma once

#include "fabric/status.hpp"

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hal::fabric {

struct LaunchOptions {
  unsigned ranks = 2;
  std::vector<std::string> command;                              // program (looked up in PATH) and arguments
  std::vector<std::pair<std::string, std::string>> environment;  // added for every rank
  // After the first rank has failed the others have this long to end by themselves, then SIGTERM, 2 s later SIGKILL.
  std::chrono::milliseconds grace{10'000};
  std::optional<std::chrono::milliseconds> timeout;  // for the whole launch
  std::function<void(std::string_view line)> log;    // what happened to whom; may be empty
};

struct RankExit {
  unsigned rank = 0;
  pid_t pid = 0;
  int code = 0;          // of exit()
  int signal = 0;        // that ended it, or 0
  bool stopped = false;  // by the launcher
};

struct LaunchResult {
  int exit_code =
      0;  // of the rank that failed first: its code, or 128 + its signal; 124 if time ran out; 0 if all did well
  bool timed_out = false;
  std::vector<RankExit> ranks;  // by rank
};

// Ends when every rank has ended. Ranks find their world in HALYARD_RANK, HALYARD_WORLD_SIZE and HALYARD_RENDEZVOUS
// (see Session); rank 0 keeps standard input. The end of a rank is told to the others at once. SIGINT and SIGTERM sent
// to the calling thread's process while this runs end the ranks. Ranks are killed when the calling thread ends. Errors:
// INVALID_ARGUMENT  no command, or a number of ranks that is not 1 to kMaxRanks; NOT_FOUND  the program cannot be run,
// with the system's reason; UNAVAILABLE  the system has no more processes or descriptors.
Result<LaunchResult> launch(const LaunchOptions& options);

}  // namespace hal::fabric
