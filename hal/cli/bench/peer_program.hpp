// SPDX-License-Identifier: Apache-2.0
// A peer in a program of its own. It reads the name of a row from its standard input, one a line, and answers each with
// one line that is no comment (cli/bench/line.hpp), within kAnswerSeconds. It ends when its input does.
//
// From its first answer on it runs only while it is asked: it is stopped, with every program that it started, so that
// threads which go on spinning behind an answer take no core from whoever is measured next. Whatever ends this process
// ends them too.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench/line.hpp"

namespace hal::cli::bench {

inline constexpr int kAnswerSeconds = 60;

class PeerProgram {
 public:
  /// `command` is one program and its arguments, as cli/bench/words.hpp reads them. Errors: INVALID_ARGUMENT  it is
  /// more than that; UNAVAILABLE  there is no such program, or no pipe or process to be had.
  static Result<std::shared_ptr<PeerProgram>> start(const std::string& command);
  explicit PeerProgram(std::string command) : command_(std::move(command)) {}  // for start()
  PeerProgram(const PeerProgram&) = delete;
  PeerProgram& operator=(const PeerProgram&) = delete;
  ~PeerProgram();

  /// One repetition of a row. Errors: UNAVAILABLE  it has ended; DEADLINE_EXCEEDED; INVALID_ARGUMENT  no such line, or
  /// one that it was not asked for.
  Result<Line> ask(const std::string& row);

  /// What the threads of the program have used so far. It does not change while nobody asks.
  std::chrono::nanoseconds processor_time() const;

  pid_t pid() const { return pid_; }
  std::vector<std::string> notes;  // its comments so far

 private:
  using Clock = std::chrono::steady_clock;
  Result<Line> answer(const std::string& row);
  Result<std::string> line(Clock::time_point deadline);
  Result<void> expect_silence();
  bool read_some();
  Error ended() const;
  void go() const;
  void stop() const;

  std::string command_;
  pid_t pid_ = -1;    // and the number of its process group
  pid_t guard_ = -1;  // ends that group when life_ ends
  int to_ = -1, from_ = -1, life_ = -1;
  bool asked_ = false;
  std::string read_;
};

}  // namespace hal::cli::bench
