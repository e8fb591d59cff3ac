// SPDX-License-Identifier: Apache-2.0
#include "ptx/lexer.hpp"

#include <fmt/format.h>

#include <bit>
#include <charconv>

#include "ptx/error.hpp"

namespace hal::emulated_cuda {
namespace {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' || c == '.';
}
constexpr bool is_word(char c) { return is_word_start(c) || is_digit(c); }

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    for (;;) {
      skip_blank();
      if (at_ >= text_.size()) { break; }
      tokens.push_back(next());
    }
    tokens.push_back({TokenKind::end, {}, 0, line_, false});
    return tokens;
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void skip_blank() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') {
        ++line_;
        ++at_;
      } else if (c == ' ' || c == '\t' || c == '\r') {
        ++at_;
      } else if (c == '/' && peek(1) == '/') {
        while (at_ < text_.size() && text_[at_] != '\n') { ++at_; }
      } else if (c == '/' && peek(1) == '*') {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) { throw PtxError(line_, "a comment is never closed"); }
        for (; at_ < end + 2; ++at_) { line_ += text_[at_] == '\n' ? 1u : 0u; }
      } else {
        return;
      }
    }
  }

  Token next() {
    const char c = peek();
    if (is_digit(c)) { return number(); }
    if (is_word_start(c)) { return word(); }
    if (c == '"') { return string(); }
    if (std::string_view("{}[](),;:<>=+-@!|&~*").find(c) == std::string_view::npos) {
      throw PtxError(line_, fmt::format("a character that PTX does not use: 0x{:02x}", static_cast<unsigned char>(c)));
    }
    ++at_;
    return {TokenKind::punctuation, text_.substr(at_ - 1, 1), 0, line_, false};
  }

  Token word() {
    const std::size_t start = at_++;
    // "::" joins the two halves of a modifier such as .L1::no_allocate; a single ':' ends a label.
    while (is_word(peek()) || (peek() == ':' && peek(1) == ':' && is_word(peek(2)))) { at_ += peek() == ':' ? 2u : 1u; }
    return {TokenKind::word, text_.substr(start, at_ - start), 0, line_, false};
  }

  Token string() {
    const std::size_t end = text_.find('"', at_ + 1);
    if (end == std::string_view::npos) { throw PtxError(line_, "a string is never closed"); }
    const Token token{TokenKind::string, text_.substr(at_ + 1, end - at_ - 1), 0, line_, false};
    for (; at_ <= end; ++at_) { line_ += text_[at_] == '\n' ? 1u : 0u; }
    return token;
  }

  std::uint64_t digits(std::string_view text, int base) const {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) {
      throw PtxError(line_, fmt::format("'{}' is not a number of at most 64 bits", text.substr(0, 40)));
    }
    return value;
  }

  Token number() {
    const std::size_t start = at_;
    const char second = peek(1);
    if (peek() == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
      const bool single = second == 'f' || second == 'F';
      at_ += 2;
      const std::size_t first_digit = at_;
      while (is_word(peek()) && peek() != '.') { ++at_; }
      const std::string_view hex = text_.substr(first_digit, at_ - first_digit);
      if (hex.size() != (single ? 8u : 16u)) {
        throw PtxError(
            line_, fmt::format("'{}' needs {} hexadecimal digits", text_.substr(start, at_ - start), single ? 8 : 16));
      }
      std::uint64_t bits = digits(hex, 16);
      if (single) {
        bits =
            std::bit_cast<std::uint64_t>(static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits))));
      }
      return {TokenKind::floating, text_.substr(start, at_ - start), bits, line_, single};
    }
    bool floating = false;
    while (is_word(peek()) || ((peek() == '+' || peek() == '-') && floating && (text_[at_ - 1] | 32) == 'e')) {
      if (peek() == '.') { floating = true; }
      ++at_;
    }
    std::string_view text = text_.substr(start, at_ - start);
    const std::string_view whole = text;
    if (floating) {
      double value = 0.0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc{} || end != text.data() + text.size()) {
        throw PtxError(line_, fmt::format("'{}' is not a number", text.substr(0, 40)));
      }
      return {TokenKind::floating, whole, std::bit_cast<std::uint64_t>(value), line_, false};
    }
    if (text.back() == 'U' || text.back() == 'u') { text.remove_suffix(1); }
    std::uint64_t value = 0;
    if (text.starts_with("0x") || text.starts_with("0X")) {
      value = digits(text.substr(2), 16);
    } else if (text.starts_with("0b") || text.starts_with("0B")) {
      value = digits(text.substr(2), 2);
    } else if (text.size() > 1 && text.front() == '0') {
      value = digits(text.substr(1), 8);
    } else {
      value = digits(text, 10);
    }
    return {TokenKind::integer, whole, value, line_, false};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::uint32_t line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text) { return Lexer(text).run(); }

}  // namespace hal::emulated_cuda
