// SPDX-License-Identifier: Apache-2.0
// map and convert: elements in blocks, each expression step a loop over the block.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "emulator/execute.hpp"
#include "emulator/numbers.hpp"

namespace rngd::emulator {
namespace {

using image::Dtype;
using image::Expr;
using image::Op;
using image::Program;
using image::Tensor;

constexpr std::int64_t kBlock = 512;

template <class T>
T to_compute(double value) {
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(value);
  } else {
    return saturate<std::int32_t>(value);
  }
}

template <class T>
void load_run(Dtype type, const std::byte* from, std::int64_t first, std::int64_t count, T* to) {
  const auto each = [&](auto read) {
    for (std::int64_t i = 0; i < count; ++i) { to[i] = static_cast<T>(read(first + i)); }
  };
  switch (type) {
    case Dtype::f32:
      if constexpr (std::is_same_v<T, float>) {
        std::memcpy(to, from + first * 4, static_cast<std::size_t>(count) * 4);
      } else {
        each([p = reinterpret_cast<const float*>(from)](std::int64_t i) {
          return saturate<std::int32_t>(static_cast<double>(p[i]));
        });
      }
      break;
    case Dtype::bf16:
      each([p = reinterpret_cast<const std::uint16_t*>(from)](std::int64_t i) {
        if constexpr (std::is_same_v<T, float>) {
          return bf16_to_f32(p[i]);
        } else {
          return saturate<std::int32_t>(static_cast<double>(bf16_to_f32(p[i])));
        }
      });
      break;
    case Dtype::i32:
      each([p = reinterpret_cast<const std::int32_t*>(from)](std::int64_t i) { return p[i]; });
      break;
    case Dtype::u8:
      each([p = reinterpret_cast<const std::uint8_t*>(from)](std::int64_t i) { return p[i]; });
      break;
    case Dtype::boolean:
      each([p = reinterpret_cast<const std::uint8_t*>(from)](std::int64_t i) { return p[i] != 0 ? 1 : 0; });
      break;
  }
}

// `wraps`: an integer result that does not fit u8 keeps its low bits (map); otherwise it saturates (convert).
template <class T>
void store_run(Dtype type, std::byte* to, std::int64_t first, std::int64_t count, const T* from,
               [[maybe_unused]] bool wraps) {
  const auto each = [&](auto* p, auto convert) {
    for (std::int64_t i = 0; i < count; ++i) { p[first + i] = convert(from[i]); }
  };
  switch (type) {
    case Dtype::f32:
      each(reinterpret_cast<float*>(to), [](T v) { return canonical(static_cast<float>(v)); });
      break;
    case Dtype::bf16:
      each(reinterpret_cast<std::uint16_t*>(to), [](T v) {
        if constexpr (std::is_same_v<T, float>) {
          return f32_to_bf16(v);
        } else {
          return f32_to_bf16(to_odd_f32(static_cast<double>(v)));
        }
      });
      break;
    case Dtype::i32:
      each(reinterpret_cast<std::int32_t*>(to), [](T v) { return saturate<std::int32_t>(static_cast<double>(v)); });
      break;
    case Dtype::u8:
      if constexpr (!std::is_same_v<T, float>) {
        if (wraps) {
          each(reinterpret_cast<std::uint8_t*>(to), [](T v) { return static_cast<std::uint8_t>(v); });
          break;
        }
      }
      each(reinterpret_cast<std::uint8_t*>(to), [](T v) { return saturate<std::uint8_t>(static_cast<double>(v)); });
      break;
    case Dtype::boolean:
      each(reinterpret_cast<std::uint8_t*>(to), [](T v) { return static_cast<std::uint8_t>(v != T{} ? 1 : 0); });
      break;
  }
}

/// One broadcast input. Its last dimension has stride 1 or 0, so it is read in runs.
struct Reader {
  const Tensor* tensor;
  const std::byte* from;
  std::array<std::int64_t, image::kMaxRank> strides{};  // in out's dimensions
  bool dense = false;

  template <class T>
  void load(const Tensor& out, std::int64_t first, std::int64_t count, T* to) const {
    if (dense) { return load_run(tensor->dtype, from, first, count, to); }
    if (tensor->elements == 1) {
      T value;
      load_run(tensor->dtype, from, 0, 1, &value);
      std::fill(to, to + count, value);
      return;
    }
    const std::uint32_t last = out.rank - 1;  // a non-dense tensor of many elements has an out of rank 1 at least
    while (count > 0) {
      std::int64_t rest = first / out.dims[last], column = first % out.dims[last], offset = column * strides[last];
      for (std::uint32_t d = last; d-- > 0; rest /= out.dims[d]) { offset += rest % out.dims[d] * strides[d]; }
      const std::int64_t run = std::min(count, out.dims[last] - column);
      if (strides[last] != 0) {
        load_run(tensor->dtype, from, offset, run, to);
      } else {
        T value;
        load_run(tensor->dtype, from, offset, 1, &value);
        std::fill(to, to + run, value);
      }
      to += run;
      first += run;
      count -= run;
    }
  }
};

Reader reader_of(const Tensor& in, const std::byte* from, const Tensor& out) {
  Reader reader{&in, from, {}, in.elements == out.elements};
  std::int64_t stride = 1;
  for (std::uint32_t d = in.rank; d-- > 0;) {
    reader.strides[out.rank - in.rank + d] = in.dims[d] == 1 ? 0 : stride;
    stride *= in.dims[d];
  }
  return reader;
}

template <class T>
T minimum(T a, T b) {  // NaN if either is
  if constexpr (std::is_same_v<T, float>) {
    return a != a || a < b ? a : b;
  } else {
    return std::min(a, b);
  }
}
template <class T>
T maximum(T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    return a != a || a > b ? a : b;
  } else {
    return std::max(a, b);
  }
}

// i32 arithmetic wraps; x / 0 and x mod 0 are 0.
std::int32_t wrap(std::int64_t value) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(value)); }
std::int32_t divide(std::int32_t a, std::int32_t b) { return b == 0 ? 0 : wrap(std::int64_t{a} / b); }
std::int32_t remainder(std::int32_t a, std::int32_t b) { return b == 0 ? 0 : wrap(std::int64_t{a} % b); }

template <class F>
void unary(float* a, F f) {
  for (std::int64_t i = 0; i < kBlock; ++i) { a[i] = f(a[i]); }
}

/// The stack holds whole blocks; unused lanes of the last block compute on leftovers, which nobody stores.
template <class T>
class Evaluator {
 public:
  Evaluator() : stack_((image::kMaxStack + 1) * kBlock) {}

  const T* run(const Op& op, std::span<const Reader> readers, const Tensor& out, std::int64_t first,
               std::int64_t count) {
    T* top = stack_.data();  // the first block stays unused
    for (const image::Instruction& step : op.map) {
      const auto code = static_cast<Expr>(step.code);
      switch (image::arity(code)) {
        case 0:
          top += kBlock;
          if (code == Expr::input) {
            readers[step.input].load(out, first, count, top);
          } else {
            std::fill(top, top + kBlock, to_compute<T>(step.constant));
          }
          break;
        case 1:
          apply1(code, top);
          break;
        case 2:
          top -= kBlock;
          apply2(code, top, top + kBlock);
          break;
        default:
          top -= 2 * kBlock;
          for (std::int64_t i = 0; i < kBlock; ++i) { top[i] = top[i] != T{} ? top[kBlock + i] : top[2 * kBlock + i]; }
          break;
      }
    }
    return top;
  }

 private:
  static void apply1(Expr code, T* a) {
    if (code == Expr::logical_not) {
      for (std::int64_t i = 0; i < kBlock; ++i) { a[i] = static_cast<T>(a[i] == T{}); }
      return;
    }
    if constexpr (std::is_same_v<T, std::int32_t>) {
      for (std::int64_t i = 0; i < kBlock; ++i) {
        const std::int64_t value = a[i];
        a[i] = wrap(code == Expr::neg || value < 0 ? -value : value);
      }
    } else {
      switch (code) {
        case Expr::neg:
          return unary(a, [](float x) { return -x; });
        case Expr::abs:
          return unary(a, [](float x) { return std::fabs(x); });
        case Expr::exp:
          return unary(a, [](float x) { return std::exp(x); });
        case Expr::log:
          return unary(a, [](float x) { return std::log(x); });
        case Expr::sqrt:
          return unary(a, [](float x) { return std::sqrt(x); });
        case Expr::rsqrt:
          return unary(a, [](float x) { return 1.0F / std::sqrt(x); });
        case Expr::tanh:
          return unary(a, [](float x) { return std::tanh(x); });
        case Expr::erf:
          return unary(a, [](float x) { return std::erf(x); });
        case Expr::sin:
          return unary(a, [](float x) { return std::sin(x); });
        case Expr::cos:
          return unary(a, [](float x) { return std::cos(x); });
        case Expr::floor:
          return unary(a, [](float x) { return std::floor(x); });
        case Expr::ceil:
          return unary(a, [](float x) { return std::ceil(x); });
        default:
          return unary(a, [](float x) { return std::nearbyint(x); });
      }
    }
  }

  static void apply2(Expr code, T* a, const T* b) {
    const auto each = [&](auto f) {
      for (std::int64_t i = 0; i < kBlock; ++i) { a[i] = static_cast<T>(f(a[i], b[i])); }
    };
    constexpr bool kInteger = std::is_same_v<T, std::int32_t>;
    switch (code) {
      case Expr::add:
        return each([](T x, T y) {
          if constexpr (kInteger) {
            return wrap(std::int64_t{x} + y);
          } else {
            return x + y;
          }
        });
      case Expr::sub:
        return each([](T x, T y) {
          if constexpr (kInteger) {
            return wrap(std::int64_t{x} - y);
          } else {
            return x - y;
          }
        });
      case Expr::mul:
        return each([](T x, T y) {
          if constexpr (kInteger) {
            return wrap(std::int64_t{x} * y);
          } else {
            return x * y;
          }
        });
      case Expr::div:
        return each([](T x, T y) {
          if constexpr (kInteger) {
            return divide(x, y);
          } else {
            return x / y;
          }
        });
      case Expr::mod:
        return each([](T x, T y) {
          if constexpr (kInteger) {
            return remainder(x, y);
          } else {
            return std::fmod(x, y);
          }
        });
      case Expr::min:
        return each([](T x, T y) { return minimum(x, y); });
      case Expr::max:
        return each([](T x, T y) { return maximum(x, y); });
      case Expr::eq:
        return each([](T x, T y) { return x == y; });
      case Expr::ne:
        return each([](T x, T y) { return x != y; });
      case Expr::lt:
        return each([](T x, T y) { return x < y; });
      case Expr::le:
        return each([](T x, T y) { return x <= y; });
      case Expr::gt:
        return each([](T x, T y) { return x > y; });
      case Expr::ge:
        return each([](T x, T y) { return x >= y; });
      case Expr::logical_and:
        return each([](T x, T y) { return x != T{} && y != T{}; });
      case Expr::logical_or:
        return each([](T x, T y) { return x != T{} || y != T{}; });
      default:
        return each([](T x, T y) {
          if constexpr (kInteger) {
            return x;
          } else {
            return std::pow(x, y);
          }
        });
    }
  }

  std::vector<T> stack_;
};

template <class T>
void map_in(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor& out = program.tensors[op.output];
  std::vector<Reader> readers;
  for (std::size_t k = 0; k < op.inputs.size(); ++k) {
    readers.push_back(reader_of(program.tensors[op.inputs[k]], memory.in[k], out));
  }
  Evaluator<T> evaluator;
  const auto elements = static_cast<std::int64_t>(out.elements);
  for (std::int64_t first = 0; first < elements; first += kBlock) {
    const std::int64_t count = std::min(kBlock, elements - first);
    store_run(out.dtype, memory.out, first, count, evaluator.run(op, readers, out, first, count), true);
  }
}

}  // namespace

void run_map(const Program& program, const Op& op, const OpMemory& memory) {
  if (op.map_compute == Dtype::i32) {
    map_in<std::int32_t>(program, op, memory);
  } else {
    map_in<float>(program, op, memory);
  }
}

void run_convert(const Program& program, const Op& op, const OpMemory& memory) {
  const Tensor &in = program.tensors[op.inputs[0]], &out = program.tensors[op.output];
  const auto elements = static_cast<std::int64_t>(out.elements);
  // Integers go through i32 and floats through f32; both hold every source value exactly.
  const auto run = [&]<class T>(std::array<T, kBlock> block) {
    for (std::int64_t first = 0; first < elements; first += kBlock) {
      const std::int64_t count = std::min(kBlock, elements - first);
      load_run(in.dtype, memory.in[0], first, count, block.data());
      store_run(out.dtype, memory.out, first, count, block.data(), false);
    }
  };
  if (image::is_float(in.dtype)) {
    run(std::array<float, kBlock>{});
  } else {
    run(std::array<std::int32_t, kBlock>{});
  }
}

}  // namespace rngd::emulator
