// SPDX-License-Identifier: Apache-2.0
// Contraction: any einsum of two operands, run as batches of blocked matrix products. Each output element is one sum
// over the contracted index in ascending order, whatever the blocking, so results never depend on the split.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "emulator/execute.hpp"
#include "emulator/numbers.hpp"

namespace rngd::emulator {
namespace {

using image::Dtype;
using image::Op;
using image::Program;
using image::Tensor;

/// A group of labels flattened to one index; offsets of each of its positions in a, b and out.
struct Group {
  std::vector<std::int64_t> extents, a, b, out;  // strides per label
  std::int64_t count = 1;

  std::vector<std::int64_t> offsets(const std::vector<std::int64_t>& strides) const {
    std::vector<std::int64_t> result(static_cast<std::size_t>(count));
    std::vector<std::int64_t> index(extents.size());
    std::int64_t offset = 0;
    for (std::int64_t& slot : result) {
      slot = offset;
      for (std::size_t d = extents.size(); d-- > 0;) {
        offset += strides[d];
        if (++index[d] < extents[d]) { break; }
        offset -= strides[d] * extents[d];
        index[d] = 0;
      }
    }
    return result;
  }
};

struct Plan {
  Group batch, rows, columns, sum;
};

Plan plan_of(const Program& program, const Op& op) {
  struct Label {
    bool in_a = false, in_b = false, in_out = false;
    std::int64_t extent = 0, a = 0, b = 0, out = 0;
  };
  std::array<Label, 32> labels;
  std::vector<std::uint8_t> order;  // out first, so that groups run in out's order
  const auto read = [&](const Tensor& tensor, const std::uint8_t* names, bool Label::* present,
                        std::int64_t Label::* stride) {
    std::int64_t step = 1;
    for (std::uint32_t d = tensor.rank; d-- > 0;) {
      Label& label = labels[names[d]];
      label.*present = true;
      label.*stride = step;
      label.extent = tensor.dims[d];
      step *= tensor.dims[d];
    }
    for (std::uint32_t d = 0; d < tensor.rank; ++d) {
      if (std::ranges::find(order, names[d]) == order.end()) { order.push_back(names[d]); }
    }
  };
  read(program.tensors[op.output], op.contract.out, &Label::in_out, &Label::out);
  read(program.tensors[op.inputs[0]], op.contract.a, &Label::in_a, &Label::a);
  read(program.tensors[op.inputs[1]], op.contract.b, &Label::in_b, &Label::b);
  Plan plan;
  for (const std::uint8_t name : order) {
    const Label& label = labels[name];
    Group& group = !label.in_out              ? plan.sum
                   : label.in_a && label.in_b ? plan.batch
                   : label.in_a               ? plan.rows
                                              : plan.columns;
    group.extents.push_back(label.extent);
    group.a.push_back(label.a);
    group.b.push_back(label.b);
    group.out.push_back(label.out);
    group.count *= label.extent;
  }
  return plan;
}

constexpr std::int64_t kRowBlock = 4, kColumnBlock = 16;

// kRowBlock x kColumnBlock outputs; a is [k][kRowBlock], b is [k][kColumnBlock]. always_inline so that each caller
// compiles it for its own instruction set; multiply and add stay separate, so every set gives the same bits.
template <class T>
[[gnu::always_inline]] inline void tile(const T* a, const T* b, std::int64_t depth, T* acc) {
  typedef T Vector __attribute__((vector_size(kColumnBlock * sizeof(T))));
  Vector sums[kRowBlock] = {};
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector row;
    std::memcpy(&row, b + k * kColumnBlock, sizeof row);
    for (std::int64_t r = 0; r < kRowBlock; ++r) { sums[r] += a[k * kRowBlock + r] * row; }
  }
  std::memcpy(acc, sums, sizeof sums);
}

template <class T>
void tile_plain(const T* a, const T* b, std::int64_t depth, T* acc) {
  tile(a, b, depth, acc);
}

#if defined(__x86_64__)
template <class T>
[[gnu::target("avx2")]] void tile_avx2(const T* a, const T* b, std::int64_t depth, T* acc) {
  tile(a, b, depth, acc);
}
template <class T>
[[gnu::target("avx512f,avx512vl,avx512dq")]] void tile_avx512(const T* a, const T* b, std::int64_t depth, T* acc) {
  tile(a, b, depth, acc);
}
#endif

template <class T>
auto best_tile() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return &tile_avx512<T>;
  }
  if (__builtin_cpu_supports("avx2")) { return &tile_avx2<T>; }
#endif
  return &tile_plain<T>;
}

// Load turns an element into T; Store rounds the sum into the output.
template <class T, class Load, class Store>
void multiply(const Plan& plan, Load load_a, Load load_b, Store store) {
  const auto kernel = best_tile<T>();
  const std::int64_t depth = plan.sum.count, rows = plan.rows.count, columns = plan.columns.count;
  const auto batch_a = plan.batch.offsets(plan.batch.a), batch_b = plan.batch.offsets(plan.batch.b);
  const auto batch_out = plan.batch.offsets(plan.batch.out);
  const auto rows_a = plan.rows.offsets(plan.rows.a), rows_out = plan.rows.offsets(plan.rows.out);
  const auto columns_b = plan.columns.offsets(plan.columns.b), columns_out = plan.columns.offsets(plan.columns.out);
  const auto sum_a = plan.sum.offsets(plan.sum.a), sum_b = plan.sum.offsets(plan.sum.b);
  const auto at = [](const std::vector<std::int64_t>& offsets, std::int64_t i) {
    return offsets[static_cast<std::size_t>(i)];
  };

  // All of a, packed once per batch, in panels of kRowBlock rows; b panel by panel.
  const std::int64_t row_panels = (rows + kRowBlock - 1) / kRowBlock;
  std::vector<T> a(static_cast<std::size_t>(row_panels * kRowBlock * depth));
  std::vector<T> b(static_cast<std::size_t>(kColumnBlock * depth));
  std::array<T, kRowBlock * kColumnBlock> acc;
  for (std::int64_t n = 0; n < plan.batch.count; ++n) {
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
      T* to = a.data() + panel * kRowBlock * depth;
      for (std::int64_t k = 0; k < depth; ++k) {
        for (std::int64_t r = 0; r < kRowBlock; ++r) {
          const std::int64_t row = panel * kRowBlock + r;
          *to++ = row < rows ? load_a(at(batch_a, n) + at(rows_a, row) + at(sum_a, k)) : T{};
        }
      }
    }
    for (std::int64_t column = 0; column < columns; column += kColumnBlock) {
      const std::int64_t width = std::min(kColumnBlock, columns - column);
      T* to = b.data();
      for (std::int64_t k = 0; k < depth; ++k, to += kColumnBlock) {
        const std::int64_t base = at(batch_b, n) + at(sum_b, k);
        for (std::int64_t c = 0; c < width; ++c) { to[c] = load_b(base + at(columns_b, column + c)); }
        std::fill(to + width, to + kColumnBlock, T{});
      }
      for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        kernel(a.data() + panel * kRowBlock * depth, b.data(), depth, acc.data());
        const std::int64_t height = std::min(kRowBlock, rows - panel * kRowBlock);
        for (std::int64_t r = 0; r < height; ++r) {
          const std::int64_t base = at(batch_out, n) + at(rows_out, panel * kRowBlock + r);
          for (std::int64_t c = 0; c < width; ++c) {
            store(base + at(columns_out, column + c), acc[static_cast<std::size_t>(r * kColumnBlock + c)]);
          }
        }
      }
    }
  }
}

template <class T>
const T* as(const std::byte* bytes) {
  return reinterpret_cast<const T*>(bytes);
}
template <class T>
T* as(std::byte* bytes) {
  return reinterpret_cast<T*>(bytes);
}

template <class Load>
void multiply_float(const Plan& plan, const Tensor& out, std::byte* to, Load load_a, Load load_b) {
  if (out.dtype == Dtype::f32) {
    multiply<float>(plan, load_a, load_b,
                    [p = as<float>(to)](std::int64_t i, float value) { p[i] = canonical(value); });
  } else {
    multiply<float>(plan, load_a, load_b,
                    [p = as<std::uint16_t>(to)](std::int64_t i, float value) { p[i] = f32_to_bf16(value); });
  }
}

// Sums wrap; a narrower output keeps the low bits, bool keeps whether there are any.
template <class Load>
void multiply_integer(const Plan& plan, const Tensor& out, std::byte* to, Load load_a, Load load_b) {
  const auto run = [&](auto store) { multiply<std::uint32_t>(plan, load_a, load_b, store); };
  auto* bytes = as<std::uint8_t>(to);
  if (out.dtype == Dtype::i32) {
    run([p = as<std::uint32_t>(to)](std::int64_t i, std::uint32_t value) { p[i] = value; });
  } else if (out.dtype == Dtype::u8) {
    run([bytes](std::int64_t i, std::uint32_t value) { bytes[i] = static_cast<std::uint8_t>(value); });
  } else {
    run([bytes](std::int64_t i, std::uint32_t value) { bytes[i] = value != 0 ? 1 : 0; });
  }
}

struct LoadF32 {
  const float* from;
  float operator()(std::int64_t i) const { return from[i]; }
};
struct LoadRounded {  // f32 operands that the tensor unit takes as bf16
  const float* from;
  float operator()(std::int64_t i) const { return bf16_to_f32(f32_to_bf16(from[i])); }
};
struct LoadBf16 {
  const std::uint16_t* from;
  float operator()(std::int64_t i) const { return bf16_to_f32(from[i]); }
};
struct LoadU8 {
  const std::uint8_t* from;
  std::uint32_t operator()(std::int64_t i) const { return from[i]; }
};
struct LoadBool {
  const std::uint8_t* from;
  std::uint32_t operator()(std::int64_t i) const { return from[i] != 0 ? 1 : 0; }
};
struct LoadI32 {
  const std::uint32_t* from;
  std::uint32_t operator()(std::int64_t i) const { return from[i]; }
};

}  // namespace

void run_contract(const Program& program, const Op& op, const OpMemory& memory) {
  const Plan plan = plan_of(program, op);
  const Tensor& out = program.tensors[op.output];
  switch (program.tensors[op.inputs[0]].dtype) {
    case Dtype::f32:
      if ((op.contract.flags & image::kRoundOperands) != 0) {
        multiply_float(plan, out, memory.out, LoadRounded{as<float>(memory.in[0])},
                       LoadRounded{as<float>(memory.in[1])});
      } else {
        multiply_float(plan, out, memory.out, LoadF32{as<float>(memory.in[0])}, LoadF32{as<float>(memory.in[1])});
      }
      break;
    case Dtype::bf16:
      multiply_float(plan, out, memory.out, LoadBf16{as<std::uint16_t>(memory.in[0])},
                     LoadBf16{as<std::uint16_t>(memory.in[1])});
      break;
    case Dtype::i32:
      multiply_integer(plan, out, memory.out, LoadI32{as<std::uint32_t>(memory.in[0])},
                       LoadI32{as<std::uint32_t>(memory.in[1])});
      break;
    case Dtype::u8:
      multiply_integer(plan, out, memory.out, LoadU8{as<std::uint8_t>(memory.in[0])},
                       LoadU8{as<std::uint8_t>(memory.in[1])});
      break;
    case Dtype::boolean:
      multiply_integer(plan, out, memory.out, LoadBool{as<std::uint8_t>(memory.in[0])},
                       LoadBool{as<std::uint8_t>(memory.in[1])});
      break;
  }
}

}  // namespace rngd::emulator
