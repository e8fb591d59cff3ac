// SPDX-License-Identifier: Apache-2.0
// Recordings are files from strangers. The checksum is put right first, or nothing behind it would be tried.
#include <cstdint>
#include <cstring>
#include <vector>

#include "recording/format.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hal::recording;
  const auto* first = reinterpret_cast<const std::byte*>(data);
  (void)read({first, size}).has_value();
  if (size < kHeaderBytes) { return 0; }
  std::vector<std::byte> file(first, first + size);
  const std::span<const std::byte> body = std::span(file).subspan(kHeaderBytes);
  const std::vector<std::byte> head = header(body.size(), checksum(body));
  std::memcpy(file.data(), head.data(), head.size());
  if (const auto records = read(file)) {
    // What was read is written as it was read, and read again.
    std::vector<std::byte> again;
    for (const Record& record : *records) { append(again, record); }
    std::vector<std::byte> whole = header(again.size(), checksum(again));
    whole.insert(whole.end(), again.begin(), again.end());
    if (!read(whole)) { __builtin_trap(); }
  }
  return 0;
}
