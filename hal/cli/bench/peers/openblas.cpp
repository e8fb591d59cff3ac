// SPDX-License-Identifier: Apache-2.0
// OpenBLAS. The kind of core is fixed when it is loaded, from OPENBLAS_CORETYPE or its own guess, so each is a process.
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>

#include "cli/bench/peers/peer.hpp"
#include "cli/bench/timing.hpp"

namespace hal::cli::bench::peers {
namespace {

// The C interface of BLAS, with 32-bit sizes.
using Sgemm = void (*)(int layout, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float* a,
                       int a_stride, const float* b, int b_stride, float beta, float* c, int c_stride);
constexpr int kRowMajor = 101, kNoTranspose = 111;

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

Once matmul(Sgemm sgemm, int n) {
  const auto elements = static_cast<std::size_t>(n) * static_cast<std::size_t>(n);
  struct Operands {
    std::vector<float> a, b, c;
  };
  auto on = std::make_shared<Operands>(
      Operands{std::vector<float>(elements, 1), std::vector<float>(elements, 1), std::vector<float>(elements, 0)});
  return [=, count = product_runs(n, false)] {
    return timed_warm(count, [&] {
      sgemm(kRowMajor, kNoTranspose, kNoTranspose, n, n, n, 1, on->a.data(), n, on->b.data(), n, 0, on->c.data(), n);
      keep(on->c.data());
    });
  };
}

}  // namespace

Peer openblas() {
  Peer peer{"OpenBLAS", {}, {"matmul f32 32", "matmul f32 128", "matmul f32 512", "matmul f32 1024"}, {}, {}};
  const char* asked = std::getenv("OPENBLAS_CORETYPE");
  if (asked != nullptr) { peer.name += fmt::format(" {}", asked); }
  // It does as it is told, and dies of the first instruction that the processor does not have.
  if (peer.name.ends_with(" SkylakeX") && !has_avx512()) {
    peer.missing = "this processor has no AVX-512, which the kernels for SkylakeX need";
    return peer;
  }
  void* library = ::dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    peer.missing = "libopenblas.so.0 is not installed";
    return peer;
  }
  const auto sgemm = reinterpret_cast<Sgemm>(::dlsym(library, "cblas_sgemm"));
  const auto core = reinterpret_cast<char* (*)()>(::dlsym(library, "openblas_get_corename"));
  const auto config = reinterpret_cast<char* (*)()>(::dlsym(library, "openblas_get_config"));
  const auto threads = reinterpret_cast<int (*)()>(::dlsym(library, "openblas_get_num_threads"));
  if (sgemm == nullptr) {
    peer.missing = "libopenblas.so.0 has no cblas_sgemm";
    return peer;
  }
  peer.notes.push_back(fmt::format("{}: {}, kernels for {}, {} threads", peer.name, config != nullptr ? config() : "?",
                                   core != nullptr ? core() : "?", threads != nullptr ? threads() : 0));
  peer.prepare = [sgemm](const std::string& row) { return matmul(sgemm, std::stoi(row.substr(row.rfind(' ') + 1))); };
  return peer;
}

}  // namespace hal::cli::bench::peers
