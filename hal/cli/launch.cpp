// SPDX-License-Identifier: Apache-2.0
// halyard launch: N ranks of a program on this machine, joined by one rendezvous.
#include <fmt/format.h>

#include <cstdio>

#include "cli/command.hpp"
#include "cli/fabric_error.hpp"
#include "fabric/bootstrap/launcher.hpp"

namespace hal::cli {
namespace {

struct Options {
  unsigned ranks = 2;
  double timeout_seconds = 0;
  bool quiet = false;
};

Result<int> run(const Options& options, std::vector<std::string> command) {
  if (command.empty()) {
    fmt::print(stderr, "halyard launch: no program was given, for example: halyard launch -n 2 ./my_program\n");
    return kUsage;
  }
  constexpr double kMostSeconds = 31'536'000;  // a year
  if (!(options.timeout_seconds >= 0 && options.timeout_seconds <= kMostSeconds)) {
    fmt::print(stderr, "halyard launch: --timeout {}: expected seconds from 0 (none) to {}\n", options.timeout_seconds,
               kMostSeconds);
    return kUsage;
  }
  fabric::LaunchOptions launch;
  launch.ranks = options.ranks;
  launch.command = std::move(command);
  if (options.timeout_seconds > 0) {
    launch.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(options.timeout_seconds * 1000));
  }
  if (!options.quiet) {
    launch.log = [](std::string_view line) { fmt::print(stderr, "halyard launch: {}\n", line); };
  }
  const auto result = fabric::launch(launch);
  if (!result) { return to_error(result.error()); }
  return result->exit_code;
}

}  // namespace

void add_launch(CLI::App& app, Body& body) {
  CLI::App* command =
      app.add_subcommand("launch", "Run N ranks of a program on this machine: launch -n N PROGRAM [ARGS...]");
  auto options = std::make_shared<Options>();
  command->add_option("-n,--ranks", options->ranks, "How many ranks")->capture_default_str();
  command->add_option("--timeout", options->timeout_seconds,
                      "Seconds for the whole launch; then ranks are ended, exit 124");
  command->add_flag("--quiet", options->quiet, "Do not say what became of ranks that failed");
  command->footer(
      "Ranks find their world in HALYARD_RANK, HALYARD_WORLD_SIZE and HALYARD_RENDEZVOUS.\n"
      "The exit code is that of the rank that failed first, or 128 plus its signal.");
  command->prefix_command();  // what follows the program is the program's
  command->callback(
      [&body, options, command] { body = [options, words = command->remaining()] { return run(*options, words); }; });
}

}  // namespace hal::cli
