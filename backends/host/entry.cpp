// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstring>

#include "driver_kit/table.hpp"
#include "host.hpp"

namespace {

using namespace hal::host;

// The processor's own name for itself, without opening a file: this runs on every start of every program.
std::string processor_name() {
#if defined(__x86_64__)
  unsigned int words[12] = {};
  if (__get_cpuid_max(0x80000000U, nullptr) >= 0x80000004U) {
    for (unsigned int leaf = 0; leaf < 3; ++leaf) {
      unsigned int* w = words + leaf * 4;
      __get_cpuid(0x80000002U + leaf, &w[0], &w[1], &w[2], &w[3]);
    }
  }
  char text[sizeof(words) + 1] = {};
  std::memcpy(text, words, sizeof(words));
  std::string name(text);
  name.erase(0, std::min(name.find_first_not_of(' '), name.size()));
  name.erase(name.find_last_not_of(' ') + 1);
  if (!name.empty()) { return name; }
#endif
  return "unknown processor";
}

std::uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) { return 1; }
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

hal_driver_ops make_ops() {
  hal_driver_ops ops = HAL_KIT_REQUIRED(Driver, kOrigin);
  ops.memory_import = memory_import;
  ops.memory_unimport = memory_unimport;
  ops.range_reserve = range_reserve;
  ops.range_release = range_release;
  ops.range_map = range_map;
  ops.range_protect = range_protect;
  ops.range_unmap = range_unmap;
  ops.physical_create = physical_create;
  ops.physical_free = physical_free;
  ops.physical_export_fd = physical_export_fd;
  ops.physical_import_fd = physical_import_fd;
  ops.number = number;
  ops.flush = flush;
  ops.notify = notify;
  ops.help = help;
  ops.lane_cancel = lane_cancel;
  ops.report = report;
  ops.program_serialize = program_serialize;
  return ops;
}

const hal_driver_ops kOps = make_ops();

}  // namespace

extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  return hal::kit::enter(host, kOrigin, [&]() -> hal_error* {
    auto driver = std::make_unique<Driver>();
    driver->ops = &kOps;
    driver->api = host;
    driver->cores = usable_cores();
    driver->memory_bytes = static_cast<std::uint64_t>(std::max(1L, sysconf(_SC_PHYS_PAGES))) *
                           static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    driver->name = "Host CPU (" + std::to_string(driver->cores) + (driver->cores == 1 ? " core)" : " cores)");
    driver->vendor = processor_name();
    *out = driver.release();
    return nullptr;
  });
}
