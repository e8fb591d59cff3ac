// SPDX-License-Identifier: Apache-2.0
// The kernel pack as host functions, item for item what pack.cu says: a barrier is the end of one loop over the items
// and the beginning of the next.
#include "conformance/kernels/host_pack.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace hal::conformance {
namespace {

using u32 = std::uint32_t;

u32 scalar_u32(void* const* args, int i) { return *static_cast<const u32*>(args[i]); }

// Items of a one-dimensional group that lie below n.
template <class Body>
void items(const hal_host_group* group, u32 n, Body body) {
  const u32 first = group->group[0] * group->group_size[0];
  for (u32 i = first; i < first + group->group_size[0] && i < n; ++i) { body(i); }
}

void pack_fill(const hal_host_group* group, void* const* args) {
  const u32 value = scalar_u32(args, 1);
  auto* out = static_cast<u32*>(args[2]);
  items(group, scalar_u32(args, 0), [&](u32 i) { out[i] = value; });
}

void pack_iota(const hal_host_group* group, void* const* args) {
  const u32 start = scalar_u32(args, 1);
  auto* out = static_cast<u32*>(args[2]);
  items(group, scalar_u32(args, 0), [&](u32 i) { out[i] = start + i; });
}

void pack_saxpy(const hal_host_group* group, void* const* args) {
  const float a = *static_cast<const float*>(args[1]);
  const auto* x = static_cast<const float*>(args[2]);
  auto* y = static_cast<float*>(args[3]);
  items(group, scalar_u32(args, 0), [&](u32 i) { y[i] = a * x[i] + y[i]; });
}

void pack_reduce(const hal_host_group* group, void* const* args) {
  const u32 n = scalar_u32(args, 0);
  const auto* x = static_cast<const u32*>(args[1]);
  auto* part = static_cast<u32*>(group->shared);
  for (u32 item = 0; item < 64; ++item) {
    const u32 i = group->group[0] * 64 + item;
    part[item] = i < n ? x[i] : 0;
  }
  for (u32 half = 32; half > 0; half /= 2) {
    for (u32 item = 0; item < half; ++item) { part[item] += part[item + half]; }
  }
  __atomic_fetch_add(static_cast<u32*>(args[2]), part[0], __ATOMIC_RELAXED);
}

void pack_matmul(const hal_host_group* group, void* const* args) {
  const u32 m = scalar_u32(args, 0), n = scalar_u32(args, 1), k = scalar_u32(args, 2);
  const auto* a = static_cast<const float*>(args[3]);
  const auto* b = static_cast<const float*>(args[4]);
  auto* c = static_cast<float*>(args[5]);
  auto* left = static_cast<float*>(group->shared);
  float* right = left + 64;
  float sum[64] = {};
  const auto row = [&](u32 y) { return group->group[1] * 8 + y; };
  const auto column = [&](u32 x) { return group->group[0] * 8 + x; };
  for (u32 tile = 0; tile < k; tile += 8) {
    for (u32 item = 0; item < 64; ++item) {
      const u32 x = item % 8, y = item / 8;
      left[item] = row(y) < m && tile + x < k ? a[row(y) * k + tile + x] : 0;
      right[item] = column(x) < n && tile + y < k ? b[(tile + y) * n + column(x)] : 0;
    }
    for (u32 item = 0; item < 64; ++item) {
      for (u32 i = 0; i < 8; ++i) { sum[item] += left[item / 8 * 8 + i] * right[i * 8 + item % 8]; }
    }
  }
  for (u32 item = 0; item < 64; ++item) {
    if (row(item / 8) < m && column(item % 8) < n) { c[row(item / 8) * n + column(item % 8)] = sum[item]; }
  }
}

void pack_softmax(const hal_host_group* group, void* const* args) {
  const u32 columns = scalar_u32(args, 0);
  const auto* in = static_cast<const float*>(args[1]) + std::size_t{group->group[0]} * columns;
  auto* out = static_cast<float*>(args[2]) + std::size_t{group->group[0]} * columns;
  auto* part = static_cast<float*>(group->shared);
  for (u32 item = 0; item < 32; ++item) {
    part[item] = in[0];
    for (u32 i = item; i < columns; i += 32) { part[item] = std::max(part[item], in[i]); }
  }
  for (u32 half = 16; half > 0; half /= 2) {
    for (u32 item = 0; item < half; ++item) { part[item] = std::max(part[item], part[item + half]); }
  }
  const float most = part[0];
  for (u32 item = 0; item < 32; ++item) {
    part[item] = 0;
    for (u32 i = item; i < columns; i += 32) {
      out[i] = std::exp(in[i] - most);
      part[item] += out[i];
    }
  }
  for (u32 half = 16; half > 0; half /= 2) {
    for (u32 item = 0; item < half; ++item) { part[item] += part[item + half]; }
  }
  for (u32 i = 0; i < columns; ++i) { out[i] = out[i] / part[0]; }
}

void pack_ticket(const hal_host_group* group, void* const* args) {
  auto* counter = static_cast<u32*>(args[1]);
  auto* out = static_cast<u32*>(args[2]);
  items(group, scalar_u32(args, 0), [&](u32 i) { out[__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED)] = i; });
}

void pack_echo(const hal_host_group*, void* const* args) {
  auto* out = static_cast<std::uint64_t*>(args[6]);
  out[0] = scalar_u32(args, 0);
  out[1] = *static_cast<const std::uint64_t*>(args[1]);
  out[2] = std::bit_cast<u32>(*static_cast<const float*>(args[2]));
  out[3] = std::bit_cast<std::uint64_t>(*static_cast<const double*>(args[3]));
  out[4] = static_cast<std::uint64_t>(std::int64_t{*static_cast<const std::int32_t*>(args[4])});
  out[5] = *static_cast<const std::uint8_t*>(args[5]);
}

constexpr hal_host_entry kEntries[] = {{"pack_fill", pack_fill},     {"pack_iota", pack_iota},
                                       {"pack_saxpy", pack_saxpy},   {"pack_reduce", pack_reduce},
                                       {"pack_matmul", pack_matmul}, {"pack_softmax", pack_softmax},
                                       {"pack_ticket", pack_ticket}, {"pack_echo", pack_echo}};
constexpr hal_host_functions kFunctions = HAL_HOST_FUNCTIONS(kEntries, 8);

}  // namespace

const hal_host_functions& host_pack() { return kFunctions; }

}  // namespace hal::conformance
