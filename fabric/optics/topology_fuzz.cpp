// SPDX-License-Identifier: Apache-2.0
// Any bytes are either refused or make a plane that can be driven.
#include "fabric/optics/plane.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hal::fabric;
  auto topology = parse_topology({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!topology) { return 0; }
  Plane plane(*std::move(topology));
  (void)plane.transfer(0, 1, 1 << 20, Picoseconds(0));
  for (const Permutation& permutation : plane.topology().permutations) {
    (void)plane.apply(permutation.name, plane.now());
    (void)plane.transfer(1, 0, kMaxTransferBytes, plane.now());
  }
  return to_json(plane.report()).empty() ? 1 : 0;
}
