// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <optional>

#include "cli/command.hpp"
#include "cli/instance.hpp"
#include "cli/say.hpp"
#include "cli/usage.hpp"

namespace {

int run(int argc, char** argv) {
  using namespace hal::cli;
  CLI::App app("Halyard: one device API for accelerators that have nothing in common.", "halyard");
  app.set_version_flag("--version", HALYARD_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 wrong command line, found before anything was done; the reason is on standard "
      "error.\n"
      "'halyard COMMAND --help' shows a command's options; 'halyard doctor' lists the environment's settings.");
  Body body;
  add_devices(app, body);
  add_doctor(app, body);
  add_demo(app, body);
  add_run(app, body);
  add_replay(app, body);
  add_graph(app, body);
  add_cache(app, body);
  add_launch(app, body);
  add_conformance(app, body);
  add_bench(app, body);
#if defined(HALYARD_TOPOLOGY)
  add_topology(app, body);
#endif

  // CLI11 would only say that a subcommand is missing.
  const auto known = [&app](const std::string& name) {
    const auto commands = app.get_subcommands([&name](const CLI::App* command) { return command->get_name() == name; });
    return !commands.empty();
  };
  if (argc > 1 && argv[1][0] != '-' && !known(argv[1])) {
    return refuse(app, fmt::format("there is no command '{}'", argv[1]));
  }
  hal::Result<int> result = kOk;
  try {
    app.parse(argc, argv);
    if (const std::string name = given_empty(app); !name.empty()) { return refuse(app, name + " is given empty"); }
    result = body();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) { return refuse(app, error.what()); }
    (void)app.exit(error);  // prints the help or the version
  }
  if (!result && is_usage_error(result.error())) { return refuse(app, result.error().what()); }
  if (!result) {
    say(stderr, "halyard: {}\n", result.error().text());
    return kFailed;
  }
  // What was printed may only now turn out to have nowhere to go.
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) { return *result; }
  say(stderr, "halyard: the output could not be written: {}\n", std::strerror(errno));
  return kFailed;
}

// A standard stream that is closed would become the first file that is opened, and be printed into: what takes its
// place cannot be read or written.
void keep_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) { (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); }
  }
}

int run_without_exceptions(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("halyard: the host has no memory left\n", stderr);
  } catch (const std::exception& exception) { std::fprintf(stderr, "halyard: %s\n", exception.what()); }
  return hal::cli::kFailed;
}

// Drivers, and programs that they run, may call exit(). Whatever status they give, the command was not done.
std::optional<int> own_end;
pid_t own_process;  // forked children leave as they like

void judge_exit(int status, void*) {
  if (getpid() != own_process) { return; }
  if (own_end != status) {
    std::fprintf(stderr,
                 "halyard: a driver, or a program that one runs, called exit(%d) before the command was done; what is "
                 "printed or written so far is not all\n",
                 status);
  } else if (status != hal::cli::kOk || !hal::cli::lost_a_file()) {
    return;
  }
  (void)std::fflush(nullptr);
  std::_Exit(hal::cli::kFailed);
}

}  // namespace

int main(int argc, char** argv) {
  keep_standard_streams();
  own_process = getpid();
  (void)on_exit(judge_exit, nullptr);  // first, so it runs last: before it libhal says who it was, and layers write
  own_end = run_without_exceptions(argc, argv);
  return *own_end;
}
