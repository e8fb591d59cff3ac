// SPDX-License-Identifier: Apache-2.0
// Sizes that are known when a graph runs: symbols, and arithmetic on them. A size in a Shape is a number from 1 on, or
// stands for an entry of a table of these (hal::graph::is_symbolic).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/shape.hpp"
#include "hal/result.hpp"

namespace hal::graph {

/// One entry of a graph's table of sizes. Operands are literals or earlier entries.
struct Size {
  SizeOp op{};
  std::int64_t a = 0;
  std::int64_t b = 0;
  std::string name;  // of a symbol
  friend bool operator==(const Size&, const Size&) = default;
};

/// Two sizes that could turn out to be the same number: equal ones, and any two of which one is symbolic.
bool may_equal(std::int64_t a, std::int64_t b);
bool may_equal(ShapeView a, ShapeView b);

/// The value of every entry, given those of the symbols in their order in the table.
///
/// Errors  INVALID_ARGUMENT  the number of symbols is wrong, one is not from 1 to 2^48, an entry overflows 62 bits or
///                           divides by less than 1; the entry is named
Result<std::vector<std::int64_t>> evaluate_sizes(std::span<const Size> sizes, std::span<const std::int64_t> symbols);

/// The number behind a size: itself, or its entry's value.
inline std::int64_t resolve(std::int64_t size, std::span<const std::int64_t> values) {
  return is_symbolic(size) ? values[size_entry(size)] : size;
}

/// "batch", "(batch * 64)", "7".
std::string print_size(std::int64_t size, std::span<const Size> sizes);

/// "[batch, 64]"
std::string print_shape(ShapeView shape, std::span<const Size> sizes);

/// Makes sizes for a graph under construction. Folds what it can, and gives equal expressions one entry, so that sizes
/// that are built alike compare equal.
class SizeTable {
 public:
  std::int64_t symbol(std::string name);  // the same for the same name
  /// nullopt: both are literals, and the result overflows or divides by less than 1.
  std::optional<std::int64_t> make(SizeOp op, std::int64_t a, std::int64_t b);

  /// Is the product of one shape that of the other, whatever the symbols are? Sums and quotients count as they stand.
  bool same_count(ShapeView a, ShapeView b) const;

  const std::vector<Size>& entries() const { return entries_; }

 private:
  struct Product;
  void multiply(Product& product, std::int64_t size) const;
  std::int64_t add(Size size);
  std::vector<Size> entries_;
};

}  // namespace hal::graph
