// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/line.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "text/utf8.hpp"

namespace hal::cli::bench {

Result<Line> parse_line(std::string_view text, const std::string& where) {
  const auto bad = [&](const std::string& what) {
    return Error(HAL_INVALID_ARGUMENT,
                 fmt::format("{}: {}; expected ROW, a tab, SUBJECT, a tab, nanoseconds", where, what));
  };
  if (text.ends_with('\r')) { text.remove_suffix(1); }
  const std::size_t first = text.find('\t');
  const std::size_t second = first != std::string_view::npos ? text.find('\t', first + 1) : std::string_view::npos;
  if (second == std::string_view::npos) {
    return bad(fmt::format("no two tabs in '{}'", text::plain(text.substr(0, 100))));
  }
  Line line{std::string(text.substr(0, first)), std::string(text.substr(first + 1, second - first - 1)), 0, {}, false};
  const std::string_view value = text.substr(second + 1);
  if (line.row.empty() || line.subject.empty()) { return bad("an empty name"); }
  if (!text::is_plain(line.row) || !text::is_plain(line.subject) || !text::is_plain(value)) {
    return bad(fmt::format("'{}' is no UTF-8, or has control characters", text::plain(text.substr(0, 100))));
  }
  constexpr std::string_view kMissing = "missing: ";
  if (value == "-") {
    line.nothing = true;
  } else if (value.starts_with(kMissing) && value.size() > kMissing.size()) {
    line.missing = value.substr(kMissing.size());
  } else {
    const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), line.ns);
    if (problem != std::errc() || end != value.data() + value.size() || !std::isfinite(line.ns) || line.ns <= 0) {
      return bad(fmt::format("'{}' is no number of nanoseconds above 0", value.substr(0, 100)));
    }
  }
  return line;
}

}  // namespace hal::cli::bench
