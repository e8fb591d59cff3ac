// SPDX-License-Identifier: Apache-2.0
// Each operation against a plain evaluation in double.
#include "emulator/execute.hpp"

#include <cmath>
#include <cstring>
#include <functional>
#include <halyard_catch.hpp>
#include <limits>
#include <random>

#include "emulator/numbers.hpp"
#include "image/sample_images.hpp"

using namespace rngd;
using namespace rngd::image;
using rngd::emulator::bf16_to_f32;
using rngd::emulator::f32_to_bf16;

namespace {

using Dims = std::vector<std::int64_t>;

std::size_t count(const Dims& dims) {
  std::size_t n = 1;
  for (const auto d : dims) { n *= static_cast<std::size_t>(d); }
  return n;
}

std::vector<std::byte> encode(Dtype type, const std::vector<double>& values) {
  std::vector<std::byte> bytes(values.size() * element_bytes(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::byte* to = bytes.data() + i * element_bytes(type);
    const auto f = static_cast<float>(values[i]);
    const std::uint16_t h = f32_to_bf16(f);
    const auto n = static_cast<std::int32_t>(type == Dtype::i32 ? values[i] : 0);
    const auto u = static_cast<std::uint8_t>(element_bytes(type) == 1 ? values[i] : 0);
    switch (type) {
      case Dtype::f32:
        std::memcpy(to, &f, 4);
        break;
      case Dtype::bf16:
        std::memcpy(to, &h, 2);
        break;
      case Dtype::i32:
        std::memcpy(to, &n, 4);
        break;
      default:
        std::memcpy(to, &u, 1);
        break;
    }
  }
  return bytes;
}

std::vector<double> decode(Dtype type, const std::vector<std::byte>& bytes) {
  std::vector<double> values(bytes.size() / element_bytes(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::byte* from = bytes.data() + i * element_bytes(type);
    float f;
    std::uint16_t h;
    std::int32_t n;
    std::uint8_t u;
    switch (type) {
      case Dtype::f32:
        std::memcpy(&f, from, 4), values[i] = static_cast<double>(f);
        break;
      case Dtype::bf16:
        std::memcpy(&h, from, 2), values[i] = static_cast<double>(bf16_to_f32(h));
        break;
      case Dtype::i32:
        std::memcpy(&n, from, 4), values[i] = n;
        break;
      default:
        std::memcpy(&u, from, 1), values[i] = u;
        break;
    }
  }
  return values;
}

struct Operand {
  Dtype type;
  Dims dims;
  std::vector<double> values;
};

std::vector<double> some(std::size_t n, unsigned seed, double low = -4, double high = 4) {
  std::mt19937 random(seed);
  std::vector<double> values(n);
  for (double& v : values) { v = low + (high - low) * static_cast<double>(random() % 4096) / 4096; }
  return values;
}

/// Builds a program of one operation, runs it, and gives the output.
struct Run {
  std::vector<double> values;
  emulator::ExecutionFault fault;
};
Run run(const std::vector<Operand>& inputs, Dtype out_type, const Dims& out_dims,
        const std::function<void(Builder&, const std::vector<std::uint32_t>&, std::uint32_t)>& op) {
  Builder b(1);
  std::vector<std::uint32_t> ids;
  for (const Operand& input : inputs) { ids.push_back(b.input(input.type, input.dims)); }
  const auto out = b.output(out_type, out_dims);
  op(b, ids, out);
  const auto program = parse(b.finish());
  INFO((program ? std::string("accepted") : program.error().text));
  REQUIRE(program);
  std::vector<std::vector<std::byte>> buffers;
  for (const Operand& input : inputs) { buffers.push_back(encode(input.type, input.values)); }
  buffers.emplace_back(count(out_dims) * element_bytes(out_type));
  std::vector<std::byte*> bindings;
  for (auto& buffer : buffers) { bindings.push_back(buffer.data()); }
  Run result;
  result.fault = emulator::execute(*program, {bindings, program->constants.data(), nullptr, nullptr});
  result.values = decode(out_type, buffers.back());
  return result;
}

void close(const std::vector<double>& got, const std::vector<double>& want, double relative) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    INFO("element " << i);
    if (std::isnan(want[i])) {
      CHECK(std::isnan(got[i]));
    } else {
      CHECK(std::fabs(got[i] - want[i]) <= relative * std::max(1.0, std::fabs(want[i])));
    }
  }
}

Operand f32(Dims dims, unsigned seed, double low = -4, double high = 4) {
  const std::size_t n = count(dims);
  return {Dtype::f32, std::move(dims), some(n, seed, low, high)};
}

}  // namespace

TEST_CASE("contract: matmul with ragged sizes, all types and both units", "[rngd][execute]") {
  struct Case {
    Dtype in, out;
    Unit unit;
    std::uint8_t flags;
    double tolerance;
  };
  for (const Case& c :
       {Case{Dtype::f32, Dtype::f32, Unit::vector, 0, 1e-5}, Case{Dtype::bf16, Dtype::f32, Unit::tensor, 0, 1e-5},
        Case{Dtype::bf16, Dtype::bf16, Unit::tensor, 0, 8e-3},
        Case{Dtype::f32, Dtype::f32, Unit::tensor, kRoundOperands, 1e-5},
        Case{Dtype::i32, Dtype::i32, Unit::vector, 0, 0}}) {
    const std::int64_t m = 7, k = 37, n = 21;
    Operand a = f32({m, k}, 1), b = f32({k, n}, 2);
    a.type = b.type = c.in;
    for (auto* operand : {&a, &b}) {  // what the operand's type, or the tensor unit, makes of it
      for (double& v : operand->values) {
        if (c.in == Dtype::i32) {
          v = std::floor(v * 100);
        } else if (c.in == Dtype::bf16 || c.flags != 0) {
          v = static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(v))));
        }
      }
    }
    std::vector<double> want(static_cast<std::size_t>(m * n));
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t l = 0; l < k; ++l) {
          sum += a.values[static_cast<std::size_t>(i * k + l)] * b.values[static_cast<std::size_t>(l * n + j)];
        }
        want[static_cast<std::size_t>(i * n + j)] = sum;
      }
    }
    const auto got = run({a, b}, c.out, {m, n}, [&](Builder& builder, const auto& ids, auto out) {
      builder.contract(ids[0], ids[1], out,
                       matmul_attributes(c.unit, c.flags, c.in == Dtype::i32 ? Dtype::i32 : Dtype::f32));
    });
    close(got.values, want, c.tolerance);
  }
}

TEST_CASE("contract: batch, transposed output, sums over labels of one operand", "[rngd][execute]") {
  // out[n,b,m] = sum over k,z of a[b,m,k] * c[k,n,z]   (b in a only: rows; z in c only: summed)
  const Operand a = f32({3, 2, 5}, 3), c = f32({5, 4, 2}, 4);
  ContractAttributes at{3,
                        3,
                        3,
                        static_cast<std::uint8_t>(Unit::vector),
                        static_cast<std::uint8_t>(Dtype::f32),
                        0,
                        {},
                        {1, 2, 3},
                        {3, 4, 5},
                        {4, 1, 2}};
  std::vector<double> want(24);
  for (std::size_t n = 0; n < 4; ++n) {
    for (std::size_t b = 0; b < 3; ++b) {
      for (std::size_t m = 0; m < 2; ++m) {
        for (std::size_t k = 0; k < 5; ++k) {
          for (std::size_t z = 0; z < 2; ++z) {
            want[(n * 3 + b) * 2 + m] += a.values[(b * 2 + m) * 5 + k] * c.values[(k * 4 + n) * 2 + z];
          }
        }
      }
    }
  }
  close(run({a, c}, Dtype::f32, {4, 3, 2},
            [&](Builder& builder, const auto& ids, auto out) { builder.contract(ids[0], ids[1], out, at); })
            .values,
        want, 1e-5);

  // A true batch label: out[b,m,n] = sum k a[b,m,k] * d[b,k,n].
  const Operand d = f32({3, 5, 4}, 5);
  at.b[0] = 1, at.b[1] = 3, at.b[2] = 4;
  at.out[0] = 1, at.out[1] = 2, at.out[2] = 4;
  std::vector<double> batched(24);
  for (std::size_t b = 0; b < 3; ++b) {
    for (std::size_t m = 0; m < 2; ++m) {
      for (std::size_t n = 0; n < 4; ++n) {
        for (std::size_t k = 0; k < 5; ++k) {
          batched[(b * 2 + m) * 4 + n] += a.values[(b * 2 + m) * 5 + k] * d.values[(b * 5 + k) * 4 + n];
        }
      }
    }
  }
  close(run({a, d}, Dtype::f32, {3, 2, 4},
            [&](Builder& builder, const auto& ids, auto out) { builder.contract(ids[0], ids[1], out, at); })
            .values,
        batched, 1e-5);
}

TEST_CASE("map: every expression code, over more than one block", "[rngd][execute]") {
  const Operand x = f32({3, 700}, 6), y = f32({700}, 7, 0.25, 3);
  const auto each = [&](std::vector<Instruction> code, auto f, double tolerance = 2e-6) {
    std::vector<double> want(x.values.size());
    for (std::size_t i = 0; i < want.size(); ++i) { want[i] = static_cast<double>(f(x.values[i], y.values[i % 700])); }
    close(run({x, y}, Dtype::f32, {3, 700},
              [&](Builder& b, const auto& ids, auto out) { b.map(ids, out, Dtype::f32, code); })
              .values,
          want, tolerance);
  };
  const auto unary = [&](Expr code, auto f, double tolerance = 2e-6) {
    each({in(1), step(code)}, [&](double, double b) { return f(b); }, tolerance);
  };
  const auto binary = [&](Expr code, auto f) { each({in(0), in(1), step(code)}, f); };
  binary(Expr::add, [](double a, double b) { return a + b; });
  binary(Expr::sub, [](double a, double b) { return a - b; });
  binary(Expr::mul, [](double a, double b) { return a * b; });
  binary(Expr::div, [](double a, double b) { return a / b; });
  binary(Expr::min, [](double a, double b) { return std::min(a, b); });
  binary(Expr::max, [](double a, double b) { return std::max(a, b); });
  binary(Expr::mod, [](double a, double b) { return std::fmod(a, b); });
  binary(Expr::eq, [](double a, double b) { return a == b; });
  binary(Expr::ne, [](double a, double b) { return a != b; });
  binary(Expr::lt, [](double a, double b) { return a < b; });
  binary(Expr::le, [](double a, double b) { return a <= b; });
  binary(Expr::gt, [](double a, double b) { return a > b; });
  binary(Expr::ge, [](double a, double b) { return a >= b; });
  binary(Expr::logical_and, [](double a, double b) { return a != 0 && b != 0; });
  binary(Expr::logical_or, [](double a, double b) { return a != 0 || b != 0; });
  each({in(1), in(0), step(Expr::pow)}, [](double a, double b) { return std::pow(b, a); }, 1e-5);
  each({in(0), value(0), step(Expr::gt), in(1), value(-2.5), step(Expr::select)},
       [](double a, double b) { return a > 0 ? b : -2.5; });
  each({in(0), step(Expr::abs)}, [](double a, double) { return std::fabs(a); });
  each({in(0), step(Expr::neg)}, [](double a, double) { return -a; });
  each({in(0), step(Expr::logical_not)}, [](double a, double) { return a == 0; });
  each({in(0), step(Expr::floor)}, [](double a, double) { return std::floor(a); });
  each({in(0), step(Expr::ceil)}, [](double a, double) { return std::ceil(a); });
  each({in(0), step(Expr::round)}, [](double a, double) { return std::nearbyint(a); });
  unary(Expr::exp, [](double b) { return std::exp(b); });
  unary(Expr::log, [](double b) { return std::log(b); });
  unary(Expr::sqrt, [](double b) { return std::sqrt(b); });
  unary(Expr::rsqrt, [](double b) { return 1 / std::sqrt(b); });
  unary(Expr::tanh, [](double b) { return std::tanh(b); });
  unary(Expr::erf, [](double b) { return std::erf(b); });
  unary(Expr::sin, [](double b) { return std::sin(b); });
  unary(Expr::cos, [](double b) { return std::cos(b); });
}

TEST_CASE("map: i32 wraps, division by zero gives 0; broadcasts along any dimension", "[rngd][execute]") {
  const double low = std::numeric_limits<std::int32_t>::min(), high = std::numeric_limits<std::int32_t>::max();
  const Operand x{Dtype::i32, {4}, {low, high, 7, -7}}, y{Dtype::i32, {4}, {-1, 1, 0, 2}};
  const auto with = [&](Expr code) {
    return run({x, y}, Dtype::i32, {4},
               [&](Builder& b, const auto& ids, auto out) {
                 b.map(ids, out, Dtype::i32, std::array{in(0), in(1), step(code)});
               })
        .values;
  };
  CHECK(with(Expr::add) == std::vector<double>{high, low, 7, -5});
  CHECK(with(Expr::div) == std::vector<double>{low, high, 0, -3});
  CHECK(with(Expr::mod) == std::vector<double>{0, 0, 0, -1});
  CHECK(with(Expr::mul) == std::vector<double>{low, high, 0, -14});

  const Operand rows{Dtype::f32, {2, 1}, {10, 20}}, columns{Dtype::f32, {1, 3}, {1, 2, 3}}, one{Dtype::f32, {}, {100}};
  const auto sum = run({rows, columns, one}, Dtype::f32, {2, 3}, [&](Builder& b, const auto& ids, auto out) {
    b.map(ids, out, Dtype::f32, std::array{in(0), in(1), step(Expr::add), in(2), step(Expr::add)});
  });
  CHECK(sum.values == std::vector<double>{111, 112, 113, 121, 122, 123});
}

TEST_CASE("reduce: every operation, inner, outer and all axes", "[rngd][execute]") {
  const Operand x = f32({3, 4, 5}, 8, -1, 1);
  const auto reduced = [&](std::uint32_t axes, ReduceOp op, const Dims& dims, bool keep, Dtype type = Dtype::f32) {
    Operand in = x;
    in.type = type;
    if (type == Dtype::i32) {
      for (double& v : in.values) { v = std::floor(v * 1000); }
    }
    const auto got = run({in}, type, dims, [&](Builder& b, const auto& ids, auto out) {
      b.reduce(ids[0], out,
               {axes, static_cast<std::uint8_t>(op), static_cast<std::uint8_t>(keep),
                static_cast<std::uint8_t>(type == Dtype::i32 ? Dtype::i32 : Dtype::f32), 0});
    });
    std::vector<double> want;
    std::vector<bool> seen(count(dims));
    want.resize(seen.size());
    for (std::size_t i = 0; i < in.values.size(); ++i) {
      const std::size_t index[3] = {i / 20, i / 5 % 4, i % 5};
      const std::size_t extent[3] = {3, 4, 5};
      std::size_t to = 0;
      for (std::size_t d = 0; d < 3; ++d) {
        if ((axes >> d & 1u) == 0) { to = to * extent[d] + index[d]; }
      }
      const double v = in.values[i], old = want[to];
      want[to] = !seen[to]              ? v
                 : op == ReduceOp::sum  ? old + v
                 : op == ReduceOp::prod ? old * v
                 : op == ReduceOp::max  ? std::max(old, v)
                                        : std::min(old, v);
      seen[to] = true;
    }
    close(got.values, want, 1e-5);
  };
  reduced(0b100, ReduceOp::sum, {3, 4}, false);
  reduced(0b001, ReduceOp::sum, {4, 5}, false);
  reduced(0b010, ReduceOp::max, {3, 1, 5}, true);
  reduced(0b111, ReduceOp::min, {}, false);
  reduced(0b101, ReduceOp::prod, {4}, false);
  reduced(0b110, ReduceOp::sum, {3}, false, Dtype::i32);
  reduced(0b110, ReduceOp::max, {3, 1, 1}, true, Dtype::i32);

  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto with_nan =
      run({{Dtype::f32, {3}, {1, nan, 2}}}, Dtype::f32, {}, [&](Builder& b, const auto& ids, auto out) {
        b.reduce(ids[0], out,
                 {1, static_cast<std::uint8_t>(ReduceOp::max), 0, static_cast<std::uint8_t>(Dtype::f32), 0});
      });
  CHECK(std::isnan(with_nan.values[0]));
}

TEST_CASE("view, pad, concat move elements", "[rngd][execute]") {
  const Operand x{Dtype::f32, {2, 3}, {0, 1, 2, 3, 4, 5}};
  ViewAttributes view{};
  view.offset = 5, view.strides[0] = -1, view.strides[1] = -3;
  CHECK(run({x}, Dtype::f32, {3, 2}, [&](Builder& b, const auto& ids, auto out) {
          b.view(ids[0], out, view);
        }).values == std::vector<double>{5, 2, 4, 1, 3, 0});
  view = {};
  view.strides[1] = 1, view.strides[2] = 1;  // windows of 2 over the first row, repeated
  CHECK(run({x}, Dtype::f32, {2, 2, 2}, [&](Builder& b, const auto& ids, auto out) {
          b.view(ids[0], out, view);
        }).values == std::vector<double>{0, 1, 1, 2, 0, 1, 1, 2});

  PadAttributes pad{};
  pad.low[0] = 1, pad.high[1] = 2, pad.value = 9;
  const Operand small{Dtype::bf16, {1, 2}, {1, 2}};
  CHECK(run({small}, Dtype::bf16, {2, 4}, [&](Builder& b, const auto& ids, auto out) {
          b.pad(ids[0], out, pad);
        }).values == std::vector<double>{9, 9, 9, 9, 1, 2, 9, 9});

  const Operand y{Dtype::f32, {2, 1}, {7, 8}};
  CHECK(run({x, y, x}, Dtype::f32, {2, 7}, [&](Builder& b, const auto& ids, auto out) {
          b.concat(ids, out, 1);
        }).values == std::vector<double>{0, 1, 2, 7, 0, 1, 2, 3, 4, 5, 8, 3, 4, 5});
}

TEST_CASE("gather and scatter, and the index that is not there", "[rngd][execute]") {
  const Operand data{Dtype::f32, {3, 2}, {0, 1, 10, 11, 20, 21}};
  const auto indices = [](double a, double b) { return Operand{Dtype::i32, {2}, {a, b}}; };
  const auto gather = [&](double a, double b) {
    return run({data, indices(a, b)}, Dtype::f32, {2, 2},
               [&](Builder& builder, const auto& ids, auto out) { builder.gather(ids[0], ids[1], out, 0); });
  };
  CHECK(gather(2, 0).values == std::vector<double>{20, 21, 0, 1});
  for (const double bad : {3.0, -1.0}) {
    const Run result = gather(0, bad);
    CHECK(result.fault.failed);
    CHECK(result.fault.index == static_cast<std::int64_t>(bad));
    CHECK(result.fault.limit == 3);
  }
  const Operand updates{Dtype::f32, {2, 2}, {1, 2, 3, 4}};
  const auto scatter = [&](ScatterMode mode, double a, double b) {
    return run({data, indices(a, b), updates}, Dtype::f32, {3, 2}, [&](Builder& builder, const auto& ids, auto out) {
      builder.scatter(ids[0], ids[1], ids[2], out, 0, mode);
    });
  };
  CHECK(scatter(ScatterMode::set, 2, 0).values == std::vector<double>{3, 4, 10, 11, 1, 2});
  CHECK(scatter(ScatterMode::set, 1, 1).values == std::vector<double>{0, 1, 3, 4, 20, 21});
  CHECK(scatter(ScatterMode::add, 1, 1).values == std::vector<double>{0, 1, 14, 17, 20, 21});
  CHECK(scatter(ScatterMode::add, 1, 5).fault.failed);
}

TEST_CASE("convert rounds once, truncates and saturates", "[rngd][execute]") {
  const auto convert = [&](Operand x, Dtype to) {
    const Dims dims = x.dims;
    return run({std::move(x)}, to, dims, [&](Builder& b, const auto& ids, auto out) { b.convert(ids[0], out); }).values;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(convert({Dtype::f32, {5}, {1.9, -1.9, 3e9, -3e9, nan}}, Dtype::i32) ==
        std::vector<double>{1, -1, 2147483647, -2147483648.0, 0});
  CHECK(convert({Dtype::f32, {4}, {300, -5, 7.9, nan}}, Dtype::u8) == std::vector<double>{255, 0, 7, 0});
  CHECK(convert({Dtype::f32, {3}, {0, 0.5, -2}}, Dtype::boolean) == std::vector<double>{0, 1, 1});
  CHECK(convert({Dtype::boolean, {3}, {0, 1, 7}}, Dtype::f32) == std::vector<double>{0, 1, 1});
  CHECK(convert({Dtype::f32, {3}, {1.00390625, 1.01171875, 1.0039064}}, Dtype::bf16) ==
        std::vector<double>{1, 1.015625, 1.0078125});  // ties to even
  // 2^24 + 2^16 + 1 is just above a tie of bf16; through a rounded f32 it would look like the tie itself.
  CHECK(convert({Dtype::i32, {1}, {16842753}}, Dtype::bf16) == std::vector<double>{16908288});
}

TEST_CASE("subnormals vanish and NaNs leave in one form", "[rngd][execute]") {
  const Operand x{Dtype::f32, {2}, {1e-40, 2e-38}};
  const auto half = run({x}, Dtype::f32, {2}, [&](Builder& b, const auto& ids, auto out) {
    b.map(ids, out, Dtype::f32, std::array{in(0), value(0.25), step(Expr::mul)});
  });
#if defined(__SSE__)
  CHECK(half.values == std::vector<double>{0, 0});
#endif
  CHECK(f32_to_bf16(std::bit_cast<float>(0x7F800001u)) == 0x7FC0);
  CHECK(f32_to_bf16(std::bit_cast<float>(0x00400000u)) == 0);
}

TEST_CASE("the number of PEs changes what an operation costs, not what it computes", "[rngd][execute]") {
  const auto program = parse(every_op_image());
  REQUIRE(program);
  const emulator::Work work = emulator::work_of(*program, program->ops[0]);
  CHECK(work.tensor_macs == 64);
  CHECK(work.hbm_bytes == 64);
}
