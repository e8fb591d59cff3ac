// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/peer_program.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <halyard_catch.hpp>
#include <sstream>

using namespace hal::cli::bench;

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

template <class Condition>
bool comes_true(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) { return false; }
    ::usleep(1000);
  }
  return true;
}

bool is_over(pid_t pid) { return state_of(pid) == '\0' || state_of(pid) == 'Z'; }

}  // namespace

TEST_CASE("a peer and what it started stand still from one answer to the next question") {
  auto started = PeerProgram::start(kRestless);
  REQUIRE(started);
  PeerProgram& program = **started;
  REQUIRE(program.ask("row"));
  CHECK(state_of(program.pid()) == 'T');
  REQUIRE(program.notes.size() == 1);
  const pid_t other = std::stoi(program.notes[0]);
  CHECK(comes_true([&] { return state_of(other) == 'T'; }));
  const std::chrono::nanoseconds used = program.processor_time();
  CHECK(used.count() > 0);
  const hal::Result<Line> second = program.ask("row");
  REQUIRE(second);
  CHECK(second->ns == 7);
  CHECK(state_of(program.pid()) == 'T');
  CHECK(program.processor_time() > used);
  started->reset();  // it does not read its input any more: it is ended
  CHECK(comes_true([&] { return is_over(other); }));
}

TEST_CASE("a peer that writes comments and never an answer is refused") {
  auto started = PeerProgram::start("yes '# still at it'");
  REQUIRE(started);
  const auto answer = (*started)->ask("row");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code() == HAL_INVALID_ARGUMENT);
  CHECK(std::string(answer.error().what()).find("more than 10000 comments and no answer") != std::string::npos);
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
    CHECK(comes_true([&] { return is_over(pid); }));
  }
}
