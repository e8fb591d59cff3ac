// SPDX-License-Identifier: Apache-2.0
// halyard doctor: every driver that was tried and what came of it, the machine, libraries, settings, what to try.
#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "cli/command.hpp"
#include "cli/machine.hpp"
#include "cli/probe_drivers.hpp"
#include "cli/say.hpp"
#include "cli/table.hpp"
#include "hal/hal.hpp"
#include "text/utf8.hpp"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX asks programs to declare it

namespace hal::cli {
namespace {

constexpr unsigned kPatience = 30;  // seconds for one driver to load

struct Library {
  const char* file;
  const char* gives;
  const char* advice;
};

// What drivers open at run time. None is needed: without one the device behind it is unavailable.
constexpr std::array kLibraries{
    Library{"libcuda.so.1", "real NVIDIA GPUs", "it comes with NVIDIA's driver; the emulated device works without it"},
    Library{"libfabric.so.1", "the fabric port photonic:0", "install libfabric1 (Debian), or libfabric elsewhere"},
    Library{"libdnnl.so.2", "fast contractions on the host", "install libdnnl2 (Debian), or oneDNN 2.x elsewhere"},
};

void print_machine() {
  const Machine machine = read_machine();
  utsname kernel{};
  (void)uname(&kernel);
  say("Machine\n");
  say("  processor  {}, {} core{} for this process\n", machine.processor, machine.cores, machine.cores == 1 ? "" : "s");
  say("  memory     {} of {} available\n", bytes_text(machine.available_bytes), bytes_text(machine.memory_bytes));
  say("  load       {:.2f} {:.2f} {:.2f} (1, 5 and 15 minutes){}\n", machine.load[0], machine.load[1], machine.load[2],
      machine.load[0] > machine.cores ? ": busy, measured times will be long" : "");
  say("  system     {} {} {}\n\n", kernel.sysname, kernel.release, kernel.machine);
}

void print_drivers(const Instance& instance) {
  say("Drivers tried\n");
  std::string report = instance.report();
  while (!report.empty() && report.back() == '\n') { report.pop_back(); }
  for (std::size_t at = 0; (at = report.find('\n', at)) != std::string::npos; at += 3) { report.insert(at + 1, "  "); }
  say("  {}\n\n", report);
}

std::uint32_t print_devices(const Instance& instance) {
  std::uint32_t usable = 0;
  say("Devices\n");
  for (const DeviceInfo& info : instance.devices()) {
    usable += info.usable != 0 ? 1 : 0;
    say("  {:<14} {}: {}{}\n", info.uri, info.name, info.usable != 0 ? "usable" : "not usable: ", info.reason);
  }
  say("\n");
  return usable;
}

void print_libraries() {
  say("Libraries opened at run time\n");
  for (const Library& library : kLibraries) {
    void* handle = dlopen(library.file, RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* why = dlerror();
      say("  {:<15} missing ({}): needed for {}; {}\n", library.file, why != nullptr ? why : "no reason given",
          library.gives, library.advice);
      continue;
    }
    link_map* map = nullptr;
    const bool known = dlinfo(handle, RTLD_DI_LINKMAP, static_cast<void*>(&map)) == 0;
    say("  {:<15} found: {}\n", library.file, known ? map->l_name : "yes");
    // Left open: some libraries do not survive being closed.
  }
  say("\n");
}

void print_settings() {
  say("Settings (environment)\n");
  const std::vector<hal_setting> known = settings();
  for (const hal_setting& setting : known) {
    say("  {:<29} {}{}\n", setting.name,
        setting.value != nullptr ? fmt::format("= {}  ", text::plain(setting.value)) : std::string(), setting.help);
  }
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name = std::string_view(*entry).substr(0, std::string_view(*entry).find('='));
    const bool expected = std::ranges::any_of(known, [&](const hal_setting& setting) { return name == setting.name; });
    // The conformance suite's fault driver has its own.
    if (name.starts_with("HALYARD_") && !name.starts_with("HALYARD_FAULT") && !expected) {
      say("  {:<29} is set and nobody reads it: is the name spelt as above?\n", name);
    }
  }
  say("\n");
}

Result<int> run() {
  const DriverProbe probe = probe_drivers(kPatience);
  const bool nothing_left = !probe.all && probe.drivers.empty();
  HAL_TRY(const Instance instance, nothing_left ? Instance::create("none")
                                   : probe.all  ? Instance::create()
                                                : Instance::create(probe.drivers));
  say("Halyard {}\n\n", HALYARD_VERSION);
  print_machine();
  if (!probe.fatal.empty()) {
    say("Drivers that end the program\n");
    for (const std::string& line : probe.fatal) { say("  {}\n", line); }
    say("  Everything below is without {}. Try: leave {} out of HALYARD_DRIVERS, or take the file away\n\n",
        probe.fatal.size() == 1 ? "it" : "them", probe.fatal.size() == 1 ? "it" : "them");
  }
  print_drivers(instance);
  const std::uint32_t usable = print_devices(instance);
  print_libraries();
  print_settings();
  if (!probe.fatal.empty()) { return kFailed; }
  if (usable == 0) {
    say("Nothing is usable. Try: unset HALYARD_DRIVERS and HALYARD_EMULATED, or name the folder that holds\n"
        "halyard-host.so in HALYARD_DRIVER_PATH; 'Drivers tried' says what was wrong with each.\n");
    return kFailed;
  }
  say("{} device{} usable. Try: halyard demo\n", usable, usable == 1 ? " is" : "s are");
  return kOk;
}

}  // namespace

void add_doctor(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("doctor", "Say what was found, what was not, why, and what to try");
  command->callback([&body] { body = run; });
}

}  // namespace hal::cli
