// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <iostream>
#include <optional>
#include <set>
#include <string>

#include "conformance/runner/runner.hpp"
#include "conformance/runner/worker.hpp"
#include "text/utf8.hpp"

namespace hal::conformance {
namespace {

constexpr char kUsage[] =
    "usage: halyard conformance [options]\n"
    "  --device URI      the device to test; default host:0, or with --driver that driver's first device\n"
    "  --driver FILE     load only this driver (path of a shared object, or a name)\n"
    "  --case GLOB       only cases or requirements that match, 'MEM-*'; may be given again\n"
    "  --waive GLOB      these cases may fail: they are shown and not counted; a waiver that nothing needed says so; "
    "may\n"
    "                    be given again\n"
    "  --list            list the cases and leave\n"
    "  --json FILE       write every case as a line of JSON\n"
    "  --junit FILE      write JUnit XML\n"
    "  --faults          test the suite itself: seeded faults in this device, controls, the null driver\n"
    "  --fault GLOB      with --faults: only these IDs; may be given again\n"
    "  --shim FILE       with --faults: the fault shim; default halyard-fault.so beside the drivers\n"
    "  --time-scale X    multiply every deadline and limit\n"
    "  --seed N          seed of random inputs; default 1\n"
    "  --batch N         the most cases in one worker process; default 16\n"
    "  --quiet           no line for each failing case while running\n";

template <class T>
bool parse(const std::string& text, T& out) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  return problem == std::errc() && end == text.data() + text.size();
}

// What a command line says. The options of worker processes are not in the usage: only this program starts them.
struct CommandLine {
  Options options;
  WorkerSettings worker;
  bool is_worker = false, help = false;

  // Returns what is wrong, if anything.
  std::optional<std::string> read(int argc, const char* const* argv);

 private:
  bool flag(const std::string& word);
  std::string* text(const std::string& word);
  Globs* globs(const std::string& word);
  std::optional<std::string> number(const std::string& word, const std::string& value);
};

bool CommandLine::flag(const std::string& word) {
  bool* const at = word == "--help" || word == "-h" ? &help
                   : word == "--list"               ? &options.list
                   : word == "--faults"             ? &options.faults
                   : word == "--quiet"              ? &options.quiet
                   : word == "--worker"             ? &is_worker
                                                    : nullptr;
  if (at != nullptr) { *at = true; }
  return at != nullptr;
}

std::string* CommandLine::text(const std::string& word) {
  return word == "--device"        ? &options.device
         : word == "--driver"      ? &options.driver
         : word == "--json"        ? &options.json
         : word == "--junit"       ? &options.junit
         : word == "--shim"        ? &options.shim
         : word == "--drivers"     ? &worker.drivers
         : word == "--fault-inner" ? &worker.fault_inner
                                   : nullptr;
}

Globs* CommandLine::globs(const std::string& word) {
  return word == "--case"    ? &options.cases
         : word == "--waive" ? &options.waive
         : word == "--fault" ? &options.fault
                             : nullptr;
}

std::optional<std::string> CommandLine::number(const std::string& word, const std::string& value) {
  if (word == "--time-scale") {
    if (parse(value, options.time_scale) && options.time_scale > 0 && options.time_scale <= 1e6) { return {}; }
    return word + " needs a number above 0, at most 1000000, not '" + value + "'";
  }
  if (word == "--batch") {
    if (parse(value, options.batch) && options.batch != 0) { return {}; }
    return word + " needs a whole number above 0, not '" + value + "'";
  }
  if (!parse(value, word == "--seed" ? options.seed : worker.deadline_ms)) {
    return word + " needs a whole number, not '" + value + "'";
  }
  worker.seed = options.seed;
  return {};
}

std::optional<std::string> CommandLine::read(int argc, const char* const* argv) {
  std::set<std::string> given;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (flag(word)) { continue; }
    std::string* const one = text(word);
    Globs* const any = globs(word);
    const bool is_number = word == "--time-scale" || word == "--seed" || word == "--batch" || word == "--deadline-ms";
    if (one == nullptr && any == nullptr && !is_number) { return "unknown option '" + word + "'"; }
    if (i + 1 >= argc) { return word + " needs a value"; }
    const std::string value = argv[++i];
    if (value.empty() && !is_worker) { return word + " is given empty"; }
    if (any != nullptr) {
      any->push_back(value);
      continue;
    }
    if (!given.insert(word).second) { return word + " is given twice"; }
    if (one != nullptr) {
      *one = value;
    } else if (std::optional<std::string> wrong = number(word, value)) {
      return wrong;
    }
  }
  // What would not be read is refused: silence would look as if it had been.
  if (!is_worker && !options.faults && (!options.fault.empty() || !options.shim.empty())) {
    return std::string(options.fault.empty() ? "--shim" : "--fault") + " is for --faults, which is not given";
  }
  return {};
}

}  // namespace

int command(int argc, const char* const* argv, const std::vector<std::string>& self) {
  CommandLine line;
  line.options.self = self;
  if (const std::optional<std::string> wrong = line.read(argc, argv)) {
    std::cerr << "halyard conformance: " << text::plain(*wrong) << "\ntry: halyard conformance --help\n";
    return 2;
  }
  if (line.help) {
    std::cout << kUsage;
    return 0;
  }
  if (line.is_worker) {
    line.worker.device = line.options.device;
    if (!line.options.fault.empty()) { line.worker.fault = line.options.fault.front(); }
    return run_worker(line.worker);
  }
  return run(line.options, std::cout, std::cerr);
}

}  // namespace hal::conformance
