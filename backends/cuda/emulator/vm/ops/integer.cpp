// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic, shifts, logic and bit fields. Arithmetic is done unsigned, so overflow wraps as PTX says.
#include "vm/ops/lanes.hpp"

namespace hal::emulated_cuda {
namespace {

template <class T>
struct Wider;
template <>
struct Wider<u16> {
  using type = u32;
};
template <>
struct Wider<s16> {
  using type = s32;
};
template <>
struct Wider<u32> {
  using type = u64;
};
template <>
struct Wider<s32> {
  using type = s64;
};
template <class T>
using WiderOf = typename Wider<T>::type;

template <class T>
constexpr bool kSigned = static_cast<T>(-1) < static_cast<T>(0);

template <class T>
[[gnu::always_inline]] inline T high_product(T a, T b) {
  if constexpr (sizeof(T) == 8) {
    if constexpr (kSigned<T>) {
      __extension__ using Wide = __int128;
      return static_cast<T>((static_cast<Wide>(a) * b) >> 64);
    } else {
      __extension__ using Wide = unsigned __int128;
      return static_cast<T>((static_cast<Wide>(a) * b) >> 64);
    }
  } else {
    return static_cast<T>((static_cast<WiderOf<T>>(a) * static_cast<WiderOf<T>>(b)) >> (8 * sizeof(T)));
  }
}

// Division by zero is undefined in PTX; GPUs give all ones, and the remainder gives the dividend back.
template <class T>
[[gnu::always_inline]] inline T quotient(T a, T b) {
  if (b == 0) { return static_cast<T>(-1); }
  if constexpr (kSigned<T>) {
    if (b == -1) { return static_cast<T>(0 - static_cast<u64>(a)); }
  }
  return static_cast<T>(a / b);
}
template <class T>
[[gnu::always_inline]] inline T remainder(T a, T b) {
  if (b == 0) { return a; }
  if constexpr (kSigned<T>) {
    if (b == -1) { return 0; }
  }
  return static_cast<T>(a % b);
}

template <class T>
[[gnu::always_inline]] inline T shift_left(T a, u32 n) {
  return n >= 8 * sizeof(T) ? static_cast<T>(0) : static_cast<T>(a << n);
}
template <class T>
[[gnu::always_inline]] inline T shift_right(T a, u32 n) {
  constexpr u32 kBits = 8 * sizeof(T);
  if constexpr (kSigned<T>) {
    return static_cast<T>(a >> (n >= kBits ? kBits - 1 : n));
  } else {
    return n >= kBits ? static_cast<T>(0) : static_cast<T>(a >> n);
  }
}

template <class T>
[[gnu::always_inline]] inline u32 leading_zeros(T a) {
  if (a == 0) { return 8 * sizeof(T); }
  return static_cast<u32>(sizeof(T) == 8 ? __builtin_clzll(a) : __builtin_clz(static_cast<u32>(a)));
}

template <class T>
[[gnu::always_inline]] inline T reversed(T a) {
  T r = 0;
  for (u32 i = 0; i < 8 * sizeof(T); ++i) { r = static_cast<T>(r | (((a >> i) & 1) << (8 * sizeof(T) - 1 - i))); }
  return r;
}

// T: the signedness of the field; a bit beyond the register reads as the sign (or 0).
template <class T>
[[gnu::always_inline]] inline T extract(T value, u32 start, u32 length) {
  constexpr u32 kBits = 8 * sizeof(T);
  start &= 0xff;
  length &= 0xff;
  if (length == 0) { return 0; }
  const u32 last = start + length - 1;
  const T shifted = shift_right<T>(value, start);
  if (length >= kBits || last >= kBits) { return shifted; }
  using U = std::make_unsigned_t<T>;
  const U field = static_cast<U>(static_cast<U>(shifted) & ((static_cast<U>(1) << length) - 1));
  if constexpr (kSigned<T>) {
    const U sign = static_cast<U>(1) << (length - 1);
    return static_cast<T>((field ^ sign) - sign);
  } else {
    return field;
  }
}

template <class U>
[[gnu::always_inline]] inline U insert(U field, U into, u32 start, u32 length) {
  start &= 0xff;
  length &= 0xff;
  const U ones = length >= 8 * sizeof(U) ? static_cast<U>(~static_cast<U>(0)) : (static_cast<U>(1) << length) - 1;
  const U mask = shift_left<U>(ones, start);
  return (into & ~mask) | (shift_left<U>(field, start) & mask);
}

// Position of the most significant bit that is not a copy of the sign; all ones when there is none.
template <class T>
[[gnu::always_inline]] inline u32 find_bit(T a, bool as_shift) {
  using U = std::make_unsigned_t<T>;
  U value = static_cast<U>(a);
  if constexpr (kSigned<T>) {
    if (a < 0) { value = ~value; }
  }
  if (value == 0) { return 0xffffffffu; }
  const u32 position = static_cast<u32>(8 * sizeof(T)) - 1 - leading_zeros(value);
  return as_shift ? static_cast<u32>(8 * sizeof(T)) - 1 - position : position;
}

[[gnu::always_inline]] inline u32 permute(u32 a, u32 b, u32 selector) {
  const u64 bytes = (static_cast<u64>(b) << 32) | a;
  u32 result = 0;
  for (u32 i = 0; i < 4; ++i) {
    const u32 nibble = (selector >> (4 * i)) & 0xf;
    u32 byte = static_cast<u32>(bytes >> (8 * (nibble & 7))) & 0xff;
    if ((nibble & 8) != 0) { byte = (byte & 0x80) != 0 ? 0xff : 0; }
    result |= byte << (8 * i);
  }
  return result;
}

template <class T>
void for_either_sign(OperationTable& t, const char* type) {
  t.add({"min", type}, lanes<T, T, T>([](T a, T b) { return a < b ? a : b; }));
  t.add({"max", type}, lanes<T, T, T>([](T a, T b) { return a > b ? a : b; }));
  t.add({"div", type}, lanes<T, T, T>([](T a, T b) { return quotient(a, b); }));
  t.add({"rem", type}, lanes<T, T, T>([](T a, T b) { return remainder(a, b); }));
  t.add({"shr", type}, lanes<T, T, u32>([](T a, u32 n) { return shift_right(a, n); }));
  t.add({"mul.hi", type}, lanes<T, T, T>([](T a, T b) { return high_product(a, b); }));
  t.add({"mad.hi", type}, lanes<T, T, T, T>([](T a, T b, T c) {
          return static_cast<T>(static_cast<u64>(high_product(a, b)) + static_cast<u64>(c));
        }));
  t.add({"sad", type}, lanes<T, T, T, T>([](T a, T b, T c) {
          const u64 difference =
              a < b ? static_cast<u64>(b) - static_cast<u64>(a) : static_cast<u64>(a) - static_cast<u64>(b);
          return static_cast<T>(static_cast<u64>(c) + difference);
        }));
  if constexpr (sizeof(T) <= 4) {
    using W = WiderOf<T>;
    using U = std::make_unsigned_t<W>;
    t.add({"mul.wide", type},
          lanes<W, T, T>([](T a, T b) { return static_cast<W>(static_cast<W>(a) * static_cast<W>(b)); }));
    t.add({"mad.wide", type}, lanes<W, T, T, W>([](T a, T b, W c) {
            return static_cast<W>(static_cast<U>(static_cast<W>(a) * static_cast<W>(b)) + static_cast<U>(c));
          }));
  }
  if constexpr (sizeof(T) >= 4) {
    t.add({"bfe", type}, lanes<T, T, u32, u32>([](T a, u32 start, u32 n) { return extract(a, start, n); }));
    t.add({"bfind", type}, lanes_one_by_one<u32, T>([](T a) { return find_bit(a, false); }));
    t.add({"bfind.shiftamt", type}, lanes_one_by_one<u32, T>([](T a) { return find_bit(a, true); }));
  }
  if constexpr (kSigned<T>) {
    t.add({"abs", type}, lanes<T, T>([](T a) { return a < 0 ? static_cast<T>(0 - static_cast<u64>(a)) : a; }));
  }
}

template <class U>
void for_bits(OperationTable& t, const char* type) {
  t.add({"mov", type}, lanes<U, U>([](U a) { return a; }));
  t.add({"add", type}, lanes<U, U, U>([](U a, U b) { return static_cast<U>(a + b); }));
  t.add({"sub", type}, lanes<U, U, U>([](U a, U b) { return static_cast<U>(a - b); }));
  t.add({"mul.lo", type}, lanes<U, U, U>([](U a, U b) { return static_cast<U>(static_cast<u64>(a) * b); }));
  t.add({"mad.lo", type}, lanes<U, U, U, U>([](U a, U b, U c) { return static_cast<U>(static_cast<u64>(a) * b + c); }));
  t.add({"neg", type}, lanes<U, U>([](U a) { return static_cast<U>(0 - static_cast<u64>(a)); }));
  t.add({"and", type}, lanes<U, U, U>([](U a, U b) { return static_cast<U>(a & b); }));
  t.add({"or", type}, lanes<U, U, U>([](U a, U b) { return static_cast<U>(a | b); }));
  t.add({"xor", type}, lanes<U, U, U>([](U a, U b) { return static_cast<U>(a ^ b); }));
  t.add({"not", type}, lanes<U, U>([](U a) { return static_cast<U>(~static_cast<u64>(a)); }));
  t.add({"cnot", type}, lanes<U, U>([](U a) { return static_cast<U>(a == 0 ? 1 : 0); }));
  t.add({"shl", type}, lanes<U, U, u32>([](U a, u32 n) { return shift_left(a, n); }));
  if constexpr (sizeof(U) >= 4) {
    t.add({"popc", type}, lanes<u32, U>([](U a) { return static_cast<u32>(__builtin_popcountll(a)); }));
    t.add({"clz", type}, lanes_one_by_one<u32, U>([](U a) { return leading_zeros(a); }));
    t.add({"brev", type}, lanes_one_by_one<U, U>([](U a) { return reversed(a); }));
    t.add({"bfi", type}, lanes<U, U, U, u32, u32>([](U f, U a, u32 start, u32 n) { return insert(f, a, start, n); }));
  }
}

// Copies between rows of other widths: how narrow loads, stores and conversions reach their registers.
template <class D, class S>
void resize(OperationTable& t, const char* to, const char* from) {
  t.add({"resize", to, from}, lanes<D, S>([](S a) { return static_cast<D>(a); }));
}

void logic_operation(Warp& w, const Instruction& i, u32 mask) {
  const u32 table = i.table;
  const u32* a = w.row<u32>(i.rows[1]);
  const u32* b = w.row<u32>(i.rows[2]);
  const u32* c = w.row<u32>(i.rows[3]);
  u32* d = w.row<u32>(i.rows[0]);
  for (u32 l = 0; l < kLanes; ++l) {
    if (((mask >> l) & 1u) == 0) { continue; }
    u32 r = 0;
    if (table & 0x01) { r |= ~a[l] & ~b[l] & ~c[l]; }
    if (table & 0x02) { r |= ~a[l] & ~b[l] & c[l]; }
    if (table & 0x04) { r |= ~a[l] & b[l] & ~c[l]; }
    if (table & 0x08) { r |= ~a[l] & b[l] & c[l]; }
    if (table & 0x10) { r |= a[l] & ~b[l] & ~c[l]; }
    if (table & 0x20) { r |= a[l] & ~b[l] & c[l]; }
    if (table & 0x40) { r |= a[l] & b[l] & ~c[l]; }
    if (table & 0x80) { r |= a[l] & b[l] & c[l]; }
    d[l] = r;
  }
}

template <class A, class B>
s32 dot4(s32 a, s32 b, s32 c) {
  u32 sum = static_cast<u32>(c);
  for (u32 i = 0; i < 4; ++i) {
    sum += static_cast<u32>(static_cast<s32>(static_cast<A>(static_cast<u32>(a) >> (8 * i))) *
                            static_cast<s32>(static_cast<B>(static_cast<u32>(b) >> (8 * i))));
  }
  return static_cast<s32>(sum);
}

}  // namespace

void HALYARD_VM_ISA::register_integer(OperationTable& t) {
  for_either_sign<u16>(t, "u16");
  for_either_sign<u32>(t, "u32");
  for_either_sign<u64>(t, "u64");
  for_either_sign<s16>(t, "s16");
  for_either_sign<s32>(t, "s32");
  for_either_sign<s64>(t, "s64");
  for_bits<u16>(t, "b16");
  for_bits<u32>(t, "b32");
  for_bits<u64>(t, "b64");
  resize<u16, u8>(t, "u16", "u8");
  resize<u32, u8>(t, "u32", "u8");
  resize<u64, u8>(t, "u64", "u8");
  resize<u32, u16>(t, "u32", "u16");
  resize<u64, u16>(t, "u64", "u16");
  resize<u64, u32>(t, "u64", "u32");
  resize<s16, s8>(t, "s16", "s8");
  resize<s32, s8>(t, "s32", "s8");
  resize<s64, s8>(t, "s64", "s8");
  resize<s32, s16>(t, "s32", "s16");
  resize<s64, s16>(t, "s64", "s16");
  resize<s64, s32>(t, "s64", "s32");
  resize<u8, u16>(t, "u8", "u16");
  resize<u8, u32>(t, "u8", "u32");
  resize<u8, u64>(t, "u8", "u64");
  resize<u16, u32>(t, "u16", "u32");
  resize<u16, u64>(t, "u16", "u64");
  resize<u32, u64>(t, "u32", "u64");

  t.add({"add.sat.s32"}, lanes<s32, s32, s32>([](s32 a, s32 b) {
          const s64 r = static_cast<s64>(a) + b;
          return static_cast<s32>(r > 0x7fffffff ? 0x7fffffff : r < -0x80000000ll ? -0x80000000ll : r);
        }));
  t.add({"sub.sat.s32"}, lanes<s32, s32, s32>([](s32 a, s32 b) {
          const s64 r = static_cast<s64>(a) - b;
          return static_cast<s32>(r > 0x7fffffff ? 0x7fffffff : r < -0x80000000ll ? -0x80000000ll : r);
        }));
  t.add({"shf.l.wrap.b32"}, lanes<u32, u32, u32, u32>([](u32 lo, u32 hi, u32 n) {
          return static_cast<u32>((((static_cast<u64>(hi) << 32) | lo) << (n & 31)) >> 32);
        }));
  t.add({"shf.l.clamp.b32"}, lanes<u32, u32, u32, u32>([](u32 lo, u32 hi, u32 n) {
          return static_cast<u32>((((static_cast<u64>(hi) << 32) | lo) << (n > 32 ? 32 : n)) >> 32);
        }));
  t.add({"shf.r.wrap.b32"}, lanes<u32, u32, u32, u32>([](u32 lo, u32 hi, u32 n) {
          return static_cast<u32>(((static_cast<u64>(hi) << 32) | lo) >> (n & 31));
        }));
  t.add({"shf.r.clamp.b32"}, lanes<u32, u32, u32, u32>([](u32 lo, u32 hi, u32 n) {
          return static_cast<u32>(((static_cast<u64>(hi) << 32) | lo) >> (n > 32 ? 32 : n));
        }));
  t.add({"prmt.b32"}, lanes<u32, u32, u32, u32>([](u32 a, u32 b, u32 s) { return permute(a, b, s); }));
  t.add({"lop3.b32"}, logic_operation);
  t.add({"dp4a.u32.u32"}, lanes<s32, s32, s32, s32>([](s32 a, s32 b, s32 c) { return dot4<u8, u8>(a, b, c); }));
  t.add({"dp4a.s32.s32"}, lanes<s32, s32, s32, s32>([](s32 a, s32 b, s32 c) { return dot4<s8, s8>(a, b, c); }));
  t.add({"dp4a.u32.s32"}, lanes<s32, s32, s32, s32>([](s32 a, s32 b, s32 c) { return dot4<u8, s8>(a, b, c); }));
  t.add({"dp4a.s32.u32"}, lanes<s32, s32, s32, s32>([](s32 a, s32 b, s32 c) { return dot4<s8, u8>(a, b, c); }));

  // Halves of a register: mov.b32 %r, {%a, %b} and its opposite.
  t.add({"pack.b32"},
        lanes<u32, u16, u16>([](u16 a, u16 b) { return static_cast<u32>(a) | (static_cast<u32>(b) << 16); }));
  t.add({"pack.b64"},
        lanes<u64, u32, u32>([](u32 a, u32 b) { return static_cast<u64>(a) | (static_cast<u64>(b) << 32); }));
  t.add({"pack4.b64"}, lanes<u64, u16, u16, u16, u16>([](u16 a, u16 b, u16 c, u16 d) {
          return static_cast<u64>(a) | (static_cast<u64>(b) << 16) | (static_cast<u64>(c) << 32) |
                 (static_cast<u64>(d) << 48);
        }));
  t.add({"unpack0.b32"}, lanes<u16, u32>([](u32 a) { return static_cast<u16>(a); }));
  t.add({"unpack1.b32"}, lanes<u16, u32>([](u32 a) { return static_cast<u16>(a >> 16); }));
  t.add({"unpack0.b64"}, lanes<u32, u64>([](u64 a) { return static_cast<u32>(a); }));
  t.add({"unpack1.b64"}, lanes<u32, u64>([](u64 a) { return static_cast<u32>(a >> 32); }));
  t.add({"unpack40.b64"}, lanes<u16, u64>([](u64 a) { return static_cast<u16>(a); }));
  t.add({"unpack41.b64"}, lanes<u16, u64>([](u64 a) { return static_cast<u16>(a >> 16); }));
  t.add({"unpack42.b64"}, lanes<u16, u64>([](u64 a) { return static_cast<u16>(a >> 32); }));
  t.add({"unpack43.b64"}, lanes<u16, u64>([](u64 a) { return static_cast<u16>(a >> 48); }));
}

}  // namespace hal::emulated_cuda
