// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/report.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <ostream>

#include "conformance/runner/stream.hpp"
#include "conformance_registry.hpp"
#include "text/xml.hpp"

namespace hal::conformance {
namespace {

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) { text.append(width - text.size(), ' '); }
  return text;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Every line behind the first gets the same indentation.
std::string indented(const std::string& text, std::size_t by) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '\n') { out.append(by, ' '); }
  }
  return out;
}

std::string json_record(const Record& record) {
  return "{\"kind\":\"case\",\"case\":" + quoted(record.name) + ",\"requirement\":" + quoted(record.requirement) +
         ",\"status\":" + quoted(status_name(record.status)) + ",\"what\":" + quoted(record.what) +
         ",\"file\":" + quoted(record.file) + ",\"line\":" + std::to_string(record.line) +
         ",\"checks\":" + std::to_string(record.checks) + ",\"ms\":" + std::to_string(record.ms) + "}";
}

}  // namespace

std::vector<Verdict> verdicts_of(const std::vector<Record>& records) {
  std::vector<Verdict> verdicts;
  for (const Requirement& requirement : kRequirements) {
    Verdict verdict{&requirement, Status::pass, {}};
    for (const Record& record : records) {
      if (record.requirement != requirement.id) { continue; }
      verdict.records.push_back(&record);
      verdict.status = std::max(verdict.status, record.status);
    }
    if (!verdict.records.empty()) { verdicts.push_back(std::move(verdict)); }
  }
  return verdicts;
}

bool must_failed(const std::vector<Verdict>& verdicts) {
  return std::any_of(verdicts.begin(), verdicts.end(), [](const Verdict& verdict) {
    return verdict.requirement->level == Level::must && verdict.status >= Status::fail;
  });
}

void print_table(std::ostream& out, const Outcome& outcome, const std::vector<Verdict>& verdicts,
                 const std::string& repeat) {
  const DeviceFacts& device = outcome.device;
  out << device.uri << "  " << device.name << (device.emulated ? "  (emulated)" : "") << "\n\n";
  const char* chapter = "";
  for (const Verdict& verdict : verdicts) {
    const Requirement& requirement = *verdict.requirement;
    if (std::strcmp(chapter, requirement.chapter) != 0) {
      chapter = requirement.chapter;
      out << chapter << "\n";
    }
    out << "  " << padded(requirement.id, 10) << padded(status_name(verdict.status), 15);
    if (requirement.level == Level::should) { out << "(should) "; }
    out << requirement.text << "\n";
  }

  std::map<Status, std::size_t> musts, cases;
  double ms = 0;
  for (const Verdict& verdict : verdicts) {
    if (verdict.requirement->level == Level::must) { ++musts[verdict.status]; }
  }
  for (const Record& record : outcome.records) {
    ++cases[record.status];
    ms += record.ms;
  }
  bool headed = false;
  for (const Verdict& verdict : verdicts) {
    for (const Record* record : verdict.records) {
      if (record->status != Status::unsupported) { continue; }
      if (!headed) { out << "\nNot supported (each proved by a probe)\n"; }
      headed = true;
      out << "  " << padded(verdict.requirement->id, 10) << indented(record->what, 12) << "\n";
    }
  }
  headed = false;
  for (const Verdict& verdict : verdicts) {
    for (const Record* record : verdict.records) {
      if (!record->bad()) { continue; }
      if (!headed) { out << "\nFailing clauses\n"; }
      headed = true;
      out << "  " << padded(verdict.requirement->id, 10) << verdict.requirement->text << "\n";
      out << padded("", 12) << "case    " << record->name << "\n";
      if (!record->file.empty()) { out << padded("", 12) << "at      " << record->file << ":" << record->line << "\n"; }
      out << padded("", 12) << "found   " << status_name(record->status) << ": " << indented(record->what, 20) << "\n";
      out << padded("", 12) << "repeat  " << repeat << " --case '" << record->name << "'\n";
    }
  }
  out << "\nmusts:";
  for (const auto& [status, count] : musts) { out << "  " << count << " " << status_name(status); }
  out << "\ncases:";
  for (const auto& [status, count] : cases) { out << "  " << count << " " << status_name(status); }
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f", ms / 1000);
  out << "  in " << seconds << " s\n"
      << (must_failed(verdicts) ? "FAIL" : "PASS") << "  " << device.uri << (device.emulated ? " (emulated)" : "")
      << "\n";
}

void write_json(std::ostream& out, const Outcome& outcome) {
  const DeviceFacts& device = outcome.device;
  out << "{\"kind\":\"device\",\"uri\":" << quoted(device.uri) << ",\"name\":" << quoted(device.name)
      << ",\"driver\":" << quoted(device.driver) << ",\"emulated\":" << (device.emulated ? "true" : "false") << "}\n";
  for (const Record& record : outcome.records) { out << json_record(record) << "\n"; }
}

void write_junit(std::ostream& out, const Outcome& outcome) {
  std::size_t failures = 0, errors = 0, skipped = 0;
  for (const Record& record : outcome.records) {
    failures += record.status == Status::fail ? 1U : 0U;
    errors += record.status > Status::fail ? 1U : 0U;
    skipped += record.status == Status::unsupported ? 1U : 0U;
  }
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"conformance " << text::xml(outcome.device.uri)
      << "\" tests=\"" << outcome.records.size() << "\" failures=\"" << failures << "\" errors=\"" << errors
      << "\" skipped=\"" << skipped << "\">\n";
  for (const Record& record : outcome.records) {
    out << "  <testcase classname=\"" << text::xml(record.requirement) << "\" name=\"" << text::xml(record.name)
        << "\" time=\"" << record.ms / 1000 << "\">";
    const std::string message = "\"" + text::xml(first_line(record.what)) + "\"";
    if (record.status == Status::unsupported) { out << "<skipped message=" << message << "/>"; }
    if (record.status == Status::fail) {
      out << "<failure message=" << message << ">" << text::xml(record.what) << "</failure>";
    }
    if (record.status > Status::fail) {
      out << "<error type=\"" << status_name(record.status) << "\" message=" << message << ">" << text::xml(record.what)
          << "</error>";
    }
    out << "</testcase>\n";
  }
  out << "</testsuite>\n";
}

}  // namespace hal::conformance
