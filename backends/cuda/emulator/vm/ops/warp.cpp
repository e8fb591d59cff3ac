// SPDX-License-Identifier: Apache-2.0
// Operations across the lanes of a warp. The executor has already brought the members together.
#include <ctime>

#include "vm/ops/lanes.hpp"

namespace hal::emulated_cuda {
namespace {

enum class Shuffle : u8 { up, down, butterfly, index };

// rows: d, a, b (lane), c (clamp and segment), p (kNoRow: not wanted)
template <Shuffle M>
void shuffle(Warp& w, const Instruction& i, u32 mask) {
  const u32* a = w.row<u32>(i.rows[1]);
  const u32* b = w.row<u32>(i.rows[2]);
  const u32* c = w.row<u32>(i.rows[3]);
  u32 result[kLanes];
  u32 valid = 0;
  for (u32 l = 0; l < kLanes; ++l) {
    const u32 segment = (c[l] >> 8) & 31u;
    const u32 clamp = c[l] & 31u;
    const u32 highest = (l & segment) | (clamp & ~segment & 31u);
    const u32 n = b[l] & 31u;
    u32 from = l;
    bool inside = false;
    if constexpr (M == Shuffle::up) {
      from = l - n;
      inside = static_cast<s32>(from) >= static_cast<s32>(highest);
    } else if constexpr (M == Shuffle::down) {
      from = l + n;
      inside = from <= highest;
    } else if constexpr (M == Shuffle::butterfly) {
      from = l ^ n;
      inside = from <= highest;
    } else {
      from = (l & segment) | (n & ~segment & 31u);
      inside = from <= highest;
    }
    result[l] = a[inside ? from & 31u : l];
    valid |= static_cast<u32>(inside) << l;
  }
  u32* d = w.row<u32>(i.rows[0]);
  for (u32 l = 0; l < kLanes; ++l) { d[l] = ((mask >> l) & 1u) != 0 ? result[l] : d[l]; }
  if (i.rows[4] != kNoRow) {
    u32& p = w.predicate(i.rows[4]);
    p = (p & ~mask) | (valid & mask);
  }
}

[[gnu::always_inline]] inline u32 voted(Warp& w, const Instruction& i) {
  return i.table != 0 ? ~w.predicate(i.rows[1]) : w.predicate(i.rows[1]);
}
[[gnu::always_inline]] inline void set(Warp& w, u32 row, u32 mask, bool value) {
  u32& p = w.predicate(row);
  p = (p & ~mask) | (value ? mask : 0);
}
[[gnu::always_inline]] inline void fill(Warp& w, u32 row, u32 mask, u32 value) {
  u32* d = w.row<u32>(row);
  for (u32 l = 0; l < kLanes; ++l) { d[l] = ((mask >> l) & 1u) != 0 ? value : d[l]; }
}

template <class T, class F>
Handler reduction(F) {
  return [](Warp& w, const Instruction& i, u32 mask) {
    const T* a = w.row<T>(i.rows[1]);
    T r = a[__builtin_ctz(mask)];
    for (u32 rest = mask & (mask - 1); rest != 0; rest &= rest - 1) { r = F{}(r, a[__builtin_ctz(rest)]); }
    fill(w, i.rows[0], mask, static_cast<u32>(r));
  };
}

template <class T>
void match_any(Warp& w, const Instruction& i, u32 mask) {
  const T* a = w.row<T>(i.rows[1]);
  u32 result[kLanes] = {};
  for (u32 l = 0; l < kLanes; ++l) {
    for (u32 k = 0; k < kLanes; ++k) { result[l] |= static_cast<u32>(a[l] == a[k]) << k; }
  }
  u32* d = w.row<u32>(i.rows[0]);
  for (u32 l = 0; l < kLanes; ++l) { d[l] = ((mask >> l) & 1u) != 0 ? result[l] & mask : d[l]; }
}

template <class T>
void match_all(Warp& w, const Instruction& i, u32 mask) {  // rows: d, a, -, -, p
  const T* a = w.row<T>(i.rows[1]);
  const T first = a[__builtin_ctz(mask)];
  bool same = true;
  for (u32 rest = mask; rest != 0; rest &= rest - 1) { same = same && a[__builtin_ctz(rest)] == first; }
  fill(w, i.rows[0], mask, same ? mask : 0);
  if (i.rows[4] != kNoRow) { set(w, i.rows[4], mask, same); }
}

u64 nanoseconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000u + static_cast<u64>(t.tv_nsec);
}

}  // namespace

void HALYARD_VM_ISA::register_warp(OperationTable& t) {
  t.add({"shfl.up"}, shuffle<Shuffle::up>);
  t.add({"shfl.down"}, shuffle<Shuffle::down>);
  t.add({"shfl.bfly"}, shuffle<Shuffle::butterfly>);
  t.add({"shfl.idx"}, shuffle<Shuffle::index>);
  t.add({"vote.ballot"}, [](Warp& w, const Instruction& i, u32 mask) { fill(w, i.rows[0], mask, voted(w, i) & mask); });
  t.add({"vote.all"},
        [](Warp& w, const Instruction& i, u32 mask) { set(w, i.rows[0], mask, (voted(w, i) & mask) == mask); });
  t.add({"vote.any"},
        [](Warp& w, const Instruction& i, u32 mask) { set(w, i.rows[0], mask, (voted(w, i) & mask) != 0); });
  t.add({"vote.uni"}, [](Warp& w, const Instruction& i, u32 mask) {
    const u32 v = voted(w, i) & mask;
    set(w, i.rows[0], mask, v == 0 || v == mask);
  });
  t.add({"redux.add.u32"}, reduction<u32>([](u32 a, u32 b) { return a + b; }));
  t.add({"redux.add.s32"}, reduction<u32>([](u32 a, u32 b) { return a + b; }));
  t.add({"redux.min.u32"}, reduction<u32>([](u32 a, u32 b) { return a < b ? a : b; }));
  t.add({"redux.max.u32"}, reduction<u32>([](u32 a, u32 b) { return a > b ? a : b; }));
  t.add({"redux.min.s32"}, reduction<s32>([](s32 a, s32 b) { return a < b ? a : b; }));
  t.add({"redux.max.s32"}, reduction<s32>([](s32 a, s32 b) { return a > b ? a : b; }));
  t.add({"redux.and.b32"}, reduction<u32>([](u32 a, u32 b) { return a & b; }));
  t.add({"redux.or.b32"}, reduction<u32>([](u32 a, u32 b) { return a | b; }));
  t.add({"redux.xor.b32"}, reduction<u32>([](u32 a, u32 b) { return a ^ b; }));
  t.add({"match.any.b32"}, match_any<u32>);
  t.add({"match.any.b64"}, match_any<u64>);
  t.add({"match.all.b32"}, match_all<u32>);
  t.add({"match.all.b64"}, match_all<u64>);
  t.add({"elect"}, [](Warp& w, const Instruction& i, u32 mask) {  // rows: d, -, -, -, p
    const u32 leader = static_cast<u32>(__builtin_ctz(mask));
    if (i.rows[0] != kNoRow) { fill(w, i.rows[0], mask, leader); }
    u32& p = w.predicate(i.rows[4]);
    p = (p & ~mask) | (1u << leader);
  });
  t.add({"activemask"}, [](Warp& w, const Instruction& i, u32 mask) { fill(w, i.rows[0], mask, mask); });
  t.add({"nothing"}, [](Warp&, const Instruction&, u32) {});
  // Clocks tick in nanoseconds of the host.
  t.add({"clock.b32"}, [](Warp& w, const Instruction& i, u32 mask) {
    fill(w, i.rows[0], mask, static_cast<u32>(nanoseconds(CLOCK_MONOTONIC)));
  });
  t.add({"clock.b64"}, [](Warp& w, const Instruction& i, u32 mask) {
    const u64 now = nanoseconds(CLOCK_MONOTONIC);
    for (u32 rest = mask; rest != 0; rest &= rest - 1) { w.row<u64>(i.rows[0])[__builtin_ctz(rest)] = now; }
  });
  t.add({"globaltimer.b64"}, [](Warp& w, const Instruction& i, u32 mask) {
    const u64 now = nanoseconds(CLOCK_REALTIME);
    for (u32 rest = mask; rest != 0; rest &= rest - 1) { w.row<u64>(i.rows[0])[__builtin_ctz(rest)] = now; }
  });
}

}  // namespace hal::emulated_cuda
