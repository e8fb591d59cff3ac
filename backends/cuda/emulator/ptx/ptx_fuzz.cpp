// SPDX-License-Identifier: Apache-2.0
// Any bytes as PTX: load or refuse, nothing else.
#include <cstdint>
#include <string_view>

#include "vm/module.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hal::emulated_cuda;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)load_module(text, [](const Symbol&) { return std::uint64_t{0x1000}; });
  return 0;
}
