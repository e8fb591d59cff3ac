// SPDX-License-Identifier: Apache-2.0
// What people look at: pictures, steps as text, differences; and the graphs that show intermediates.
#include <array>
#include <halyard_catch.hpp>
#include <sstream>

#include "graph/cases.hpp"
#include "graph/difference.hpp"
#include "graph/draw.hpp"
#include "graph/nn_test_tools.hpp"
#include "graph/print.hpp"
#include "graph/probe.hpp"
#include "graph/random_graph.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
namespace nn = hal::nn;
using Catch::Matchers::Contains;
using hal::DType;

struct Rectangle {
  double x, y, width, height;
  bool meets(const Rectangle& o) const {
    return x < o.x + o.width && o.x < x + width && y < o.y + o.height && o.y < y + height;
  }
};

// What stands in quotes behind each `start` of a tag, as numbers.
std::vector<std::vector<double>> numbers_behind(const std::string& svg, const std::string& start) {
  std::vector<std::vector<double>> out;
  for (std::size_t at = svg.find(start); at != std::string::npos; at = svg.find(start, at)) {
    at += start.size();
    std::istringstream quoted(svg.substr(at, svg.find('>', at) - at));
    std::vector<double>& numbers = out.emplace_back();
    for (std::string word; std::getline(quoted, word, '"') && std::getline(quoted, word, '"');) {
      std::istringstream words(word);
      for (double number = 0; words >> number;) { numbers.push_back(number); }
    }
  }
  return out;
}

std::vector<Rectangle> boxes_of(const std::string& svg) {
  std::vector<Rectangle> out;
  for (const std::vector<double>& numbers : numbers_behind(svg, "<rect x=")) {
    REQUIRE(numbers.size() >= 4);
    out.push_back({numbers[0], numbers[1], numbers[2], numbers[3]});
  }
  return out;
}

std::string picture(const View& view) { return draw_svg(view, fuse(view)).value(); }

}  // namespace

TEST_CASE("draw: a box for everything, none over another, all inside, always the same") {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    const RandomGraph graph = random_graph(seed, 20 + seed * 4);
    const View view = View::verify(graph.bytes).value();
    const std::string svg = picture(view);
    CHECK(svg == picture(view));
    std::size_t expected = view.inputs().size();
    for (const Node& node : view.nodes()) { expected += node.op == Op::constant ? 0U : 1U; }
    const auto boxes = boxes_of(svg);
    REQUIRE(boxes.size() == expected);
    const auto areas = numbers_behind(svg, "viewBox=");
    REQUIRE(areas.size() == 1);
    REQUIRE(areas[0].size() >= 4);
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      CHECK((boxes[i].x >= 0 && boxes[i].x + boxes[i].width <= areas[0][2]));
      CHECK((boxes[i].y >= 0 && boxes[i].y + boxes[i].height <= areas[0][3]));
      for (std::size_t j = 0; j < i; ++j) { REQUIRE_FALSE(boxes[i].meets(boxes[j])); }
    }
  }
}

TEST_CASE("draw: names are escaped, and there is an end to what is drawn") {
  GraphBuilder b("a<b>&\"c\"");
  const Value x = b.input("<x>&", DType::f32, {2});
  b.output("y", b.map({x}, select(arg(0) < 1.0, arg(0), 2.0)));
  const auto bytes = b.finish().value();
  const std::string svg = picture(View::verify(bytes).value());
  CHECK_THAT(svg, Contains("a&lt;b&gt;&amp;&quot;c&quot;") && Contains("&lt;x&gt;&amp;") && Contains("x0 &lt; 1"));
  CHECK_THAT(svg, !Contains("<x>"));

  GraphBuilder large("large");
  Value v = large.input("x", DType::f32, {2});
  for (std::size_t i = 0; i <= kMostDrawn; ++i) { v = large.map({v}, -arg(0)); }
  large.output("y", v);
  const auto many = large.finish().value();
  const View view = View::verify(many).value();
  CHECK_THAT(refusal(draw_svg(view, {}), HAL_OUT_OF_RANGE), Contains("2001 nodes, pictures have at most 2000"));
}

TEST_CASE("print: steps say what became of the nodes, and where results lie") {
  GraphBuilder b("layer");
  const Value x = b.input("x", DType::f32, {4, 8});
  const Value w = b.input("w", DType::f32, {5, 8});
  const Value bias = b.input("bias", DType::f32, {5});
  const Value y = nn::relu(b, nn::dense(b, x, b.transpose(w, {1, 0}), bias));
  b.output("y", nn::softmax(b, y));
  const auto bytes = b.finish().value();
  const View view = View::verify(bytes).value();
  const auto steps = fuse(view);
  const std::string text = print_steps(view, steps, plan_memory(view, steps).value());
  CHECK_THAT(text, Contains("5 of 8 nodes"));
  CHECK_THAT(text, Contains("as contract %7 = %0, %1 by [1, 8]; then max((sum + x0), 0) with x0 = %2 by [0, 1]"));
  CHECK_THAT(text, Contains("[0 to 80]") && Contains("bytes in one arena"));
}

TEST_CASE("probe: a graph that shows its intermediates computes what it did") {
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    const RandomGraph graph = random_graph(seed, 40);
    const View view = View::verify(graph.bytes).value();
    const std::vector<std::span<const std::byte>> inputs(graph.inputs.begin(), graph.inputs.end());
    const auto expected = evaluate_reference(view, inputs).value();
    std::vector<std::uint32_t> shown;
    for (const Node& node : view.nodes()) {
      if (node.op != Op::constant) { shown.push_back(node.output); }
    }
    const auto bytes = showing(view, shown).value();
    const View open = View::verify(bytes).value();
    REQUIRE(open.outputs().size() == shown.size());
    const auto found = evaluate_reference(open, inputs).value();
    for (std::size_t i = 0; i < shown.size(); ++i) {
      if (view.tensor(shown[i]).role == Role::output) { CHECK(found[i] == expected[shown[i] - view.inputs().size()]); }
    }
    // Only what is needed: the first node alone takes no others.
    const auto one = showing(view, std::span(shown).first(1)).value();
    CHECK(View::verify(one).value().nodes().size() <= 2);
  }
}

TEST_CASE("probe: every case survives being rebuilt") {
  for (const Case& test : graph_cases()) {
    INFO(test.name);
    const View view = View::verify(test.bytes).value();
    std::vector<std::uint32_t> outputs;
    for (std::size_t t = view.inputs().size(); t < view.parameter_count(); ++t) {
      outputs.push_back(static_cast<std::uint32_t>(t));
    }
    const auto bytes = showing(view, outputs).value();
    if (test.fails_out_of_range) { continue; }
    const std::vector<std::span<const std::byte>> inputs(test.inputs.begin(), test.inputs.end());
    CHECK(evaluate_reference(View::verify(bytes).value(), inputs).value() == expected_outputs(test).value());
  }
}

TEST_CASE("probe: random inputs keep indices inside the axis") {
  GraphBuilder b("indices");
  const Value x = b.input("x", DType::f32, {3, 2});
  const Value i = b.input("i", DType::i32, {4, 5});
  const Value mask = b.input("m", DType::boolean, {7});
  b.output("y", b.gather(x, b.reshape(i, {20}), 0));
  b.output("z", mask);
  const auto bytes = b.finish().value();
  const View view = View::verify(bytes).value();
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto inputs = random_inputs(view, seed);
    CHECK(inputs == random_inputs(view, seed));
    CHECK(inputs != random_inputs(view, seed + 1));
    for (const std::int32_t index : values_of<std::int32_t>(inputs[1])) { CHECK((index >= 0 && index < 3)); }
    for (const std::uint8_t truth : values_of<std::uint8_t>(inputs[2])) { CHECK(truth <= 1); }
  }
}

TEST_CASE("difference: what was added, taken away or connected otherwise") {
  const auto make = [](bool bias, bool swapped, float weight) {
    GraphBuilder b("net");
    const Value x = b.input("x", DType::f32, {2, 2});
    const Value y = b.input("y", DType::f32, {2, 2});
    const std::vector<float> numbers(4, weight);
    Value v = b.contract("ik,kj->ij", swapped ? y : x, b.constant({2, 2}, std::span<const float>(numbers)));
    if (bias) { v = b.map({v}, arg(0) + 1.0); }
    b.output("out", b.map({v, y}, max(arg(0), arg(1))));
    return b.finish().value();
  };
  const auto difference = [](const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
    return structural_difference(View::verify(a).value(), View::verify(b).value());
  };
  const auto plain = make(false, false, 1);
  CHECK(difference(plain, make(false, false, 1)) == "");
  const std::string added = difference(plain, make(true, false, 1));
  CHECK_THAT(added, Contains("+ node 2: map (x0 + 1) f32[2, 2]") && Contains("operand 0 of node 2 (map \"out\")"));
  CHECK_THAT(added, !Contains("\n- "));
  CHECK_THAT(difference(make(true, false, 1), plain), Contains("- node 2: map (x0 + 1)"));
  CHECK_THAT(difference(plain, make(false, true, 1)),
             Contains("operand 0 of node 1 (contract %4)") && Contains("%0 is now %1"));
  // Constants are compared by their bytes.
  CHECK_THAT(difference(plain, make(false, false, 2)),
             Contains("- node 0: constant") && Contains("+ node 0: constant"));
}

TEST_CASE("difference: graphs of any size, by no more than what they differ in") {
  // A chain of `count` maps, of which those at `other` are others, and `more` of another kind behind them.
  const auto chain = [](std::size_t count, const std::vector<std::size_t>& other, std::size_t more = 0) {
    GraphBuilder b("chain");
    Value v = b.input("x", DType::f32, {2});
    for (std::size_t i = 0; i < count; ++i) {
      const bool differs = std::ranges::find(other, i) != other.end();
      v = b.map({v}, arg(0) + (differs ? 0.5 : static_cast<double>(i % 7)));
    }
    for (std::size_t i = 0; i < more; ++i) { v = b.map({v}, arg(0) * static_cast<double>(i + 2)); }
    b.output("y", b.map({v}, -arg(0)));
    return b.finish().value();
  };
  using Counts = std::array<std::size_t, 3>;  // lines of one, of the other, operands
  const auto lines = [](const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
    const std::string text = structural_difference(View::verify(a).value(), View::verify(b).value());
    Counts counts{};
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
      ++counts[text[at] == '-' ? 0U : text[at] == '+' ? 1U : 2U];
    }
    return counts;
  };
  const auto large = chain(60'000, {});
  CHECK(lines(large, large) == Counts{0, 0, 0});
  const Counts few = lines(large, chain(60'000, {0, 31'000, 59'999}));
  CHECK(few[0] == 3);
  CHECK(few[1] == 3);
  CHECK(lines(large, chain(60'000, {}, 100)) == Counts{0, 100, 1});
  CHECK(lines(chain(60'000, {}, 100), large) == Counts{100, 0, 1});
  CHECK(lines(chain(3000, {}), chain(3000, {}, 4000)) == Counts{0, 4000, 1});
  // In more than is looked for: all is named, and what is the same in front is found.
  const Counts rest = lines(chain(300, {}, 10), chain(300, {}, 9000));
  CHECK(rest[1] - rest[0] == 8990);
  CHECK(rest[0] <= 1);
}
