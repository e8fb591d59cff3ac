// SPDX-License-Identifier: Apache-2.0
#include "core/uri.hpp"

#include <fmt/format.h>

namespace hal::core {
namespace {

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; }
bool is_part(char c) { return is_word(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '.'; }
bool is_param(char c) { return is_part(c) || c == '=' || c == '&' || c == ','; }

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) { out += c >= ' ' && c <= '~' ? c : '?'; }
  return out;
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  template <class Predicate>
  std::string_view take(Predicate accept) {
    const std::size_t start = at_;
    while (at_ < text_.size() && accept(text_[at_])) { ++at_; }
    return text_.substr(start, at_ - start);
  }
  bool skip(char c) {
    const bool there = at_ < text_.size() && text_[at_] == c;
    at_ += there ? 1 : 0;
    return there;
  }
  bool done() const { return at_ == text_.size(); }

  std::size_t at() const { return at_; }

  Error expected(std::string_view what) const { return expected(what, at_); }
  Error expected(std::string_view what, std::size_t at) const {
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("device URI '{}' has no {} at position {}; the form is driver:index[/part][?key=value&...], "
                    "for example \"host:0?mode=weak&seed=7\"",
                    printable(text_), what, at));
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<Uri> parse_uri(std::string_view text) {
  if (text.size() > kLongestUri) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("device URI has {} characters; at most {} are taken", text.size(), kLongestUri));
  }
  Reader in(text);
  Uri uri;
  uri.driver = in.take(is_word);
  if (uri.driver.empty()) { return in.expected("driver name"); }
  if (in.done()) { return uri; }  // "host" is "host:0"
  if (!in.skip(':')) { return in.expected("':'"); }
  const std::size_t index = in.at();
  const std::string_view digits = in.take([](char c) { return c >= '0' && c <= '9'; });
  if (digits.empty() || digits.size() > 5) { return in.expected("index of 1 to 5 digits", index); }
  for (const char c : digits) { uri.index = uri.index * 10 + static_cast<std::uint32_t>(c - '0'); }
  if (in.skip('/')) {
    uri.part = in.take(is_part);
    if (uri.part.empty()) { return in.expected("part name"); }
  }
  if (in.skip('?')) {
    uri.params = in.take(is_param);
    if (uri.params.empty()) { return in.expected("key=value"); }
  }
  if (!in.done()) { return in.expected("end"); }
  return uri;
}

}  // namespace hal::core
