// SPDX-License-Identifier: Apache-2.0
#include "graph/fuse.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "graph/expression.hpp"

namespace hal::graph {
namespace {

// An expression this small may be computed more than once instead of being stored.
constexpr std::size_t kCheapCode = 4;
// Expressions that are used several times grow no further than this.
constexpr std::size_t kRepeatedCode = 48;
// Nodes of one step. A stranger's chain must not make the lists long.
constexpr std::size_t kMostNodes = 256;

bool is_expensive(Opcode opcode) {
  return is_floating_only(opcode) ? opcode != Opcode::floor && opcode != Opcode::ceil && opcode != Opcode::round
                                  : opcode == Opcode::div || opcode == Opcode::mod;
}

bool is_cheap(std::span<const Instruction> code) {
  return code.size() <= kCheapCode &&
         std::ranges::none_of(code, [](const Instruction& at) { return is_expensive(at.opcode); });
}

bool gives_truth(Opcode opcode) { return opcode >= Opcode::eq && opcode <= Opcode::logical_not; }

Access broadcast_access(std::uint32_t tensor, ShapeView from, ShapeView to) {
  Access access{tensor, 0, *broadcast_strides(from, to)};
  for (std::size_t d = 0; d < to.size(); ++d) {
    if (to[d] == 1) { access.strides[d] = 0; }
  }
  return access;
}

// A dimension of a tensor in row-major order, with what one step means there and at the source.
struct Dimension {
  std::int64_t size, dense, source;
};

// The dimensions of `through`, neighbours merged where the source walks them as one.
std::vector<Dimension> merged(ShapeView through, const Access& source) {
  std::vector<Dimension> dims;
  for (std::size_t d = 0; d < through.size(); ++d) {
    if (through[d] == 1) { continue; }
    const Dimension next{through[d], 1, source.strides[d]};
    if (!dims.empty() && dims.back().source == next.source * next.size) {
      dims.back() = {dims.back().size * next.size, 1, next.source};
    } else {
      dims.push_back(next);
    }
  }
  for (std::size_t d = dims.size(); d-- > 1;) { dims[d - 1].dense = dims[d].dense * dims[d].size; }
  return dims;
}

}  // namespace

bool is_dense(const Access& access, ShapeView domain) {
  if (access.offset != 0) { return false; }
  const Extents dense = row_major_strides(domain);
  for (std::size_t d = 0; d < domain.size(); ++d) {
    if (domain[d] != 1 && access.strides[d] != dense[d]) { return false; }
  }
  return true;
}

std::optional<Access> compose(const Access& access, ShapeView domain, ShapeView through, const Access& source) {
  const std::vector<Dimension> dims = merged(through, source);
  Access out{source.tensor, source.offset, {}};
  // Where the walk begins, as an index; it is in range, so the index is the only one.
  std::array<std::int64_t, kMaxRank> low{}, high{};
  std::int64_t rest = access.offset;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    low[i] = high[i] = rest / dims[i].dense;
    rest %= dims[i].dense;
    out.offset += low[i] * dims[i].source;
  }
  for (std::size_t d = 0; d < domain.size(); ++d) {
    const std::int64_t stride = access.strides[d];
    if (domain[d] == 1 || stride == 0) { continue; }
    // The outermost dimension that the stride steps along.
    const auto along = std::ranges::find_if(dims, [&](const Dimension& dim) { return stride % dim.dense == 0; });
    if (along == dims.end()) { return std::nullopt; }
    const auto i = static_cast<std::size_t>(along - dims.begin());
    const std::int64_t step = stride / along->dense;
    if (std::abs(step) >= along->size) { return std::nullopt; }
    (step < 0 ? low : high)[i] += step * (domain[d] - 1);
    out.strides[d] = step * along->source;
  }
  // A walk that leaves a dimension would carry into the next one.
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (low[i] < 0 || high[i] >= dims[i].size) { return std::nullopt; }
  }
  return out;
}

namespace {

class Fuser {
 public:
  Fuser(const View& view, const FuseOptions& options) : view_(view), options_(options) {}

  std::vector<FusedStep> run() {
    readers_.resize(view_.tensors().size());
    for (std::uint32_t i = 0; i < view_.nodes().size(); ++i) {
      steps_.push_back(step_of(i));
      alive_.push_back(view_.nodes()[i].op != Op::constant);
      if (alive_.back()) { note_readers(i); }
    }
    drop_unread();
    for (std::uint32_t i = 0; i < steps_.size(); ++i) {
      if (alive_[i] && options_.views && steps_[i].op == Op::view) { push_view(i); }
    }
    for (std::uint32_t i = 0; i < steps_.size(); ++i) {
      if (!alive_[i]) { continue; }
      if (steps_[i].op == Op::map) { push_map(i); }
      if (steps_[i].op == Op::contract && options_.contract_epilogue) { push_contract(i); }
    }
    std::vector<FusedStep> out;
    for (std::uint32_t i = 0; i < steps_.size(); ++i) {
      if (!alive_[i]) { continue; }
      std::ranges::sort(steps_[i].nodes);
      out.push_back(std::move(steps_[i]));
    }
    return out;
  }

 private:
  const Tensor& tensor(std::uint32_t i) const { return view_.tensor(i); }

  // Storing a floating conversion rounds as a map's store does.
  bool is_map_like(const Node& node) const {
    return node.op == Op::map || (node.op == Op::convert && is_floating(tensor(node.inputs[0]).dtype) &&
                                  is_floating(tensor(node.output).dtype));
  }

  FusedStep step_of(std::uint32_t i) const {
    const Node& node = view_.nodes()[i];
    FusedStep step{node.op, i, {i}, node.output, {}, {}, {}, {}, DType::f32, 0};
    const Tensor& out = tensor(node.output);
    if (is_map_like(node)) {
      step.op = Op::map;
      step.domain.assign(out.shape().begin(), out.shape().end());
      for (const std::uint32_t input : node.inputs) {
        step.inputs.push_back(broadcast_access(input, tensor(input).shape(), out.shape()));
      }
      if (node.op == Op::map) {
        const auto& a = node.as<MapAttributes>();
        step.code = a.code;
        step.compute = a.compute;
        step.stack_depth = a.stack_depth;
        unite(step);
      } else {
        const bool wide = out.dtype == DType::f64 || tensor(node.inputs[0]).dtype == DType::f64;
        identity(step, wide ? DType::f64 : DType::f32);
      }
      return step;
    }
    switch (node.op) {
      case Op::reduce: {
        const Tensor& x = tensor(node.inputs[0]);
        step.domain.assign(x.shape().begin(), x.shape().end());
        step.inputs.push_back(broadcast_access(node.inputs[0], x.shape(), x.shape()));
        identity(step, widest(x.dtype));
        break;
      }
      case Op::contract:
        for (const std::uint32_t input : node.inputs) {
          step.operands.push_back(broadcast_access(input, tensor(input).shape(), tensor(input).shape()));
        }
        break;
      case Op::view: {
        const auto& a = node.as<ViewAttributes>();
        step.domain.assign(out.shape().begin(), out.shape().end());
        step.inputs.push_back({node.inputs[0], a.offset, a.strides});
        for (std::size_t d = 0; d < out.rank; ++d) {
          if (out.dims[d] == 1) { step.inputs[0].strides[d] = 0; }
        }
        break;
      }
      default:
        for (const std::uint32_t input : node.inputs) { step.inputs.push_back({input, 0, {}}); }
    }
    return step;
  }

  // The type that a map over one input of `type` computes in.
  static DType widest(DType type) {
    if (is_floating(type)) { return type == DType::f64 ? DType::f64 : DType::f32; }
    return type == DType::i64 ? DType::i64 : DType::i32;
  }

  static void identity(FusedStep& step, DType compute) {
    step.code = {{Opcode::input, 0, 0}};
    step.compute = compute;
    step.stack_depth = 1;
  }

  // Equal readings become one input.
  static void unite(FusedStep& step, std::uint8_t first = 0) {
    std::vector<Access> inputs;
    std::vector<std::uint8_t> place;
    for (const Access& access : step.inputs) {
      const auto at = std::ranges::find(inputs, access);
      place.push_back(static_cast<std::uint8_t>(at - inputs.begin() + first));
      if (at == inputs.end()) { inputs.push_back(access); }
    }
    for (Instruction& at : step.code) {
      if (at.opcode == Opcode::input && at.input >= first) {
        at.input = place[static_cast<std::size_t>(at.input - first)];
      }
    }
    step.inputs = std::move(inputs);
  }

  void note_readers(std::uint32_t i) {
    steps_[i].each_read([&](const Access& access) {
      std::vector<std::uint32_t>& list = readers_[access.tensor];
      if (std::ranges::find(list, i) == list.end()) { list.push_back(i); }
    });
  }

  void forget(std::uint32_t i) {
    steps_[i].each_read([&](const Access& access) { std::erase(readers_[access.tensor], i); });
    alive_[i] = false;
  }

  bool is_private(std::uint32_t t) const { return tensor(t).role == Role::intermediate; }

  void drop_unread() {
    for (std::size_t i = steps_.size(); i-- > 0;) {
      const FusedStep& step = steps_[i];
      if (!alive_[i] || !is_private(step.output) || !readers_[step.output].empty()) { continue; }
      if (step.op != Op::gather && step.op != Op::scatter) { forget(static_cast<std::uint32_t>(i)); }
    }
  }

  // Puts `next` in the place of step `i`, and takes `gone` off.
  void replace(std::uint32_t i, FusedStep next) {
    forget(i);
    steps_[i] = std::move(next);
    alive_[i] = true;
    note_readers(i);
  }

  bool strides_allowed(const Access& access, ShapeView domain) const {
    if (!options_.strided) {
      const ShapeView shape = tensor(access.tensor).shape();
      return broadcast_strides(shape, domain) && broadcast_access(access.tensor, shape, domain) == access;
    }
    return options_.negative_strides || std::ranges::all_of(access.strides, [](std::int64_t s) { return s >= 0; });
  }

  // ---- views

  void push_view(std::uint32_t i) {
    const FusedStep& from = steps_[i];
    if (!is_private(from.output)) { return; }
    const Access source = from.inputs[0];
    // A small part of a large intermediate is copied, so that the large one need not live on.
    if (is_private(source.tensor) && tensor(source.tensor).elements / 4 > tensor(from.output).elements) { return; }
    std::vector<std::pair<std::uint32_t, FusedStep>> next;
    for (const std::uint32_t reader : readers_[from.output]) {
      FusedStep step = steps_[reader];
      const auto rewrite = [&](Access& access, ShapeView domain) {
        if (access.tensor != from.output) { return true; }
        const auto through = compose(access, domain, from.domain, source);
        if (!through || (step.op != Op::view && !strides_allowed(*through, domain))) { return false; }
        access = *through;
        return true;
      };
      bool possible = options_.strided || step.op == Op::view;
      switch (step.op) {
        case Op::map:
        case Op::reduce:
        case Op::view:
          for (Access& access : step.inputs) { possible = possible && rewrite(access, step.domain); }
          break;
        case Op::contract:
          for (std::size_t k = 0; k < 2; ++k) {
            const std::uint32_t own = view_.nodes()[step.node].inputs[k];
            possible = possible && rewrite(step.operands[k], tensor(own).shape());
          }
          break;
        default:
          possible = false;
      }
      if (!possible || step.nodes.size() + from.nodes.size() > kMostNodes) { return; }
      if (step.op == Op::map) { unite(step); }
      step.nodes.insert(step.nodes.end(), from.nodes.begin(), from.nodes.end());
      next.emplace_back(reader, std::move(step));
    }
    for (auto& [reader, step] : next) { replace(reader, std::move(step)); }
    forget(i);
  }

  // ---- maps

  // An intermediate that one expression writes and another reads, without a rounding between them.
  bool is_exact(const FusedStep& from, DType compute) const {
    const DType type = tensor(from.output).dtype;
    if (from.compute != compute) { return false; }
    return type == compute || (type == DType::boolean && gives_truth(from.code.back().opcode));
  }

  // `into` with the expression of `from` in the place of its output. Input numbers of `into` begin at `first` (1 if
  // input 0 is a sum); those of `from` are of its inputs.
  std::optional<FusedStep> inlined(const FusedStep& into, const FusedStep& from, std::uint8_t first) const {
    FusedStep out = into;
    out.inputs.clear();
    std::vector<std::vector<Instruction>> code(into.inputs.size());  // what each input of `into` becomes
    const auto number = [&](const Access& access) {
      auto at = std::ranges::find(out.inputs, access);
      if (at == out.inputs.end()) { at = out.inputs.insert(out.inputs.end(), access); }
      return static_cast<std::uint8_t>(at - out.inputs.begin() + first);
    };
    for (std::size_t k = 0; k < into.inputs.size(); ++k) {
      const Access& access = into.inputs[k];
      if (access.tensor != from.output) {
        code[k] = {{Opcode::input, number(access), 0}};
        continue;
      }
      std::vector<std::uint8_t> place;
      for (const Access& source : from.inputs) {
        const auto through = compose(access, into.domain, from.domain, source);
        if (!through || !strides_allowed(*through, into.domain)) { return std::nullopt; }
        place.push_back(number(*through));
      }
      code[k] = from.code;
      for (Instruction& at : code[k]) {
        if (at.opcode == Opcode::input) { at.input = place[at.input]; }
      }
    }
    if (out.inputs.size() + first > options_.max_inputs) { return std::nullopt; }
    std::size_t uses = 0;
    out.code.clear();
    for (const Instruction& at : into.code) {
      if (at.opcode != Opcode::input || at.input < first) {
        out.code.push_back(at);
        continue;
      }
      const std::size_t k = static_cast<std::size_t>(at.input - first);
      uses += into.inputs[k].tensor == from.output ? 1U : 0U;
      out.code.insert(out.code.end(), code[k].begin(), code[k].end());
      if (out.code.size() > options_.max_code) { return std::nullopt; }
    }
    if (uses > 1 && !is_cheap(from.code) && (out.code.size() > kRepeatedCode || has_expensive(from))) {
      return std::nullopt;
    }
    return checked(std::move(out), first);
  }

  std::optional<FusedStep> checked(FusedStep step, std::uint8_t first) const {
    const auto count = static_cast<std::uint32_t>(step.inputs.size() + first);
    if (step.code.size() > options_.max_code || step.nodes.size() > kMostNodes || step.code.size() > kMaxInstructions ||
        count > options_.max_inputs || check_expression(step.code, count, step.compute, &step.stack_depth)) {
      return std::nullopt;
    }
    return step;
  }

  // Integers that are summed in a wider type.
  bool widens(const FusedStep& reduce) const {
    return reduce.integer() && view_.nodes()[reduce.node].as<ReduceAttributes>().accumulate != reduce.compute;
  }

  static bool has_expensive(const FusedStep& step) {
    return std::ranges::any_of(step.code, [](const Instruction& at) { return is_expensive(at.opcode); });
  }

  void push_map(std::uint32_t i) {
    const FusedStep& from = steps_[i];
    if (!is_private(from.output)) { return; }
    const std::vector<std::uint32_t> readers = readers_[from.output];
    if (readers.size() > 1 && (!is_cheap(from.code) || from.inputs.size() > 1)) { return; }
    std::vector<FusedStep> next;
    for (const std::uint32_t reader : readers) {
      const FusedStep& into = steps_[reader];
      const bool allowed = into.op == Op::map ? options_.maps : into.op == Op::reduce && options_.reduce_prologue;
      if (!allowed || !is_exact(from, into.compute) || (into.op == Op::reduce && widens(into))) { return; }
      // Reading it more often than it was written would compute it again.
      std::int64_t walked = 1;
      for (const std::int64_t size : into.domain) { walked *= size; }
      if (walked > tensor(from.output).elements && !is_cheap(from.code)) { return; }
      auto step = inlined(into, from, 0);
      if (!step) { return; }
      step->nodes.insert(step->nodes.end(), from.nodes.begin(), from.nodes.end());
      next.push_back(std::move(*step));
    }
    for (std::size_t k = 0; k < readers.size(); ++k) { replace(readers[k], std::move(next[k])); }
    forget(i);
  }

  // ---- contractions

  void push_contract(std::uint32_t i) {
    const FusedStep& from = steps_[i];
    if (!is_private(from.output) || readers_[from.output].size() != 1) { return; }
    const std::uint32_t reader = readers_[from.output][0];
    const FusedStep& into = steps_[reader];
    const Tensor& sum = tensor(from.output);
    if (into.op != Op::map) { return; }
    const bool first_code = from.code.empty();
    const DType stored = view_.nodes()[from.node].as<ContractAttributes>().accumulate;
    // The sum itself must not be rounded; behind an expression the same rule as between maps holds.
    if (first_code ? sum.dtype != stored || into.compute != stored : !is_exact(from, into.compute)) { return; }
    FusedStep out = into;
    out.op = Op::contract;
    out.node = from.node;
    out.operands = from.operands;
    out.inputs = from.inputs;
    for (Access& access : out.inputs) {
      // Inputs of an earlier expression walk the same line of elements in another shape.
      const Access line{from.output, 0, row_major_strides(into.domain)};
      const auto through = compose(line, into.domain, from.domain, access);
      if (!through || !strides_allowed(*through, into.domain)) { return; }
      access = *through;
    }
    std::vector<std::vector<Instruction>> code;
    std::size_t uses = 0;
    for (const Access& access : into.inputs) {
      if (access.tensor == from.output) {
        if (!is_dense(access, into.domain)) { return; }
        code.push_back(first_code ? std::vector<Instruction>{{Opcode::input, 0, 0}} : from.code);
        continue;
      }
      auto at = std::ranges::find(out.inputs, access);
      if (at == out.inputs.end()) { at = out.inputs.insert(out.inputs.end(), access); }
      code.push_back({{Opcode::input, static_cast<std::uint8_t>(at - out.inputs.begin() + 1), 0}});
    }
    out.code.clear();
    for (const Instruction& at : into.code) {
      if (at.opcode != Opcode::input) {
        out.code.push_back(at);
        continue;
      }
      uses += into.inputs[at.input].tensor == from.output ? 1U : 0U;
      out.code.insert(out.code.end(), code[at.input].begin(), code[at.input].end());
      if (out.code.size() > options_.max_code) { return; }
    }
    if (uses > 1 && !first_code && !is_cheap(from.code) && (out.code.size() > kRepeatedCode || has_expensive(from))) {
      return;
    }
    auto step = checked(std::move(out), 1);
    if (!step) { return; }
    step->nodes.insert(step->nodes.end(), from.nodes.begin(), from.nodes.end());
    replace(reader, std::move(*step));
    forget(i);
  }

  const View& view_;
  const FuseOptions& options_;
  std::vector<FusedStep> steps_;                     // by node; a fused step stands at its last node
  std::vector<bool> alive_;                          // by node
  std::vector<std::vector<std::uint32_t>> readers_;  // by tensor: steps
};

}  // namespace

std::vector<FusedStep> fuse(const View& view, const FuseOptions& options) { return Fuser(view, options).run(); }

}  // namespace hal::graph
