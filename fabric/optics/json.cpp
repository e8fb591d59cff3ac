// SPDX-License-Identifier: Apache-2.0
#include "fabric/optics/json.hpp"

#include "fabric/status.hpp"

#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

namespace hal::fabric {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

class Parser {
 public:
  Parser(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  Result<Json> document() {
    if (text_.size() > kJsonMaxBytes) {
      return fail(HAL_INVALID_ARGUMENT, "{}: {} bytes of JSON, the limit is {}", name_, text_.size(), kJsonMaxBytes);
    }
    skip_space();
    Json root;
    if (!value(root, 0)) { return std::unexpected(std::move(*error_)); }
    skip_space();
    if (at_ != text_.size()) {
      wrong("found {} after the end of the document", found());
      return std::unexpected(std::move(*error_));
    }
    return root;
  }

 private:
  TextPosition here() const noexcept { return {line_, static_cast<std::uint32_t>(at_ - line_start_ + 1)}; }

  template <class... Args>
  bool wrong(fmt::format_string<Args...> text, Args&&... args) {
    const TextPosition p = here();
    error_ = fail(HAL_INVALID_ARGUMENT, "{}:{}:{}: {}", name_, p.line, p.column,
                  fmt::format(text, std::forward<Args>(args)...))
                 .error();
    return false;
  }

  std::string found() const {
    if (at_ >= text_.size()) { return "the end of the text"; }
    const char c = text_[at_];
    if (c > 0x20 && c < 0x7f) { return fmt::format("'{}'", c); }
    return fmt::format("byte 0x{:02x}", static_cast<unsigned char>(c));
  }

  char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() noexcept {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '\n') {
        ++line_;
        line_start_ = at_ + 1;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        return;
      }
    }
  }

  bool value(Json& out, unsigned depth) {
    if (depth > kJsonMaxDepth) { return wrong("nested deeper than {} levels", kJsonMaxDepth); }
    out.at = here();
    switch (peek()) {
      case '{':
        return object(out, depth);
      case '[':
        return array(out, depth);
      case '"':
        out.kind = Json::Kind::string;
        return quoted(out.string);
      case 't':
        out.boolean = true;
        return word(out, "true", Json::Kind::boolean);
      case 'f':
        return word(out, "false", Json::Kind::boolean);
      case 'n':
        return word(out, "null", Json::Kind::null);
      default:
        break;
    }
    if (peek() == '-' || is_digit(peek())) { return number(out); }
    return wrong("expected a value, found {}", found());
  }

  bool word(Json& out, std::string_view expected, Json::Kind kind) {
    if (text_.substr(at_, expected.size()) != expected) { return wrong("expected '{}'", expected); }
    at_ += expected.size();
    out.kind = kind;
    return true;
  }

  bool number(Json& out) {
    const std::size_t begin = at_;
    if (peek() == '-') { ++at_; }
    if (peek() == '0') {
      ++at_;
      if (is_digit(peek())) { return wrong("a number may not begin with 0"); }
    } else if (!digits()) {
      return false;
    }
    if (peek() == '.') {
      ++at_;
      if (!digits()) { return false; }
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') { ++at_; }
      if (!digits()) { return false; }
    }
    const auto [end, status] = std::from_chars(text_.data() + begin, text_.data() + at_, out.number);
    if (status != std::errc{} || end != text_.data() + at_ || !std::isfinite(out.number)) {
      return wrong("the number {} does not fit a double", text_.substr(begin, at_ - begin));
    }
    out.kind = Json::Kind::number;
    return true;
  }

  bool digits() {
    if (!is_digit(peek())) { return wrong("expected a digit, found {}", found()); }
    while (is_digit(peek())) { ++at_; }
    return true;
  }

  bool quoted(std::string& out) {
    ++at_;  // the opening quote
    while (true) {
      if (at_ >= text_.size()) { return wrong("a string is not closed"); }
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) { return wrong("control {} in a string", found()); }
      ++at_;
      if (c != '\\') {
        out.push_back(c);
      } else if (!escape(out)) {
        return false;
      }
    }
  }

  bool escape(std::string& out) {
    const char c = peek();
    ++at_;
    switch (c) {
      case '"':
        out.push_back('"');
        return true;
      case '\\':
        out.push_back('\\');
        return true;
      case '/':
        out.push_back('/');
        return true;
      case 'b':
        out.push_back('\b');
        return true;
      case 'f':
        out.push_back('\f');
        return true;
      case 'n':
        out.push_back('\n');
        return true;
      case 'r':
        out.push_back('\r');
        return true;
      case 't':
        out.push_back('\t');
        return true;
      case 'u':
        return unicode(out);
      default:
        --at_;
        return wrong("unknown escape, found {}", found());
    }
  }

  bool hex4(std::uint32_t& out) {
    const std::string_view four = text_.substr(at_, 4);
    const auto [end, status] = std::from_chars(four.data(), four.data() + four.size(), out, 16);
    if (four.size() != 4 || status != std::errc{} || end != four.data() + 4) {
      return wrong("expected four hexadecimal digits after \\u");
    }
    at_ += 4;
    return true;
  }

  bool unicode(std::string& out) {
    std::uint32_t point = 0;
    if (!hex4(point)) { return false; }
    if (point >= 0xd800 && point < 0xe000) {
      std::uint32_t low = 0;
      if (point >= 0xdc00 || text_.substr(at_, 2) != "\\u") { return wrong("a lone surrogate in a string"); }
      at_ += 2;
      if (!hex4(low)) { return false; }
      if (low < 0xdc00 || low >= 0xe000) { return wrong("a lone surrogate in a string"); }
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    const auto byte = [&out](std::uint32_t bits) { out.push_back(static_cast<char>(bits)); };
    if (point < 0x80) {
      byte(point);
    } else if (point < 0x800) {
      byte(0xc0 | (point >> 6));
      byte(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
      byte(0xe0 | (point >> 12));
      byte(0x80 | ((point >> 6) & 0x3f));
      byte(0x80 | (point & 0x3f));
    } else {
      byte(0xf0 | (point >> 18));
      byte(0x80 | ((point >> 12) & 0x3f));
      byte(0x80 | ((point >> 6) & 0x3f));
      byte(0x80 | (point & 0x3f));
    }
    return true;
  }

  bool array(Json& out, unsigned depth) {
    out.kind = Json::Kind::array;
    ++at_;
    skip_space();
    if (peek() == ']') {
      ++at_;
      return true;
    }
    while (true) {
      skip_space();
      if (!value(out.items.emplace_back(), depth + 1)) { return false; }
      skip_space();
      if (peek() == ']') {
        ++at_;
        return true;
      }
      if (peek() != ',') { return wrong("expected ',' or ']', found {}", found()); }
      ++at_;
    }
  }

  bool object(Json& out, unsigned depth) {
    out.kind = Json::Kind::object;
    ++at_;
    skip_space();
    if (peek() == '}') {
      ++at_;
      return true;
    }
    while (true) {
      skip_space();
      JsonMember member;
      member.at = here();
      if (peek() != '"') { return wrong("expected a key in quotes, found {}", found()); }
      if (!quoted(member.key)) { return false; }
      if (out.members.size() == kJsonMaxMembers) { return wrong("more than {} keys in one object", kJsonMaxMembers); }
      if (out.find(member.key) != nullptr) { return wrong("the key \"{}\" is there twice", member.key); }
      skip_space();
      if (peek() != ':') { return wrong("expected ':' after \"{}\", found {}", member.key, found()); }
      ++at_;
      skip_space();
      if (!value(member.value, depth + 1)) { return false; }
      out.members.push_back(std::move(member));
      skip_space();
      if (peek() == '}') {
        ++at_;
        return true;
      }
      if (peek() != ',') { return wrong("expected ',' or '}}', found {}", found()); }
      ++at_;
    }
  }

  std::string_view text_;
  std::string_view name_;
  std::size_t at_ = 0;
  std::size_t line_start_ = 0;
  std::uint32_t line_ = 1;
  std::optional<Failure> error_;
};

}  // namespace

const Json* Json::find(std::string_view key) const noexcept {
  for (const JsonMember& member : members) {
    if (member.key == key) { return &member.value; }
  }
  return nullptr;
}

Result<Json> parse_json(std::string_view text, std::string_view name) { return Parser(text, name).document(); }

const char* name_of(Json::Kind kind) noexcept {
  switch (kind) {
    case Json::Kind::null:
      return "null";
    case Json::Kind::boolean:
      return "a boolean";
    case Json::Kind::number:
      return "a number";
    case Json::Kind::string:
      return "a string";
    case Json::Kind::array:
      return "an array";
    case Json::Kind::object:
      return "an object";
  }
  return "nothing";
}

}  // namespace hal::fabric
