// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/runner.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <ostream>

#include "conformance/cases/case.hpp"
#include "conformance/runner/faults.hpp"
#include "conformance/runner/process.hpp"
#include "conformance/runner/report.hpp"

namespace hal::conformance {
namespace {

std::string repeat_command(const Options& options) {
  std::string text = "halyard conformance";
  if (!options.device.empty()) { text += " --device '" + options.device + "'"; }
  if (!options.driver.empty()) { text += " --driver " + options.driver; }
  if (options.seed != 1) { text += " --seed " + std::to_string(options.seed); }
  return text;
}

bool write_file(const std::string& path, const Outcome& outcome, void (*writer)(std::ostream&, const Outcome&),
                std::ostream& err) {
  if (path.empty()) { return true; }
  std::ofstream file(path);
  writer(file, outcome);
  file.flush();
  if (!file) { err << "cannot write " << path << ": " << std::strerror(errno) << "\n"; }
  return static_cast<bool>(file);
}

// True if no must failed but for waived cases. A waiver that nothing needs is said, not judged: what it waives may be a
// race.
bool judge(const Options& options, const std::vector<Verdict>& verdicts, std::ostream& out) {
  if (options.waive.empty()) { return !must_failed(verdicts); }
  bool good = true;
  Globs waived;
  for (const Verdict& verdict : verdicts) {
    for (const Record* record : verdict.records) {
      if (!record->bad()) { continue; }
      if (matches_one(options.waive, record->name.c_str())) {
        out << "waived: " << record->name << "\n";
        waived.push_back(record->name);
      } else {
        good = good && verdict.requirement->level != Level::must;
      }
    }
  }
  for (const std::string& glob : options.waive) {
    if (std::ranges::none_of(waived, [&](const std::string& name) { return glob_match(glob.c_str(), name.c_str()); })) {
      out << "stale waiver: nothing that matches '" << glob << "' failed\n";
    }
  }
  out << (good ? "PASS but for what is waived\n" : "FAIL\n");
  return good;
}

int list(const std::vector<std::string>& names, std::ostream& out) {
  for (const std::string& name : names) { out << name << "\n"; }
  return 0;
}

}  // namespace

bool glob_match(const char* pattern, const char* text) {
  const char* star = nullptr;
  const char* back = nullptr;
  while (*text != '\0') {
    if (*pattern == '*') {
      star = ++pattern;
      back = text;
    } else if (*pattern == *text || *pattern == '?') {
      ++pattern;
      ++text;
    } else if (star != nullptr) {
      pattern = star;
      text = ++back;
    } else {
      return false;
    }
  }
  while (*pattern == '*') { ++pattern; }
  return *pattern == '\0';
}

bool matches_one(const Globs& globs, const char* text) {
  return std::ranges::any_of(globs, [text](const std::string& glob) { return glob_match(glob.c_str(), text); });
}

int run(const Options& options, std::ostream& out, std::ostream& err) {
  const auto means = [](const Globs& globs, const CaseInfo& info) {
    return matches_one(globs, info.name().c_str()) || matches_one(globs, info.requirement->id);
  };
  std::vector<std::string> names;
  for (const CaseInfo& info : all_cases()) {
    if (options.cases.empty() || means(options.cases, info)) { names.push_back(info.name()); }
  }
  for (const std::string& glob : options.cases) {
    if (std::ranges::none_of(all_cases(), [&](const CaseInfo& info) { return means({glob}, info); })) {
      err << "no case matches '" << glob << "'; --list shows all\n";
      return 2;
    }
  }
  if (options.list) { return list(names, out); }
  if (options.faults) { return run_faults(options, names, out, err); }

  ProcessSettings process;
  process.self = options.self;
  process.batch = options.batch;
  process.case_limit_ms = static_cast<std::uint64_t>(20000 * options.time_scale);
  WorkerSettings worker;
  worker.device = options.device.empty() && options.driver.empty() ? "host:0" : options.device;
  worker.drivers = options.driver;
  worker.deadline_ms = static_cast<std::uint64_t>(5000 * options.time_scale);
  worker.seed = options.seed;

  DeviceFacts facts;
  std::string why;
  if (!describe_device(process, worker, facts, why)) {
    err << "no device to test: " << why << "\n";
    return 2;
  }
  Outcome outcome = run_cases(process, worker, names, [&](const Record& record) {
    if (!options.quiet && record.bad()) { err << status_name(record.status) << "  " << record.name << "\n"; }
  });
  outcome.device = facts;
  const std::vector<Verdict> verdicts = verdicts_of(outcome.records);
  print_table(out, outcome, verdicts, repeat_command(options));
  const bool written =
      write_file(options.json, outcome, &write_json, err) && write_file(options.junit, outcome, &write_junit, err);
  return !written ? 2 : judge(options, verdicts, out) ? 0 : 1;
}

}  // namespace hal::conformance
