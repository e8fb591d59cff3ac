// SPDX-License-Identifier: Apache-2.0
// Peers from outside the process: programs that answer row names with one line a repetition, and files of such lines.
//
//   ROW <tab> SUBJECT <tab> NANOSECONDS         one repetition: nanoseconds of one operation
//   ROW <tab> SUBJECT <tab> missing: REASON     it should do this row and cannot here
//   ROW <tab> SUBJECT <tab> -                   it has nothing for this row
//   # TEXT                                      printed above the table: versions, threads, settings
//
// A program reads the name of a row from its standard input, one a line, and answers each with one line that is no
// comment, within kAnswerSeconds. It ends when its input does. docs/performance.md walks an example.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench/row.hpp"

namespace hal::cli::bench {

inline constexpr int kAnswerSeconds = 60;

struct Line {
  std::string row, subject;
  double ns = 0;
  std::string missing;   // a reason
  bool nothing = false;  // "-"
};

/// Errors: INVALID_ARGUMENT with `where` and what is wrong.
Result<Line> parse_line(std::string_view text, const std::string& where);

/// Adds the peers of every program and file of `given` to the rows that they answer for. What cannot be started or does
/// not keep to the format is an error; what answers "missing" is a missing peer.
Result<void> add_peers(const std::vector<std::string>& given, std::vector<Row>& rows, std::vector<std::string>& notes);

}  // namespace hal::cli::bench
