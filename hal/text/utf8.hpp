// SPDX-License-Identifier: Apache-2.0
// Text from strangers: peers' lines, names in files, drivers' names.
#pragma once

#include <string>
#include <string_view>

namespace hal::text {

inline bool valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t more = lead < 0x80                   ? 0
                             : lead >= 0xC2 && lead < 0xE0 ? 1
                             : (lead & 0xF0U) == 0xE0      ? 2
                             : lead >= 0xF0 && lead < 0xF5 ? 3
                                                           : 9;
    if (more == 9 || i + more >= text.size()) { return false; }
    for (std::size_t k = 1; k <= more; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0U) != 0x80U) { return false; }
    }
    if (more >= 2) {
      const auto second = static_cast<unsigned char>(text[i + 1]);
      if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second >= 0xA0) || (lead == 0xF0 && second < 0x90) ||
          (lead == 0xF4 && second >= 0x90)) {
        return false;
      }
    }
    i += more + 1;
  }
  return true;
}

// The text on one line that does nothing to a terminal and that every reader of JSON takes: control characters become
// '?', and so do all bytes above ASCII if it is no UTF-8.
inline std::string plain(std::string_view from) {
  const bool utf8 = valid_utf8(from);
  std::string out;
  out.reserve(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto byte = static_cast<unsigned char>(from[i]);
    // U+0080 to U+009F are control characters too.
    const bool wide_control = byte == 0xC2 && utf8 && static_cast<unsigned char>(from[i + 1]) < 0xA0;
    out += wide_control || byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !utf8) ? '?' : from[i];
    if (wide_control) { ++i; }
  }
  return out;
}

// The same of a text of several lines, such as an error's or a table: its newlines and tabs stay.
inline std::string plain_lines(std::string_view from) {
  std::string out;
  for (std::size_t end = 0; (end = from.find_first_of("\n\t")) != std::string_view::npos; from.remove_prefix(end + 1)) {
    out += plain(from.substr(0, end)) + from[end];
  }
  return out + plain(from);
}

inline bool is_plain(std::string_view text) { return plain(text) == text; }

}  // namespace hal::text
