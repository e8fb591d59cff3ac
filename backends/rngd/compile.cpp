// SPDX-License-Identifier: Apache-2.0
#include "compile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backend.hpp"
#include "driver_kit/errors.hpp"
#include "graph/fuse.hpp"
#include "graph/plan.hpp"
#include "image/builder.hpp"

namespace hal::rngd_backend {

namespace {

namespace image = ::rngd::image;

// The image format uses hal.graph's numbers on purpose.
static_assert(static_cast<int>(image::Dtype::f32) == static_cast<int>(DType::f32) &&
              static_cast<int>(image::Dtype::bf16) == static_cast<int>(DType::bf16) &&
              static_cast<int>(image::Dtype::i32) == static_cast<int>(DType::i32) &&
              static_cast<int>(image::Dtype::u8) == static_cast<int>(DType::u8) &&
              static_cast<int>(image::Dtype::boolean) == static_cast<int>(DType::boolean));
static_assert(static_cast<int>(image::Expr::select) == static_cast<int>(graph::Opcode::select) &&
              static_cast<int>(image::Expr::mod) == static_cast<int>(graph::Opcode::mod) &&
              static_cast<int>(image::Expr::exp) == static_cast<int>(graph::Opcode::exp));
static_assert(static_cast<int>(image::ReduceOp::prod) == static_cast<int>(graph::ReduceOp::prod) &&
              static_cast<int>(image::ScatterMode::add) == static_cast<int>(graph::ScatterMode::add));
static_assert(image::kMaxInstructions >= graph::kMaxInstructions && image::kMaxStack >= graph::kMaxStackDepth &&
              image::kMaxInputs >= graph::kMaxNodeInputs && image::kMaxRank == graph::kMaxRank);

image::Dtype to_image(DType type) { return static_cast<image::Dtype>(type); }

bool runs(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::i32 || type == DType::u8 || type == DType::boolean;
}

class Compiler {
 public:
  Compiler(const graph::View& view, const CompileOptions& options)
      : view_(view), options_(options), builder_(options.pe_count), ids_(view.tensors().size()) {}

  Result<Compiled> run() {
    HAL_CHECK(check_types(view_));
    // The card's maps read their inputs as broadcasting does, and its other operations take whole tensors.
    graph::FuseOptions fusion;
    fusion.strided = fusion.reduce_prologue = fusion.contract_epilogue = false;
    const std::vector<graph::FusedStep> steps = graph::fuse(view_, fusion);
    HAL_TRY(const graph::Plan plan, graph::plan_memory(view_, steps, {.alignment = 64}));
    const bool on_chip = plan.arena_bytes <= options_.pe_count * image::kSramBytesPerPe;
    const auto arena = on_chip ? image::Location::sram : image::Location::scratch;
    const std::vector<std::uint32_t> shared = options_.shared ? shared_constants(view_) : std::vector<std::uint32_t>();
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      const graph::Tensor& tensor = view_.tensor(i);
      const auto type = to_image(tensor.dtype);
      if (std::ranges::binary_search(shared, i)) {
        ids_[i] = builder_.input(type, tensor.shape(), tensor.name);
        continue;
      }
      switch (tensor.role) {
        case graph::Role::input:
          ids_[i] = builder_.input(type, tensor.shape(), tensor.name);
          break;
        case graph::Role::output:
          ids_[i] = builder_.output(type, tensor.shape(), tensor.name);
          break;
        case graph::Role::constant:
          ids_[i] = builder_.constant(type, tensor.shape(), tensor.data, tensor.name);
          break;
        case graph::Role::intermediate:
          // Nobody writes or reads one without a place; it still has a number.
          ids_[i] = plan.offsets[i] == graph::kNotInArena
                        ? builder_.sram(type, tensor.shape())
                        : builder_.placed(type, tensor.shape(), arena, plan.offsets[i]);
          break;
      }
    }
    Compiled result;
    for (const graph::FusedStep& step : steps) {  // constants are none: their bytes lie in HBM already
      emit(step);
      result.labels.push_back(view_.node_label(step.node));
    }
    result.image = builder_.finish();
    return result;
  }

 private:
  void emit(const graph::FusedStep& step) {
    const graph::Node& node = view_.nodes()[step.node];
    std::vector<std::uint32_t> in;
    step.each_read([&](const graph::Access& access) { in.push_back(ids_[access.tensor]); });
    const std::uint32_t out = ids_[step.output];
    switch (step.op) {
      case graph::Op::contract:
        return contract(node, in, out);
      case graph::Op::map:
        return map(step, in, out);
      case graph::Op::reduce: {
        const auto& a = node.as<graph::ReduceAttributes>();
        return builder_.reduce(in[0], out,
                               {a.axes, static_cast<std::uint8_t>(a.op), static_cast<std::uint8_t>(a.keep_dims ? 1 : 0),
                                static_cast<std::uint8_t>(a.accumulate), 0});
      }
      case graph::Op::view: {
        image::ViewAttributes view{};
        view.offset = step.inputs[0].offset;
        std::ranges::copy(step.inputs[0].strides, view.strides);
        return builder_.view(in[0], out, view);
      }
      case graph::Op::gather:
        return builder_.gather(in[0], in[1], out, node.as<graph::GatherAttributes>().axis);
      case graph::Op::scatter: {
        const auto& a = node.as<graph::ScatterAttributes>();
        return builder_.scatter(in[0], in[1], in[2], out, a.axis, static_cast<image::ScatterMode>(a.mode));
      }
      case graph::Op::pad: {
        const auto& a = node.as<graph::PadAttributes>();
        image::PadAttributes pad{};
        std::ranges::copy(a.low, pad.low);
        std::ranges::copy(a.high, pad.high);
        pad.value = a.value;
        return builder_.pad(in[0], out, pad);
      }
      case graph::Op::convert:
        return builder_.convert(in[0], out);
      case graph::Op::concat:
        return builder_.concat(in, out, node.as<graph::ConcatAttributes>().axis);
      case graph::Op::constant:
        return;
    }
  }

  void contract(const graph::Node& node, const std::vector<std::uint32_t>& in, std::uint32_t out) {
    const auto& a = node.as<graph::ContractAttributes>();
    const graph::Tensor &left = view_.tensor(node.inputs[0]), &right = view_.tensor(node.inputs[1]);
    image::ContractAttributes to{};
    to.rank_a = static_cast<std::uint8_t>(left.rank);
    to.rank_b = static_cast<std::uint8_t>(right.rank);
    to.rank_out = static_cast<std::uint8_t>(view_.tensor(node.output).rank);
    to.accumulate = static_cast<std::uint8_t>(a.accumulate);
    const bool rounds = left.dtype == DType::f32 && options_.round_f32;
    const bool tensor_unit = left.dtype == DType::bf16 || rounds;
    to.unit = static_cast<std::uint8_t>(tensor_unit ? image::Unit::tensor : image::Unit::vector);
    to.flags = rounds ? image::kRoundOperands : 0;
    std::ranges::copy(a.left, to.a);
    std::ranges::copy(a.right, to.b);
    std::ranges::copy(a.out, to.out);
    builder_.contract(in[0], in[1], out, to);
  }

  void map(const graph::FusedStep& step, const std::vector<std::uint32_t>& in, std::uint32_t out) {
    std::vector<image::Instruction> code;
    code.reserve(step.code.size());
    for (const graph::Instruction& at : step.code) {
      code.push_back({static_cast<std::uint8_t>(at.opcode), at.input, 0, 0, at.constant});
    }
    builder_.map(in, out, step.integer() ? image::Dtype::i32 : image::Dtype::f32, code);
  }

  const graph::View& view_;
  const CompileOptions& options_;
  image::Builder builder_;
  std::vector<std::uint32_t> ids_;
};

}  // namespace

std::vector<std::uint32_t> shared_constants(const graph::View& view) {
  constexpr std::uint64_t kWorthSharing = 4096;  // an allocation's least
  constexpr std::size_t kMostBindings = 4096;    // of an image
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < view.tensors().size() && view.parameter_count() + out.size() < kMostBindings; ++i) {
    const graph::Tensor& tensor = view.tensor(i);
    if (tensor.role == graph::Role::constant && tensor.bytes >= kWorthSharing) { out.push_back(i); }
  }
  return out;
}

Result<void> check_types(const graph::View& view) {
  const auto refuse = [](const std::string& who, DType type) {
    return kit::error(
        kOrigin, HAL_UNSUPPORTED,
        fmt::format("{} has type {}; the emulated RNGD runs f32, bf16, i32, u8 and bool", who, dtype_name(type)));
  };
  for (std::size_t i = 0; i < view.nodes().size(); ++i) {
    const graph::Node& node = view.nodes()[i];
    for (const std::uint32_t input : node.inputs) {
      const DType type = view.tensor(input).dtype;
      if (!runs(type)) { return refuse(fmt::format("an input of {}", view.node_label(i)), type); }
    }
    const DType type = view.tensor(node.output).dtype;
    if (!runs(type)) { return refuse(view.node_label(i), type); }
    const bool wide =
        (node.op == graph::Op::contract && node.as<graph::ContractAttributes>().accumulate == DType::f64) ||
        (node.op == graph::Op::reduce && node.as<graph::ReduceAttributes>().accumulate == DType::f64);
    if (wide) { return refuse(fmt::format("the accumulator of {}", view.node_label(i)), DType::f64); }
  }
  for (std::size_t i = 0; i < view.parameter_count(); ++i) {
    const graph::Tensor& tensor = view.tensor(i);
    if (!runs(tensor.dtype)) { return refuse(fmt::format("parameter \"{}\"", tensor.name), tensor.dtype); }
  }
  return {};
}

Result<Compiled> compile(const graph::View& view, const CompileOptions& options) {
  return Compiler(view, options).run();
}

}  // namespace hal::rngd_backend
