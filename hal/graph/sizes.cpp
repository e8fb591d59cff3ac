// SPDX-License-Identifier: Apache-2.0
#include "graph/sizes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace hal::graph {
namespace {

constexpr std::int64_t kMostExtent = std::int64_t{1} << 48U;
constexpr std::int64_t kMostValue = std::int64_t{1} << 62U;

// nullopt: an overflow, or a division by less than 1.
std::optional<std::int64_t> compute(SizeOp op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool overflow = false;
  switch (op) {
    case SizeOp::add:
      overflow = __builtin_add_overflow(a, b, &out);
      break;
    case SizeOp::sub:
      overflow = __builtin_sub_overflow(a, b, &out);
      break;
    case SizeOp::mul:
      overflow = __builtin_mul_overflow(a, b, &out);
      break;
    case SizeOp::div:
      if (b < 1) { return {}; }
      out = a / b - (a % b < 0 ? 1 : 0);
      break;
    case SizeOp::symbol:
      return {};
  }
  if (overflow || out <= -kMostValue || out >= kMostValue) { return {}; }
  return out;
}

const char* sign_of(SizeOp op) {
  switch (op) {
    case SizeOp::add:
      return "+";
    case SizeOp::sub:
      return "-";
    case SizeOp::mul:
      return "*";
    default:
      return "/";
  }
}

}  // namespace

bool may_equal(std::int64_t a, std::int64_t b) { return a == b || is_symbolic(a) || is_symbolic(b); }

bool may_equal(ShapeView a, ShapeView b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](std::int64_t x, std::int64_t y) { return may_equal(x, y); });
}

Result<std::vector<std::int64_t>> evaluate_sizes(std::span<const Size> sizes, std::span<const std::int64_t> symbols) {
  const auto fail = [](const std::string& what) { return Error(HAL_INVALID_ARGUMENT, what, "hal.graph", "", 0); };
  const auto expected = std::ranges::count(sizes, SizeOp::symbol, &Size::op);
  if (static_cast<std::size_t>(expected) != symbols.size()) {
    return fail(fmt::format("the graph has {} symbols, {} extents were given", expected, symbols.size()));
  }
  std::vector<std::int64_t> values;
  values.reserve(sizes.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Size& size = sizes[i];
    if (size.op == SizeOp::symbol) {
      const std::int64_t extent = symbols[next++];
      if (extent < 1 || extent > kMostExtent) {
        return fail(fmt::format("symbol \"{}\" is given extent {}, extents are 1 to 2^48", size.name, extent));
      }
      values.push_back(extent);
      continue;
    }
    const auto value = compute(size.op, resolve(size.a, values), resolve(size.b, values));
    if (!value) {
      return fail(fmt::format("size {} has no value: it is {} {} {}, which overflows or divides by less than 1",
                              print_size(symbolic_size(i), sizes), resolve(size.a, values), sign_of(size.op),
                              resolve(size.b, values)));
    }
    values.push_back(*value);
  }
  return values;
}

std::string print_size(std::int64_t size, std::span<const Size> sizes) {
  if (!is_symbolic(size)) { return fmt::format("{}", size); }
  // A table can hold expressions that double with each entry: the text stops where nobody reads on.
  constexpr std::size_t kMost = 200;
  std::string text;
  const auto print = [&](const auto& self, std::int64_t at) -> void {
    if (text.size() > kMost) { return; }
    if (!is_symbolic(at) || size_entry(at) >= sizes.size()) {
      text += is_symbolic(at) ? "?" : fmt::format("{}", at);
      return;
    }
    const Size& entry = sizes[size_entry(at)];
    if (entry.op == SizeOp::symbol) {
      text += entry.name;
      return;
    }
    text += "(";
    self(self, entry.a);
    text += fmt::format(" {} ", sign_of(entry.op));
    self(self, entry.b);
    text += ")";
  };
  print(print, size);
  return text.size() > kMost ? text.substr(0, kMost) + "..." : text;
}

std::string print_shape(ShapeView shape, std::span<const Size> sizes) {
  std::string text = "[";
  for (const std::int64_t size : shape) { text += (text.size() > 1 ? ", " : "") + print_size(size, sizes); }
  return text + "]";
}

std::int64_t SizeTable::add(Size size) {
  const auto found = std::ranges::find(entries_, size);
  if (found != entries_.end()) { return symbolic_size(static_cast<std::size_t>(found - entries_.begin())); }
  entries_.push_back(std::move(size));
  return symbolic_size(entries_.size() - 1);
}

std::int64_t SizeTable::symbol(std::string name) { return add({SizeOp::symbol, 0, 0, std::move(name)}); }

std::optional<std::int64_t> SizeTable::make(SizeOp op, std::int64_t a, std::int64_t b) {
  if (!is_symbolic(a) && !is_symbolic(b)) { return compute(op, a, b); }
  if (op == SizeOp::add || op == SizeOp::mul) {  // one order for both: a symbol before a number, and by age
    if (!is_symbolic(a) || (is_symbolic(b) && size_entry(b) < size_entry(a))) { std::swap(a, b); }
  }
  const bool neutral =
      (b == 0 && (op == SizeOp::add || op == SizeOp::sub)) || (b == 1 && (op == SizeOp::mul || op == SizeOp::div));
  if (neutral) { return a; }
  if (op == SizeOp::sub && a == b) { return 0; }
  return add({op, a, b, ""});
}

struct SizeTable::Product {
  std::int64_t number = 1;
  bool overflow = false;
  std::vector<std::int64_t> factors;
};

void SizeTable::multiply(Product& product, std::int64_t size) const {
  if (!is_symbolic(size)) {
    product.overflow = product.overflow || __builtin_mul_overflow(product.number, size, &product.number);
    return;
  }
  const Size& entry = entries_[size_entry(size)];
  if (entry.op != SizeOp::mul || product.factors.size() > 64) {
    product.factors.push_back(size);
    return;
  }
  multiply(product, entry.a);
  multiply(product, entry.b);
}

bool SizeTable::same_count(ShapeView a, ShapeView b) const {
  Product left, right;
  for (const std::int64_t size : a) { multiply(left, size); }
  for (const std::int64_t size : b) { multiply(right, size); }
  std::ranges::sort(left.factors);
  std::ranges::sort(right.factors);
  return !left.overflow && !right.overflow && left.number == right.number && left.factors == right.factors;
}

}  // namespace hal::graph
