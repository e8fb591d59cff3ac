// SPDX-License-Identifier: Apache-2.0
// Manifests are text from strangers: the parser takes any bytes.
#include <cstdint>
#include <string_view>

#include "core/signature.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto manifest = hal::core::parse_manifest(text)) {
    for (const hal_signature& signature : manifest->views()) {
      for (std::uint32_t i = 0; i < signature.param_count; ++i) {
        const hal_arg arg{};
        (void)hal::core::check_arg(signature, i, arg).has_value();
      }
    }
  }
  return 0;
}
