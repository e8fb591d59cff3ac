// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/peer_program.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <sstream>

using namespace hal::cli::bench;
using hal::test::eventually;

namespace {

// Answers, and goes on working for good, as does a program that it started and names in a comment.
constexpr const char* kRestless =
    "sh -c 'while :; do :; done & echo \"# $!\"; read -r r; printf \"%s\\tp\\t5\\n\" \"$r\"; read -r r; "
    "printf \"%s\\tp\\t7\\n\" \"$r\"; while :; do :; done'";

// The letter of /proc: R runs, T is stopped, Z has ended; 0 if there is no such process.
char state_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::stringstream text;
  text << file.rdbuf();
  const std::size_t name_end = text.str().rfind(')');
  return name_end == std::string::npos ? '\0' : text.str().at(name_end + 2);
}

bool is_over(pid_t pid) { return state_of(pid) == '\0' || state_of(pid) == 'Z'; }

}  // namespace

TEST_CASE("a peer that a signal ends is said to have been ended by it") {
  auto started = PeerProgram::start("sh -c 'read -r r; kill -s ILL $$'");
  REQUIRE(started);
  const hal::Result<Line> answer = (*started)->ask("row");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == HAL_UNAVAILABLE);
  CHECK(std::string(answer.error().what()).find("ended without an answer, by signal 4") != std::string::npos);
}

TEST_CASE("a peer and what it started stand still from one answer to the next question") {
  auto started = PeerProgram::start(kRestless);
  REQUIRE(started);
  PeerProgram& program = **started;
  REQUIRE(program.ask("row"));
  CHECK(state_of(program.pid()) == 'T');
  REQUIRE(program.notes.size() == 1);
  const pid_t other = std::stoi(program.notes[0]);
  CHECK(eventually([&] { return state_of(other) == 'T'; }));
  const std::chrono::nanoseconds used = program.processor_time();
  CHECK(used.count() > 0);
  const hal::Result<Line> second = program.ask("row");
  REQUIRE(second);
  CHECK(second->ns == 7);
  CHECK(state_of(program.pid()) == 'T');
  CHECK(program.processor_time() > used);
  started->reset();  // it does not read its input any more: it is ended
  CHECK(eventually([&] { return is_over(other); }));
}

TEST_CASE("a peer that writes comments and never an answer is refused") {
  auto started = PeerProgram::start("yes '# still at it'");
  REQUIRE(started);
  const auto answer = (*started)->ask("row");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == HAL_INVALID_ARGUMENT);
  CHECK(std::string(answer.error().what()).find("more than 10000 comments and no answer") != std::string::npos);
}

TEST_CASE("a line that nobody asked for is refused and not taken for the next answer") {
  // Both at once; and before the question is read, as who answers twice does at his second one.
  for (const auto& [command, expected] :
       {std::pair("sh -c 'read -r r; printf \"$r\\tp\\t5\\n$r\\tp\\t6\\n\"; read -r r'",
                  "wrote a line that nobody asked for: 'row?p?6'"),
        std::pair("sh -c 'printf \"row\\tp\\t5\\n\"; exec sleep 60'",
                  "answered 'row' before it had read the question")}) {
    auto started = PeerProgram::start(command);
    REQUIRE(started);
    const auto answer = (*started)->ask("row");
    REQUIRE_FALSE(answer);
    INFO(answer.error().what());
    CHECK(answer.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(std::string(answer.error().what()).find(expected) != std::string::npos);
    ::kill(-(*started)->pid(), SIGKILL);
  }
}

TEST_CASE("a second answer that comes between two questions is refused at the next") {
  auto started =
      PeerProgram::start("sh -c 'read -r r; printf \"%s\\tp\\t5\\n\" \"$r\"; printf \"%s\\tp\\t6\\n\" \"$r\"'");
  REQUIRE(started);
  PeerProgram& program = **started;
  auto answer = program.ask("row");
  if (answer) {
    // It stands still, perhaps before the second line. Once it has ended, that is written.
    ::kill(-program.pid(), SIGCONT);
    CHECK(eventually([&] { return is_over(program.pid()); }));
    answer = program.ask("row");
  }
  REQUIRE_FALSE(answer);
  CHECK(std::string(answer.error().what()).find("wrote a line that nobody asked for: 'row?p?6'") != std::string::npos);
}

TEST_CASE("a program that is none is named, with what may be given") {
  const auto none = PeerProgram::start("exec no-such-program");
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == HAL_UNAVAILABLE);
  CHECK(std::string(none.error().what()).find("'exec': No such file or directory; give a file of results") !=
        std::string::npos);
  CHECK(PeerProgram::start("echo one | cat").error().code() == HAL_INVALID_ARGUMENT);
}

TEST_CASE("a comment does nothing to a terminal and ends no JSON") {
  auto started = PeerProgram::start("sh -c 'printf \"# \\033[2J\\377\\n\"; read -r r; printf \"$r\\tp\\t5\\n\"'");
  REQUIRE(started);
  REQUIRE((*started)->ask("row"));
  CHECK((*started)->notes == std::vector<std::string>{"?[2J?"});
}

TEST_CASE("a tool that is killed leaves no stopped peers behind") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t tool = ::fork();
  REQUIRE(tool >= 0);
  if (tool == 0) {
    auto started = PeerProgram::start(kRestless);
    if (started && (*started)->ask("row")) {
      const pid_t pids[2] = {(*started)->pid(), std::stoi((*started)->notes.at(0))};
      if (::write(ends[1], pids, sizeof pids) == sizeof pids) { ::kill(::getpid(), SIGKILL); }
    }
    ::_exit(1);
  }
  ::close(ends[1]);
  pid_t pids[2] = {0, 0};
  CHECK(::read(ends[0], pids, sizeof pids) == sizeof pids);
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(tool, &status, 0) == tool);
  REQUIRE(WIFSIGNALED(status));
  for (const pid_t pid : pids) {
    CHECK(eventually([&] { return is_over(pid); }));
  }
}
