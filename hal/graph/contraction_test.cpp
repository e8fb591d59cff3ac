// SPDX-License-Identifier: Apache-2.0
#include "graph/contraction.hpp"

#include <halyard_catch.hpp>

#include "graph/cases.hpp"
#include "graph/compare.hpp"
#include "graph/element.hpp"
#include "graph/test_tensors.hpp"

namespace {

using namespace hal::graph;
using hal::DType;

struct Built {
  std::vector<std::byte> bytes;
  Contraction contraction;
};

Contraction classify(const char* einsum, Shape left, Shape right) {
  GraphBuilder b("einsum");
  const auto x = b.input("x", DType::f32, std::move(left));
  b.output("z", b.contract(einsum, x, b.input("y", DType::f32, std::move(right))));
  const auto bytes = b.finish().value();
  const auto view = View::verify(bytes).value();
  return classify_contraction(view, view.nodes()[0]);
}

struct Place {
  std::int64_t left = 0, right = 0, out = 0;
};

// Calls `body` at each combination of the loops.
template <class Body>
void visit(std::span<const Loop> loops, Place at, const Body& body) {
  if (loops.empty()) {
    body(at);
    return;
  }
  const Loop& loop = loops[0];
  for (std::int64_t i = 0; i < loop.size; ++i) {
    visit(loops.subspan(1), at, body);
    at.left += loop.left;
    at.right += loop.right;
    at.out += loop.out;
  }
}

}  // namespace

TEST_CASE("contraction: a matrix product is one loop a group") {
  const auto matmul = classify("mk,kn->mn", {5, 7}, {7, 3}).matmul();
  REQUIRE(matmul);
  CHECK(matmul->batch == Loop{});
  CHECK(matmul->m == Loop{5, 7, 0, 3});
  CHECK(matmul->n == Loop{3, 0, 1, 1});
  CHECK(matmul->k == Loop{7, 1, 3, 0});
}

TEST_CASE("contraction: neighbouring loops merge") {
  const auto conv = classify("nyxhwc,hwco->nyxo", {2, 4, 4, 3, 3, 8}, {3, 3, 8, 16}).matmul();
  REQUIRE(conv);
  CHECK(conv->m == Loop{32, 72, 0, 16});
  CHECK(conv->n == Loop{16, 0, 1, 1});
  CHECK(conv->k == Loop{72, 1, 16, 0});
  const auto batched = classify("abmk,abkn->abmn", {2, 3, 4, 5}, {2, 3, 5, 6}).matmul();
  REQUIRE(batched);
  CHECK(batched->batch == Loop{6, 20, 30, 24});
}

TEST_CASE("contraction: loops that do not merge stay apart") {
  const Contraction apart = classify("amk,kbn->manb", {2, 3, 4}, {4, 5, 6});
  CHECK_FALSE(apart.matmul());
  CHECK(apart.m_size() == 6);
  CHECK(apart.n_size() == 30);
  CHECK(apart.k_size() == 4);
  CHECK(apart.batch_size() == 1);
  CHECK(apart.multiply_adds() == 720);
}

TEST_CASE("contraction: sizes of 1 vanish and lone summed labels have stride 0") {
  const auto ones = classify("amk,kn->amn", {1, 1, 4}, {4, 1}).matmul();
  REQUIRE(ones);
  CHECK(ones->m == Loop{});
  CHECK(ones->n == Loop{});
  const Contraction lone = classify("mkj,kn->mn", {3, 4, 2}, {4, 5});
  REQUIRE(lone.k.size() == 2);
  CHECK(lone.k[0] == Loop{4, 2, 5, 0});
  CHECK(lone.k[1] == Loop{2, 1, 0, 0});
}

TEST_CASE("contraction: the groups compute what the einsum means") {
  int seen = 0;
  for (const Case& test : graph_cases()) {
    const auto view = View::verify(test.bytes).value();
    if (view.nodes().size() != 1 || view.nodes()[0].op != Op::contract) { continue; }
    CAPTURE(test.name);
    const Contraction c = classify_contraction(view, view.nodes()[0]);
    std::vector<Loop> loops = c.batch;
    for (const auto* group : {&c.m, &c.n, &c.k}) { loops.insert(loops.end(), group->begin(), group->end()); }
    const Tensor& out = view.outputs()[0];
    std::vector<double> sums(static_cast<std::size_t>(out.elements));
    const DType type = view.tensor(0).dtype;
    visit(std::span<const Loop>(loops), {}, [&](const Place& at) {
      sums[static_cast<std::size_t>(at.out)] +=
          load_element(type, test.inputs[0].data(), at.left) * load_element(type, test.inputs[1].data(), at.right);
    });
    std::vector<std::byte> found(out.bytes);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      if (is_floating(type)) {
        store_element(out.dtype, found.data(), index, sums[i]);
      } else {
        store_wrapped(out.dtype, found.data(), index, static_cast<std::int64_t>(sums[i]));
      }
    }
    const Comparison same = compare(out.dtype, found, expected_outputs(test).value()[0], {});
    CHECK(same.text() == compare(out.dtype, found, found, {}).text());
    ++seen;
  }
  CHECK(seen >= 45);
}
