// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/peer_program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

extern char** environ;

namespace hal::cli::bench {
namespace {

constexpr std::size_t kMostComments = 10'000;  // before one answer

void close_end(int end) {
  if (end >= 0) { ::close(end); }
}

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) == 0) { read_end = ends[0], write_end = ends[1]; }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
};

// The shell with a command, as a process group of its own: one signal reaches all that it starts. Returns an errno.
int spawn(const std::string& command, int in, int out, pid_t& pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  const char* argv[] = {"sh", "-c", command.c_str(), nullptr};
  const int failed = posix_spawn(&pid, "/bin/sh", &actions, &attributes, const_cast<char**>(argv), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

}  // namespace

Result<std::shared_ptr<PeerProgram>> PeerProgram::start(const std::string& command) {
  ::signal(SIGPIPE, SIG_IGN);  // a program that has ended is an answer, not our end
  Pipe in, out, life;
  int failed = in.write_end < 0 || out.write_end < 0 || life.write_end < 0 ? errno : 0;
  auto made = std::make_shared<PeerProgram>(command);
  if (failed == 0) { failed = spawn("exec " + command, in.read_end, out.write_end, made->pid_); }
  // A stopped program does not see that its input has ended. Its guard does, whatever has become of us.
  if (failed == 0) {
    const std::string guard = fmt::format("read -r nothing; kill -s KILL -- -{} 2>/dev/null", made->pid_);
    failed = spawn(guard, life.read_end, STDERR_FILENO, made->guard_);
  }
  made->to_ = std::exchange(in.write_end, -1);
  made->from_ = std::exchange(out.read_end, -1);
  made->life_ = std::exchange(life.write_end, -1);
  if (failed != 0) {
    return Error(HAL_UNAVAILABLE, fmt::format("'{}' cannot be run: {}", command, std::strerror(failed)));
  }
  return made;
}

PeerProgram::~PeerProgram() {
  close_end(to_);
  close_end(from_);
  if (pid_ > 0) {
    go();
    siginfo_t about{};
    for (int i = 0; i < 200; ++i) {  // it ends when its input does; a stubborn one is ended, and so is what it left
      if (::waitid(P_PID, static_cast<id_t>(pid_), &about, WEXITED | WNOHANG | WNOWAIT) != 0 || about.si_pid != 0) {
        break;
      }
      ::usleep(10'000);
    }
  }
  if (pid_ > 0) { ::kill(-pid_, SIGKILL); }
  close_end(life_);
  for (const pid_t child : {guard_, pid_}) {  // the number is nobody else's as long as the guard may use it
    if (child > 0) { ::waitpid(child, nullptr, 0); }
  }
}

void PeerProgram::go() const { ::kill(-pid_, SIGCONT); }

// On return none of its threads runs.
void PeerProgram::stop() const {
  siginfo_t about{};
  if (::kill(-pid_, SIGSTOP) == 0) { ::waitid(P_PID, static_cast<id_t>(pid_), &about, WSTOPPED | WEXITED | WNOWAIT); }
}

std::chrono::nanoseconds PeerProgram::processor_time() const {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &used) != 0) { return {}; }
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

Error PeerProgram::ended() const { return {HAL_UNAVAILABLE, fmt::format("'{}' ended without an answer", command_)}; }

Result<Line> PeerProgram::ask(const std::string& row) {
  go();
  Result<Line> one = answer(row);
  stop();
  return one;
}

Result<Line> PeerProgram::answer(const std::string& row) {
  const std::string question = row + "\n";
  if (::write(to_, question.data(), question.size()) != static_cast<ssize_t>(question.size())) {
    // Whether its end shows here or at the answer is a race, and what it wrote before is there in both cases.
    if (errno != EPIPE) {
      return Error(HAL_UNAVAILABLE,
                   fmt::format("'{}' does not read its input any more: {}", command_, std::strerror(errno)));
    }
  }
  const auto deadline = Clock::now() + std::chrono::seconds(kAnswerSeconds);
  for (std::size_t comments = 0;;) {
    HAL_TRY(const std::string text, line(deadline));
    if (text.starts_with("#")) {
      if (++comments > kMostComments) {
        return Error(HAL_INVALID_ARGUMENT,
                     fmt::format("'{}' wrote more than {} comments and no answer", command_, kMostComments));
      }
      const std::size_t begin = text.find_first_not_of("# ");
      notes.push_back(text.substr(begin != std::string::npos ? begin : 1));
      continue;
    }
    HAL_TRY(Line one, parse_line(text, fmt::format("'{}'", command_)));
    if (one.row != row) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("'{}' was asked for '{}' and answered for '{}'", command_, row, one.row));
    }
    return one;
  }
}

Result<std::string> PeerProgram::line(Clock::time_point deadline) {
  for (;;) {
    if (const std::size_t end = read_.find('\n'); end != std::string::npos) {
      std::string text = read_.substr(0, end);
      read_.erase(0, end + 1);
      return text;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd watched{from_, POLLIN, 0};
    const int ready = left.count() > 0 ? ::poll(&watched, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) { continue; }
    if (ready == 0) {
      return Error(HAL_DEADLINE_EXCEEDED, fmt::format("'{}' gave no answer in {} s", command_, kAnswerSeconds));
    }
    char some[4096];
    const ssize_t got = ::read(from_, some, sizeof some);
    if (got == 0) { return ended(); }
    if (got > 0) { read_.append(some, static_cast<std::size_t>(got)); }
    if (read_.size() > 1U << 20U) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("'{}' wrote a line of more than 1 MiB", command_));
    }
  }
}

}  // namespace hal::cli::bench
