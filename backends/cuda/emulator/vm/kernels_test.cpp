// SPDX-License-Identifier: Apache-2.0
// Kernels as nvcc compiles them (test_kernels/*.cu -> *.ptx for three targets), against plain C++.
#include <halyard_catch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>

#include "vm/test_device.hpp"

using namespace hal::emulated_cuda;

namespace {

const char* const kTargets[] = {"sm_80", "sm_90", "sm_100"};

struct Fixture {
  explicit Fixture(const std::string& file, const char* target)
      : module(device.load(read_text(HALYARD_TEST_KERNELS "/" + file + "." + target + ".ptx"))) {}
  TestDevice device;
  LoadedModule module;
};

std::vector<float> random_floats(std::size_t n, float low = -2.0f, float high = 2.0f) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> values(low, high);
  std::vector<float> v(n);
  for (float& x : v) { x = values(generator); }
  return v;
}

LaunchShape shape(std::uint32_t gx, std::uint32_t bx, std::uint32_t gy = 1, std::uint32_t by = 1) {
  LaunchShape s;
  s.grid[0] = gx;
  s.grid[1] = gy;
  s.block[0] = bx;
  s.block[1] = by;
  return s;
}

bool near(float a, float b, float tolerance) { return std::fabs(a - b) <= tolerance * (1.0f + std::fabs(b)); }

}  // namespace

TEST_CASE("vector add") {
  for (const char* target : kTargets) {
    Fixture f("vector_add", target);
    const int n = 1000;
    const auto a = random_floats(n), b = random_floats(n, 1.0f, 3.0f);
    const std::uint64_t out = f.device.allocate(n * 4);
    const Fault fault = f.device.launch(kernel_named(f.module, "vector_add"), shape(4, 256), out, f.device.upload(a),
                                        f.device.upload(b), n);
    REQUIRE(fault.kind == FaultKind::none);
    const auto result = f.device.download<float>(out, n);
    for (std::size_t i = 0; i < n; ++i) { REQUIRE(result[i] == a[i] + b[i]); }
  }
}

TEST_CASE("a kernel that runs over its buffer faults with line, address and thread") {
  Fixture f("vector_add", "sm_80");
  const int n = 1000, wrong = 1024;
  const std::uint64_t in = f.device.upload(std::vector<float>(1024)), out = f.device.allocate(n * 4);
  const Fault fault = f.device.launch(kernel_named(f.module, "vector_add"), shape(4, 256), out, in, in, wrong);
  REQUIRE(fault.kind == FaultKind::illegal_address);
  REQUIRE(fault.address == out + n * 4);
  REQUIRE(fault.cta[0] == 3);
  REQUIRE(fault.thread == n - 3 * 256);
  REQUIRE(fault.line > 0);
}

TEST_CASE("reduction") {
  for (const char* target : kTargets) {
    Fixture f("reduction", target);
    const int n = 10007;
    std::vector<float> in(n);
    for (std::size_t i = 0; i < in.size(); ++i) { in[i] = static_cast<float>(i % 17); }  // sums are exact
    const std::uint64_t out = f.device.upload(std::vector<float>{0.0f});
    const Fault fault =
        f.device.launch(kernel_named(f.module, "reduce_sum"), shape(8, 192), out, f.device.upload(in), n);
    REQUIRE(fault.kind == FaultKind::none);
    REQUIRE(f.device.download<float>(out, 1)[0] == std::accumulate(in.begin(), in.end(), 0.0f));
  }
}

TEST_CASE("tiled matmul") {
  for (const char* target : kTargets) {
    Fixture f("matmul", target);
    const int m = 33, n = 29, k = 41;
    const auto a = random_floats(m * k), b = random_floats(k * n);
    const std::uint64_t out = f.device.allocate(m * n * 4);
    const Fault fault = f.device.launch(kernel_named(f.module, "matmul_tiled"), shape(2, 16, 3, 16), out,
                                        f.device.upload(a), f.device.upload(b), m, n, k);
    REQUIRE(fault.kind == FaultKind::none);
    const auto result = f.device.download<float>(out, m * n);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        float sum = 0.0f;
        for (std::size_t p = 0; p < k; ++p) { sum = std::fma(a[i * k + p], b[p * n + j], sum); }
        REQUIRE(near(result[i * n + j], sum, 1e-5f));
      }
    }
  }
}

TEST_CASE("softmax") {
  for (const char* target : kTargets) {
    Fixture f("softmax", target);
    const int rows = 5, columns = 300;
    const auto in = random_floats(rows * columns, -8.0f, 8.0f);
    const std::uint64_t out = f.device.allocate(rows * columns * 4);
    const Fault fault =
        f.device.launch(kernel_named(f.module, "softmax_rows"), shape(rows, 128), out, f.device.upload(in), columns);
    REQUIRE(fault.kind == FaultKind::none);
    const auto result = f.device.download<float>(out, rows * columns);
    for (std::size_t r = 0; r < rows; ++r) {
      const float* x = in.data() + r * columns;
      const float best = *std::max_element(x, x + columns);
      double sum = 0.0;
      for (std::size_t i = 0; i < columns; ++i) { sum += std::exp(static_cast<double>(x[i] - best)); }
      for (std::size_t i = 0; i < columns; ++i) {
        const double want = std::exp(static_cast<double>(x[i] - best)) / sum;
        REQUIRE(std::fabs(static_cast<double>(result[r * columns + i]) - want) < 1e-6);
      }
    }
  }
}

TEST_CASE("half precision, transcendental functions, histogram, transpose, integers, doubles, votes") {
  for (const char* target : kTargets) {
    CAPTURE(target);
    Fixture f("mixed", target);
    const int n = 500;
    const auto x = random_floats(n, 0.1f, 4.0f);
    const std::uint64_t in = f.device.upload(x);

    const std::uint64_t trig = f.device.allocate(3 * n * 4);
    auto wide = random_floats(n, -30.0f, 30.0f);
    wide[0] = 1.0e7f;  // takes the slow argument reduction with its local array
    REQUIRE(f.device.launch(kernel_named(f.module, "gelu_trig"), shape(4, 128), trig, f.device.upload(wide), n).kind ==
            FaultKind::none);
    const auto t = f.device.download<float>(trig, 3 * n);
    for (std::size_t i = 0; i < n; ++i) {
      const double v = static_cast<double>(wide[i]);
      const float gelu = static_cast<float>(0.5 * v * (1.0 + std::tanh(0.79788456 * (v + 0.044715 * v * v * v))));
      REQUIRE(near(t[3 * i], gelu, 3e-6f));
      REQUIRE(near(t[3 * i + 1], static_cast<float>(std::sin(v) + std::cos(v)), 1e-6f));
      REQUIRE(near(t[3 * i + 2],
                   static_cast<float>(std::erf(v) + std::log(std::fabs(v) + 1.0) + std::pow(std::fabs(v), 1.5)),
                   2e-6f));
    }

    const std::uint64_t h = f.device.allocate(n * 2), b = f.device.allocate(n * 2);
    REQUIRE(f.device.launch(kernel_named(f.module, "half_scale"), shape(4, 128), h, b, in, n).kind == FaultKind::none);
    const auto bf = f.device.download<std::uint16_t>(b, n);
    for (std::size_t i = 0; i < n; ++i) {
      const float got = std::bit_cast<float>(static_cast<std::uint32_t>(bf[i]) << 16);
      REQUIRE(near(got, 3.0f * x[i], 0.01f));
    }

    std::vector<std::uint8_t> bytes(5000);
    std::vector<std::uint32_t> want(256);
    for (std::size_t i = 0; i < bytes.size(); ++i) { ++want[bytes[i] = static_cast<std::uint8_t>(i * i % 251)]; }
    const std::uint64_t bins = f.device.upload(std::vector<std::uint32_t>(256));
    REQUIRE(
        f.device.launch(kernel_named(f.module, "histogram"), shape(3, 128), bins, f.device.upload(bytes), 5000).kind ==
        FaultKind::none);
    REQUIRE(f.device.download<std::uint32_t>(bins, 256) == want);

    const int rows = 20, columns = 25;
    const std::uint64_t flipped = f.device.allocate(n * 4);
    REQUIRE(f.device.launch(kernel_named(f.module, "transpose"), shape(1, 32, 1, 8), flipped, in, rows, columns).kind ==
            FaultKind::none);
    const auto tr = f.device.download<float>(flipped, n);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) { REQUIRE(tr[c * rows + r] == x[r * columns + c]); }
    }

    std::vector<std::uint32_t> words(n);
    std::mt19937 generator(3);
    for (auto& w : words) { w = static_cast<std::uint32_t>(generator()); }
    words[0] = 0;
    const std::uint64_t mixed = f.device.allocate(n * 8);
    REQUIRE(
        f.device.launch(kernel_named(f.module, "integer_mix"), shape(4, 128), mixed, f.device.upload(words), n).kind ==
        FaultKind::none);
    const auto im = f.device.download<std::uint64_t>(mixed, n);
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t v = words[i];
      std::uint32_t reversed = 0;
      for (std::uint32_t k = 0; k < 32; ++k) { reversed |= ((v >> k) & 1u) << (31 - k); }
      const std::uint32_t bits = static_cast<std::uint32_t>(std::popcount(v)) +
                                 static_cast<std::uint32_t>(std::countl_zero(v)) + reversed +
                                 static_cast<std::uint32_t>(v == 0 ? 0 : std::countr_zero(v) + 1);
      std::uint64_t r = v * 0x9E3779B97F4A7C15ull;
      r ^= bits;
      r += static_cast<std::uint32_t>((static_cast<std::uint64_t>(v) * 0xdeadbeefu >> 32) + v / 7 + v % 13);
      r ^= static_cast<std::uint64_t>((v & 0xffffu) | (v * 3) << 16) << 17;
      r += r / (static_cast<std::uint64_t>(v) + 3) + static_cast<std::uint32_t>(static_cast<std::int32_t>(v) >> 3);
      REQUIRE(im[i] == r);
    }

    std::vector<double> d(n);
    for (std::size_t i = 0; i < n; ++i) { d[i] = static_cast<double>(x[i]) * 3.0; }
    const std::uint64_t dm = f.device.allocate(n * 8);
    REQUIRE(f.device.launch(kernel_named(f.module, "double_mix"), shape(4, 128), dm, f.device.upload(d), n).kind ==
            FaultKind::none);
    const auto dr = f.device.download<double>(dm, n);
    for (std::size_t i = 0; i < n; ++i) {
      const double v = std::sqrt(d[i]) + std::exp(-d[i]) / (d[i] + 1.0) + std::floor(d[i] * 3.0);
      REQUIRE(std::fabs(dr[i] - v) < 1e-13 * (1.0 + std::fabs(v)));
    }

    std::vector<std::int32_t> votes(32);
    for (std::size_t i = 0; i < 32; ++i) { votes[i] = static_cast<std::int32_t>(i * 5 % 11); }
    const std::uint64_t vr = f.device.allocate(32 * 4);
    REQUIRE(f.device.launch(kernel_named(f.module, "vote_mix"), shape(1, 32), vr, f.device.upload(votes)).kind ==
            FaultKind::none);
    const auto v = f.device.download<std::uint32_t>(vr, 32);
    std::uint32_t ballot = 0, sum = 0;
    std::vector<std::uint32_t> s(32);
    for (std::uint32_t i = 0; i < 32; ++i) {
      ballot |= static_cast<std::uint32_t>(votes[i] > 3) << i;
      sum += static_cast<std::uint32_t>(votes[i]);
      s[i] = static_cast<std::uint32_t>((i & 1) != 0 ? votes[i] * 3 : votes[i] + 5);
    }
    for (std::uint32_t i = 0; i < 32; ++i) { REQUIRE(v[i] == ballot + 2 + 4 + s[i == 0 ? 0 : i - 1] + s[5] + sum); }
  }
}
