// SPDX-License-Identifier: Apache-2.0
// Device URIs are text from strangers: the parser takes any bytes, and what it takes comes back from its parts.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/uri.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto uri = hal::core::parse_uri(text);
  if (!uri) { return uri.error().what().empty() ? std::abort(), 1 : 0; }
  std::string again = uri->driver + ":" + std::to_string(uri->index);
  if (!uri->part.empty()) { again += "/" + uri->part; }
  if (!uri->params.empty()) { again += "?" + uri->params; }
  if (again.size() > hal::core::kLongestUri) { return 0; }  // with the index that it had left out
  const auto same = hal::core::parse_uri(again);
  if (!same || same->driver != uri->driver || same->index != uri->index || same->part != uri->part ||
      same->params != uri->params) {
    std::abort();
  }
  return 0;
}
