// SPDX-License-Identifier: Apache-2.0
// atom and red, lane by lane in lane order, always sequentially consistent. rows: d (kNoRow for red), b, c; rows[5]:
// addresses. Fences are a read-modify-write of a word of the machine, which race checkers understand.
#include "vm/ops/scalar.hpp"

namespace hal::emulated_cuda {
namespace {

inline std::byte* locate(Warp& w, const Instruction& i, u32 lane, u64 address, u64 bytes, Space space) {
  Machine& m = *w.machine;
  std::byte* at = nullptr;
  if ((address & (bytes - 1)) != 0) {
    m.fail(FaultKind::misaligned_address, i.line, address, w.first_thread + lane);
    return nullptr;
  }
  if (space == Space::generic && address - kSharedWindow < kWindowBytes) {
    address -= kSharedWindow;
    space = Space::shared;
  }
  if (space == Space::shared) {
    at = address <= m.shared_bytes && m.shared_bytes - address >= bytes ? m.shared + address : nullptr;
  } else {
    at = m.translate(address, bytes, static_cast<u32>(i.line));
  }
  if (at == nullptr) { m.fail(FaultKind::illegal_address, i.line, address, w.first_thread + lane); }
  return at;
}

// U: the integer of the same width that is exchanged.
template <class T, class U, Space S, class A, class F>
Handler update(F) {
  return [](Warp& w, const Instruction& i, u32 mask) {
    const A* address = w.row<A>(i.rows[5]);
    const T* b = w.row<T>(i.rows[1]);
    const T* c = i.rows[2] == kNoRow ? b : w.row<T>(i.rows[2]);
    for (u32 rest = mask; rest != 0; rest &= rest - 1) {
      const u32 l = static_cast<u32>(__builtin_ctz(rest));
      std::byte* at = locate(w, i, l, static_cast<u64>(address[l]) + static_cast<u64>(i.displacement), sizeof(T), S);
      if (at == nullptr) { return; }
      U* word = reinterpret_cast<U*>(at);
      U old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
      for (;;) {
        const U next = as<U>(F{}(as<T>(old), b[l], c[l]));
        if (__atomic_compare_exchange_n(word, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) { break; }
      }
      if (i.rows[0] != kNoRow) { w.row<U>(i.rows[0])[l] = old; }
    }
  };
}

template <class T, class U, class F>
void spaces(OperationTable& t, const char* operation, const char* type, F f) {
  t.add({"atom", operation, type, "global.a64"}, update<T, U, Space::global, u64>(f));
  t.add({"atom", operation, type, "generic.a64"}, update<T, U, Space::generic, u64>(f));
  t.add({"atom", operation, type, "shared.a64"}, update<T, U, Space::shared, u64>(f));
  t.add({"atom", operation, type, "shared.a32"}, update<T, U, Space::shared, u32>(f));
}

template <class T, class U>
void order(OperationTable& t, const char* type) {
  spaces<T, U>(t, "add", type, [](T a, T b, T) { return static_cast<T>(static_cast<U>(a) + static_cast<U>(b)); });
  spaces<T, U>(t, "min", type, [](T a, T b, T) { return a < b ? a : b; });
  spaces<T, U>(t, "max", type, [](T a, T b, T) { return a > b ? a : b; });
}

template <class U>
void bits(OperationTable& t, const char* type) {
  spaces<U, U>(t, "and", type, [](U a, U b, U) { return a & b; });
  spaces<U, U>(t, "or", type, [](U a, U b, U) { return a | b; });
  spaces<U, U>(t, "xor", type, [](U a, U b, U) { return a ^ b; });
  spaces<U, U>(t, "exch", type, [](U, U b, U) { return b; });
  spaces<U, U>(t, "cas", type, [](U a, U b, U c) { return a == b ? c : a; });
}

}  // namespace

void HALYARD_VM_ISA::register_atomic(OperationTable& t) {
  order<u32, u32>(t, "u32");
  order<s32, u32>(t, "s32");
  order<u64, u64>(t, "u64");
  order<s64, u64>(t, "s64");
  bits<u32>(t, "b32");
  bits<u64>(t, "b64");
  spaces<u16, u16>(t, "cas", "b16", [](u16 a, u16 b, u16 c) { return a == b ? c : a; });
  spaces<u32, u32>(t, "inc", "u32", [](u32 a, u32 b, u32) { return a >= b ? 0u : a + 1; });
  spaces<u32, u32>(t, "dec", "u32", [](u32 a, u32 b, u32) { return a == 0 || a > b ? b : a - 1; });
  spaces<float, u32>(t, "add", "f32", [](float a, float b, float) { return a + b; });
  spaces<double, u64>(t, "add", "f64", [](double a, double b, double) { return a + b; });
  t.add({"fence"}, [](Warp& w, const Instruction&, u32) { w.machine->fence.fetch_add(1, std::memory_order_seq_cst); });
}

}  // namespace hal::emulated_cuda
