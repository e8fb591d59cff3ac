// SPDX-License-Identifier: Apache-2.0
#include "graph/onednn.hpp"

#include <dlfcn.h>

#include <string>

namespace hal::host {

namespace {

const halyard_onednn* open_module() {
  // Beside the driver itself, wherever that was installed.
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&onednn), &self) == 0 || self.dli_fname == nullptr) { return nullptr; }
  std::string path = self.dli_fname;
  path.resize(path.rfind('/') + 1);
  path += "libhalyard-onednn.so";
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // kept for good: it has started threads
  if (module == nullptr) { return nullptr; }
  const auto entry = reinterpret_cast<halyard_onednn_entry>(dlsym(module, HALYARD_ONEDNN_ENTRY));
  return entry != nullptr ? entry() : nullptr;
}

}  // namespace

const halyard_onednn* onednn() {
  static const halyard_onednn* const kModule = open_module();
  return kModule;
}

}  // namespace hal::host
