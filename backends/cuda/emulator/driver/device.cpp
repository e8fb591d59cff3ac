// SPDX-License-Identifier: Apache-2.0
// Calls about the driver and the device: versions, names, attributes, errors, symbols.
#include <cstdio>
#include <cstring>

#include "driver/context.hpp"
#include "driver/exports.hpp"
#include "driver/profile.hpp"

using namespace hal::emulated_cuda;

namespace {

struct ErrorText {
  CUresult code;
  const char* name;
};
constexpr ErrorText kErrors[] = {
#define X(name) {name, #name},
    HALYARD_CUDA_RESULTS(X)
#undef X
};

struct Exported {
  const char* name;
  int version;
  void* function;
};
const Exported* exported_symbols(std::size_t& count) {
  static const Exported kTable[] = {
#define X(name, version, need, symbol) {"cu" #name, version, reinterpret_cast<void*>(&symbol)},
#include "driver_symbols.inc"
#undef X
  };
  count = std::size(kTable);
  return kTable;
}

CUresult copy_text(char* to, int length, const char* text) {
  if (to == nullptr || length <= 0) { return CUDA_ERROR_INVALID_VALUE; }
  std::snprintf(to, static_cast<std::size_t>(length), "%s", text);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
  if (name == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *name = nullptr;
  for (const ErrorText& e : kErrors) {
    if (e.code == error) { *name = e.name; }
  }
  return *name == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

CUresult cuGetProcAddress_v2(const char* symbol, void** function, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  if (symbol == nullptr || function == nullptr || flags > 2) { return CUDA_ERROR_INVALID_VALUE; }
  CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  *function = nullptr;
  std::size_t count = 0;
  const Exported* table = exported_symbols(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (std::strcmp(table[i].name, symbol) != 0) { continue; }
    if (version >= table[i].version) {
      *function = table[i].function;
      found = CU_GET_PROC_ADDRESS_SUCCESS;
    } else if (found != CU_GET_PROC_ADDRESS_SUCCESS) {
      found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    }
  }
  if (status != nullptr) {
    *status = found;
    return found == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
  }
  return found == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuDeviceGetCount(int* count) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (count == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  *count = 1;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (device == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (ordinal != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  *device = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  return device != 0 ? CUDA_ERROR_INVALID_DEVICE : copy_text(name, length, kDeviceName);
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (uuid == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  std::memcpy(uuid->bytes, "emulated-halyard", 16);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  return device != 0 ? CUDA_ERROR_INVALID_DEVICE : copy_text(id, length, "0000:00:00.0");
}

CUresult cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (bytes == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  *bytes = configured_memory();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  if (const CUresult error = enter_driver(); error != CUDA_SUCCESS) { return error; }
  if (value == nullptr) { return CUDA_ERROR_INVALID_VALUE; }
  if (device != 0) { return CUDA_ERROR_INVALID_DEVICE; }
  for (const AttributeValue& a : kAttributes) {
    if (a.attribute == attribute) {
      *value = a.value;
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_VALUE;
}
