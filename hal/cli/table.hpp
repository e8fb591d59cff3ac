// SPDX-License-Identifier: Apache-2.0
// Text in columns, and numbers with units.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hal::cli {

enum class Align { left, right };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column, on one line whatever its text is.
  void row(std::vector<std::string> cells);
  // Every line ends in a newline; none in blanks.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "0 B", "4.0 KiB", "48.0 GiB".
std::string bytes_text(std::uint64_t bytes);
// "12.3 ns", "4.56 us", "7.89 ms", "1.23 s".
std::string time_text(double nanoseconds);

}  // namespace hal::cli
