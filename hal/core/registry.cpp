// SPDX-License-Identifier: Apache-2.0
#include "core/registry.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <system_error>

#include "core/entries.hpp"
#include "core/settings.hpp"
#include "hal/error.hpp"

namespace hal::core {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestName = 64;

std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> parts;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(':'), list.size());
    if (end > 0) { parts.emplace_back(list.substr(0, end)); }
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parts;
}

std::vector<std::string> folders() {
  if (const char* path = setting("HALYARD_DRIVER_PATH")) { return split(path); }
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&hal_instance_create), &self) == 0 || self.dli_fname == nullptr) { return {}; }
  return {(fs::path(self.dli_fname).parent_path() / "halyard").string()};
}

// "/some/where/halyard-rngd.so" -> "rngd"; empty if the file is not named like a driver.
std::string driver_name(const fs::path& path) {
  const std::string stem = path.filename().string();
  constexpr std::string_view kHead = "halyard-", kTail = ".so";
  if (!stem.starts_with(kHead) || !stem.ends_with(kTail)) { return {}; }
  return stem.substr(kHead.size(), stem.size() - kHead.size() - kTail.size());
}

std::vector<std::string> found_files() {
  std::vector<std::string> files;
  for (const std::string& folder : folders()) {
    (void)each_entry(folder, [&](const char* entry) {  // one that cannot be read has no drivers
      const fs::path path = fs::path(folder) / entry;
      const std::string name = driver_name(path);
      if (!name.empty() && name != "null" && name != "template" && name != "fault") { files.push_back(path.string()); }
    });
  }
  // The host first, because it is always there; the rest by name, so that lists are the same on every run.
  std::sort(files.begin(), files.end(), [](const std::string& a, const std::string& b) {
    const bool host_a = driver_name(a) == "host", host_b = driver_name(b) == "host";
    return host_a != host_b ? host_a : driver_name(a) < driver_name(b);
  });
  return files;
}

std::string file_of(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".so")) { return name; }
  for (const std::string& folder : folders()) {
    const fs::path path = fs::path(folder) / ("halyard-" + name + ".so");
    std::error_code ignored;
    if (fs::exists(path, ignored)) { return path.string(); }
  }
  return {};
}

// dlopen() waits for ever on a pipe and is ended by SIGBUS on a file that was cut short. Says what is wrong, or
// nothing.
std::string unfit(const std::string& path) {
  if (path.find('/') == std::string::npos) { return {}; }  // dlopen() looks for it in the system's folders
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (problem || !fs::exists(status)) { return {}; }  // dlopen() says it better
  if (!fs::is_regular_file(status)) { return "it is no regular file"; }
  const std::uintmax_t size = fs::file_size(path, problem);
  std::ifstream file(path, std::ios::binary);
  ElfW(Ehdr) head{};
  if (problem || !file.read(reinterpret_cast<char*>(&head), sizeof head)) { return {}; }
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_phentsize != sizeof(ElfW(Phdr))) { return {}; }
  file.seekg(static_cast<std::streamoff>(head.e_phoff));
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    ElfW(Phdr) part{};
    const bool whole = static_cast<bool>(file.read(reinterpret_cast<char*>(&part), sizeof part));
    if (!whole || part.p_offset > size || part.p_filesz > size - part.p_offset) {
      return fmt::format("the file was cut short: it has {} bytes and its header describes more", size);
    }
  }
  return {};
}

void load(LoadedDriver& driver, const hal_host_api& host) {
  // Whoever looks at drivers from outside learns from this line which one did not come back.
  host.log(&host, HAL_LOG_DEBUG, "core", fmt::format("loading driver {}", driver.path).c_str());
  const InsideDriver inside(driver.path.c_str(), nullptr);
  if (const std::string why = unfit(driver.path); !why.empty()) {
    driver.reason = fmt::format("cannot be loaded: {}: {}", driver.path, why);
    return;
  }
  // NOW: a missing symbol is found here, with its name, and not in the middle of somebody's work.
  void* library = dlopen(driver.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    driver.reason = fmt::format("cannot be loaded: {}", why != nullptr ? why : "unknown reason");
    return;
  }
  const auto entry = reinterpret_cast<hal_driver_entry_function>(dlsym(library, HAL_DRIVER_ENTRY));
  if (entry == nullptr) {
    driver.reason = "exports no function " HAL_DRIVER_ENTRY "; it is not a Halyard driver";
    return;
  }
  hal_driver* self = nullptr;
  try {
    if (hal_error* error = entry(&host, &self)) {
      driver.reason = Error::adopt(error).text();
      return;
    }
  } catch (...) {
    driver.reason = HAL_DRIVER_ENTRY + thrown();
    return;
  }
  if (self == nullptr || self->ops == nullptr) {
    driver.reason = HAL_DRIVER_ENTRY " reported success but gave no driver";
    return;
  }
  driver.reason = complete_table(self->ops, driver.ops);
  if (!driver.reason.empty()) { return; }
  self->ops = &driver.ops;
  driver.self = self;
  driver.name = driver.ops.name;
}

}  // namespace

thread_local const InsideDriver* InsideDriver::current = nullptr;

void InsideDriver::name_who_exits() {
  if (current == nullptr) { return; }
  const bool called = current->function_ != nullptr;
  for (const char* text : {"halyard error: core: the program ends because the driver ", current->path_,
                           " called exit() ", called ? "in " : "while it was loaded", called ? current->function_ : "",
                           called ? "()" : "", "; 'halyard doctor' looks at drivers in a process of their own\n"}) {
    std::fputs(text, stderr);
  }
}

InsideDriver::InsideDriver(const char* path, const char* function)
    : path_(path), function_(function), before_(current) {
  static std::once_flag once;
  std::call_once(once, [] { (void)std::atexit(name_who_exits); });
  current = this;
}

InsideDriver::~InsideDriver() { current = before_; }

std::string thrown() {
  const std::exception_ptr problem = std::current_exception();
  std::string what;
  try {
    std::rethrow_exception(problem);
  } catch (const std::exception& known) { what = fmt::format(" ({})", known.what()); } catch (...) {
  }
  return fmt::format(" threw a C++ exception{}; no exception may cross the border", what);
}

namespace {

// Entries that are there together or not at all.
std::string incomplete_group(const hal_driver_ops& ops) {
  const struct {
    const char* group;
    const char* name;
    bool there;
  } entries[] = {
      {"import.host", "memory_import", ops.memory_import != nullptr},
      {"import.host", "memory_unimport", ops.memory_unimport != nullptr},
      {"virtual-memory", "range_reserve", ops.range_reserve != nullptr},
      {"virtual-memory", "range_release", ops.range_release != nullptr},
      {"virtual-memory", "range_map", ops.range_map != nullptr},
      {"virtual-memory", "range_protect", ops.range_protect != nullptr},
      {"virtual-memory", "range_unmap", ops.range_unmap != nullptr},
      {"virtual-memory", "physical_create", ops.physical_create != nullptr},
      {"virtual-memory", "physical_free", ops.physical_free != nullptr},
      {"share.fd", "physical_export_fd", ops.physical_export_fd != nullptr},
      {"share.fd", "physical_import_fd", ops.physical_import_fd != nullptr},
      {"fabric", "peer_connect", ops.peer_connect != nullptr},
      {"fabric", "peer_close", ops.peer_close != nullptr},
  };
  for (const auto& have : entries) {
    for (const auto& lack : entries) {
      if (!have.there || lack.there || std::string_view(have.group) != lack.group) { continue; }
      return fmt::format("offers {}() without {}(); of \"{}\" a table has all entries or none", have.name, lack.name,
                         have.group);
    }
  }
  return {};
}

}  // namespace

std::string complete_table(const hal_driver_ops* offered, hal_driver_ops& out) {
  if (offered->abi_major != HAL_DRIVER_ABI_MAJOR) {
    return fmt::format(
        "speaks border version {}.{}, this library speaks {}.{}; build the driver against this hal/driver.h",
        offered->abi_major, offered->abi_minor, HAL_DRIVER_ABI_MAJOR, HAL_DRIVER_ABI_MINOR);
  }
  if (offered->struct_size < offsetof(hal_driver_ops, number)) {
    return fmt::format("has a table of {} bytes; the required part alone has {}", offered->struct_size,
                       offsetof(hal_driver_ops, number));
  }
  out = {};
  const std::size_t given = std::min<std::size_t>(offered->struct_size, sizeof out);
  std::memcpy(&out, offered, given - given % sizeof(void*));  // half an entry is none
  out.struct_size = sizeof out;
  if (out.name == nullptr || *out.name == '\0') { return "has no name in its table"; }
  const std::string_view name(out.name, strnlen(out.name, kLongestName + 1));
  if (name.size() > kLongestName ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string_view::npos) {
    return fmt::format("has a name in its table that no device URI can have: 1 to {} of a-z, 0-9 and _", kLongestName);
  }
  const struct {
    const char* name;
    bool there;
  } required[] = {
      {"destroy", out.destroy != nullptr},
      {"device_count", out.device_count != nullptr},
      {"device_describe", out.device_describe != nullptr},
      {"device_open", out.device_open != nullptr},
      {"device_close", out.device_close != nullptr},
      {"supports", out.supports != nullptr},
      {"memory_allocate", out.memory_allocate != nullptr},
      {"memory_free", out.memory_free != nullptr},
      {"lane_create", out.lane_create != nullptr},
      {"lane_destroy", out.lane_destroy != nullptr},
      {"submit", out.submit != nullptr},
      {"program_check", out.program_check != nullptr},
      {"program_load", out.program_load != nullptr},
      {"program_unload", out.program_unload != nullptr},
  };
  for (const auto& slot : required) {
    if (!slot.there) { return fmt::format("leaves the required entry {}() empty", slot.name); }
  }
  return incomplete_group(out);
}

std::vector<std::string> found_drivers() {
  std::vector<std::string> names;
  for (const std::string& file : found_files()) { names.push_back(driver_name(file)); }
  return names;
}

std::string nothing_to_load(const char* names) {
  if (names != nullptr) {
    return fmt::format("no driver was found: the list of drivers, '{}', names none; it is ':'-separated names or paths",
                       names);
  }
  std::string places;
  for (const std::string& folder : folders()) {
    std::error_code ignored;
    places += fmt::format("{}{}{}", places.empty() ? "" : ", ", folder,
                          fs::is_directory(folder, ignored) ? "" : " (there is no such folder)");
  }
  return fmt::format("no driver was found: no halyard-*.so in {}; {}", places,
                     setting("HALYARD_DRIVER_PATH") != nullptr ? "HALYARD_DRIVER_PATH names that"
                                                               : "HALYARD_DRIVER_PATH can name other folders");
}

std::vector<std::unique_ptr<LoadedDriver>> load_drivers(const char* names, const hal_host_api& host) {
  std::vector<std::unique_ptr<LoadedDriver>> drivers;
  const auto add = [&](std::string name, std::string path) {
    // The same file by whatever name is one driver.
    std::error_code ignored;
    for (const auto& earlier : drivers) {
      if (earlier->path == path && (!path.empty() || earlier->name == name)) { return; }
      if (!path.empty() && !earlier->path.empty() && fs::equivalent(earlier->path, path, ignored)) { return; }
    }
    // In the list first: whatever is loaded is somebody's to end.
    LoadedDriver* driver = drivers.emplace_back(std::make_unique<LoadedDriver>()).get();
    driver->name = std::move(name);
    driver->path = std::move(path);
    if (driver->path.empty()) {
      driver->reason = fmt::format("no file halyard-{}.so in {}", driver->name, fmt::join(folders(), ", "));
    } else {
      load(*driver, host);
      for (const auto& earlier : drivers) {
        if (earlier.get() == driver || driver->self == nullptr || earlier->self == nullptr ||
            earlier->name != driver->name) {
          continue;
        }
        driver->ops.destroy(driver->self);
        driver->self = nullptr;
        driver->reason = fmt::format("{} calls itself '{}' as {} does; one of them can be used at a time", driver->path,
                                     driver->name, earlier->path);
      }
    }
  };
  std::vector<std::pair<std::string, std::string>> wanted;  // name, file
  if (names == nullptr) {
    for (const std::string& file : found_files()) { wanted.emplace_back(driver_name(file), file); }
  } else {
    for (const std::string& name : split(names)) { wanted.emplace_back(name, file_of(name)); }
  }
  std::string list;
  for (const auto& [name, file] : wanted) { list += (list.empty() ? "" : ":") + (file.empty() ? name : file); }
  host.log(&host, HAL_LOG_DEBUG, "core", ("drivers to try: " + list).c_str());
  try {
    for (auto& [name, file] : wanted) { add(std::move(name), std::move(file)); }
  } catch (...) {
    for (; !drivers.empty(); drivers.pop_back()) {
      if (drivers.back()->self != nullptr) { drivers.back()->ops.destroy(drivers.back()->self); }
    }
    throw;
  }
  return drivers;
}

}  // namespace hal::core
