// SPDX-License-Identifier: Apache-2.0
// ld and st. rows[0..n): the n vector elements; rows[5]: addresses. First all lanes are checked against one allocation,
// then moved without further checks; lanes that spread over allocations, or are wrong, take the slow path.
#include "vm/ops/lanes.hpp"

namespace hal::emulated_cuda {
namespace {

// Where the bytes at a lane's address are; null when there are none.
template <Space S>
[[gnu::always_inline]] inline std::byte* locate(Warp& w, const Instruction& i, u32 lane, u64 address, u64 bytes) {
  Machine& m = *w.machine;
  if constexpr (S == Space::global) {
    return m.translate(address, bytes, static_cast<u32>(i.line));
  } else if constexpr (S == Space::shared) {
    return address <= m.shared_bytes && m.shared_bytes - address >= bytes ? m.shared + address : nullptr;
  } else if constexpr (S == Space::local) {
    return address <= m.local_bytes && m.local_bytes - address >= bytes
               ? m.local + (w.first_thread + lane) * m.local_bytes + address
               : nullptr;
  } else if constexpr (S == Space::param) {
    return address <= m.parameter_bytes && m.parameter_bytes - address >= bytes
               ? const_cast<std::byte*>(m.parameters) + address
               : nullptr;
  } else {
    if (address - kSharedWindow < kWindowBytes) {
      return locate<Space::shared>(w, i, lane, address - kSharedWindow, bytes);
    }
    if (address - kLocalWindow < kWindowBytes) {
      return locate<Space::local>(w, i, lane, address - kLocalWindow, bytes);
    }
    return locate<Space::global>(w, i, lane, address, bytes);
  }
}

template <Space S>
inline std::byte* checked(Warp& w, const Instruction& i, u32 lane, u64 address, u64 bytes) {
  Machine& m = *w.machine;
  if ((address & (bytes - 1)) != 0) {
    m.fail(FaultKind::misaligned_address, i.line, address, w.first_thread + lane);
    return nullptr;
  }
  std::byte* at = locate<S>(w, i, lane, address, bytes);
  if (at == nullptr) { m.fail(FaultKind::illegal_address, i.line, address, w.first_thread + lane); }
  return at;
}

template <class T, bool Strong>
[[gnu::always_inline]] inline T read(const std::byte* at) {
  T value;
  if constexpr (Strong) {
    value = __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_SEQ_CST);
  } else {
    __builtin_memcpy(&value, at, sizeof(T));
  }
  return value;
}
template <class T, bool Strong>
[[gnu::always_inline]] inline void write(std::byte* at, T value) {
  if constexpr (Strong) {
    __atomic_store_n(reinterpret_cast<T*>(at), value, __ATOMIC_SEQ_CST);
  } else {
    __builtin_memcpy(at, &value, sizeof(T));
  }
}

template <class T, Space S, class A, bool Strong>
void load_each(Warp& w, const Instruction& i, u32 mask) {
  const u32 n = i.lanes_of_vector;
  const A* address = w.row<A>(i.rows[5]);
  u64 addresses[kLanes];  // the destination may be the address register
  for (u32 l = 0; l < kLanes; ++l) { addresses[l] = static_cast<u64>(address[l]) + static_cast<u64>(i.displacement); }
  for (u32 l = 0; l < kLanes; ++l) {
    if (((mask >> l) & 1u) == 0) { continue; }
    const std::byte* at = checked<S>(w, i, l, addresses[l], sizeof(T) * n);
    if (at == nullptr) { return; }
    for (u32 k = 0; k < n; ++k) { w.row<T>(i.rows[k])[l] = read<T, Strong>(at + k * sizeof(T)); }
  }
}

template <class T, Space S, class A, bool Strong>
void store_each(Warp& w, const Instruction& i, u32 mask) {
  const u32 n = i.lanes_of_vector;
  const A* address = w.row<A>(i.rows[5]);
  for (u32 l = 0; l < kLanes; ++l) {
    if (((mask >> l) & 1u) == 0) { continue; }
    std::byte* at = checked<S>(w, i, l, static_cast<u64>(address[l]) + static_cast<u64>(i.displacement), sizeof(T) * n);
    if (at == nullptr) { return; }
    for (u32 k = 0; k < n; ++k) { write<T, Strong>(at + k * sizeof(T), w.row<T>(i.rows[k])[l]); }
  }
}

// Offsets of all lanes from one base. False: not all active lanes are inside and aligned.
struct Together {
  std::byte* base = nullptr;
  u64 at[kLanes];
  bool contiguous = false;
};

template <class T, class A>
[[gnu::always_inline]] inline bool together(const A* address, u64 shift, u64 length, u64 bytes, u32 mask, Together& t) {
  if (length < bytes) { return false; }
  const u64 last = length - bytes;
  u64 wrong = 0, gaps = 0;
  const u64 first = static_cast<u64>(address[0]) + shift;
  HALYARD_LANES
  for (u32 l = 0; l < kLanes; ++l) {
    const u64 at = static_cast<u64>(address[l]) + shift;
    t.at[l] = at;
    const u64 active = (mask >> l) & 1u;
    wrong |= (at > last ? active : 0u) | ((at & (bytes - 1)) != 0 ? active : 0u);
    gaps |= at ^ (first + l * sizeof(T));
  }
  t.contiguous = gaps == 0 && mask == kAll;
  return wrong == 0;
}

template <class T, Space S, class A>
[[gnu::always_inline]] inline bool all_lanes(Warp& w, const Instruction& i, u32 mask, u64 bytes, Together& t) {
  Machine& m = *w.machine;
  const A* address = w.row<A>(i.rows[5]);
  const u64 displacement = static_cast<u64>(i.displacement);
  if constexpr (S == Space::shared) {
    t.base = m.shared;
    return together<T>(address, displacement, m.shared_bytes, bytes, mask, t);
  } else {
    const MemoryRange& range = m.cache[i.line % Machine::kCached];
    t.base = range.bytes;
    // Allocations are 256-byte aligned, so alignment of the offset is alignment of the address.
    return together<T>(address, displacement - range.begin, range.length, bytes, mask, t);
  }
}

template <class T, Space S, class A>
void load(Warp& w, const Instruction& i, u32 mask) {
  if constexpr (S == Space::shared || S == Space::global) {
    Together t;
    const u32 n = i.lanes_of_vector;
    if (all_lanes<T, S, A>(w, i, mask, sizeof(T) * n, t)) [[likely]] {
      if (n == 1) {
        T* d = w.row<T>(i.rows[0]);
        if (t.contiguous) {
          __builtin_memcpy(d, t.base + t.at[0], sizeof(T) * kLanes);
        } else if (mask == kAll) {
          for (u32 l = 0; l < kLanes; ++l) { d[l] = read<T, false>(t.base + t.at[l]); }
        } else {
          for (u32 rest = mask; rest != 0; rest &= rest - 1) {
            const u32 l = static_cast<u32>(__builtin_ctz(rest));
            d[l] = read<T, false>(t.base + t.at[l]);
          }
        }
        return;
      }
      for (u32 rest = mask; rest != 0; rest &= rest - 1) {
        const u32 l = static_cast<u32>(__builtin_ctz(rest));
        for (u32 k = 0; k < n; ++k) { w.row<T>(i.rows[k])[l] = read<T, false>(t.base + t.at[l] + k * sizeof(T)); }
      }
      return;
    }
  }
  load_each<T, S, A, false>(w, i, mask);
}

template <class T, Space S, class A>
void store(Warp& w, const Instruction& i, u32 mask) {
  if constexpr (S == Space::shared || S == Space::global) {
    Together t;
    const u32 n = i.lanes_of_vector;
    if (all_lanes<T, S, A>(w, i, mask, sizeof(T) * n, t)) [[likely]] {
      if (t.contiguous && n == 1) {
        __builtin_memcpy(t.base + t.at[0], w.row<T>(i.rows[0]), sizeof(T) * kLanes);
        return;
      }
      for (u32 rest = mask; rest != 0; rest &= rest - 1) {
        const u32 l = static_cast<u32>(__builtin_ctz(rest));
        for (u32 k = 0; k < n; ++k) { write<T, false>(t.base + t.at[l] + k * sizeof(T), w.row<T>(i.rows[k])[l]); }
      }
      return;
    }
  }
  store_each<T, S, A, false>(w, i, mask);
}

// A parameter at a fixed offset is the same for all lanes.
template <class T>
void load_parameter(Warp& w, const Instruction& i, u32 mask) {
  const std::byte* at = checked<Space::param>(w, i, 0, static_cast<u64>(i.displacement), sizeof(T));
  if (at == nullptr) { return; }
  const T value = read<T, false>(at);
  T* d = w.row<T>(i.rows[0]);
  for (u32 l = 0; l < kLanes; ++l) { d[l] = ((mask >> l) & 1u) != 0 ? value : d[l]; }
}

template <class T, Space S, class A>
void width(OperationTable& t, const char* space, const char* type, const char* address) {
  t.add({"ld", space, type, address}, load<T, S, A>);
  if constexpr (S != Space::param) {
    t.add({"st", space, type, address}, store<T, S, A>);
    t.add({"ld.strong", space, type, address}, load_each<T, S, A, true>);
    t.add({"st.strong", space, type, address}, store_each<T, S, A, true>);
  }
}

template <Space S, class A>
void space(OperationTable& t, const char* name, const char* address) {
  width<u8, S, A>(t, name, "b8", address);
  width<u16, S, A>(t, name, "b16", address);
  width<u32, S, A>(t, name, "b32", address);
  width<u64, S, A>(t, name, "b64", address);
}

}  // namespace

void HALYARD_VM_ISA::register_memory(OperationTable& t) {
  space<Space::global, u64>(t, "global", "a64");
  space<Space::generic, u64>(t, "generic", "a64");
  space<Space::shared, u64>(t, "shared", "a64");
  space<Space::shared, u32>(t, "shared", "a32");
  space<Space::local, u64>(t, "local", "a64");
  space<Space::local, u32>(t, "local", "a32");
  space<Space::param, u64>(t, "param", "a64");
  space<Space::param, u32>(t, "param", "a32");
  t.add({"ld.param.uniform.b8"}, load_parameter<u8>);
  t.add({"ld.param.uniform.b16"}, load_parameter<u16>);
  t.add({"ld.param.uniform.b32"}, load_parameter<u32>);
  t.add({"ld.param.uniform.b64"}, load_parameter<u64>);
}

}  // namespace hal::emulated_cuda
