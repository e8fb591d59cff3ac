// SPDX-License-Identifier: Apache-2.0
#include "graph/plan.hpp"

#include <halyard_catch.hpp>
#include <random>

#include "graph/cases.hpp"
#include "graph/test_tensors.hpp"

namespace {

using namespace hal::graph;
using hal::DType;

// Replays the nodes and says "" if no live tensor's bytes are given to another, else what went wrong.
std::string clash(const View& view, const Plan& plan, std::uint64_t alignment) {
  const std::size_t count = view.tensors().size();
  std::vector<std::size_t> last(count);
  for (std::size_t i = 0; i < view.nodes().size(); ++i) {
    for (const std::uint32_t input : view.nodes()[i].inputs) { last[input] = i; }
  }
  std::vector<std::uint32_t> live;
  for (std::size_t i = 0; i < view.nodes().size(); ++i) {
    const std::uint32_t out = view.nodes()[i].output;
    std::erase_if(live, [&](std::uint32_t tensor) { return last[tensor] < i; });
    const bool planned = plan.offsets[out] != kNotInArena;
    if (planned != (view.tensor(out).role == Role::intermediate)) { return "wrong tensors are in the arena"; }
    if (!planned) { continue; }
    const std::uint64_t begin = plan.offsets[out];
    const std::uint64_t end = begin + view.tensor(out).bytes;
    if (begin % alignment != 0 || end > plan.arena_bytes) { return "misplaced"; }
    for (const std::uint32_t other : live) {
      if (begin < plan.offsets[other] + view.tensor(other).bytes && plan.offsets[other] < end) { return "overlap"; }
    }
    live.push_back(out);
  }
  return "";
}

}  // namespace

TEST_CASE("plan: a chain needs two places") {
  for (const Case& test : graph_cases()) {
    if (test.name != "graph.chain") { continue; }
    const auto view = View::verify(test.bytes).value();
    const Plan plan = plan_memory(view).value();
    CHECK(plan.arena_bytes == 256);
    CHECK(plan.live_bytes_peak == 256);
  }
}

TEST_CASE("plan: no case's tensors overlap while they live") {
  for (const Case& test : graph_cases()) {
    const auto view = View::verify(test.bytes).value();
    for (const std::uint64_t alignment : {std::uint64_t{1}, std::uint64_t{64}, std::uint64_t{256}}) {
      CHECK(clash(view, plan_memory(view, alignment).value(), alignment).empty());
    }
  }
}

TEST_CASE("plan: random graphs stay sound and near the lower bound") {
  std::mt19937 random(7);
  double worst = 1;
  for (int round = 0; round < 100; ++round) {
    GraphBuilder b("random");
    std::vector<Value> values{b.input("x", DType::f32, {64})};
    for (int i = 0; i < 40; ++i) {
      const Value picked = values[random() % values.size()];
      const std::int64_t grow = 1 + static_cast<std::int64_t>(random() % 8);
      const std::int64_t size = b.shape(picked)[0];
      // Either grows a value by repeating it or shrinks it to its head.
      values.push_back(
          random() % 2 == 0 && size * grow < 100000
              ? b.view(picked, {size * grow}, 0, {0})
              : b.slice(picked, {0}, {1 + static_cast<std::int64_t>(random() % static_cast<unsigned>(size))}));
    }
    b.output("y", values.back());
    const auto bytes = b.finish().value();
    const auto view = View::verify(bytes).value();
    const Plan plan = plan_memory(view).value();
    REQUIRE(clash(view, plan, 64).empty());
    REQUIRE(plan.arena_bytes >= plan.live_bytes_peak);
    worst = std::max(worst, static_cast<double>(plan.arena_bytes) / static_cast<double>(plan.live_bytes_peak));
    CHECK(plan_memory(view).value().offsets == plan.offsets);
  }
  CHECK(worst < 1.5);
}

TEST_CASE("plan: bad alignments are refused") {
  const Case test = graph_cases().front();
  const auto view = View::verify(test.bytes).value();
  for (const std::uint64_t bad : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{8192}}) {
    CHECK(testing::refusal(plan_memory(view, bad), HAL_INVALID_ARGUMENT).find("power of two") != std::string::npos);
  }
}
