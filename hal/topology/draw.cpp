// SPDX-License-Identifier: Apache-2.0
// A machine as a picture: packages side by side, in each its memory nodes, in each CPUs and devices; below, devices
// that hang nowhere in particular.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "text/xml.hpp"
#include "topology/machine.hpp"

namespace hal::topology {
namespace {

constexpr int kNodeWidth = 320, kGap = 16, kLine = 20, kHead = 52;

struct Canvas {
  std::string body;
  int width = 0, height = 0;

  void box(int x, int y, int w, int h, const char* kind) {
    body +=
        fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"/>\n", kind, x, y, w, h);
    width = std::max(width, x + w + kGap);
    height = std::max(height, y + h + kGap);
  }
  void text(int x, int y, std::string_view what, const char* kind = "") {
    body += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\">{}</text>\n", kind, x, y, text::xml(what));
  }
};

std::string memory_text(std::uint64_t bytes) {
  return bytes >= 1U << 30U ? fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1U << 30U))
                            : fmt::format("{} MiB", bytes >> 20U);
}

void draw_devices(Canvas& canvas, int x, int y, int width, const std::vector<const Placed*>& devices) {
  for (const Placed* device : devices) {
    canvas.box(x, y, width, 2 * kLine, "device");
    canvas.text(x + 8, y + 15, device->label);
    canvas.text(x + 8, y + 33, device->place.how, "small");
    y += 2 * kLine + 6;
  }
}

}  // namespace

std::string draw(const Machine& machine, const std::vector<Placed>& devices) {
  std::map<std::uint32_t, std::vector<const Placed*>> at;
  for (const Placed& device : devices) { at[device.place.node].push_back(&device); }
  std::size_t most = 0;
  for (std::uint32_t i = 0; i < machine.nodes().size(); ++i) { most = std::max(most, at[i].size()); }
  const int node_height = kHead + static_cast<int>(most) * (2 * kLine + 6) + kGap;

  Canvas canvas;
  const hal_topology_info info = machine.describe();
  canvas.text(kGap, 24,
              fmt::format("{}: {} packages, {} memory nodes, {} cores, {} CPUs", info.source, info.packages, info.nodes,
                          info.cores, info.cpus));
  std::map<std::uint32_t, std::vector<std::uint32_t>> packages;
  for (std::uint32_t i = 0; i < machine.nodes().size(); ++i) { packages[machine.nodes()[i].package].push_back(i); }
  int x = kGap;
  for (const auto& [package, nodes] : packages) {
    const int height = 30 + static_cast<int>(nodes.size()) * (node_height + kGap);
    canvas.box(x, 40, kNodeWidth + 2 * kGap, height, "package");
    canvas.text(x + 8, 60, package == HAL_NO_PACKAGE ? "no package" : fmt::format("package {}", package));
    int y = 70;
    for (const std::uint32_t i : nodes) {
      const Machine::Node& node = machine.nodes()[i];
      canvas.box(x + kGap, y, kNodeWidth, node_height, "node");
      canvas.text(x + kGap + 8, y + 18, fmt::format("memory node {}: {}", i, memory_text(node.memory_bytes)));
      canvas.text(x + kGap + 8, y + 38, fmt::format("CPUs {} ({})", node.cpus, node.cpu_count), "small");
      draw_devices(canvas, x + 2 * kGap, y + kHead, kNodeWidth - 2 * kGap, at[i]);
      y += node_height + kGap;
    }
    x += kNodeWidth + 3 * kGap;
  }
  if (const auto& loose = at[HAL_ANY_NODE]; !loose.empty()) {
    const int y = canvas.height + 20;
    canvas.text(kGap, y, "near to no memory node more than to another");
    draw_devices(canvas, kGap, y + 10, kNodeWidth + 2 * kGap, loose);
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\">\n"
      "<style>text{{font:13px sans-serif}}.small{{font-size:11px;fill:#444}}rect{{stroke:#555;fill:#fff}}"
      ".package{{fill:#eef2f7}}.device{{fill:#ffe9c7}}</style>\n{2}</svg>\n",
      std::max(canvas.width, 560), canvas.height, canvas.body);
}

}  // namespace hal::topology
