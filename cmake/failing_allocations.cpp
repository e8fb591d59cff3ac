// SPDX-License-Identifier: Apache-2.0
// Allocations that fail on purpose: operator new, malloc and its kin, and threads that the system refuses.
//
// Linked into every test program, where HALYARD_FAIL_EVERY turns it on, and a library to be preloaded into the tools.
// Only what the project's own libraries ask for fails, those that are linked into the program only with
// HALYARD_FAIL_PROGRAM: a test program's own wishes, Catch2's and those of libraries of others (oneDNN, hwloc) come
// true, and so do those of the loader and, but for the few functions that say that they had no memory, of the C
// library, which end the process without it.
#include "failing_allocations.hpp"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <unwind.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "program_symbols.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HALYARD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HALYARD_SANITIZED 1
#endif
#endif

extern "C" {
void* __libc_malloc(std::size_t);                 // NOLINT: the C library's names
void* __libc_calloc(std::size_t, std::size_t);    // NOLINT
void* __libc_realloc(void*, std::size_t);         // NOLINT
void* __libc_memalign(std::size_t, std::size_t);  // NOLINT
}

namespace {

std::atomic<std::int64_t> countdown{0};  // candidates until one fails
std::atomic<std::uint64_t> period{0};    // then this many more; 0: once
std::atomic<bool> armed{false};
std::uint64_t asked = 0;  // by the environment
std::atomic<std::uint64_t> failed{0};
std::atomic<std::int64_t> live{0}, bytes_live{0}, bytes_most{0}, bytes_then{0};
thread_local bool inside __attribute__((tls_model("initial-exec"))) = false;  // looking at the stack

// language: the C++ run time and libfmt, on behalf of their caller; system: the C library, perhaps on behalf of its.
// start: the program's constructors of static objects, from which nothing can be thrown.
enum class Whose { ours, language, system, others, start };

Whose whose(void* address) {
  dl_find_object found{};
  if (::_dl_find_object(address, &found) != 0) { return Whose::others; }
  const std::string_view name(found.dlfo_link_map->l_name);
  if (name.empty()) {  // the program
    switch (hal::test::program_symbol(reinterpret_cast<std::uintptr_t>(address) - found.dlfo_link_map->l_addr)) {
      case hal::test::Symbol::ours:
        return Whose::ours;
      case hal::test::Symbol::language:
        return Whose::language;
      case hal::test::Symbol::start:
        return Whose::start;
      case hal::test::Symbol::others:
        return Whose::others;
    }
  }
  if (name.find("/libstdc++") != name.npos || name.find("/libfmt") != name.npos) { return Whose::language; }
  if (name.find("/libc.so") != name.npos) { return Whose::system; }
  if (name.starts_with("/lib") || name.starts_with("/usr/") || name.find("/halyard-failing") != name.npos) {
    return Whose::others;
  }
  return Whose::ours;
}

// Whether this function of the C library answers its caller that there was no memory.
bool answers(void* function) {
  constexpr std::array<std::string_view, 9> kNames{"strdup",  "strndup",  "fopen",     "fopen64",       "fdopen",
                                                   "opendir", "realpath", "vasprintf", "open_memstream"};
  Dl_info info{};
  if (function == nullptr || ::dladdr(function, &info) == 0 || info.dli_saddr != function ||
      info.dli_sname == nullptr) {
    return false;
  }
  std::string_view name(info.dli_sname);
  // It may be known by another of its names, __strdup() or _IO_fopen().
  name.remove_prefix(std::min(name.find_first_not_of('_'), name.size()));
  if (name.starts_with("IO_")) { name.remove_prefix(3); }
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// The nearest caller that asks for itself decides; whatever happens while the loader runs or static objects are made is
// left alone.
struct Look {
  void* caller;
  bool begun = false, decided = false, ours = false;
  void* system = nullptr;  // the C library's function that was called, as far as the look has got
};

_Unwind_Reason_Code look(_Unwind_Context* frame, void* to) {
  auto& seen = *static_cast<Look*>(to);
  void* address = reinterpret_cast<void*>(_Unwind_GetIP(frame));
  seen.begun = seen.begun || address == seen.caller;
  dl_find_object found{};
  if (!seen.begun || ::_dl_find_object(address, &found) != 0) { return _URC_NO_REASON; }
  const Whose of = whose(address);
  const bool loading = std::string_view(found.dlfo_link_map->l_name).find("/ld-linux") != std::string_view::npos;
  if (loading || of == Whose::start) {
    seen.decided = seen.ours = false;
    return _URC_END_OF_STACK;
  }
  if (seen.decided) { return _URC_NO_REASON; }
  if (of == Whose::system) {
    seen.system = reinterpret_cast<void*>(_Unwind_GetRegionStart(frame));
  } else if (seen.system != nullptr && !answers(seen.system)) {
    seen.decided = true;
  } else if (seen.system = nullptr; of != Whose::language) {
    seen.decided = true;
    seen.ours = of == Whose::ours;
  }
  return _URC_NO_REASON;
}

bool asked_by_us(void* caller) {
  Look seen{caller};
  inside = true;
  _Unwind_Backtrace(look, &seen);
  inside = false;
  return seen.ours;
}

// With the countdown at its end.
bool strike() {
  const std::uint64_t again = period.load(std::memory_order_relaxed);
  if (again == 0) {
    if (!armed.exchange(false)) { return false; }
  } else {
    countdown.store(static_cast<std::int64_t>(again) - 1, std::memory_order_relaxed);
  }
  failed.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool fails_now(void* caller) {
  if (!armed.load(std::memory_order_relaxed) || inside || whose(caller) == Whose::others) { return false; }
  if (countdown.fetch_sub(1, std::memory_order_relaxed) > 0) { return false; }
  return asked_by_us(caller) && strike();  // else the next that is ours
}

#if defined(HALYARD_SANITIZED)

// The sanitizers count for themselves, and see more if nothing lies in front of a block.
void* take(std::size_t bytes, std::size_t alignment, void* caller) noexcept {
  if (fails_now(caller)) { return nullptr; }
  if (alignment == 0) { return std::malloc(bytes != 0 ? bytes : 1); }
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void drop(void* address, std::size_t) noexcept { std::free(address); }

#else

// Blocks carry a mark in front, so that whoever deletes one of the project's own counts it off: its bytes, else 0.
constexpr std::size_t kLeast = 16;

void count(std::int64_t of_ours, std::int64_t blocks) noexcept {
  if (of_ours == 0) { return; }
  live.fetch_add(blocks, std::memory_order_relaxed);
  const std::int64_t now = bytes_live.fetch_add(of_ours, std::memory_order_relaxed) + of_ours;
  std::int64_t most = bytes_most.load(std::memory_order_relaxed);
  while (now > most && !bytes_most.compare_exchange_weak(most, now, std::memory_order_relaxed)) {}
}

void* take(std::size_t bytes, std::size_t alignment, void* caller) noexcept {
  if (fails_now(caller)) { return nullptr; }
  const std::size_t room = alignment > kLeast ? alignment : kLeast;
  if (bytes > SIZE_MAX - 2 * room) { return nullptr; }
  const std::size_t size = (bytes + room + room - 1) / room * room;
  auto* raw = static_cast<char*>(alignment > kLeast ? __libc_memalign(alignment, size) : __libc_malloc(size));
  if (raw == nullptr) { return nullptr; }
  const std::uint64_t mark = whose(caller) == Whose::ours ? size : 0;
  count(static_cast<std::int64_t>(mark), 1);
  std::memcpy(raw, &mark, sizeof mark);
  return raw + room;
}

void drop(void* address, std::size_t alignment) noexcept {
  if (address == nullptr) { return; }
  char* raw = static_cast<char*>(address) - (alignment > kLeast ? alignment : kLeast);
  std::uint64_t mark = 0;
  std::memcpy(&mark, raw, sizeof mark);
  count(-static_cast<std::int64_t>(mark), -1);
  std::free(raw);
}

#endif

void* take_or_throw(std::size_t bytes, std::size_t alignment, void* caller) {
  void* address = take(bytes, alignment, caller);
  if (address == nullptr) { throw std::bad_alloc(); }
  return address;
}

}  // namespace

namespace hal::test {

void fail_after(std::uint64_t n) {
  failed = 0;
  period = 0;
  countdown = static_cast<std::int64_t>(n);
  armed = true;
}

void fail_every(std::uint64_t n, std::uint64_t offset) {
  failed = 0;
  period = n;
  countdown = static_cast<std::int64_t>(offset);
  armed = n != 0;
}

void fail_no_more() {
  period = asked;
  countdown = static_cast<std::int64_t>(asked);
  armed = asked != 0;
}

bool fails_here() {
  if (!armed.load(std::memory_order_relaxed) || countdown.fetch_sub(1, std::memory_order_relaxed) > 0) { return false; }
  return strike();
}

std::uint64_t failures() { return failed; }
std::int64_t live_allocations() { return live; }
void watch_bytes() { bytes_most = bytes_then = bytes_live.load(); }
std::uint64_t most_bytes() { return static_cast<std::uint64_t>(bytes_most - bytes_then); }

}  // namespace hal::test

#define HALYARD_CALLER __builtin_extract_return_addr(__builtin_return_address(0))

void* operator new(std::size_t bytes) { return take_or_throw(bytes, 0, HALYARD_CALLER); }
void* operator new[](std::size_t bytes) { return take_or_throw(bytes, 0, HALYARD_CALLER); }
void* operator new(std::size_t bytes, std::align_val_t at) {
  return take_or_throw(bytes, static_cast<std::size_t>(at), HALYARD_CALLER);
}
void* operator new[](std::size_t bytes, std::align_val_t at) {
  return take_or_throw(bytes, static_cast<std::size_t>(at), HALYARD_CALLER);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0, HALYARD_CALLER); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0, HALYARD_CALLER); }
void* operator new(std::size_t bytes, std::align_val_t at, const std::nothrow_t&) noexcept {
  return take(bytes, static_cast<std::size_t>(at), HALYARD_CALLER);
}
void* operator new[](std::size_t bytes, std::align_val_t at, const std::nothrow_t&) noexcept {
  return take(bytes, static_cast<std::size_t>(at), HALYARD_CALLER);
}
void operator delete(void* address) noexcept { drop(address, 0); }
void operator delete[](void* address) noexcept { drop(address, 0); }
void operator delete(void* address, std::size_t) noexcept { drop(address, 0); }
void operator delete[](void* address, std::size_t) noexcept { drop(address, 0); }
void operator delete(void* address, std::align_val_t at) noexcept { drop(address, static_cast<std::size_t>(at)); }
void operator delete[](void* address, std::align_val_t at) noexcept { drop(address, static_cast<std::size_t>(at)); }
void operator delete(void* address, std::size_t, std::align_val_t at) noexcept {
  drop(address, static_cast<std::size_t>(at));
}
void operator delete[](void* address, std::size_t, std::align_val_t at) noexcept {
  drop(address, static_cast<std::size_t>(at));
}
void operator delete(void* address, const std::nothrow_t&) noexcept { drop(address, 0); }
void operator delete[](void* address, const std::nothrow_t&) noexcept { drop(address, 0); }

#if !defined(HALYARD_SANITIZED)  // a sanitizer has its own

extern "C" {

void* malloc(std::size_t bytes) noexcept {
  if (fails_now(HALYARD_CALLER)) {
    errno = ENOMEM;
    return nullptr;
  }
  return __libc_malloc(bytes);
}

void* calloc(std::size_t count, std::size_t bytes) noexcept {
  if (fails_now(HALYARD_CALLER)) {
    errno = ENOMEM;
    return nullptr;
  }
  return __libc_calloc(count, bytes);
}

void* realloc(void* address, std::size_t bytes) noexcept {
  if (fails_now(HALYARD_CALLER)) {
    errno = ENOMEM;
    return nullptr;
  }
  return __libc_realloc(address, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  if (fails_now(HALYARD_CALLER)) {
    errno = ENOMEM;
    return nullptr;
  }
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) noexcept {
  if (fails_now(HALYARD_CALLER)) { return ENOMEM; }
  *out = __libc_memalign(alignment, bytes);
  return *out != nullptr ? 0 : ENOMEM;
}

int pthread_create(pthread_t* out, const pthread_attr_t* attributes, void* (*run)(void*), void* of) noexcept {
  using Real = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, "pthread_create"));
  if (fails_now(HALYARD_CALLER)) { return EAGAIN; }
  return real(out, attributes, run, of);
}

}  // extern "C"

#endif

namespace {

// After the constructors of the libraries: one of theirs that throws ends the process.
[[gnu::constructor]] void begin() {
  const char* text = std::getenv("HALYARD_FAIL_EVERY");
  if (text == nullptr) { return; }
  char* end = nullptr;
  asked = std::strtoull(text, &end, 10);
  if (std::getenv("HALYARD_FAIL_PROGRAM") != nullptr) { hal::test::read_program_symbols(); }
  hal::test::fail_every(asked, end != nullptr && *end == ':' ? std::strtoull(end + 1, nullptr, 10) : asked);
}

}  // namespace
