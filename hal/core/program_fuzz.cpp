// SPDX-License-Identifier: Apache-2.0
// Bundles and compiled programs are files from strangers. The digest of a compiled program is put right first, or
// nothing behind it would ever be read; so is the checksum of a bundle.
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/bundle.hpp"
#include "core/compiled.hpp"
#include "graph/checksum.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* first = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(first, first + size);
  (void)hal::core::read_bundle(bytes).has_value();
  (void)hal::core::read_compiled(bytes).has_value();
  const std::uint64_t length = size;
  if (size >= 64 && std::memcmp(data, "HALPROG", 8) == 0) {
    std::memcpy(bytes.data() + 16, &length, sizeof length);
    const hal::core::Digest digest = hal::core::sha256(std::span(bytes).subspan(64));
    std::memcpy(bytes.data() + 32, digest.data(), digest.size());
    if (const auto found = hal::core::read_compiled(bytes)) {
      for (const hal_signature& entry : found->signatures.views()) {
        const std::vector<hal_arg> args(entry.param_count);
        std::vector<std::int64_t> extents(entry.symbol_count);
        (void)hal::core::bind_extents(entry, args, extents).has_value();
      }
      (void)hal::core::write_compiled(found->identity, found->source, found->signatures, found->payload);
    }
  } else if (size >= 32) {
    std::memcpy(bytes.data() + 16, &length, sizeof length);
    const std::uint64_t checksum = hal::graph::checksum(std::span(bytes).subspan(32));
    std::memcpy(bytes.data() + 24, &checksum, sizeof checksum);
    if (const auto images = hal::core::read_bundle(bytes)) {
      for (const hal_image& image : *images) { (void)std::strlen(image.format); }
    }
  }
  return 0;
}
