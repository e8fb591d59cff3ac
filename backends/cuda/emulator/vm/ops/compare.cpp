// SPDX-License-Identifier: Apache-2.0
// setp, selp, testp and predicate logic. A predicate register is one 32-bit mask.
#include "vm/ops/scalar.hpp"

namespace hal::emulated_cuda {
namespace {

// How the comparison joins the predicate operand: rows[3], bit inverted when table is set.
enum class Join : u8 { none, conjunction, disjunction, exclusive };

[[gnu::always_inline]] inline void store(Warp& w, u32 row, u32 mask, u32 value) {
  if (row == kNoRow) { return; }
  u32& p = w.predicate(row);
  p = (p & ~mask) | (value & mask);
}

// rows: p, a, b, c, q
template <Join J, class T, class F>
Handler comparison(F) {
  return [](Warp& w, const Instruction& i, u32 mask) {
    const T* a = w.row<T>(i.rows[1]);
    const T* b = w.row<T>(i.rows[2]);
    u32 r = 0;
    for (u32 l = 0; l < kLanes; ++l) { r |= static_cast<u32>(F{}(a[l], b[l])) << l; }
    u32 p = r, q = ~r;
    if constexpr (J != Join::none) {
      const u32 c = i.table != 0 ? ~w.predicate(i.rows[3]) : w.predicate(i.rows[3]);
      p = J == Join::conjunction ? r & c : J == Join::disjunction ? r | c : r ^ c;
      q = J == Join::conjunction ? ~r & c : J == Join::disjunction ? ~r | c : ~r ^ c;
    }
    store(w, i.rows[0], mask, p);
    store(w, i.rows[4], mask, q);
  };
}

template <class T, class F>
void joins(OperationTable& t, const char* relation, const char* type, F f) {
  t.add({"setp", relation, type}, comparison<Join::none, T>(f));
  t.add({"setp", relation, "and", type}, comparison<Join::conjunction, T>(f));
  t.add({"setp", relation, "or", type}, comparison<Join::disjunction, T>(f));
  t.add({"setp", relation, "xor", type}, comparison<Join::exclusive, T>(f));
}

template <class T>
void equality(OperationTable& t, const char* type) {
  joins<T>(t, "eq", type, [](T a, T b) { return a == b; });
  joins<T>(t, "ne", type, [](T a, T b) { return a != b; });
}
template <class T>
void order(OperationTable& t, const char* type) {
  equality<T>(t, type);
  joins<T>(t, "lt", type, [](T a, T b) { return a < b; });
  joins<T>(t, "le", type, [](T a, T b) { return a <= b; });
  joins<T>(t, "gt", type, [](T a, T b) { return a > b; });
  joins<T>(t, "ge", type, [](T a, T b) { return a >= b; });
}

struct Same {
  template <class T>
  [[gnu::always_inline]] T operator()(T x) const {
    return x;
  }
};
struct Flush {
  [[gnu::always_inline]] float operator()(float x) const { return flushed(x); }
};
struct Widen {
  template <class H>
  [[gnu::always_inline]] float operator()(H x) const {
    return to_float(x);
  }
};

// V: how a row element becomes a number.
template <class T, class V>
void floating(OperationTable& t, const char* type) {
  joins<T>(t, "eq", type, [](T a, T b) { return V{}(a) == V{}(b); });
  joins<T>(t, "ne", type, [](T a, T b) { return V{}(a) < V{}(b) || V{}(a) > V{}(b); });
  joins<T>(t, "lt", type, [](T a, T b) { return V{}(a) < V{}(b); });
  joins<T>(t, "le", type, [](T a, T b) { return V{}(a) <= V{}(b); });
  joins<T>(t, "gt", type, [](T a, T b) { return V{}(a) > V{}(b); });
  joins<T>(t, "ge", type, [](T a, T b) { return V{}(a) >= V{}(b); });
  joins<T>(t, "equ", type, [](T a, T b) { return !(V{}(a) < V{}(b) || V{}(a) > V{}(b)); });
  joins<T>(t, "neu", type, [](T a, T b) { return V{}(a) != V{}(b); });
  joins<T>(t, "ltu", type, [](T a, T b) { return !(V{}(a) >= V{}(b)); });
  joins<T>(t, "leu", type, [](T a, T b) { return !(V{}(a) > V{}(b)); });
  joins<T>(t, "gtu", type, [](T a, T b) { return !(V{}(a) <= V{}(b)); });
  joins<T>(t, "geu", type, [](T a, T b) { return !(V{}(a) < V{}(b)); });
  joins<T>(t, "num", type, [](T a, T b) { return !is_nan(V{}(a)) && !is_nan(V{}(b)); });
  joins<T>(t, "nan", type, [](T a, T b) { return is_nan(V{}(a)) || is_nan(V{}(b)); });
}

template <class F>
Handler property(F) {
  return [](Warp& w, const Instruction& i, u32 mask) {
    u32 r = 0;
    for (u32 l = 0; l < kLanes; ++l) { r |= static_cast<u32>(F{}(w, i, l)) << l; }
    store(w, i.rows[0], mask, r);
  };
}

template <class T, class U>
void tests(OperationTable& t, const char* type) {
  static constexpr U kInfinity = sizeof(T) == 4 ? static_cast<U>(0x7f800000u) : static_cast<U>(0x7ff0000000000000ull);
  static constexpr U kSmallest = sizeof(T) == 4 ? static_cast<U>(0x00800000u) : static_cast<U>(0x0010000000000000ull);
  static constexpr U kMagnitude = static_cast<U>(~static_cast<U>(0)) >> 1;
  t.add({"testp.finite", type}, property([](Warp& w, const Instruction& i, u32 l) {
          return (w.row<U>(i.rows[1])[l] & kMagnitude) < kInfinity;
        }));
  t.add({"testp.infinite", type}, property([](Warp& w, const Instruction& i, u32 l) {
          return (w.row<U>(i.rows[1])[l] & kMagnitude) == kInfinity;
        }));
  t.add({"testp.number", type}, property([](Warp& w, const Instruction& i, u32 l) {
          return (w.row<U>(i.rows[1])[l] & kMagnitude) <= kInfinity;
        }));
  t.add({"testp.notanumber", type}, property([](Warp& w, const Instruction& i, u32 l) {
          return (w.row<U>(i.rows[1])[l] & kMagnitude) > kInfinity;
        }));
  t.add({"testp.normal", type}, property([](Warp& w, const Instruction& i, u32 l) {
          const U m = w.row<U>(i.rows[1])[l] & kMagnitude;
          return m >= kSmallest && m < kInfinity;
        }));
  t.add({"testp.subnormal", type}, property([](Warp& w, const Instruction& i, u32 l) {
          const U m = w.row<U>(i.rows[1])[l] & kMagnitude;
          return m != 0 && m < kSmallest;
        }));
}

// selp d, a, b, c: rows 0 to 2 and the predicate row 3.
template <class U>
void select(Warp& w, const Instruction& i, u32 mask) {
  const u32 c = i.table != 0 ? ~w.predicate(i.rows[3]) : w.predicate(i.rows[3]);
  U* d = w.row<U>(i.rows[0]);
  const U* a = w.row<U>(i.rows[1]);
  const U* b = w.row<U>(i.rows[2]);
  HALYARD_LANES
  for (u32 l = 0; l < kLanes; ++l) {
    const U v = ((c >> l) & 1u) != 0 ? a[l] : b[l];
    d[l] = ((mask >> l) & 1u) != 0 ? v : d[l];
  }
}

// Predicate logic; `table` bit n inverts source n.
template <class F>
Handler logic(F) {
  return [](Warp& w, const Instruction& i, u32 mask) {
    const u32 a = w.predicate(i.rows[1]) ^ ((i.table & 1) != 0 ? kAll : 0);
    const u32 b = i.rows[2] == kNoRow ? 0 : w.predicate(i.rows[2]) ^ ((i.table & 2) != 0 ? kAll : 0);
    store(w, i.rows[0], mask, F{}(a, b));
  };
}

}  // namespace

void HALYARD_VM_ISA::register_compare(OperationTable& t) {
  order<s16>(t, "s16");
  order<s32>(t, "s32");
  order<s64>(t, "s64");
  order<u16>(t, "u16");
  order<u32>(t, "u32");
  order<u64>(t, "u64");
  equality<u16>(t, "b16");
  equality<u32>(t, "b32");
  equality<u64>(t, "b64");
  floating<float, Same>(t, "f32");
  floating<float, Flush>(t, "ftz.f32");
  floating<double, Same>(t, "f64");
  floating<Half, Widen>(t, "f16");
  floating<Brain, Widen>(t, "bf16");
  tests<float, u32>(t, "f32");
  tests<double, u64>(t, "f64");
  t.add({"selp.b16"}, select<u16>);
  t.add({"selp.b32"}, select<u32>);
  t.add({"selp.b64"}, select<u64>);
  t.add({"mov.pred"}, logic([](u32 a, u32) { return a; }));
  t.add({"not.pred"}, logic([](u32 a, u32) { return ~a; }));
  t.add({"and.pred"}, logic([](u32 a, u32 b) { return a & b; }));
  t.add({"or.pred"}, logic([](u32 a, u32 b) { return a | b; }));
  t.add({"xor.pred"}, logic([](u32 a, u32 b) { return a ^ b; }));
}

}  // namespace hal::emulated_cuda
