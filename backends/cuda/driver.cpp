// SPDX-License-Identifier: Apache-2.0
// Finding and opening driver libraries.
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>

#include "cuda.hpp"
#include "driver_kit/errors.hpp"

namespace hal::cuda {

namespace {

Error unavailable(const std::string& file, const std::string& why) {
  return kit::error(kOrigin, HAL_UNAVAILABLE, fmt::format("{}: {}", file, why));
}

// The folder that this module was loaded from, with its slash; empty if unknown.
std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&library_files), &info) == 0 || info.dli_fname == nullptr) { return {}; }
  const std::string file = info.dli_fname;
  const std::size_t slash = file.rfind('/');
  return slash == std::string::npos ? std::string() : file.substr(0, slash + 1);
}

}  // namespace

std::vector<std::string> library_files(const hal_host_api* host) {
  const char* setting = host->setting(host, "HALYARD_CUDA_LIBRARIES");
  if (setting == nullptr) { return {"libcuda.so.1", own_folder() + "libhalyard-emulated-cuda.so"}; }
  std::vector<std::string> files;
  const std::string text = setting;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(':', start), text.size());
    if (end > start) { files.push_back(text.substr(start, end - start)); }
    start = end + 1;
  }
  return files;
}

Result<std::unique_ptr<Library>> open_library(const std::string& file) {
  // Never closed: drivers keep threads of their own.
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) { return unavailable(file, "it cannot be opened: " + std::string(dlerror())); }
  auto library = std::make_unique<Library>();
  library->file = file;
  Api& api = library->api;
  api.GetProcAddress = reinterpret_cast<Fn_GetProcAddress*>(dlsym(handle, "cuGetProcAddress_v2"));
  if (api.GetProcAddress == nullptr) {
    return unavailable(file, "it has no cuGetProcAddress_v2; a driver of CUDA 12.0 or newer is needed");
  }
  std::string missing;
  const auto resolve = [&](const char* name, int version, bool required, void** function) {
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    const CUresult result = api.GetProcAddress(name, function, version, 0, &status);
    if (result == CUDA_SUCCESS && *function != nullptr) { return; }
    *function = nullptr;
    if (result == CUDA_ERROR_STUB_LIBRARY) {
      missing = "it is the toolkit's stub, not a driver";
    } else if (required && missing.empty()) {
      missing = fmt::format("it lacks {} (ABI version {}); a newer driver is needed", name, version);
    }
  };
  constexpr bool required = true, optional = false;
#define X(name, version, need, symbol)                                       \
  if (std::strcmp(#name, "GetProcAddress") != 0) {                           \
    resolve("cu" #name, version, need, reinterpret_cast<void**>(&api.name)); \
  }
#include "driver_symbols.inc"
#undef X
  (void)required;
  (void)optional;
  if (!missing.empty()) { return unavailable(file, missing); }
  if (const CUresult result = api.Init(0); result != CUDA_SUCCESS) {
    if (result == CUDA_ERROR_NO_DEVICE) { return unavailable(file, "the driver finds no GPU"); }
    return fail(api, result, file + ": cuInit failed");
  }
  HAL_CHECK(check(api, api.DriverGetVersion(&library->version), "cuDriverGetVersion failed"));
  return library;
}

}  // namespace hal::cuda
