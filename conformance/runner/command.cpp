// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

#include "conformance/runner/runner.hpp"
#include "conformance/runner/worker.hpp"

namespace hal::conformance {
namespace {

constexpr char kUsage[] =
    "usage: halyard conformance [options]\n"
    "  --device URI      the device to test; default host:0, or with --driver that driver's first device\n"
    "  --driver FILE     load only this driver (path of a shared object, or a name)\n"
    "  --case GLOB       only cases or requirements that match, 'MEM-*'\n"
    "  --waive GLOB      these cases may fail: they are shown and not counted; a waiver that nothing needed says so\n"
    "  --list            list the cases and leave\n"
    "  --json FILE       write every case as a line of JSON\n"
    "  --junit FILE      write JUnit XML\n"
    "  --faults          test the suite itself: seeded faults in this device, controls, the null driver\n"
    "  --fault GLOB      with --faults: only these IDs\n"
    "  --shim FILE       with --faults: the fault shim; default halyard-fault.so beside the drivers\n"
    "  --time-scale X    multiply every deadline and limit\n"
    "  --seed N          seed of random inputs; default 1\n"
    "  --batch N         the most cases in one worker process; default 16\n"
    "  --quiet           no line for each failing case while running\n";

}  // namespace

int command(int argc, const char* const* argv, const std::vector<std::string>& self) {
  Options options;
  options.self = self;
  WorkerSettings worker;
  bool is_worker = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") {
      std::cout << kUsage;
      return 0;
    }
    if (word == "--list") {
      options.list = true;
      continue;
    }
    if (word == "--faults") {
      options.faults = true;
      continue;
    }
    if (word == "--quiet") {
      options.quiet = true;
      continue;
    }
    if (word == "--worker") {
      is_worker = true;
      continue;
    }
    std::string* text = word == "--device"        ? &options.device
                        : word == "--driver"      ? &options.driver
                        : word == "--case"        ? &options.cases
                        : word == "--waive"       ? &options.waive
                        : word == "--json"        ? &options.json
                        : word == "--junit"       ? &options.junit
                        : word == "--shim"        ? &options.shim
                        : word == "--drivers"     ? &worker.drivers
                        : word == "--fault"       ? &options.fault
                        : word == "--fault-inner" ? &worker.fault_inner
                                                  : nullptr;
    const bool number = word == "--time-scale" || word == "--seed" || word == "--batch" || word == "--deadline-ms";
    if (text == nullptr && !number) {
      std::cerr << "unknown option '" << word << "'\n" << kUsage;
      return 2;
    }
    if (i + 1 >= argc) {
      std::cerr << word << " needs a value\n";
      return 2;
    }
    const char* value = argv[++i];
    if (text != nullptr) {
      *text = value;
      continue;
    }
    char* end = nullptr;
    const double parsed = std::strtod(value, &end);
    if (end == value || *end != '\0' || !(parsed > 0) || parsed > 1e15) {
      std::cerr << word << " needs a positive number, not '" << value << "'\n";
      return 2;
    }
    if (word == "--time-scale") { options.time_scale = parsed; }
    if (word == "--seed") { options.seed = worker.seed = static_cast<std::uint64_t>(parsed); }
    if (word == "--batch") { options.batch = static_cast<unsigned>(parsed); }
    if (word == "--deadline-ms") { worker.deadline_ms = static_cast<std::uint64_t>(parsed); }
  }
  if (is_worker) {
    worker.device = options.device;
    worker.fault = options.fault;
    return run_worker(worker);
  }
  return run(options, std::cout, std::cerr);
}

}  // namespace hal::conformance
