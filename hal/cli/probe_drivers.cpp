// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_drivers.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "hal/hal.hpp"

namespace hal::cli {
namespace {

constexpr std::string_view kLoading = "loading driver ", kTrying = "drivers to try: ";

// What the core says while it loads, from the child: "T<list>" once, "L<file>" before each driver, "D" at the end.
void say(int fd, char kind, std::string_view text) {
  const std::string line = fmt::format("{}{}\n", kind, text);
  (void)!::write(fd, line.data(), line.size());
}

void on_log(void* user, hal_log_level, const char*, const char* text) {
  const std::string_view line = text;
  const int fd = *static_cast<const int*>(user);
  if (line.starts_with(kLoading)) { say(fd, 'L', line.substr(kLoading.size())); }
  if (line.starts_with(kTrying)) { say(fd, 'T', line.substr(kTrying.size())); }
}

[[noreturn]] void child(int fd, const std::string& drivers) {
  setenv("HALYARD_LOG", "debug", 1);
  unsetenv("HALYARD_TRACE");
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = drivers.empty() ? nullptr : drivers.c_str();
  desc.log = on_log;
  desc.log_user = &fd;
  hal_instance* instance = nullptr;
  hal_release(hal_instance_create(&desc, &instance));
  say(fd, 'D', "");
  _exit(0);  // no destructors of drivers: whether they live is not asked here
}

struct Outcome {
  std::vector<std::string> tried;
  std::string last;  // the driver that was being loaded
  std::string end;   // what it did; empty if all came back
};

Outcome run_child(const std::string& drivers, unsigned seconds) {
  Outcome outcome;
  int ends[2];
  if (pipe(ends) != 0) { return outcome; }
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    child(ends[1], drivers);
  }
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return outcome;
  }
  std::string buffer;
  bool done = false, hung = false;
  for (;;) {
    pollfd ready{ends[0], POLLIN, 0};
    const int count = poll(&ready, 1, static_cast<int>(seconds) * 1000);  // anew for each driver
    if (count < 0 && errno == EINTR) { continue; }
    if (count <= 0) {
      hung = true;
      (void)kill(pid, SIGKILL);
      break;
    }
    char bytes[4096];
    const ssize_t got = read(ends[0], bytes, sizeof bytes);
    if (got <= 0) { break; }
    buffer.append(bytes, static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = buffer.find('\n')) != std::string::npos; buffer.erase(0, end + 1)) {
      const std::string text = buffer.substr(1, end - 1);
      if (buffer[0] == 'D') { done = true; }
      if (buffer[0] == 'L') { outcome.last = text; }
      if (buffer[0] == 'T') {
        for (std::string_view rest = text; !rest.empty();) {
          const std::size_t cut = std::min(rest.find(':'), rest.size());
          outcome.tried.emplace_back(rest.substr(0, cut));
          rest.remove_prefix(std::min(cut + 1, rest.size()));
        }
      }
    }
    if (done) { break; }
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (done) { return outcome; }
  if (hung) {
    outcome.end = fmt::format("did not come back within {} s", seconds);
  } else if (WIFSIGNALED(status)) {
    const char* name = sigabbrev_np(WTERMSIG(status));
    outcome.end = fmt::format("ended its process by signal {} (SIG{})", WTERMSIG(status), name != nullptr ? name : "?");
  } else {
    outcome.end = fmt::format("called exit({})", WEXITSTATUS(status));
  }
  return outcome;
}

}  // namespace

DriverProbe probe_drivers(unsigned seconds) {
  DriverProbe probe;
  // Each round loses one driver, so it ends.
  for (;;) {
    const Outcome outcome = run_child(probe.drivers, seconds);
    if (outcome.end.empty() || outcome.last.empty()) { return probe; }
    probe.fatal.push_back(fmt::format("{}: {} while it was loaded", outcome.last, outcome.end));
    probe.all = false;
    std::string left;
    for (const std::string& file : outcome.tried) {
      if (file != outcome.last) { left += (left.empty() ? "" : ":") + file; }
    }
    probe.drivers = left;
    if (left.empty()) { return probe; }
  }
}

}  // namespace hal::cli
