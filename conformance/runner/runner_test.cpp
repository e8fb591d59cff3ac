// SPDX-License-Identifier: Apache-2.0
// The runner against workers that crash, hang, leave and lie. The worker is this very program, started again with
// --worker: it takes names from standard input as a real one does, and does what each name says.
#include "conformance/runner/runner.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <halyard_catch.hpp>
#include <iostream>
#include <sstream>

#include "conformance/cases/case.hpp"
#include "conformance/runner/process.hpp"
#include "conformance/runner/report.hpp"
#include "conformance/runner/stream.hpp"
#include "text/utf8.hpp"

using namespace hal::conformance;

namespace {

// Runs before main() in the process that --worker starts; never returns there.
const bool is_worker = [] {
  std::ifstream file("/proc/self/cmdline");
  const std::string words((std::istreambuf_iterator<char>(file)), {});
  if (words.find(std::string("\0--worker\0", 10)) == std::string::npos) { return false; }
  stream_open(kStreamDescriptor);
  for (std::string name; std::getline(std::cin, name);) {
    if (name == "-") {
      stream_line(
          "{\"kind\":\"device\",\"uri\":\"toy:0\",\"name\":\"Toy "
          "(emulated)\",\"emulated\":true,\"features\":[\"graph\"]}");
      continue;
    }
    stream_begin_case(name);
    const std::string what = name.substr(name.find('/') + 1);
    if (what.starts_with("crash")) {
      std::cerr << "last words" << std::endl;
      std::signal(SIGSEGV, SIG_DFL);
      raise(SIGSEGV);
    }
    if (what.starts_with("hang")) {
      for (;;) { pause(); }
    }
    if (what.starts_with("leave")) { _exit(7); }
    if (what.starts_with("fail")) { fail_case({"toy.cpp", 12}, "expected 1, found \"2\"\n\x01"); }
    stream_line("this is no JSON");
    if (what.starts_with("unsupported")) {
      stream_end_case("unsupported", "toy: has none", "", 0, 1);
    } else {
      stream_end_case("pass", "", "", 0, 3);
    }
    if (what.starts_with("late")) { raise(SIGABRT); }
  }
  _exit(0);
  return true;
}();

ProcessSettings toy() {
  ProcessSettings process;
  process.self = {"/proc/self/exe"};
  process.case_limit_ms = 700;
  return process;
}

std::vector<Status> statuses(const Outcome& outcome) {
  std::vector<Status> list;
  for (const Record& record : outcome.records) { list.push_back(record.status); }
  return list;
}

}  // namespace

TEST_CASE("runner: crash, hang and exit cost their own case only, and the rest goes on behind it") {
  const std::vector<std::string> names = {"MEM-001/a",    "MEM-002/crash",       "MEM-005/b",
                                          "MEM-006/hang", "MEM-007/c",           "MEM-010/leave",
                                          "MEM-018/fail", "MEM-019/unsupported", "MEM-020/d"};
  for (const unsigned batch : {1U, 3U, 64U}) {
    ProcessSettings process = toy();
    process.batch = batch;
    const Outcome outcome = run_cases(process, {}, names);
    CHECK(statuses(outcome) == std::vector<Status>{Status::pass, Status::crash, Status::pass, Status::timeout,
                                                   Status::pass, Status::crash, Status::fail, Status::unsupported,
                                                   Status::pass});
    for (std::size_t i = 0; i < names.size(); ++i) { CHECK(outcome.records[i].name == names[i]); }
    CHECK(outcome.records[1].what.find("SIGSEGV") != std::string::npos);
    CHECK(outcome.records[1].what.find("last words") != std::string::npos);
    CHECK(outcome.records[5].what.find("exit code 7") != std::string::npos);
    CHECK(outcome.records[6].what == "expected 1, found \"2\"\n\x01");
    CHECK(outcome.records[6].line == 12);
    CHECK(outcome.records[8].checks == 3);
  }
}

TEST_CASE("runner: a worker that dies while leaving spoils the last case") {
  const Outcome outcome = run_cases(toy(), {}, {"MEM-001/a", "MEM-002/late"});
  CHECK(statuses(outcome) == std::vector<Status>{Status::pass, Status::crash});
  CHECK(outcome.records[1].what.find("SIGABRT") != std::string::npos);
}

TEST_CASE("runner: it stops at the first failure if told so") {
  ProcessSettings process = toy();
  process.stop_at_first_failure = true;
  const Outcome outcome = run_cases(process, {}, {"MEM-001/a", "MEM-002/fail", "MEM-005/b"});
  CHECK(statuses(outcome) == std::vector<Status>{Status::pass, Status::fail});
}

TEST_CASE("runner: a program that is not there is an answer") {
  ProcessSettings process = toy();
  process.self = {"/no/such/program"};
  const Outcome outcome = run_cases(process, {}, {"MEM-001/a"});
  REQUIRE(outcome.records.size() == 1);
  CHECK(outcome.records[0].status == Status::not_run);
  DeviceFacts facts;
  std::string why;
  CHECK_FALSE(describe_device(process, {}, facts, why));
  CHECK(why.find("/no/such/program") != std::string::npos);
}

TEST_CASE("runner: the device is what a worker says it is") {
  DeviceFacts facts;
  std::string why;
  REQUIRE(describe_device(toy(), {}, facts, why));
  CHECK(facts.uri == "toy:0");
  CHECK(facts.emulated);
  CHECK(facts.has("graph"));
  CHECK_FALSE(facts.has("kernel"));
}

TEST_CASE("report: the worst case decides, and every failure names clause, place and command") {
  Outcome outcome = run_cases(toy(), {}, {"MEM-001/a", "MEM-001/fail", "MEM-013/unsupported", "TLS-001/a"});
  outcome.device.uri = "toy:0";
  const auto verdicts = verdicts_of(outcome.records);
  REQUIRE(verdicts.size() == 3);
  CHECK(verdicts[0].status == Status::fail);
  CHECK(verdicts[1].status == Status::unsupported);
  CHECK(verdicts[2].status == Status::pass);
  CHECK(must_failed(verdicts));
  std::ostringstream table, junit, json;
  print_table(table, outcome, verdicts, "halyard conformance --device 'toy:0'");
  for (const char* part :
       {"MEM-001   FAIL", "toy.cpp:12", "repeat  halyard conformance --device 'toy:0' --case 'MEM-001/fail'",
        "MEM-013   toy: has none", "1 pass  1 not supported  1 FAIL", "FAIL  toy:0"}) {
    CHECK(table.str().find(part) != std::string::npos);
  }
  write_junit(junit, outcome);
  CHECK(junit.str().find("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\"") != std::string::npos);
  CHECK(junit.str().find("found &quot;2&quot;") != std::string::npos);
  CHECK(junit.str().find('\x01') == std::string::npos);
  write_json(json, outcome);
  const std::string lines = json.str();
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 5);
  CHECK(lines.find("\\u0001") != std::string::npos);
}

TEST_CASE("runner: options and globs") {
  CHECK(glob_match("MEM-*", "MEM-018/fill"));
  CHECK(glob_match("*fill*", "MEM-018/fill"));
  CHECK(glob_match("MEM-0?8/*", "MEM-018/fill"));
  CHECK_FALSE(glob_match("MEM-*", "TLS-001/a"));
  CHECK_FALSE(glob_match("MEM-018", "MEM-018/fill"));
  std::ostringstream out, err;
  Options options;
  options.self = {"/proc/self/exe"};
  options.cases = {"MEM-018", "NO-SUCH-*"};
  CHECK(run(options, out, err) == 2);
  CHECK(err.str() == "no case matches 'NO-SUCH-*'; --list shows all\n");
  options.cases = {"MEM-018", "TLS-001*"};
  options.list = true;
  CHECK(run(options, out, err) == 0);
  CHECK(out.str().find("MEM-018/fill-writes-exactly-its-range") != std::string::npos);
  CHECK(out.str().find("TLS-001/") != std::string::npos);
  CHECK(out.str().find("TLS-002/") == std::string::npos);
}

TEST_CASE("stream: text that is no UTF-8 stays readable JSON") {
  CHECK(hal::text::valid_utf8("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"));
  for (const char* bad : {"\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\xE0\x80\x80"}) {
    CHECK_FALSE(hal::text::valid_utf8(bad));
  }
  CHECK(quoted("a\"b\\c\n\xC3\xA9") == "\"a\\\"b\\\\c\\n\xC3\xA9\"");
  CHECK(quoted("bad \xFF") == "\"bad ?\"");
  CHECK(hal::text::plain("a\tb\x1B[2J\xC3\xA9\xC2\x9B\x7F") == "a?b?[2J\xC3\xA9??");
  CHECK(hal::text::plain("caf\xC3\xA9 \xFF") == "caf?? ?");
}
