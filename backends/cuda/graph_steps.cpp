// SPDX-License-Identifier: Apache-2.0
#include "graph_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "driver_kit/errors.hpp"
#include "graph/contraction.hpp"
#include "graph/element.hpp"
#include "graph/fuse.hpp"
#include "kernels/graph_kernels.hpp"

namespace hal::cuda {

namespace {

using graph::Op;
namespace k = kernels;

constexpr std::int64_t kMostElements = INT32_MAX;  // kernels count in 32 bits
constexpr std::uint32_t kBlock = GraphKernels::kBlock;

unsigned kernel_type(DType type) {
  switch (type) {
    case DType::f64:
      return k::kF64;
    case DType::i64:
      return k::kI64;
    case DType::f32:
      return k::kF32;
    case DType::bf16:
      return k::kBf16;
    case DType::f16:
      return k::kF16;
    case DType::f8e4m3:
      return k::kF8E4M3;
    case DType::f8e5m2:
      return k::kF8E5M2;
    case DType::i32:
      return k::kI32;
    case DType::i8:
      return k::kI8;
    case DType::u8:
      return k::kU8;
    case DType::boolean:
      return k::kBool;
    default:
      return 0;
  }
}

// Kernels come for four classes of numbers: what a map computes in, and what sums are kept in.
KernelId pick(DType computes, KernelId f32, KernelId i32, KernelId f64, KernelId i64) {
  if (computes == DType::f64) { return f64; }
  if (computes == DType::i64) { return i64; }
  return is_floating(computes) ? f32 : i32;
}
bool is_wide(DType computes) { return computes == DType::f64 || computes == DType::i64; }

Error unsupported(const graph::View& view, std::size_t node, const std::string& why) {
  return kit::error(kOrigin, HAL_UNSUPPORTED, fmt::format("{}: {}", view.node_label(node), why));
}

class Builder {
 public:
  Builder(const graph::View& view, std::span<const graph::FusedStep> fused) : view_(view), fused_(fused) {}

  Result<std::vector<Step>> run() {
    for (const graph::FusedStep& fused : fused_) {
      step_ = &fused;
      node_ = &view_.nodes()[fused.node];
      HAL_CHECK(node(fused.node));
    }
    return std::move(steps_);
  }

 private:
  const graph::Tensor& input(std::size_t i) const { return view_.tensor(node_->inputs[i]); }
  const graph::Tensor& output() const { return view_.tensor(step_->output); }

  template <class P>
  Step& add(KernelId kernel, const P& parameters, std::uint64_t threads) {
    static_assert(std::is_trivially_copyable_v<P>);
    Step& s = steps_.emplace_back();
    s.kernel = kernel;
    s.grid[0] = static_cast<std::uint32_t>((threads + kBlock - 1) / kBlock);
    s.parameters.resize(sizeof(P));
    std::memcpy(s.parameters.data(), &parameters, sizeof(P));
    return s;
  }
  static void slot(Step& s, std::size_t offset, std::uint32_t tensor) {
    s.slots.push_back({static_cast<std::uint32_t>(offset), tensor, 0});
  }
  // An operand that begins inside its tensor.
  void slot(Step& s, std::size_t offset, const graph::Access& access) const {
    const auto bytes = static_cast<std::int64_t>(size_of(view_.tensor(access.tensor).dtype));
    s.slots.push_back({static_cast<std::uint32_t>(offset), access.tensor, access.offset * bytes});
  }
  // Of four kernels for elements of 1, 2, 4 and 8 bytes, the first of which is named.
  static KernelId sized(KernelId first, DType type) {
    return static_cast<KernelId>(static_cast<int>(first) + std::countr_zero(size_of(type)));
  }

  Result<void> node(std::size_t n) {
    switch (step_->op) {
      case Op::contract:
        return contract(n);
      case Op::map:
        return map();
      case Op::reduce:
        return reduce();
      case Op::view:
        return view();
      case Op::gather:
        return gather();
      case Op::scatter:
        return scatter();
      case Op::pad:
        return pad();
      case Op::concat:
        return concat();
      case Op::convert:
        return convert();
      case Op::constant:
        return {};
    }
    return unsupported(view_, n, "an operation that CUDA does not know");
  }

  static void row_major(const graph::Tensor& t, int* strides) {
    std::int64_t stride = 1;
    for (std::size_t d = t.rank; d-- > 0;) {
      strides[d] = static_cast<int>(stride);
      stride *= t.dims[d];
    }
  }

  // Copies all of `from` (row-major) into `to` at an offset and with the strides of `to`, or the other way round.
  void strided(std::uint32_t to, std::uint32_t from, const graph::Tensor& shape, const int* to_stride, int to_offset,
               const int* from_stride, int from_offset) {
    k::StridedCopy c{};
    c.total = static_cast<unsigned>(shape.elements);
    c.rank = static_cast<int>(shape.rank);
    c.to_offset = to_offset;
    c.from_offset = from_offset;
    for (std::size_t d = 0; d < shape.rank; ++d) {
      c.size[d] = static_cast<unsigned>(shape.dims[d]);
      c.to_stride[d] = to_stride[d];
      c.from_stride[d] = from_stride[d];
    }
    Step& s = add(sized(KernelId::strided_copy_1, shape.dtype), c, c.total);
    slot(s, offsetof(k::StridedCopy, to), to);
    slot(s, offsetof(k::StridedCopy, from), from);
  }

  Result<void> view() {
    const graph::Access& a = step_->inputs[0];
    int to[graph::kMaxRank] = {}, from[graph::kMaxRank] = {};
    row_major(output(), to);
    // Every index lies inside the input, so strides that matter fit in 32 bits.
    for (std::size_t d = 0; d < output().rank; ++d) { from[d] = static_cast<int>(a.strides[d]); }
    strided(step_->output, a.tensor, output(), to, 0, from, static_cast<int>(a.offset));
    return {};
  }

  Result<void> pad() {
    const auto& a = node_->as<graph::PadAttributes>();
    std::byte value[8] = {};
    graph::store_element(output().dtype, value, 0, a.value);
    k::Fill f{};
    f.bytes = output().bytes;
    f.pattern_bytes = static_cast<unsigned>(size_of(output().dtype));
    std::memcpy(&f.pattern, value, f.pattern_bytes);
    slot(add(KernelId::fill, f, f.bytes), offsetof(k::Fill, to), node_->output);
    int to[graph::kMaxRank] = {}, from[graph::kMaxRank] = {};
    row_major(output(), to);
    row_major(input(0), from);
    int offset = 0;
    for (std::size_t d = 0; d < output().rank; ++d) { offset += static_cast<int>(a.low[d]) * to[d]; }
    strided(node_->output, node_->inputs[0], input(0), to, offset, from, 0);
    return {};
  }

  Result<void> concat() {
    const std::size_t axis = node_->as<graph::ConcatAttributes>().axis;
    int to[graph::kMaxRank] = {};
    row_major(output(), to);
    int offset = 0;
    for (std::size_t i = 0; i < node_->inputs.size(); ++i) {
      int from[graph::kMaxRank] = {};
      row_major(input(i), from);
      strided(node_->output, node_->inputs[i], input(i), to, offset, from, 0);
      offset += static_cast<int>(input(i).dims[axis]) * to[axis];
    }
    return {};
  }

  Result<void> convert() {
    k::Convert c{};
    c.total = static_cast<unsigned>(output().elements);
    c.to_type = kernel_type(output().dtype);
    c.from_type = kernel_type(input(0).dtype);
    const bool wide = is_wide(input(0).dtype) || is_wide(output().dtype);
    Step& s = add(wide ? KernelId::convert_wide : KernelId::convert, c, c.total);
    slot(s, offsetof(k::Convert, to), node_->output);
    slot(s, offsetof(k::Convert, from), node_->inputs[0]);
    return {};
  }

  Result<void> contract(std::size_t n) {
    const graph::Access &left = step_->operands[0], &right = step_->operands[1];
    const graph::Contraction c = graph::classify_contraction(view_, *node_, left.strides, right.strides);
    const DType sums = node_->as<graph::ContractAttributes>().accumulate;
    // The tiled kernel keeps f32 sums, and stores them unless something stands behind them.
    const auto product = c.matmul();
    if (product && input(0).dtype == DType::f32 && sums == DType::f32 &&
        (!step_->code.empty() || output().dtype == DType::f32) && product->m.size >= 8 && product->n.size >= 4 &&
        product->k.size >= 4 && product->batch.size <= 65535 && product->m.size <= 65535 * 16) {
      matmul(*product, left, right);
      return {};
    }
    if (c.batch.size() + c.m.size() + c.n.size() + c.k.size() > k::kContractLoops) {
      return unsupported(view_, n, fmt::format("more than {} loops after merging", k::kContractLoops));
    }
    const KernelId kernel =
        pick(sums, KernelId::contract_f32, KernelId::contract_i32, KernelId::contract_f64, KernelId::contract_i64);
    is_wide(sums) ? contract<k::WideContract>(c, kernel, left, right) : contract<k::Contract>(c, kernel, left, right);
    return {};
  }

  void matmul(const graph::Matmul& product, const graph::Access& left, const graph::Access& right) {
    k::MatmulMap p{};
    p.product.m = static_cast<int>(product.m.size);
    p.product.n = static_cast<int>(product.n.size);
    p.product.k = static_cast<int>(product.k.size);
    p.product.left_m = static_cast<int>(product.m.left);
    p.product.left_k = static_cast<int>(product.k.left);
    p.product.right_k = static_cast<int>(product.k.right);
    p.product.right_n = static_cast<int>(product.n.right);
    p.product.out_m = static_cast<int>(product.m.out);
    p.product.out_n = static_cast<int>(product.n.out);
    p.product.left_batch = product.batch.left;
    p.product.right_batch = product.batch.right;
    p.product.out_batch = product.batch.out;
    const bool plain = step_->code.empty();
    if (!plain) { fill(p.behind); }
    Step& s = plain ? add(KernelId::matmul, p.product, 1) : add(KernelId::matmul_map, p, 1);
    s.grid[0] = static_cast<std::uint32_t>((product.n.size + 15) / 16);
    s.grid[1] = static_cast<std::uint32_t>((product.m.size + 15) / 16);
    s.grid[2] = static_cast<std::uint32_t>(product.batch.size);
    slot(s, offsetof(k::MatmulMap, product) + offsetof(k::Matmul, left), left);
    slot(s, offsetof(k::MatmulMap, product) + offsetof(k::Matmul, right), right);
    if (plain) {
      slot(s, offsetof(k::Matmul, out), step_->output);
    } else {
      behind_slots<decltype(p.behind)>(s, offsetof(k::MatmulMap, behind));
    }
  }

  template <class C>
  void contract(const graph::Contraction& c, KernelId kernel, const graph::Access& left, const graph::Access& right) {
    C p{};
    p.total = static_cast<unsigned>(output().elements);
    p.type = kernel_type(input(0).dtype);
    p.k_outer = 1;
    std::size_t at = 0;
    const auto put = [&](const std::vector<graph::Loop>& loops) {
      for (const graph::Loop& l : loops) {
        p.size[at] = static_cast<unsigned>(l.size);
        p.left_stride[at] = static_cast<int>(l.left);
        p.right_stride[at] = static_cast<int>(l.right);
        p.out_stride[at] = static_cast<int>(l.out);
        ++at;
      }
    };
    put(c.batch);
    put(c.m);
    put(c.n);
    p.outer = static_cast<int>(at);
    put(c.k);
    p.inner = static_cast<int>(at) - p.outer;
    for (std::size_t i = 0; i + 1 < c.k.size(); ++i) { p.k_outer *= static_cast<unsigned>(c.k[i].size); }
    fill(p.behind);
    Step& s = add(kernel, p, p.total);
    slot(s, offsetof(C, left), left);
    slot(s, offsetof(C, right), right);
    behind_slots<decltype(p.behind)>(s, offsetof(C, behind));
  }

  // What follows the sum of a contraction: input 0 of its code, which no tensor holds.
  template <class B>
  void fill(B& behind) {
    behind.to_type = kernel_type(output().dtype);
    behind.rank = static_cast<int>(step_->domain.size());
    for (std::size_t d = 0; d < step_->domain.size(); ++d) { behind.size[d] = static_cast<unsigned>(step_->domain[d]); }
    fill(behind.e, 1);
  }
  template <class B>
  void behind_slots(Step& s, std::size_t at) {
    slot(s, at + offsetof(B, to), step_->output);
    input_slots<decltype(B::e)>(s, at + offsetof(B, e), 1);
  }

  // The step's expression; its inputs are numbered from `first` on, and walk the step's dimensions as they stand.
  template <class E>
  void fill(E& e, std::size_t first)
    requires requires { e.code; }
  {
    e.length = static_cast<unsigned>(step_->code.size());
    e.inputs = static_cast<int>(first + step_->inputs.size());
    for (std::size_t i = 0; i < step_->inputs.size(); ++i) {
      const graph::Access& x = step_->inputs[i];
      e.type[first + i] = kernel_type(view_.tensor(x.tensor).dtype);
      for (std::size_t d = 0; d < step_->domain.size(); ++d) {
        e.stride[first + i][d] = static_cast<unsigned>(x.strides[d]);
      }
    }
    for (std::size_t i = 0; i < step_->code.size(); ++i) {
      const graph::Instruction& from = step_->code[i];
      e.code[i].opcode = static_cast<unsigned short>(from.opcode);
      e.code[i].input = from.input;
      if (step_->integer()) {
        e.code[i].integer = static_cast<decltype(e.code[i].integer)>(from.constant);
      } else if (is_wide(step_->compute)) {
        e.code[i].real = static_cast<decltype(e.code[i].real)>(from.constant);
      } else {
        e.code[i].real = static_cast<float>(from.constant);  // also where sums are wider: elements are compared with it
      }
    }
  }
  template <class E>
  void input_slots(Step& s, std::size_t at, std::size_t first) {
    for (std::size_t i = 0; i < step_->inputs.size(); ++i) {
      slot(s, at + offsetof(E, from) + (first + i) * sizeof(void*), step_->inputs[i]);
    }
  }

  Result<void> map() {
    map_of(step_->compute, k::kNone, 0);
    return {};
  }
  Result<void> reduce() {
    const auto& a = node_->as<graph::ReduceAttributes>();
    map_of(a.accumulate, static_cast<unsigned>(a.op), a.axes);
    return {};
  }
  void map_of(DType computes, unsigned op, std::uint32_t axes) {
    const KernelId kernel = pick(computes, KernelId::map_f32, KernelId::map_i32, KernelId::map_f64, KernelId::map_i64);
    is_wide(computes) ? map<k::WideMap>(kernel, op, axes) : map<k::Map>(kernel, op, axes);
  }

  // An expression at each element; those along `axes`, a bit for each, are folded into one by `op`.
  template <class M>
  void map(KernelId kernel, unsigned op, std::uint32_t axes) {
    M p{};
    p.total = static_cast<unsigned>(output().elements);
    p.to_type = kernel_type(output().dtype);
    p.op = op;
    p.count = 1;
    p.rounds = std::is_same_v<M, k::WideMap> && !is_wide(step_->compute) ? 1 : 0;
    fill(p.e, 0);
    // The dimensions of the output first, then those that are folded.
    std::size_t at = 0;
    unsigned stride[k::kMapInputs][k::kRank];
    std::memcpy(stride, p.e.stride, sizeof stride);
    const auto put = [&](bool folded) {
      for (std::size_t d = 0; d < step_->domain.size(); ++d) {
        if ((((axes >> d) & 1U) != 0) != folded) { continue; }
        p.size[at] = static_cast<unsigned>(step_->domain[d]);
        for (std::size_t i = 0; i < step_->inputs.size(); ++i) { p.e.stride[i][at] = stride[i][d]; }
        if (folded) { p.count *= p.size[at]; }
        ++at;
      }
    };
    put(false);
    p.outer = static_cast<int>(at);
    put(true);
    p.inner = static_cast<int>(at) - p.outer;
    Step& s = add(kernel, p, p.total);
    slot(s, offsetof(M, to), step_->output);
    input_slots<decltype(p.e)>(s, offsetof(M, e), 0);
  }

  struct Taken {
    unsigned outer = 1, inner = 1;
    int axis = 0;
  };
  static Taken around(const graph::Tensor& x, std::size_t axis) {
    Taken t;
    for (std::size_t d = 0; d < x.rank; ++d) {
      if (d < axis) { t.outer *= static_cast<unsigned>(x.dims[d]); }
      if (d > axis) { t.inner *= static_cast<unsigned>(x.dims[d]); }
    }
    t.axis = static_cast<int>(x.dims[axis]);
    return t;
  }

  Result<void> gather() {
    const Taken t = around(input(0), node_->as<graph::GatherAttributes>().axis);
    k::Gather p{};
    p.total = static_cast<unsigned>(output().elements);
    p.inner = t.inner;
    p.axis = t.axis;
    p.count = static_cast<unsigned>(input(1).elements);
    Step& s = add(sized(KernelId::gather_1, output().dtype), p, p.total);
    slot(s, offsetof(k::Gather, to), node_->output);
    slot(s, offsetof(k::Gather, from), node_->inputs[0]);
    slot(s, offsetof(k::Gather, indices), node_->inputs[1]);
    s.fault_offset = offsetof(k::Gather, fault);
    s.command_offset = offsetof(k::Gather, command);
    return {};
  }

  Result<void> scatter() {
    const auto& a = node_->as<graph::ScatterAttributes>();
    int strides[graph::kMaxRank] = {};
    row_major(output(), strides);
    strided(node_->output, node_->inputs[0], output(), strides, 0, strides, 0);
    const Taken t = around(output(), a.axis);
    k::Scatter p{};
    p.total = t.outer * t.inner;
    p.inner = t.inner;
    p.axis = t.axis;
    p.count = static_cast<unsigned>(input(1).elements);
    p.type = kernel_type(output().dtype);
    p.add = a.mode == graph::ScatterMode::add ? 1 : 0;
    const KernelId kernel = pick(output().dtype, KernelId::scatter_f32, KernelId::scatter_i32, KernelId::scatter_f64,
                                 KernelId::scatter_i64);
    Step& s = add(kernel, p, p.total);
    slot(s, offsetof(k::Scatter, to), node_->output);
    slot(s, offsetof(k::Scatter, updates), node_->inputs[2]);
    slot(s, offsetof(k::Scatter, indices), node_->inputs[1]);
    s.fault_offset = offsetof(k::Scatter, fault);
    s.command_offset = offsetof(k::Scatter, command);
    return {};
  }

  const graph::View& view_;
  std::span<const graph::FusedStep> fused_;
  const graph::FusedStep* step_ = nullptr;
  const graph::Node* node_ = nullptr;  // of the step
  std::vector<Step> steps_;
};

}  // namespace

std::uint64_t size_of(DType type) { return dtype_bits(type) / 8; }

graph::FuseOptions fuse_options() {
  graph::FuseOptions options;
  options.negative_strides = false;  // the kernels' are unsigned
  options.max_inputs = k::kMapInputs;
  options.max_code = k::kMapCode;
  return options;
}

Result<void> check_tensors(const graph::View& view) {
  const auto check = [](const graph::Tensor& t, const std::string& who) -> Result<void> {
    if (kernel_type(t.dtype) == 0) {
      return kit::error(kOrigin, HAL_UNSUPPORTED,
                        fmt::format("{} has type {}; graphs on CUDA have types of whole bytes; convert it to i8 before",
                                    who, dtype_name(t.dtype)));
    }
    if (t.elements > kMostElements) {
      return kit::error(
          kOrigin, HAL_UNSUPPORTED,
          fmt::format("{} has {} elements; graphs on CUDA take at most {}", who, t.elements, kMostElements));
    }
    return {};
  };
  for (std::size_t t = 0; t < view.parameter_count(); ++t) {
    HAL_CHECK(check(view.tensor(t), fmt::format("parameter {} (\"{}\")", t, view.tensor(t).name)));
  }
  for (std::size_t n = 0; n < view.nodes().size(); ++n) {
    HAL_CHECK(check(view.tensor(view.nodes()[n].output), view.node_label(n)));
    if (view.nodes()[n].op == Op::map && view.nodes()[n].as<graph::MapAttributes>().code.size() > k::kMapCode) {
      return unsupported(view, n, fmt::format("expressions on CUDA have at most {} instructions", k::kMapCode));
    }
  }
  return {};
}

bool can_fail(const graph::View& view) {
  return std::ranges::any_of(view.nodes(),
                             [](const graph::Node& node) { return node.op == Op::gather || node.op == Op::scatter; });
}

Result<std::vector<Step>> make_steps(const graph::View& view, std::span<const graph::FusedStep> fused) {
  return Builder(view, fused).run();
}

}  // namespace hal::cuda
