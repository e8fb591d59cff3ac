// SPDX-License-Identifier: Apache-2.0
// Text inside XML: reports and pictures.
#pragma once

#include <string>
#include <string_view>

namespace hal::text {

// Escaped for an element or an attribute in double quotes. Line breaks stay; other control characters, which XML 1.0
// does not have, become blanks.
inline std::string xml(std::string_view from) {
  std::string out;
  out.reserve(from.size());
  for (const char c : from) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':
        out += "&#10;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

}  // namespace hal::text
