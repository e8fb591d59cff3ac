// SPDX-License-Identifier: Apache-2.0
#include "graph/fuse.hpp"

#include <cstring>
#include <halyard_catch.hpp>

#include "graph/element.hpp"
#include "graph/expression.hpp"
#include "graph/nn_test_tools.hpp"
#include "graph/plan.hpp"
#include "graph/random_graph.hpp"
#include "hal/nn.hpp"

namespace {

using namespace hal::graph;
using namespace hal::graph::testing;
namespace nn = hal::nn;
using hal::DType;

// Runs steps one element at a time in the arena of a plan, so that a wrong offset destroys a value that is still
// needed.
class Machine {
 public:
  Machine(const View& view, const std::vector<FusedStep>& steps, const Plan& plan,
          const std::vector<std::vector<std::byte>>& inputs)
      : view_(view), arena_(plan.arena_bytes, std::byte{0x5A}), tensors_(view.tensors().size()) {
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      const Tensor& tensor = view.tensor(t);
      if (tensor.role == Role::input) {
        tensors_[t] = const_cast<std::byte*>(inputs[t].data());
      } else if (tensor.role == Role::constant) {
        tensors_[t] = const_cast<std::byte*>(tensor.data.data());
      } else if (tensor.role == Role::output) {
        outputs.emplace_back(tensor.bytes);
      } else if (plan.offsets[t] != kNotInArena) {
        tensors_[t] = arena_.data() + plan.offsets[t];
      }
    }
    for (std::size_t o = 0; o < outputs.size(); ++o) { tensors_[view.inputs().size() + o] = outputs[o].data(); }
    for (const FusedStep& step : steps) { run(step); }
  }
  std::vector<std::vector<std::byte>> outputs;

 private:
  double load(const Access& access, const Shape& at) const {
    std::int64_t place = access.offset;
    for (std::size_t d = 0; d < at.size(); ++d) { place += at[d] * access.strides[d]; }
    const Tensor& tensor = view_.tensor(access.tensor);
    REQUIRE((place >= 0 && place < tensor.elements));
    return load_element(tensor.dtype, tensors_[access.tensor], place);
  }
  void store(const FusedStep& step, std::int64_t place, double value) {
    const DType type = view_.tensor(step.output).dtype;
    if (is_floating(type) || is_floating_step(step)) {
      return store_element(type, tensors_[step.output], place, value);
    }
    store_wrapped(type, tensors_[step.output], place, static_cast<std::int64_t>(value));
  }
  static bool is_floating_step(const FusedStep& step) { return (step.op == Op::map) && !step.integer(); }

  double code(const FusedStep& step, const Shape& at, const double* sum) const {
    std::vector<double> reals;
    if (sum != nullptr) { reals.push_back(*sum); }
    for (const Access& access : step.inputs) { reals.push_back(load(access, at)); }
    if (!step.integer()) { return evaluate_expression(step.code, reals); }
    std::vector<std::int32_t> wholes;
    for (const double real : reals) { wholes.push_back(static_cast<std::int32_t>(real)); }
    return evaluate_expression(step.code, wholes);
  }

  void run(const FusedStep& step) {
    const Node& node = view_.nodes()[step.node];
    const Tensor& out = view_.tensor(step.output);
    std::int64_t next = 0;
    switch (step.op) {
      case Op::map:
        return each(step.domain, [&](const Shape& at) { store(step, next++, code(step, at, nullptr)); });
      case Op::view:
        return each(step.domain, [&](const Shape& at) {
          store_element(out.dtype, tensors_[step.output], next++, load(step.inputs[0], at));
        });
      case Op::reduce: {
        const auto& a = node.as<ReduceAttributes>();
        Grid held{Shape(out.shape().begin(), out.shape().end())};
        std::vector<bool> begun(held.values.size());
        each(step.domain, [&](const Shape& at) {
          std::int64_t to = 0;
          for (std::size_t d = 0; d < at.size(); ++d) {
            if (((a.axes >> d) & 1U) == 0) { to = to * step.domain[d] + at[d]; }
          }
          const double value = code(step, at, nullptr);
          double& place = held.values[static_cast<std::size_t>(to)];
          place = !begun[static_cast<std::size_t>(to)] ? value
                  : a.op == ReduceOp::sum              ? place + value
                  : a.op == ReduceOp::max              ? std::max(place, value)
                                                       : place * value;
          begun[static_cast<std::size_t>(to)] = true;
        });
        for (const double value : held.values) { store(step, next++, value); }
        return;
      }
      case Op::contract:
        return contract(step, node);
      default:
        return other(step, node);
    }
  }

  void contract(const FusedStep& step, const Node& node) {
    const auto& a = node.as<ContractAttributes>();
    const Tensor& sum = view_.tensor(node.output);
    const Tensor& left = view_.tensor(node.inputs[0]);
    const Tensor& right = view_.tensor(node.inputs[1]);
    std::array<std::int64_t, kMaxLabels> size{}, at{};
    for (std::size_t d = 0; d < left.rank; ++d) { size[a.left[d]] = left.dims[d]; }
    for (std::size_t d = 0; d < right.rank; ++d) { size[a.right[d]] = right.dims[d]; }
    std::vector<std::uint8_t> summed;
    for (std::uint8_t label = 0; label < kMaxLabels; ++label) {
      const auto kept = std::span(a.out).first(sum.rank);
      if (size[label] != 0 && std::ranges::find(kept, label) == kept.end()) { summed.push_back(label); }
    }
    Shape inner;
    for (const std::uint8_t label : summed) { inner.push_back(size[label]); }
    std::vector<double> sums;
    each(Shape(sum.shape().begin(), sum.shape().end()), [&](const Shape& index) {
      for (std::size_t d = 0; d < sum.rank; ++d) { at[a.out[d]] = index[d]; }
      double total = 0;
      each(inner, [&](const Shape& k) {
        for (std::size_t i = 0; i < summed.size(); ++i) { at[summed[i]] = k[i]; }
        Shape l, r;
        for (std::size_t d = 0; d < left.rank; ++d) { l.push_back(at[a.left[d]]); }
        for (std::size_t d = 0; d < right.rank; ++d) { r.push_back(at[a.right[d]]); }
        total += load(step.operands[0], l) * load(step.operands[1], r);
      });
      sums.push_back(total);
    });
    std::int64_t next = 0;
    if (step.code.empty()) {
      for (const double value : sums) { store(step, next++, value); }
      return;
    }
    each(step.domain, [&](const Shape& index) {
      std::array<std::byte, 8> rounded{};
      store_element(step.compute, rounded.data(), 0, sums[static_cast<std::size_t>(next)]);
      const double value = load_element(step.compute, rounded.data(), 0);
      store(step, next++, code(step, index, &value));
    });
  }

  // Nodes that are never fused: the oracle runs a graph of just that node, over copies of its operands.
  void other(const FusedStep& step, const Node& node) {
    GraphBuilder b("one");
    std::vector<Value> values;
    std::vector<std::vector<std::byte>> bytes;
    for (const std::uint32_t input : node.inputs) {
      const Tensor& x = view_.tensor(input);
      values.push_back(
          b.input("x" + std::to_string(values.size()), x.dtype, Shape(x.shape().begin(), x.shape().end())));
      bytes.emplace_back(tensors_[input], tensors_[input] + x.bytes);
    }
    Value y;
    const std::size_t rank = view_.tensor(node.inputs[0]).rank;
    const auto list = [&](const Extents& extents) {
      return Shape(extents.begin(), extents.begin() + static_cast<int>(rank));
    };
    switch (node.op) {
      case Op::gather:
        y = b.gather(values[0], values[1], node.as<GatherAttributes>().axis);
        break;
      case Op::pad: {
        const auto& a = node.as<PadAttributes>();
        y = b.pad(values[0], list(a.low), list(a.high), a.value);
        break;
      }
      case Op::concat:
        y = b.concat(values, node.as<ConcatAttributes>().axis);
        break;
      default:
        y = b.convert(values[0], view_.tensor(node.output).dtype);
    }
    b.output("y", y);
    const auto out = testing::run(b, bytes)[0];
    std::memcpy(tensors_[step.output], out.data(), out.size());
  }

  const View& view_;
  std::vector<std::byte> arena_;
  std::vector<std::byte*> tensors_;
};

std::vector<FusedStep> steps_of(const GraphBuilder& b, const FuseOptions& options = {}) {
  const auto bytes = b.finish().value();
  return fuse(View::verify(bytes).value(), options);
}

}  // namespace

TEST_CASE("fuse: random graphs mean the same, in any arena, with any of the options") {
  const FuseOptions all{};
  FuseOptions forward = all, few = all, plain = all, maps = FuseOptions::none(), views = FuseOptions::none();
  forward.negative_strides = false;
  plain.strided = plain.reduce_prologue = plain.contract_epilogue = false;
  few.max_inputs = 3;
  few.max_code = 6;
  maps.maps = true;
  views.views = true;
  std::size_t before = 0, after = 0, in_place = 0, epilogues = 0, prologues = 0;
  for (std::uint32_t seed = 1; seed <= 400; ++seed) {
    const RandomGraph graph = random_graph(seed, 12 + seed % 40);
    const View view = View::verify(graph.bytes).value();
    const std::vector<std::span<const std::byte>> spans(graph.inputs.begin(), graph.inputs.end());
    const auto expected = evaluate_reference(view, spans).value();
    CAPTURE(seed);
    for (const FuseOptions& options : {all, forward, few, plain, maps, views, FuseOptions::none()}) {
      const auto steps = fuse(view, options);
      const Plan plan = plan_memory(view, steps, {.alignment = 1, .in_place = true}).value();
      REQUIRE(Machine(view, steps, plan, graph.inputs).outputs == expected);
      const Plan apart = plan_memory(view, steps, {.alignment = 64, .in_place = false}).value();
      REQUIRE(Machine(view, steps, apart, graph.inputs).outputs == expected);
      REQUIRE(apart.in_place == 0);
      REQUIRE(apart.arena_bytes >= apart.live_bytes_peak);
      REQUIRE(apart.arena_bytes <= apart.total_bytes);
      in_place += plan.in_place;
    }
    const auto fused = fuse(view);
    before += fuse(view, FuseOptions::none()).size();
    after += fused.size();
    for (const FusedStep& step : fused) {
      epilogues += step.op == Op::contract && !step.code.empty() ? 1U : 0U;
      prologues += step.op == Op::reduce && step.code.size() > 1 ? 1U : 0U;
    }
    for (const FusedStep& step : fuse(view, forward)) {
      if (step.op == Op::view) { continue; }
      step.each_read([](const Access& access) { CHECK(*std::ranges::min_element(access.strides) >= 0); });
    }
    for (const FusedStep& step : fuse(view, plain)) {
      if (step.op != Op::map) { continue; }
      for (const Access& access : step.inputs) {
        CHECK(access.offset == 0);
        CHECK(broadcast_strides(view.tensor(access.tensor).shape(), step.domain));
      }
    }
    for (const FusedStep& step : fuse(view, few)) {
      CHECK((step.code.size() <= 6 || step.nodes.size() == 1));
      CHECK((step.inputs.size() <= 3 || step.nodes.size() == 1 || step.op == Op::concat));
    }
  }
  CHECK(after * 10 < before * 8);
  CHECK(in_place > 100);
  CHECK(epilogues > 20);
  CHECK(prologues > 20);
}

TEST_CASE("fuse: layers become as few steps as they can") {
  GraphBuilder dense("dense");
  const Value x = dense.input("x", DType::bf16, {4, 8});
  const Value bias = dense.input("bias", DType::bf16, {5});
  dense.output("y", nn::gelu(dense, nn::dense(dense, x, dense.input("w", DType::bf16, {8, 5}), bias)));
  // The sum is f32 and so is the bias added; but the layer's result is bf16, which rounds before the activation.
  const auto steps = steps_of(dense);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].op == Op::contract);
  CHECK(steps[0].code.size() == 3);
  CHECK(steps[0].nodes.size() == 2);
  CHECK(steps[1].op == Op::map);

  GraphBuilder wide("wide");
  const Value wx = wide.input("x", DType::f32, {4, 8});
  const Value wb = wide.input("bias", DType::f32, {5});
  wide.output("y", nn::gelu(wide, nn::dense(wide, wx, wide.input("w", DType::f32, {8, 5}), wb)));
  // gelu reads the sum twice, but adding the bias twice is cheaper than storing it.
  CHECK(steps_of(wide).size() == 1);

  GraphBuilder softmax("softmax");
  softmax.output("y", nn::softmax(softmax, softmax.input("x", DType::f32, {4, 8})));
  // Exponentials are dear and read twice: they are stored.
  CHECK(steps_of(softmax).size() == 4);

  GraphBuilder norm("norm");
  norm.output("y", nn::rms_norm(norm, norm.input("x", DType::f32, {4, 8})));
  // The squares go into the reduction.
  const auto two = steps_of(norm);
  REQUIRE(two.size() == 2);
  CHECK(two[0].op == Op::reduce);
  CHECK(two[0].code.size() == 3);

  GraphBuilder conv("conv");
  const Value image = conv.input("x", DType::f32, {1, 6, 6, 2});
  conv.output("y", nn::relu(conv, nn::conv(conv, image, conv.input("w", DType::f32, {3, 3, 2, 4}))));
  // The windows are strides of the contraction.
  const auto one = steps_of(conv);
  REQUIRE(one.size() == 1);
  CHECK(one[0].nodes.size() == 3);
  CHECK(one[0].operands[0].tensor == 0);
}

TEST_CASE("fuse: what would round, or be computed again, stays") {
  const auto count = [](const std::function<void(GraphBuilder&)>& build) {
    GraphBuilder b("stays");
    build(b);
    return steps_of(b).size();
  };
  // bf16 between two maps rounds.
  CHECK(count([](GraphBuilder& b) {
          b.output("y", b.map({b.map({b.input("x", DType::bf16, {4})}, arg(0) + 1.0)}, arg(0) * 2.0));
        }) == 2);
  // i8 between two integer maps wraps.
  CHECK(count([](GraphBuilder& b) {
          b.output("y", b.map({b.map({b.input("x", DType::i8, {4})}, arg(0) + arg(0))}, arg(0) * 2.0));
        }) == 2);
  // A bool that is no comparison is cut to 0 or 1.
  CHECK(count([](GraphBuilder& b) {
          const Value x = b.input("x", DType::f32, {4});
          b.output("y", b.map({b.map({x}, arg(0) * 3.0, DType::boolean)}, arg(0) * 2.0, DType::f32));
        }) == 2);
  CHECK(count([](GraphBuilder& b) {
          const Value x = b.input("x", DType::f32, {4});
          b.output("y", b.map({b.map({x}, arg(0) < 3.0, DType::boolean), x}, select(arg(0), arg(1), 0.0), DType::f32));
        }) == 1);
  // An exponential that is repeated over rows.
  CHECK(count([](GraphBuilder& b) {
          const Value e = b.map({b.input("x", DType::f32, {4})}, exp(arg(0)));
          b.output("y", b.map({b.input("z", DType::f32, {9, 4}), e}, arg(0) * arg(1)));
        }) == 2);
  // An output is stored, whoever reads it too.
  CHECK(count([](GraphBuilder& b) {
          const Value y = b.map({b.input("x", DType::f32, {4})}, arg(0) + 1.0);
          b.output("y", y);
          b.output("z", b.map({y}, arg(0) * 2.0));
        }) == 2);
  // A sum that is stored as bf16 rounds before the bias.
  CHECK(count([](GraphBuilder& b) {
          const Value x = b.input("x", DType::bf16, {4, 4});
          b.output("y", b.map({b.contract("ik,kj->ij", x, x)}, arg(0) + 1.0));
        }) == 2);
  // A result nobody reads is not computed; a look-up nobody reads may still fail.
  CHECK(count([](GraphBuilder& b) {
          const Value x = b.input("x", DType::f32, {4});
          b.map({b.map({x}, exp(arg(0)))}, arg(0) + 1.0);
          b.gather(x, b.input("i", DType::i32, {2}), 0);
          b.output("y", b.map({x}, -arg(0)));
        }) == 2);
}

TEST_CASE("fuse: a walk over a view is a walk over its source, or none") {
  const auto walk = [](Shape through, Access source, Shape domain, Access access) {
    source.tensor = 7;
    const auto found = compose(access, domain, through, source);
    if (!found) { return std::string("none"); }
    // Element by element, through both.
    std::string wrong = "same";
    each(domain, [&](const Shape& at) {
      std::int64_t line = access.offset;
      std::int64_t direct = found->offset;
      for (std::size_t d = 0; d < at.size(); ++d) {
        line += at[d] * access.strides[d];
        direct += at[d] * found->strides[d];
      }
      std::int64_t expected = source.offset;
      for (std::size_t d = through.size(); d-- > 0; line /= through[d]) {
        expected += line % through[d] * source.strides[d];
      }
      if (expected != direct) { wrong = "different"; }
    });
    return wrong;
  };
  // A slice of a transpose.
  CHECK(walk({4, 3}, {0, 0, {1, 4}}, {2, 2}, {0, 4, {3, 1}}) == "same");
  // Joining what a transpose took apart.
  CHECK(walk({4, 3}, {0, 0, {1, 4}}, {12}, {0, 0, {1}}) == "none");
  // Joining neighbours that the source has in a row; splitting one.
  CHECK(walk({4, 3}, {0, 5, {3, 1}}, {12}, {0, 0, {1}}) == "same");
  CHECK(walk({12}, {0, 2, {2}}, {3, 4}, {0, 0, {4, 1}}) == "same");
  CHECK(walk({12}, {0, 2, {2}}, {4, 3}, {0, 1, {-1, 0}}) == "none");  // no walk at all: it leaves the tensor
  CHECK(walk({12}, {0, 40, {-2}}, {4, 3}, {0, 8, {-1, 1}}) == "same");
  // A walk that carries from one row into the next.
  CHECK(walk({4, 3}, {0, 0, {10, 1}}, {5}, {0, 1, {2}}) == "none");
  CHECK(walk({4, 3}, {0, 0, {10, 1}}, {2}, {0, 0, {2}}) == "same");
  // Diagonals: one step along two dimensions is none of theirs.
  CHECK(walk({4, 3}, {0, 0, {10, 1}}, {3}, {0, 0, {4}}) == "none");
}
