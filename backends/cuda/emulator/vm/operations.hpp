// SPDX-License-Identifier: Apache-2.0
// The table of operations: canonical name ("add.f32", "ld.global.b32") -> handler. The operation sources are compiled
// twice, for the baseline instruction set and for x86-64-v3, and the better one that the CPU runs is chosen once.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "vm/instruction.hpp"

namespace hal::emulated_cuda {

class OperationTable {
 public:
  // The name is the parts joined by dots; empty parts are left out. Out of line: the operation sources must not
  // instantiate library templates with wider instructions than the CPU may have.
  void add(std::initializer_list<const char*> name, Handler handler);
  Handler find(std::string_view name) const;
  std::size_t size() const { return handlers_.size(); }

 private:
  std::unordered_map<std::string, Handler> handlers_;
};

const OperationTable& operations();

}  // namespace hal::emulated_cuda
