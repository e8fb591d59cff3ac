// SPDX-License-Identifier: Apache-2.0
// halyard launch: N ranks of a program on this machine, joined by one rendezvous.
#include <fmt/format.h>

#include <cstdio>

#include "cli/command.hpp"
#include "cli/fabric_error.hpp"
#include "cli/say.hpp"
#include "cli/usage.hpp"
#include "fabric/bootstrap/launcher.hpp"

namespace hal::cli {
namespace {

struct Options {
  unsigned ranks = 2;
  double timeout_seconds = 0;
  bool quiet = false;
};

Result<int> run(const Options& options, std::vector<std::string> command) {
  if (command.empty()) { return usage_error("no program was given, for example: halyard launch -n 2 ./my_program"); }
  fabric::LaunchOptions launch;
  launch.ranks = options.ranks;
  launch.command = std::move(command);
  if (options.timeout_seconds > 0) {
    launch.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(options.timeout_seconds * 1000));
  }
  if (!options.quiet) {
    launch.log = [](std::string_view line) { say(stderr, "halyard launch: {}\n", line); };
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
  command->add_option("-n,--ranks", options->ranks, "How many ranks")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--timeout", options->timeout_seconds,
                   "For the whole launch, 0: no limit; then ranks are ended, exit 124")
      ->check(seconds(0, 31'536'000));  // a year
  command->add_flag("--quiet", options->quiet, "Do not say what became of ranks that failed");
  command->footer(
      "Ranks find their world in HALYARD_RANK, HALYARD_WORLD_SIZE and HALYARD_RENDEZVOUS.\n"
      "The exit code is that of the rank that failed first, or 128 plus its signal.");
  command->prefix_command();  // what follows the program is the program's
  command->callback(
      [&body, options, command] { body = [options, words = command->remaining()] { return run(*options, words); }; });
}

}  // namespace hal::cli
