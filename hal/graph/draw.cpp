// SPDX-License-Identifier: Apache-2.0
// Layers by longest path, long edges through places of their own in every layer between, order within a layer by the
// mean place of neighbours (the method of Sugiyama, Tagawa and Toda, 1981), then positions pulled toward neighbours.
#include "graph/draw.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "graph/print.hpp"
#include "text/xml.hpp"

namespace hal::graph {
namespace {

constexpr double kLetter = 6.7;  // of 11-pixel monospace
constexpr double kLine = 14, kPadding = 8, kGap = 18, kLayerGap = 38, kMargin = 20;
constexpr std::size_t kMostLetters = 44;
constexpr std::size_t kMostBends = 40;  // a longer edge goes straight
constexpr int kSweeps = 12;

std::string shortened(const std::string& text) {
  return text.size() <= kMostLetters ? text : text.substr(0, kMostLetters - 3) + "...";
}

struct Box {
  std::vector<std::string> lines;  // none: a bend of a long edge
  std::string title;
  std::string fill;
  std::size_t layer = 0;
  double width = 0, height = 0, x = 0, y = 0;  // x, y: of the centre and the top
  std::vector<std::size_t> above, below;
};

class Picture {
 public:
  Picture(const View& view, std::span<const FusedStep> steps) : view_(view) {
    for (std::size_t s = 0; s < steps.size(); ++s) {
      for (const std::uint32_t node : steps[s].nodes) { step_of_[node] = s; }
    }
  }

  std::string draw() {
    add_boxes();
    bend_long_edges();
    for (Box& box : boxes_) {
      std::size_t letters = 0;
      for (const std::string& line : box.lines) { letters = std::max(letters, line.size()); }
      box.width = box.lines.empty() ? 4 : static_cast<double>(letters) * kLetter + 2 * kPadding;
      box.height = box.lines.empty() ? 0 : static_cast<double>(box.lines.size()) * kLine + 2 * kPadding - 4;
    }
    order();
    place();
    return text();
  }

 private:
  // Parameters that are read, then nodes; the constants are text.
  void add_boxes() {
    std::vector<std::size_t> maker(view_.tensors().size(), kNone);
    for (std::size_t i = 0; i < view_.inputs().size(); ++i) {
      maker[i] = boxes_.size();
      Box& box = boxes_.emplace_back();
      box.lines = {shortened(fmt::format("%{} {}", i, view_.tensor(i).name)), print_type(view_, view_.tensor(i))};
      box.title = fmt::format("input {} {}", view_.tensor(i).name, print_type(view_, view_.tensor(i)));
      box.fill = "#e8e8e8";
    }
    for (std::uint32_t n = 0; n < view_.nodes().size(); ++n) {
      const Node& node = view_.nodes()[n];
      if (node.op == Op::constant && view_.tensor(node.output).role == Role::constant) { continue; }
      const std::size_t own = boxes_.size();
      boxes_.emplace_back();
      const Tensor& out = view_.tensor(node.output);
      const std::string name = out.name.empty() ? "" : fmt::format(" {}", out.name);
      const std::string attributes = print_attributes(view_, node);
      std::vector<std::string> lines{shortened(fmt::format("%{}{}", node.output, name)),
                                     shortened(fmt::format("{} {}", op_name(node.op), attributes))};
      std::size_t layer = 0;
      for (const std::uint32_t input : node.inputs) {
        const Tensor& x = view_.tensor(input);
        if (maker[input] == kNone) {
          lines.push_back(shortened(
              fmt::format("%{}{} {}", input, x.name.empty() ? "" : fmt::format(" {}", x.name), print_type(view_, x))));
          continue;
        }
        layer = std::max(layer, boxes_[maker[input]].layer + 1);
        std::vector<std::size_t>& above = boxes_[own].above;
        if (std::ranges::find(above, maker[input]) == above.end()) { above.push_back(maker[input]); }
      }
      lines.push_back(print_type(view_, out));
      const auto step = step_of_.find(n);
      if (step != step_of_.end()) { lines.push_back(fmt::format("step {}", step->second)); }
      boxes_[own].title = fmt::format("node {}: {} {}", n, op_name(node.op), attributes);
      boxes_[own].fill = out.role == Role::output ? "#ffe9b8"
                         : step == step_of_.end() ? "#ffffff"
                                                  : colour(step->second);
      boxes_[own].lines = std::move(lines);
      boxes_[own].layer = layer;
      maker[node.output] = own;
    }
  }

  // Twelve light colours, neighbours far apart.
  static std::string colour(std::size_t step) { return fmt::format("hsl({},60%,90%)", (step * 150) % 360); }

  void bend_long_edges() {
    const std::size_t count = boxes_.size();
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t k = 0; k < boxes_[i].above.size(); ++k) {
        std::size_t from = boxes_[i].above[k];
        const std::size_t length = boxes_[i].layer - boxes_[from].layer;
        if (length > 1 && length <= kMostBends) {
          for (std::size_t l = boxes_[from].layer + 1; l < boxes_[i].layer; ++l) {
            boxes_.push_back({{}, "", "", l, 0, 0, 0, 0, {from}, {}});
            boxes_[from].below.push_back(boxes_.size() - 1);
            from = boxes_.size() - 1;
          }
          boxes_[i].above[k] = from;
        }
        boxes_[from].below.push_back(i);
      }
    }
    for (std::size_t i = 0; i < boxes_.size(); ++i) {
      layers_.resize(std::max(layers_.size(), boxes_[i].layer + 1));
      layers_[boxes_[i].layer].push_back(i);
    }
  }

  void order() {
    std::vector<double> rank(boxes_.size());
    const auto number = [&](const std::vector<std::size_t>& layer) {
      for (std::size_t i = 0; i < layer.size(); ++i) { rank[layer[i]] = static_cast<double>(i); }
    };
    for (const auto& layer : layers_) { number(layer); }
    const auto sort = [&](std::vector<std::size_t>& layer, std::vector<std::size_t> Box::* side) {
      std::vector<std::pair<double, std::size_t>> keyed;
      for (const std::size_t i : layer) {
        const auto& others = boxes_[i].*side;
        const double sum = std::accumulate(others.begin(), others.end(), 0.0,
                                           [&](double s, std::size_t other) { return s + rank[other]; });
        keyed.emplace_back(others.empty() ? rank[i] : sum / static_cast<double>(others.size()), i);
      }
      std::ranges::stable_sort(keyed, {}, &std::pair<double, std::size_t>::first);
      for (std::size_t k = 0; k < layer.size(); ++k) { layer[k] = keyed[k].second; }
      number(layer);
    };
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      for (std::size_t l = 1; l < layers_.size(); ++l) { sort(layers_[l], &Box::above); }
      for (std::size_t l = layers_.size(); l-- > 1;) { sort(layers_[l - 1], &Box::below); }
    }
  }

  void place() {
    double y = kMargin;
    for (const auto& layer : layers_) {
      double x = 0, height = 0;
      for (const std::size_t i : layer) {
        boxes_[i].x = x + boxes_[i].width / 2;
        x += boxes_[i].width + kGap;
        height = std::max(height, boxes_[i].height);
      }
      for (const std::size_t i : layer) {
        boxes_[i].x -= x / 2;
        boxes_[i].y = y + (height - boxes_[i].height) / 2;
      }
      y += height + kLayerGap;
    }
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      for (std::size_t l = 1; l < layers_.size(); ++l) { pull(layers_[l], &Box::above); }
      for (std::size_t l = layers_.size(); l-- > 1;) { pull(layers_[l - 1], &Box::below); }
    }
    double left = 0, right = 0;
    for (const Box& box : boxes_) { left = std::min(left, box.x - box.width / 2); }
    for (Box& box : boxes_) {
      box.x += kMargin - left;
      right = std::max(right, box.x + box.width / 2);
    }
    width_ = right + kMargin;
    height_ = y - kLayerGap + kMargin;
  }

  // Each box toward the mean of its neighbours; who is pushed off shares the way with who pushed.
  void pull(const std::vector<std::size_t>& layer, std::vector<std::size_t> Box::* side) {
    std::vector<double> want, low(layer.size()), high(layer.size());
    for (const std::size_t i : layer) {
      const auto& others = boxes_[i].*side;
      const double sum = std::accumulate(others.begin(), others.end(), 0.0,
                                         [&](double s, std::size_t other) { return s + boxes_[other].x; });
      want.push_back(others.empty() ? boxes_[i].x : sum / static_cast<double>(others.size()));
    }
    const auto apart = [&](std::size_t k) { return (boxes_[layer[k]].width + boxes_[layer[k + 1]].width) / 2 + kGap; };
    for (std::size_t k = 0; k < layer.size(); ++k) {
      low[k] = k == 0 ? want[k] : std::max(want[k], low[k - 1] + apart(k - 1));
    }
    for (std::size_t k = layer.size(); k-- > 0;) {
      high[k] = k + 1 == layer.size() ? want[k] : std::min(want[k], high[k + 1] - apart(k));
    }
    // Both are free of overlaps, and so is their mean.
    for (std::size_t k = 0; k < layer.size(); ++k) { boxes_[layer[k]].x = (low[k] + high[k]) / 2; }
  }

  std::string text() const {
    std::string out = fmt::format(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} "
        "{1:.0f}\" "
        "font-family=\"monospace\" font-size=\"11\">\n<title>graph {2}</title>\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<g fill=\"none\" stroke=\"#888888\">\n",
        width_, height_, text::xml(view_.name()));
    for (const Box& box : boxes_) {
      for (const std::size_t above : box.above) {
        const Box& from = boxes_[above];
        const double y0 = from.y + from.height, y1 = box.y, bend = (y1 - y0) / 2;
        out += fmt::format("<path d=\"M{0:.1f} {1:.1f}C{0:.1f} {2:.1f} {3:.1f} {4:.1f} {3:.1f} {5:.1f}\"/>\n", from.x,
                           y0, y0 + bend, box.x, y1 - bend, y1);
      }
    }
    out += "</g>\n";
    for (const Box& box : boxes_) {
      if (box.lines.empty()) { continue; }
      out += fmt::format(
          "<g><title>{}</title><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"4\" fill=\"{}\" "
          "stroke=\"#555555\"/>\n",
          text::xml(box.title), box.x - box.width / 2, box.y, box.width, box.height, box.fill);
      for (std::size_t i = 0; i < box.lines.size(); ++i) {
        out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", box.x - box.width / 2 + kPadding,
                           box.y + kPadding + 9 + static_cast<double>(i) * kLine, text::xml(box.lines[i]));
      }
      out += "</g>\n";
    }
    return out + "</svg>\n";
  }

  static constexpr std::size_t kNone = ~std::size_t{0};
  const View& view_;
  std::map<std::uint32_t, std::size_t> step_of_;
  std::vector<Box> boxes_;
  std::vector<std::vector<std::size_t>> layers_;
  double width_ = 0, height_ = 0;
};

}  // namespace

Result<std::string> draw_svg(const View& view, std::span<const FusedStep> steps) {
  if (view.nodes().size() > kMostDrawn) {
    return Error(HAL_OUT_OF_RANGE, fmt::format("graph \"{}\" has {} nodes, pictures have at most {}", view.name(),
                                               view.nodes().size(), kMostDrawn));
  }
  return Picture(view, steps).draw();
}

}  // namespace hal::graph
