// SPDX-License-Identifier: Apache-2.0
// What people and machines read: the table by requirement, JSON lines, JUnit.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "conformance/runner/record.hpp"
#include "conformance/runner/requirement.hpp"

namespace hal::conformance {

// One requirement with all of its cases.
struct Verdict {
  const Requirement* requirement = nullptr;
  Status status = Status::not_run;
  std::vector<const Record*> records;
};

// Only requirements that have records, in the registry's order. The verdicts point into `records`.
std::vector<Verdict> verdicts_of(const std::vector<Record>& records);

// True if a must has failed, crashed, hung or not run.
bool must_failed(const std::vector<Verdict>& verdicts);

// `repeat` is the command line that runs one case again, up to the case's name.
void print_table(std::ostream& out, const Outcome& outcome, const std::vector<Verdict>& verdicts,
                 const std::string& repeat);
void write_json(std::ostream& out, const Outcome& outcome);
void write_junit(std::ostream& out, const Outcome& outcome);

}  // namespace hal::conformance
