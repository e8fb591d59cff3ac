// SPDX-License-Identifier: Apache-2.0
// How an operation on scalars becomes a handler for a warp. Included by the operation sources only; everything is in
// an unnamed or ISA-named namespace, because those sources are compiled once per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "vm/operations.hpp"
#include "vm/warp.hpp"

#if defined(__clang__)
#define HALYARD_LANES _Pragma("clang loop vectorize(assume_safety)")
#else
#define HALYARD_LANES _Pragma("GCC ivdep")
#endif

namespace hal::emulated_cuda {
namespace HALYARD_VM_ISA {

void register_integer(OperationTable& table);
void register_float(OperationTable& table);
void register_half(OperationTable& table);
void register_convert(OperationTable& table);
void register_compare(OperationTable& table);
void register_memory(OperationTable& table);
void register_atomic(OperationTable& table);
void register_warp(OperationTable& table);

}  // namespace HALYARD_VM_ISA

namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

constexpr u32 kAll = 0xffffffffu;

template <class T, class S>
[[gnu::always_inline]] inline T as(S value) {
  return __builtin_bit_cast(T, value);
}

template <class D, class F, class... S>
[[gnu::always_inline]] inline void for_lanes(D* d, u32 mask, F f, const S*... s) {
  if (mask == kAll) [[likely]] {
    HALYARD_LANES
    for (u32 l = 0; l < kLanes; ++l) { d[l] = f(s[l]...); }
  } else {
    alignas(64) D result[kLanes];
    for (u32 l = 0; l < kLanes; ++l) { result[l] = f(s[l]...); }
    HALYARD_LANES
    for (u32 l = 0; l < kLanes; ++l) { d[l] = ((mask >> l) & 1u) != 0 ? result[l] : d[l]; }
  }
}

// A handler that applies `f` (which must be defined for every input: dead lanes are computed too).
template <class D, class... S, class F>
Handler lanes(F) {
  return []<std::size_t... K>(std::index_sequence<K...>) -> Handler {
    return [](Warp& w, const Instruction& i, u32 mask) {
      for_lanes(w.row<D>(i.rows[0]), mask, F{}, static_cast<const S*>(w.row<S>(i.rows[K + 1]))...);
    };
  }(std::index_sequence_for<S...>{});
}

// The same lane by lane and only where needed: for operations that call into the C library.
template <class D, class... S, class F>
Handler lanes_one_by_one(F) {
  return []<std::size_t... K>(std::index_sequence<K...>) -> Handler {
    return [](Warp& w, const Instruction& i, u32 mask) {
      for (u32 l = 0; l < kLanes; ++l) {
        if (((mask >> l) & 1u) != 0) { w.row<D>(i.rows[0])[l] = F{}(w.row<S>(i.rows[K + 1])[l]...); }
      }
    };
  }(std::index_sequence_for<S...>{});
}

}  // namespace
}  // namespace hal::emulated_cuda
