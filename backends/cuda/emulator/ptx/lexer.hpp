// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace hal::emulated_cuda {

enum class TokenKind : std::uint8_t { word, integer, floating, string, punctuation, end };

// A word keeps its dots: "ld.global.f32", ".reg", "%tid.x". `bits` holds the value of an integer, or the bit pattern
// of a floating literal in double precision; `single` says that it was written as a single (0f...).
struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;
  std::uint64_t bits = 0;
  std::uint32_t line = 0;
  bool single = false;
};

// The tokens of PTX text, comments removed; the last one is `end`. Throws PtxError. Views point into `text`.
std::vector<Token> tokenize(std::string_view text);

}  // namespace hal::emulated_cuda
