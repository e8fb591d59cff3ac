// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "conformance/faults/shim.hpp"
#include "conformance_registry.hpp"

namespace hal::fault {
namespace {

// "host" -> the file halyard-host.so beside this one; a path stays a path.
std::string file_of(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".so")) { return name; }
  Dl_info self{};
  const std::string here = dladdr(reinterpret_cast<void*>(&file_of), &self) != 0 ? self.dli_fname : "";
  return here.substr(0, here.rfind('/') + 1) + "halyard-" + name + ".so";
}

bool known(const std::string& id) {
  return id == "NONE" || std::any_of(std::begin(conformance::kFaults), std::end(conformance::kFaults),
                                     [&](const conformance::Fault& fault) { return id == fault.id; });
}

const Host& host_of(const hal_host_api* api) { return *reinterpret_cast<const Host*>(api); }

void forward_log(const hal_host_api* api, hal_log_level level, const char* origin, const char* text) {
  const hal_host_api* core = host_of(api).shim->core;
  core->log(core, level, origin, text);
}

const char* forward_setting(const hal_host_api* api, const char* name) {
  const hal_host_api* core = host_of(api).shim->core;
  return core->setting(core, name);
}

void destroy(hal_driver* self) {
  Shim& shim = shim_of(self);
  shim.ops.destroy(shim.inner);
  delete &shim;  // the library stays loaded, as the core leaves drivers
}

hal_error* error_of(const hal_host_api* host, hal_code code, const std::string& what) {
  hal_error_info info{};
  info.code = code;
  info.what = what.c_str();
  info.origin = "fault shim";
  return host->error_create(&info);
}

hal_error* enter(const hal_host_api* host, hal_driver** out) {
  const char* id = host->setting(host, "HALYARD_FAULT");
  const char* name = host->setting(host, "HALYARD_FAULT_INNER");
  if (id == nullptr || name == nullptr) {
    return error_of(host, HAL_UNAVAILABLE,
                    "the fault shim needs HALYARD_FAULT (an ID, or NONE) and HALYARD_FAULT_INNER (the driver to wrap)");
  }
  if (!known(id)) { return error_of(host, HAL_NOT_FOUND, std::string("no seeded fault is called '") + id + "'"); }
  const std::string file = file_of(name);
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return error_of(host, HAL_UNAVAILABLE, "the fault shim cannot load " + file + ": " + (why != nullptr ? why : "?"));
  }
  const auto entry = reinterpret_cast<hal_driver_entry_function>(dlsym(library, HAL_DRIVER_ENTRY));
  if (entry == nullptr) { return error_of(host, HAL_UNAVAILABLE, file + " exports no " HAL_DRIVER_ENTRY); }

  auto* shim = new Shim;
  shim->fault = id;
  shim->core = host;
  shim->host.shim = shim;
  shim->host.api = *host;
  shim->host.api.log = forward_log;
  shim->host.api.setting = forward_setting;
  shim->host.api.reached = reached;
  shim->host.api.failed = failed;
  if (hal_error* error = entry(&shim->host.api, &shim->inner)) {
    delete shim;
    return error;
  }
  const hal_driver_ops* ops = shim->inner->ops;
  std::memcpy(&shim->ops, ops, std::min<std::size_t>(ops->struct_size, sizeof shim->ops));
  hal_driver_ops& table = shim->table;
  table = {};
  table.struct_size = sizeof table;
  table.abi_major = ops->abi_major;
  table.abi_minor = ops->abi_minor;
  table.name = ops->name;
  table.destroy = destroy;
  fill_device_table(*shim, table);
  fill_lane_table(*shim, table);
  shim->head.ops = &table;
  *out = &shim->head;
  return nullptr;
}

}  // namespace

hal_error* make_error(const Shim& shim, hal_code code, const char* what) { return error_of(shim.core, code, what); }

}  // namespace hal::fault

extern "C" __attribute__((visibility("default"))) hal_error* hal_driver_entry(const hal_host_api* host,
                                                                              hal_driver** out) {
  try {
    return hal::fault::enter(host, out);
  } catch (const std::exception& problem) { return hal::fault::error_of(host, HAL_OUT_OF_HOST_MEMORY, problem.what()); }
}
