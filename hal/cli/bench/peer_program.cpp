// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/peer_program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "cli/bench/words.hpp"
#include "text/utf8.hpp"

extern char** environ;

namespace hal::cli::bench {
namespace {

constexpr std::size_t kMostComments = 10'000;  // before one answer
constexpr std::size_t kLongestLine = 1U << 20U;

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

// Ours, with what is set in front of a command in place of what has the same name.
std::vector<std::string> environment_with(const std::vector<std::string>& set) {
  std::vector<std::string> all = set;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view one = *at;
    const std::string_view name = one.substr(0, one.find('=') + 1);
    if (std::ranges::none_of(set, [name](const std::string& other) { return other.starts_with(name); })) {
      all.emplace_back(one);
    }
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) { all.push_back(text.data()); }
  all.push_back(nullptr);
  return all;
}

// A program as a process group of its own: one signal reaches all that it starts. Returns an errno.
int spawn(Words command, int in, int out, pid_t& pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<std::string> environment = environment_with(command.environment);
  const int failed = posix_spawnp(&pid, command.words[0].c_str(), &actions, &attributes, pointers(command.words).data(),
                                  pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return failed;
}

}  // namespace

Result<std::shared_ptr<PeerProgram>> PeerProgram::start(const std::string& command) {
  HAL_TRY(Words words, split_words(command));
  ::signal(SIGPIPE, SIG_IGN);  // a program that has ended is an answer, not our end
  Pipe in, out, life;
  int failed = in.write_end < 0 || out.write_end < 0 || life.write_end < 0 ? errno : 0;
  auto made = std::make_shared<PeerProgram>(command);
  if (failed == 0) { failed = spawn(words, in.read_end, out.write_end, made->pid_); }
  // A stopped program does not see that its input has ended. Its guard does, whatever has become of us.
  if (failed == 0) {
    const std::string guard = fmt::format("read -r nothing; kill -s KILL -- -{} 2>/dev/null", made->pid_);
    failed = spawn({{"/bin/sh", "-c", guard}, {}}, life.read_end, STDERR_FILENO, made->guard_);
  }
  made->to_ = std::exchange(in.write_end, -1);
  made->from_ = std::exchange(out.read_end, -1);
  made->life_ = std::exchange(life.write_end, -1);
  if (failed != 0) {
    // Whoever meant a file, or a word that only a shell knows, comes here too.
    const char* const try_this = failed != ENOENT ? "" : "; give a file of results, a program, or sh -c '...'";
    return Error(HAL_UNAVAILABLE, fmt::format("'{}' cannot be run: '{}': {}{}", text::plain(command),
                                              text::plain(words.words[0]), std::strerror(failed), try_this));
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

Error PeerProgram::ended() const {
  siginfo_t about{};
  // Its end of the pipe goes a moment before it does; a program may also have closed its output and live on.
  for (int i = 0; i < 100; ++i) {
    if (::waitid(P_PID, static_cast<id_t>(pid_), &about, WEXITED | WNOHANG | WNOWAIT) != 0 || about.si_pid != 0) {
      break;
    }
    ::usleep(1000);
  }
  const bool killed = about.si_pid != 0 && about.si_code != CLD_EXITED;
  return {HAL_UNAVAILABLE,
          fmt::format("'{}' ended without an answer{}", command_,
                      killed ? fmt::format(", by signal {} ({})", about.si_status, ::strsignal(about.si_status)) : "")};
}

Result<Line> PeerProgram::ask(const std::string& row) {
  if (std::exchange(asked_, true)) { HAL_CHECK(expect_silence()); }
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
      notes.push_back(text::plain(std::string_view(text).substr(begin != std::string::npos ? begin : 1)));
      continue;
    }
    HAL_TRY(Line one, parse_line(text, fmt::format("'{}'", command_)));
    int unread = 0;
    if (::ioctl(to_, FIONREAD, &unread) == 0 && unread != 0) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("'{}' answered '{}' before it had read the question", command_, row));
    }
    if (one.row != row) {
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("'{}' was asked for '{}' and answered for '{}'", command_, row, one.row));
    }
    HAL_CHECK(expect_silence());
    return one;
  }
}

// Nobody has asked anything, so there is no line but comments, as far as can be seen now.
Result<void> PeerProgram::expect_silence() {
  for (pollfd watched{from_, POLLIN, 0}; ::poll(&watched, 1, 0) > 0 && read_.size() <= kLongestLine;) {
    if (!read_some()) { break; }
  }
  std::istringstream lines(read_);
  for (std::string text; std::getline(lines, text);) {
    if (!text.empty() && !text.starts_with("#")) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("'{}' wrote a line that nobody asked for: '{}'", command_,
                                                     text::plain(std::string_view(text).substr(0, 100))));
    }
  }
  return {};
}

// False at the end of what it writes.
bool PeerProgram::read_some() {
  char some[4096];
  const ssize_t got = ::read(from_, some, sizeof some);
  if (got > 0) { read_.append(some, static_cast<std::size_t>(got)); }
  return got != 0;
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
    if (!read_some()) { return ended(); }
    if (read_.size() > kLongestLine) {
      return Error(HAL_INVALID_ARGUMENT, fmt::format("'{}' wrote a line of more than 1 MiB", command_));
    }
  }
}

}  // namespace hal::cli::bench
