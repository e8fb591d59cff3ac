// SPDX-License-Identifier: Apache-2.0
#include "vm/operations.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>

namespace hal::emulated_cuda {

namespace isa_base {
void register_integer(OperationTable&);
void register_float(OperationTable&);
void register_half(OperationTable&);
void register_convert(OperationTable&);
void register_compare(OperationTable&);
void register_memory(OperationTable&);
void register_atomic(OperationTable&);
void register_warp(OperationTable&);
}  // namespace isa_base

#if defined(HALYARD_VM_HAS_V3)
namespace isa_v3 {
void register_integer(OperationTable&);
void register_float(OperationTable&);
void register_half(OperationTable&);
void register_convert(OperationTable&);
void register_compare(OperationTable&);
void register_memory(OperationTable&);
void register_atomic(OperationTable&);
void register_warp(OperationTable&);
}  // namespace isa_v3
#endif

void register_rounding(OperationTable&);

void OperationTable::add(std::initializer_list<const char*> name, Handler handler) {
  std::string key;
  for (const char* part : name) {
    if (*part == '\0') { continue; }
    if (!key.empty()) { key += '.'; }
    key += part;
  }
  handlers_[std::move(key)] = handler;
}

Handler OperationTable::find(std::string_view name) const {
  const auto it = handlers_.find(std::string(name));
  return it == handlers_.end() ? nullptr : it->second;
}

const OperationTable& operations() {
  static const OperationTable* const kTable = [] {
    auto table = std::make_unique<OperationTable>();
#if defined(HALYARD_VM_HAS_V3)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
        __builtin_cpu_supports("f16c")) {
      isa_v3::register_integer(*table);
      isa_v3::register_float(*table);
      isa_v3::register_half(*table);
      isa_v3::register_convert(*table);
      isa_v3::register_compare(*table);
      isa_v3::register_memory(*table);
      isa_v3::register_atomic(*table);
      isa_v3::register_warp(*table);
      register_rounding(*table);
      return table.release();  // never destroyed: stream threads may outlive static destruction
    }
#endif
    isa_base::register_integer(*table);
    isa_base::register_float(*table);
    isa_base::register_half(*table);
    isa_base::register_convert(*table);
    isa_base::register_compare(*table);
    isa_base::register_memory(*table);
    isa_base::register_atomic(*table);
    isa_base::register_warp(*table);
    register_rounding(*table);
    return table.release();  // never destroyed: stream threads may outlive static destruction
  }();
  return *kTable;
}

}  // namespace hal::emulated_cuda
