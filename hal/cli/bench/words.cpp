// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "text/utf8.hpp"

namespace hal::cli::bench {
namespace {

constexpr std::string_view kBlanks = " \t";
// What the shell acts on: anywhere but in quotes, at the start of a word, and in double quotes too.
constexpr std::string_view kSpecial = "|&;<>()$`*?[\n\r", kSpecialFirst = "#~", kSpecialQuoted = "$`";

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<Words> read() {
    Words out;
    for (;;) {
      at_ = std::min(text_.find_first_not_of(kBlanks, at_), text_.size());
      if (at_ == text_.size()) { break; }
      const std::size_t from = at_;
      HAL_TRY(std::string word, next());
      if (!out.words.empty() || !is_assignment(text_.substr(from, at_ - from))) {
        out.words.push_back(std::move(word));
        continue;
      }
      const std::string name = word.substr(0, word.find('=') + 1);
      if (std::ranges::any_of(out.environment, [&](const std::string& other) { return other.starts_with(name); })) {
        return bad(fmt::format("'{}' is given twice", name));
      }
      out.environment.push_back(std::move(word));
    }
    if (out.words.empty()) { return bad("there is no program in it"); }
    return out;
  }

 private:
  Error bad(const std::string& what) const {
    return {
        HAL_INVALID_ARGUMENT,
        fmt::format("'{}': {}; expected one program and its arguments, with the shell's quotes ('...', \"...\", \\) "
                    "and NAME=VALUE in front if need be; for more than that give sh -c '...'",
                    text::plain(text_.substr(0, 200)), what)};
  }

  Error special(std::size_t at) const {
    return bad(fmt::format("the {} at {} is the shell's, and no shell reads this",
                           text_[at] == '\n' || text_[at] == '\r' ? "line's end" : fmt::format("'{}'", text_[at]), at));
  }

  // NAME=..., of which nothing up to the sign is quoted.
  static bool is_assignment(std::string_view raw) {
    const std::size_t equals = raw.find('=');
    if (equals == 0 || equals == std::string_view::npos || std::isdigit(static_cast<unsigned char>(raw[0])) != 0) {
      return false;
    }
    return std::ranges::all_of(raw.substr(0, equals), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
  }

  Result<std::string> next() {
    std::string word;
    std::size_t bare = std::string_view::npos;  // the last character that is neither quoted nor escaped
    for (const std::size_t from = at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      // In NAME=... the shell puts a home folder for '~' behind '=' and ':' too.
      const bool home = c == '~' && at_ > from && bare == at_ - 1 && (text_[bare] == '=' || text_[bare] == ':') &&
                        is_assignment(text_.substr(from, at_ - from));
      if (kBlanks.find(c) != std::string_view::npos) { break; }
      if (kSpecial.find(c) != std::string_view::npos ||
          (at_ == from && kSpecialFirst.find(c) != std::string_view::npos) || home) {
        return special(at_);
      }
      if (c == '\'' || c == '"') {
        HAL_CHECK(quoted(c, word));
      } else if (c != '\\') {
        word += c;
        bare = at_;
      } else if (++at_ == text_.size()) {
        return bad("there is nothing behind the last '\\'");
      } else if (text_[at_] == '\n') {  // the shell goes on in the next line
        return special(at_);
      } else {
        word += text_[at_];
      }
    }
    return word;
  }

  // From one quotation mark to the other.
  Result<void> quoted(char mark, std::string& word) {
    const std::size_t from = at_;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == mark) { return {}; }
      const bool goes_on = c == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n';
      if (mark == '"' && (goes_on || kSpecialQuoted.find(c) != std::string_view::npos)) {
        return special(goes_on ? at_ + 1 : at_);
      }
      const bool escapes = mark == '"' && c == '\\' && at_ + 1 < text_.size() &&
                           std::string_view("$`\"\\").find(text_[at_ + 1]) != std::string_view::npos;
      word += escapes ? text_[++at_] : c;
    }
    return bad(fmt::format("the quotation mark at {} has no other", from));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<Words> split_words(std::string_view text) { return Reader(text).read(); }

std::string quoted_word(std::string_view word) {
  std::string out = "'";
  for (const char c : word) { out += c == '\'' ? std::string("'\\''") : std::string(1, c); }
  return out + "'";
}

}  // namespace hal::cli::bench
