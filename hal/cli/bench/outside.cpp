// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/outside.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

extern char** environ;

namespace hal::cli::bench {
namespace {

// A program between two pipes.
class Program {
 public:
  static Result<std::shared_ptr<Program>> start(const std::string& command) {
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) {
      return Error(HAL_UNAVAILABLE, fmt::format("no pipe for '{}': {}", command, std::strerror(errno)));
    }
    ::signal(SIGPIPE, SIG_IGN);  // a program that has ended is an answer, not our end
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    const std::string shell = "exec " + command;
    const char* argv[] = {"sh", "-c", shell.c_str(), nullptr};
    auto made = std::make_shared<Program>();
    made->command_ = command;
    const int failed = posix_spawn(&made->pid_, "/bin/sh", &actions, nullptr, const_cast<char**>(argv), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    made->to_ = in[1];
    made->from_ = out[0];
    if (failed != 0) {
      made->pid_ = -1;
      return Error(HAL_UNAVAILABLE, fmt::format("'{}' cannot be run: {}", command, std::strerror(failed)));
    }
    return made;
  }
  Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (to_ >= 0) { ::close(to_); }
    if (from_ >= 0) { ::close(from_); }
    if (pid_ <= 0) { return; }
    for (int i = 0; i < 200; ++i) {  // it ends when its input does; a stubborn one is ended
      if (::waitpid(pid_, nullptr, WNOHANG) != 0) { return; }
      ::usleep(10'000);
    }
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  Result<Line> ask(const std::string& row) {
    const std::string question = row + "\n";
    if (::write(to_, question.data(), question.size()) != static_cast<ssize_t>(question.size())) {
      // Whether its end shows here or at the answer is a race.
      if (errno == EPIPE) { return ended(); }
      return Error(HAL_UNAVAILABLE,
                   fmt::format("'{}' does not read its input any more: {}", command_, std::strerror(errno)));
    }
    for (;;) {
      HAL_TRY(const std::string text, line());
      if (text.starts_with("#")) {
        notes.push_back(
            text.substr(text.find_first_not_of("# ") != std::string::npos ? text.find_first_not_of("# ") : 1));
        continue;
      }
      HAL_TRY(Line answer, parse_line(text, fmt::format("'{}'", command_)));
      if (answer.row != row) {
        return Error(HAL_INVALID_ARGUMENT,
                     fmt::format("'{}' was asked for '{}' and answered for '{}'", command_, row, answer.row));
      }
      return answer;
    }
  }
  std::vector<std::string> notes;

 private:
  Error ended() const { return Error(HAL_UNAVAILABLE, fmt::format("'{}' ended without an answer", command_)); }

  Result<std::string> line() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(kAnswerSeconds);
    for (;;) {
      if (const std::size_t end = read_.find('\n'); end != std::string::npos) {
        std::string text = read_.substr(0, end);
        read_.erase(0, end + 1);
        return text;
      }
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd watched{from_, POLLIN, 0};
      if (left.count() <= 0 || (::poll(&watched, 1, static_cast<int>(left.count())) == 0)) {
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

  std::string command_;
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::string read_;
};

// Only the host's rows have peers: nobody else has our devices.
bool takes_peers(const Row& row) { return row.device.starts_with("host:"); }

Result<void> add_program(const std::string& command, std::vector<Row>& rows, std::vector<std::string>& notes) {
  HAL_TRY(const std::shared_ptr<Program> program, Program::start(command));
  std::map<std::string, std::string> missing;  // said once
  for (Row& row : rows) {
    if (!takes_peers(row)) { continue; }
    HAL_TRY(const Line first, program->ask(row.name));
    if (first.nothing) { continue; }
    Subject peer{first.subject, {}, first.missing};
    if (!first.missing.empty()) {
      if (missing.emplace(first.subject, first.missing).second) {
        notes.push_back(fmt::format("{} is missing: {}", first.subject, first.missing));
      }
    } else {
      peer.once = [program, name = row.name]() -> Result<double> {
        HAL_TRY(const Line answer, program->ask(name));
        if (answer.nothing || !answer.missing.empty()) {
          return Error(HAL_UNAVAILABLE, answer.nothing ? "it stopped answering" : answer.missing);
        }
        return answer.ns;
      };
    }
    row.peers.push_back(std::move(peer));
  }
  notes.insert(notes.end(), program->notes.begin(), program->notes.end());
  return {};
}

// A file's repetitions are what they are: given out in turn, again from the start when they run out.
Result<void> add_file(const std::string& path, std::vector<Row>& rows, std::vector<std::string>& notes) {
  std::ifstream file(path);
  if (!file) { return Error(HAL_UNAVAILABLE, fmt::format("{} cannot be read: {}", path, std::strerror(errno))); }
  std::map<std::pair<std::string, std::string>, std::vector<double>> samples;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    const std::string where = fmt::format("{}:{}", path, number);
    if (text.empty()) { continue; }
    if (text.starts_with("#")) {
      notes.push_back(fmt::format("{} (from {})", text.substr(1), path));
      continue;
    }
    HAL_TRY(const Line line, parse_line(text, where));
    if (std::ranges::none_of(rows, [&](const Row& row) { return takes_peers(row) && row.name == line.row; })) {
      return Error(HAL_NOT_FOUND,
                   fmt::format("{}: no row '{}'; halyard bench --list prints those there are", where, line.row));
    }
    if (line.nothing || !line.missing.empty()) { continue; }
    samples[{line.row, line.subject}].push_back(line.ns);
  }
  for (const auto& [key, values] : samples) {
    for (Row& row : rows) {
      if (!takes_peers(row) || row.name != key.first) { continue; }
      row.peers.push_back({key.second + " (from a file)",
                           [values = values, at = std::make_shared<std::size_t>(0)]() -> Result<double> {
                             return values[(*at)++ % values.size()];
                           },
                           {}});
    }
  }
  return {};
}

bool is_data(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode) && ::access(path.c_str(), X_OK) != 0;
}

}  // namespace

Result<Line> parse_line(std::string_view text, const std::string& where) {
  const auto bad = [&](const std::string& what) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("{}: {}; expected ROW, a tab, SUBJECT, a tab, nanoseconds", where, what));
  };
  if (text.ends_with('\r')) { text.remove_suffix(1); }
  const std::size_t first = text.find('\t');
  const std::size_t second = first != std::string_view::npos ? text.find('\t', first + 1) : std::string_view::npos;
  if (second == std::string_view::npos) { return bad(fmt::format("no two tabs in '{}'", text.substr(0, 100))); }
  Line line{std::string(text.substr(0, first)), std::string(text.substr(first + 1, second - first - 1)), 0, {}, false};
  const std::string_view value = text.substr(second + 1);
  if (line.row.empty() || line.subject.empty()) { return bad("an empty name"); }
  constexpr std::string_view kMissing = "missing: ";
  if (value == "-") {
    line.nothing = true;
  } else if (value.starts_with(kMissing) && value.size() > kMissing.size()) {
    line.missing = value.substr(kMissing.size());
  } else {
    const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), line.ns);
    if (problem != std::errc() || end != value.data() + value.size() || !std::isfinite(line.ns) || line.ns <= 0) {
      return bad(fmt::format("'{}' is no number of nanoseconds above 0", value.substr(0, 100)));
    }
  }
  return line;
}

Result<void> add_peers(const std::vector<std::string>& given, std::vector<Row>& rows, std::vector<std::string>& notes) {
  for (const std::string& one : given) {
    HAL_CHECK(is_data(one) ? add_file(one, rows, notes) : add_program(one, rows, notes));
  }
  return {};
}

}  // namespace hal::cli::bench
