// SPDX-License-Identifier: Apache-2.0
#include "cli/table.hpp"
#include "text/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace hal::cli {
namespace {

// Characters, for UTF-8 text without combining marks.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

void Table::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) { cell = text::plain(cell); }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) { widths.push_back(width_of(column.title)); }
  for (const auto& cells : rows_) {
    for (std::size_t i = 0; i < widths.size() && i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(cells[i]));
    }
  }
  std::string out;
  const auto add = [&](std::size_t i, const std::string& cell) {
    const std::string blanks(widths[i] - width_of(cell), ' ');
    out += columns_[i].align == Align::right ? blanks + cell : cell + blanks;
    out += "  ";
  };
  const auto end_line = [&] {
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  for (std::size_t i = 0; i < widths.size(); ++i) { add(i, columns_[i].title); }
  end_line();
  for (const auto& cells : rows_) {
    for (std::size_t i = 0; i < widths.size() && i < cells.size(); ++i) { add(i, cells[i]); }
    end_line();
  }
  return out;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string time_text(double nanoseconds) {
  constexpr std::array kUnits{"ns", "us", "ms", "s"};
  std::size_t unit = 0;
  while (nanoseconds >= 999.5 && unit + 1 < kUnits.size()) {
    nanoseconds /= 1000;
    ++unit;
  }
  const int decimals = nanoseconds >= 99.95 ? 0 : nanoseconds >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", nanoseconds, decimals, kUnits[unit]);
}

}  // namespace hal::cli
