// SPDX-License-Identifier: Apache-2.0
// The conformance suite as a function: `halyard conformance` and `halyard-conformance` are this.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace hal::conformance {

using Globs = std::vector<std::string>;  // what one of them matches is meant

struct Options {
  std::string device;     // URI; empty: host:0, or with a driver its first usable device
  std::string driver;     // path or name of the driver to load; empty: all that are found
  Globs cases;            // of case or requirement names, "MEM-*"; empty: all
  std::string json;       // file for JSON lines; empty: none
  std::string junit;      // file for JUnit XML; empty: none
  Globs waive;            // of case names that may fail: printed, not counted; says so of each that none needs
  bool list = false;      // only list the cases
  bool faults = false;    // test the suite itself: seeded faults, controls, the null driver
  Globs fault;            // with faults: only those whose ID matches; empty: all
  std::string shim;       // path of the fault shim; empty: halyard-fault.so beside the drivers
  double time_scale = 1;  // of all deadlines and limits; sanitizers and loaded machines need more
  std::uint64_t seed = 1;
  unsigned batch = 16;            // the most cases in one worker process
  bool quiet = false;             // no line per case while running
  std::vector<std::string> self;  // the command line by which a new process reaches command(); e.g. {"/proc/self/exe"}
};

// Runs what the options ask for and prints the report. 0: no must failed (with faults: every fault was killed, no
// control was, and the null driver passed nothing that it may not); 1: otherwise; 2: it could not be run at all.
int run(const Options& options, std::ostream& out, std::ostream& err);

// The command line of the suite, worker processes included. `self` is how a new process gets here again.
int command(int argc, const char* const* argv, const std::vector<std::string>& self);

// '*' any run of characters, '?' any one.
bool glob_match(const char* pattern, const char* text);
bool matches_one(const Globs& globs, const char* text);

}  // namespace hal::conformance
