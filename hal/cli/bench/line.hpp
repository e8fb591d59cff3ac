// SPDX-License-Identifier: Apache-2.0
// How peers from outside the process answer: one line of text a repetition. docs/performance.md walks an example.
//
//   ROW <tab> SUBJECT <tab> NANOSECONDS         one repetition: nanoseconds of one operation
//   ROW <tab> SUBJECT <tab> missing: REASON     it should do this row and cannot here
//   ROW <tab> SUBJECT <tab> -                   it has nothing for this row
//   # TEXT                                      printed above the table: versions, threads, settings
#pragma once

#include <string>
#include <string_view>

#include "hal/hal.hpp"

namespace hal::cli::bench {

struct Line {
  std::string row, subject;
  double ns = 0;
  std::string missing;   // a reason
  bool nothing = false;  // "-"
};

/// Errors: INVALID_ARGUMENT with `where` and what is wrong.
Result<Line> parse_line(std::string_view text, const std::string& where);

}  // namespace hal::cli::bench
