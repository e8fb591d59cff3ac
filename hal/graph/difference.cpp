// SPDX-License-Identifier: Apache-2.0
#include "graph/difference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "graph/print.hpp"

namespace hal::graph {
namespace {

// A node without numbers.
std::string summary(const View& view, const Node& node) {
  const Tensor& out = view.tensor(node.output);
  const std::string attributes = print_attributes(view, node);
  return fmt::format("{}{}{}{} {}", op_name(node.op), attributes.empty() ? "" : " ", attributes,
                     out.name.empty() ? "" : fmt::format(" \"{}\"", out.name), print_type(view, out));
}

std::uint64_t hashed(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const std::byte byte : bytes) { hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001B3U; }
  return hash;
}

std::vector<std::string> summaries(const View& view) {
  std::vector<std::string> out;
  for (const Node& node : view.nodes()) {
    out.push_back(summary(view, node));
    if (node.op == Op::constant) { out.back() += fmt::format(" #{:016x}", hashed(view.tensor(node.output).data)); }
  }
  return out;
}

// What stands in the same order in both, as pairs of places: the most there is (Myers, "An O(ND) difference algorithm
// and its variations", 1986) if all but kMostEdits stand in one alone. Of sequences that differ in more, the most of
// where those reach; the rest has no pairs.
class Common {
 public:
  Common(const std::vector<std::string>& a, const std::vector<std::string>& b) : a_(numbered(a)), b_(numbered(b)) {}

  std::vector<std::pair<std::size_t, std::size_t>> pairs() {
    std::size_t edits = 0, best = 0;
    while (!advance(edits) && edits < kMostEdits) { ++edits; }
    for (std::size_t i = 0; i <= edits; ++i) {
      if (progress(edits, i) > progress(edits, best)) { best = i; }
    }
    std::vector<std::pair<std::size_t, std::size_t>> out;
    for (std::size_t at = best;; --edits) {
      const std::int64_t diagonal = diagonal_of(edits, at);
      const auto [begin, from] = edits == 0 ? std::pair<std::int64_t, std::size_t>{0, 0} : before(edits, at);
      for (std::int64_t x = reach_[edits][at]; x-- > begin;) { out.emplace_back(x, x - diagonal); }
      if (edits == 0) { break; }
      at = from;
    }
    std::ranges::reverse(out);
    return out;
  }

 private:
  static constexpr std::size_t kMostEdits = 4096;  // 32 MiB of places

  std::vector<std::uint32_t> numbered(const std::vector<std::string>& lines) {
    std::vector<std::uint32_t> out;
    for (const std::string& line : lines) {
      out.push_back(numbers_.try_emplace(line, static_cast<std::uint32_t>(numbers_.size())).first->second);
    }
    return out;
  }
  // reach_[e][i]: how much of a is behind with e edits on diagonal i, which is of places x in a and x - diagonal in b.
  static std::int64_t diagonal_of(std::size_t edits, std::size_t i) {
    return 2 * static_cast<std::int64_t>(i) - static_cast<std::int64_t>(edits);
  }
  // Where the run of pairs on a diagonal begins, and the diagonal with one edit less that leads there.
  std::pair<std::int64_t, std::size_t> before(std::size_t edits, std::size_t i) const {
    const std::vector<std::int32_t>& less = reach_[edits - 1];
    const bool from_b = i == 0 || (i < edits && less[i - 1] < less[i]);
    return from_b ? std::pair<std::int64_t, std::size_t>{less[i], i}
                  : std::pair<std::int64_t, std::size_t>{less[i - 1] + 1, i - 1};
  }
  // -1: outside of a or b.
  std::int64_t progress(std::size_t edits, std::size_t i) const {
    const std::int64_t x = reach_[edits][i], y = x - diagonal_of(edits, i);
    return std::cmp_greater(x, a_.size()) || std::cmp_greater(y, b_.size()) ? -1 : x + y;
  }
  // True when both are at their end.
  bool advance(std::size_t edits) {
    std::vector<std::int32_t>& reach = reach_.emplace_back(edits + 1);
    bool done = false;
    for (std::size_t i = 0; i <= edits; ++i) {
      std::int64_t x = edits == 0 ? 0 : before(edits, i).first, y = x - diagonal_of(edits, i);
      while (std::cmp_less(x, a_.size()) && std::cmp_less(y, b_.size()) &&
             a_[static_cast<std::size_t>(x)] == b_[static_cast<std::size_t>(y)]) {
        ++x, ++y;
      }
      reach[i] = static_cast<std::int32_t>(x);
      done = done || (std::cmp_equal(x, a_.size()) && std::cmp_equal(y, b_.size()));
    }
    return done;
  }

  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::vector<std::uint32_t> a_, b_;
  std::vector<std::vector<std::int32_t>> reach_;
};

}  // namespace

std::string structural_difference(const View& a, const View& b) {
  std::string text;
  if (a.name() != b.name()) { text += fmt::format("- graph \"{}\"\n+ graph \"{}\"\n", a.name(), b.name()); }
  const auto parameters = [](const View& view) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < view.parameter_count(); ++i) {
      lines.push_back(fmt::format("{} \"{}\" {}", i < view.inputs().size() ? "input" : "output", view.tensor(i).name,
                                  print_type(view, view.tensor(i))));
    }
    return lines;
  };
  const auto pa = parameters(a), pb = parameters(b);
  for (std::size_t i = 0; i < std::max(pa.size(), pb.size()); ++i) {
    if (i < pa.size() && i < pb.size() && pa[i] == pb[i]) { continue; }
    if (i < pa.size()) { text += fmt::format("- {}\n", pa[i]); }
    if (i < pb.size()) { text += fmt::format("+ {}\n", pb[i]); }
  }
  const auto sa = summaries(a), sb = summaries(b);
  auto pairs = Common(sa, sb).pairs();
  pairs.emplace_back(sa.size(), sb.size());
  // Which tensor of b stands for one of a.
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::vector<std::uint32_t> other(a.tensors().size(), kNone);
  for (std::uint32_t i = 0; i < std::min(a.inputs().size(), b.inputs().size()); ++i) { other[i] = i; }
  std::size_t i = 0, j = 0;
  for (const auto& [next_i, next_j] : pairs) {
    for (; i < next_i; ++i) { text += fmt::format("- node {}: {}\n", i, sa[i]); }
    for (; j < next_j; ++j) { text += fmt::format("+ node {}: {}\n", j, sb[j]); }
    if (i == sa.size() || j == sb.size()) { break; }
    const Node &x = a.nodes()[i], &y = b.nodes()[j];
    for (std::size_t k = 0; k < x.inputs.size() && x.inputs.size() == y.inputs.size(); ++k) {
      if (other[x.inputs[k]] == y.inputs[k]) { continue; }
      text += fmt::format("  operand {} of {}: %{} is now %{}\n", k, a.node_label(i), x.inputs[k], y.inputs[k]);
    }
    if (x.inputs.size() != y.inputs.size()) {
      text += fmt::format("  {}: {} operands are now {}\n", a.node_label(i), x.inputs.size(), y.inputs.size());
    }
    other[x.output] = y.output;
    ++i, ++j;
  }
  return text;
}

}  // namespace hal::graph
