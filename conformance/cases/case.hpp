// SPDX-License-Identifier: Apache-2.0
// One conformance case: its registration, its checks, and what it has to work with.
//
// A failed check writes the case's record and ends the worker process at once. Nothing is unwound: work that is still
// pending may use the case's memory, and a device that broke its contract is not a good base for the next case.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "conformance_registry.hpp"
#include "hal/hal.h"

namespace hal::conformance {

class Case;

struct CaseInfo {
  const Requirement* requirement;
  const char* title;
  void (*body)(Case&);
  const char* file;
  unsigned line;

  // "MEM-002/zero-size-allocation-is-refused"
  std::string name() const;
};

// All cases of this program, in the order of the registry.
const std::vector<CaseInfo>& all_cases();

struct RegisterCase {
  explicit RegisterCase(const CaseInfo& info);
};

#define HAL_CASE(ID, title) \
  HAL_CASE_(ID, title, HAL_CASE_CAT(hal_case_body_, __LINE__), HAL_CASE_CAT(hal_case_entry_, __LINE__))
#define HAL_CASE_(ID, title, body, entry)                                        \
  static void body(::hal::conformance::Case& t);                                 \
  static const ::hal::conformance::RegisterCase entry(                           \
      {&::hal::conformance::requirement::ID, title, &body, __FILE__, __LINE__}); \
  static void body([[maybe_unused]] ::hal::conformance::Case& t)
#define HAL_CASE_CAT_(a, b) a##b
#define HAL_CASE_CAT(a, b) HAL_CASE_CAT_(a, b)

// An owner of one C object.
template <class T>
class Owned {
 public:
  Owned() = default;
  explicit Owned(T* object) : object_(object) {}
  Owned(Owned&& other) noexcept : object_(other.object_) { other.object_ = nullptr; }
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      hal_release(object_);
      object_ = other.object_;
      other.object_ = nullptr;
    }
    return *this;
  }
  ~Owned() { hal_release(object_); }

  operator T*() const { return object_; }
  T* get() const { return object_; }
  T** out() {
    reset();
    return &object_;
  }
  void reset() {
    hal_release(object_);
    object_ = nullptr;
  }

 private:
  T* object_ = nullptr;
};

// Small, seeded and the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  // In [-1, 1), a multiple of 2^-20.
  float unit() {
    return static_cast<float>(static_cast<std::int64_t>(below(1U << 21U)) - (1 << 20)) / static_cast<float>(1 << 20);
  }

 private:
  std::uint64_t state_;
};

using Bytes = std::vector<std::uint8_t>;

// What a submission waits for and signals.
struct With {
  std::vector<hal_point> waits = {};
  std::vector<hal_point> signals = {};
  const hal_site* where = nullptr;
};

class Case {
 public:
  struct Setting {
    hal_instance* instance;
    Owned<hal_device>* device;  // the worker's own handle
    std::string uri;
    std::string drivers;  // as the instance got them
    std::uint64_t seed;
    std::uint64_t deadline_ns;
  };
  explicit Case(const Setting& setting) : setting_(setting), random_(setting.seed) {}

  hal_instance* instance() const { return setting_.instance; }
  hal_device* device() const { return *setting_.device; }
  const std::string& uri() const { return setting_.uri; }
  Random& random() { return random_; }
  // How long a wait may take that should end. Time never decides anything else.
  std::uint64_t deadline_ns() const { return setting_.deadline_ns; }

  bool supports(const char* feature) const { return hal_device_supports(device(), feature).support != HAL_NO; }

  // Closes the worker's device, for cases that need the only handle or an instance of their own.
  void give_up_device() { setting_.device->reset(); }
  // A second instance with the same drivers; no cache if no folder is given.
  Owned<hal_instance> own_instance(std::uint32_t pending_limit = 0, const char* cache = "");
  // Opens the device under test in another instance.
  Owned<hal_device> open_in(hal_instance* instance);

  Owned<hal_queue> queue(const char* label = "conformance");
  Owned<hal_queue> queue_on(hal_device* device, const char* label = "conformance");
  Owned<hal_timeline> timeline(std::uint64_t initial = 0, const char* label = "gate");
  Owned<hal_buffer> buffer(std::uint64_t bytes);
  // A buffer that holds `value` in every byte when this returns.
  Owned<hal_buffer> filled(hal_queue* queue, std::uint64_t bytes, std::uint8_t value);

  hal_point submit(hal_queue* queue, std::span<const hal_command> commands, const With& with = {});
  hal_point submit(hal_queue* queue, std::initializer_list<hal_command> commands, const With& with = {}) {
    return submit(queue, std::span<const hal_command>(commands.begin(), commands.size()), with);
  }
  // The same, but the caller judges the outcome.
  hal_error* try_submit(hal_queue* queue, std::span<const hal_command> commands, const With& with = {},
                        hal_point* out = nullptr);
  hal_error* try_submit(hal_queue* queue, std::initializer_list<hal_command> commands, const With& with = {},
                        hal_point* out = nullptr) {
    return try_submit(queue, std::span<const hal_command>(commands.begin(), commands.size()), with, out);
  }

  // Waits with the case's deadline and expects success.
  void wait(hal_point point);
  hal_error* try_wait(hal_point point) const;
  // Looks without waiting.
  bool reached(hal_point point) const;

  void write(hal_queue* queue, hal_buffer* buffer, std::uint64_t offset, const void* bytes, std::uint64_t size);
  Bytes read(hal_queue* queue, hal_buffer* buffer);
  Bytes read(hal_queue* queue, hal_buffer* buffer, std::uint64_t offset, std::uint64_t size);
  template <class T>
  std::vector<T> read_as(hal_queue* queue, hal_buffer* buffer) {
    const Bytes bytes = read(queue, buffer);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::copy_n(bytes.data(), values.size() * sizeof(T), reinterpret_cast<std::uint8_t*>(values.data()));
    return values;
  }
  template <class T>
  Owned<hal_buffer> upload(hal_queue* queue, const std::vector<T>& values) {
    auto made = buffer(values.size() * sizeof(T));
    write(queue, made, 0, values.data(), values.size() * sizeof(T));
    return made;
  }
  // Expects every byte of [offset, offset+size) of `bytes` to be `value`.
  void expect_all(const Bytes& bytes, std::uint64_t offset, std::uint64_t size, std::uint8_t value, const char* what);

 private:
  Setting setting_;
  Random random_;
};

// Opens a device. One that was released a moment ago may still be closing, which releases its partition last: BUSY is
// asked again until the deadline.
hal_error* open_device(hal_instance* instance, const std::string& uri, std::uint64_t deadline_ns, hal_device** out);

// Commands as values.
hal_slice slice(hal_buffer* buffer, std::uint64_t offset, std::uint64_t length);
hal_slice whole(hal_buffer* buffer);
hal_command barrier();
hal_command fill(hal_slice to, std::uint64_t pattern, std::uint64_t pattern_bytes = 1);
hal_command copy(hal_slice to, hal_slice from);
hal_command call(hal_host_function function, void* user);
hal_command timestamp(hal_slice to);
hal_command free_buffer(hal_buffer* buffer);
hal_command execute(hal_commands* commands, std::span<const hal_slice> slots);
// The command with its value from a slot of the recording that it goes into.
hal_command by_slot(hal_command command, std::uint32_t number, std::uint64_t offset);
hal_command run_kernel(hal_program* program, std::uint32_t entry, std::span<const hal_arg> args, std::uint32_t groups,
                       std::uint32_t groups_y = 1);
hal_command run_graph(hal_program* program, std::uint32_t entry, std::span<const hal_arg> args);
hal_arg arg(hal_slice slice);
template <class T>
hal_arg scalar(T value) {
  hal_arg made{};
  made.kind = HAL_ARG_SCALAR;
  made.size = sizeof(T);
  static_assert(sizeof(T) <= sizeof(made.value.scalar));
  const auto* bytes = reinterpret_cast<const unsigned char*>(&value);
  for (std::size_t i = 0; i < sizeof(T); ++i) { made.value.scalar[i] = bytes[i]; }
  return made;
}

std::uint64_t now_ns();

// ------------------------------------------------------------------------------------------------------------ checks

struct Place {
  const char* file;
  unsigned line;
};

// Ends the case: its record is written and the process is gone. From any thread.
[[noreturn]] void fail_case(Place place, const std::string& what);
// Ends the case as not supported; the caller has probed that the feature answers UNSUPPORTED.
[[noreturn]] void not_supported(const std::string& why);
void count_check();
// Checks since the last call.
std::uint64_t checks_made();

// `error` must be success / one of the codes. Takes ownership.
void expect_ok(Place place, const char* expression, hal_error* error);
void expect_code(Place place, const char* expression, hal_error* error, std::initializer_list<hal_code> codes);
// The error's whole story; takes ownership. Empty for success.
std::string text_of(hal_error* error);
// The code of the error or of the first failure behind it.
hal_code root_code(const hal_error* error);
// True if `code` is the error's or one of its causes'.
bool has_code(const hal_error* error, hal_code code);

template <class T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_pointer_v<T>) {
    return value == nullptr ? "NULL" : "a pointer";
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    return "'" + std::string(value) + "'";
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else {
    return std::to_string(value);
  }
}

template <class A, class B>
void expect_equal(Place place, const char* expression, const A& found, const B& expected) {
  count_check();
  if (!(found == expected)) {
    fail_case(place, std::string(expression) + ": expected " + show(expected) + ", found " + show(found));
  }
}

#define HAL_HERE \
  ::hal::conformance::Place { __FILE__, __LINE__ }
#define EXPECT(...)                                                                                  \
  do {                                                                                               \
    ::hal::conformance::count_check();                                                               \
    if (!(__VA_ARGS__)) { ::hal::conformance::fail_case(HAL_HERE, "does not hold: " #__VA_ARGS__); } \
  } while (false)
#define EXPECT_EQ(found, expected) ::hal::conformance::expect_equal(HAL_HERE, #found, (found), (expected))
#define EXPECT_OK(expression) ::hal::conformance::expect_ok(HAL_HERE, #expression, (expression))
#define EXPECT_CODE(expression, ...) ::hal::conformance::expect_code(HAL_HERE, #expression, (expression), {__VA_ARGS__})

}  // namespace hal::conformance
