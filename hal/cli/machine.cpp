// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.hpp"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string_view>

namespace hal::cli {
namespace {

// The text behind "key ... :" of the first line of a file under /proc that begins with key; empty if there is none.
std::string proc_value(const char* path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) { continue; }
    const std::size_t colon = line.find(':');
    const std::size_t start = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? std::string() : line.substr(start);
  }
  return {};
}

std::uint64_t kib(const char* path, std::string_view key) {
  return std::strtoull(proc_value(path, key).c_str(), nullptr, 10) * 1024;
}

}  // namespace

Machine read_machine() {
  Machine machine;
  machine.processor = proc_value("/proc/cpuinfo", "model name");
  if (machine.processor.empty()) { machine.processor = "unknown"; }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) { machine.cores = static_cast<unsigned>(CPU_COUNT(&set)); }
  machine.memory_bytes = kib("/proc/meminfo", "MemTotal");
  machine.available_bytes = kib("/proc/meminfo", "MemAvailable");
  (void)getloadavg(machine.load.data(), static_cast<int>(machine.load.size()));
  return machine;
}

}  // namespace hal::cli
