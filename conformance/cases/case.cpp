// SPDX-License-Identifier: Apache-2.0
#include "conformance/cases/case.hpp"

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "conformance/runner/stream.hpp"

namespace hal::conformance {
namespace {

std::vector<CaseInfo>& cases() {
  static std::vector<CaseInfo> list;
  return list;
}

std::atomic<std::uint64_t> checks{0};

hal_command command(hal_op op) {
  hal_command made{};
  made.op = op;
  return made;
}

}  // namespace

RegisterCase::RegisterCase(const CaseInfo& info) { cases().push_back(info); }

const std::vector<CaseInfo>& all_cases() {
  static const bool sorted = [] {
    // Requirements lie in one array in the registry's order, so their addresses are the order.
    std::stable_sort(cases().begin(), cases().end(),
                     [](const CaseInfo& a, const CaseInfo& b) { return a.requirement < b.requirement; });
    return true;
  }();
  static_cast<void>(sorted);
  return cases();
}

std::string CaseInfo::name() const {
  std::string text = std::string(requirement->id) + "/";
  for (const char* at = title; *at != '\0'; ++at) {
    const bool plain = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9');
    const bool upper = *at >= 'A' && *at <= 'Z';
    if (plain) { text += *at; }
    if (upper) { text += static_cast<char>(*at - 'A' + 'a'); }
    if (!plain && !upper && text.back() != '-') { text += '-'; }
  }
  return text;
}

// --------------------------------------------------------------------------------------------------------- commands

hal_slice slice(hal_buffer* buffer, std::uint64_t offset, std::uint64_t length) { return {buffer, offset, length}; }

hal_slice whole(hal_buffer* buffer) { return {buffer, 0, hal_buffer_describe(buffer).bytes}; }

hal_command barrier() { return command(HAL_OP_BARRIER); }

hal_command fill(hal_slice to, std::uint64_t pattern, std::uint64_t pattern_bytes) {
  hal_command made = command(HAL_OP_FILL);
  made.as.fill = {to, pattern, pattern_bytes};
  return made;
}

hal_command copy(hal_slice to, hal_slice from) {
  hal_command made = command(HAL_OP_COPY);
  made.as.copy = {to, from};
  return made;
}

hal_command call(hal_host_function function, void* user) {
  hal_command made = command(HAL_OP_CALL);
  made.as.call = {function, user};
  return made;
}

hal_command timestamp(hal_slice to) {
  hal_command made = command(HAL_OP_TIMESTAMP);
  made.as.timestamp = {to};
  return made;
}

hal_command free_buffer(hal_buffer* buffer) {
  hal_command made = command(HAL_OP_FREE);
  made.as.free = {buffer};
  return made;
}

hal_command execute(hal_commands* commands, std::span<const hal_slice> slots) {
  hal_command made = command(HAL_OP_EXECUTE);
  made.as.execute = {commands, slots.data(), slots.size()};
  return made;
}

hal_command by_slot(hal_command command, std::uint32_t number, std::uint64_t offset) {
  hal_by_slot(&command, number, offset);
  return command;
}

hal_command run_kernel(hal_program* program, std::uint32_t entry, std::span<const hal_arg> args, std::uint32_t groups,
                       std::uint32_t groups_y) {
  hal_command made = run_graph(program, entry, args);
  made.as.run.grid.groups[0] = groups;
  made.as.run.grid.groups[1] = groups_y;
  made.as.run.grid.groups[2] = 1;
  made.as.run.has_grid = 1;
  return made;
}

hal_command run_graph(hal_program* program, std::uint32_t entry, std::span<const hal_arg> args) {
  hal_command made = command(HAL_OP_RUN);
  made.as.run.program = program;
  made.as.run.args = args.data();
  made.as.run.entry = entry;
  made.as.run.arg_count = static_cast<std::uint32_t>(args.size());
  return made;
}

hal_arg arg(hal_slice slice) {
  hal_arg made{};
  made.kind = HAL_ARG_BUFFER;
  made.value.slice = slice;
  return made;
}

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

// ----------------------------------------------------------------------------------------------------- what a case has

Owned<hal_instance> Case::own_instance(std::uint32_t pending_limit, const char* cache) {
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.pending_limit = pending_limit;
  desc.cache = cache;
  desc.drivers = setting_.drivers.empty() ? nullptr : setting_.drivers.c_str();
  Owned<hal_instance> made;
  EXPECT_OK(hal_instance_create(&desc, made.out()));
  return made;
}

Owned<hal_device> Case::open_in(hal_instance* instance) {
  Owned<hal_device> opened;
  EXPECT_OK(open_device(instance, uri(), deadline_ns(), opened.out()));
  return opened;
}

hal_error* open_device(hal_instance* instance, const std::string& uri, std::uint64_t deadline_ns, hal_device** out) {
  const std::uint64_t end = now_ns() + deadline_ns;
  while (true) {
    hal_error* error = hal_device_open(instance, uri.c_str(), out);
    if (!has_code(error, HAL_BUSY) || now_ns() > end) { return error; }
    hal_release(error);
    std::this_thread::yield();
  }
}

Owned<hal_queue> Case::queue(const char* label) { return queue_on(device(), label); }

Owned<hal_queue> Case::queue_on(hal_device* device, const char* label) {
  Owned<hal_queue> made;
  EXPECT_OK(hal_queue_create(device, label, made.out()));
  return made;
}

Owned<hal_timeline> Case::timeline(std::uint64_t initial, const char* label) {
  Owned<hal_timeline> made;
  EXPECT_OK(hal_timeline_create(instance(), initial, label, made.out()));
  return made;
}

Owned<hal_buffer> Case::buffer(std::uint64_t bytes) {
  Owned<hal_buffer> made;
  EXPECT_OK(hal_buffer_create(device(), bytes, made.out()));
  return made;
}

Owned<hal_buffer> Case::filled(hal_queue* queue, std::uint64_t bytes, std::uint8_t value) {
  auto made = buffer(bytes);
  wait(submit(queue, {fill(whole(made), value)}));
  return made;
}

hal_error* Case::try_submit(hal_queue* queue, std::span<const hal_command> commands, const With& with, hal_point* out) {
  hal_sync sync{};
  sync.waits = with.waits.data();
  sync.wait_count = static_cast<std::uint32_t>(with.waits.size());
  sync.signals = with.signals.data();
  sync.signal_count = static_cast<std::uint32_t>(with.signals.size());
  sync.where = with.where;
  return hal_queue_submit(queue, commands.data(), static_cast<std::uint32_t>(commands.size()), &sync, out);
}

hal_point Case::submit(hal_queue* queue, std::span<const hal_command> commands, const With& with) {
  hal_point point{};
  EXPECT_OK(try_submit(queue, commands, with, &point));
  return point;
}

hal_error* Case::try_wait(hal_point point) const { return hal_wait(&point, 1, HAL_WAIT_ALL, deadline_ns(), nullptr); }

void Case::wait(hal_point point) {
  const std::uint64_t start = now_ns();
  EXPECT_OK(try_wait(point));
  // A wait that only finds at its deadline that all is well was not woken.
  EXPECT(now_ns() - start < deadline_ns());
}

bool Case::reached(hal_point point) const {
  hal_error* error = hal_wait(&point, 1, HAL_WAIT_ALL, 0, nullptr);
  hal_release(error);
  return error == nullptr;
}

void Case::write(hal_queue* queue, hal_buffer* buffer, std::uint64_t offset, const void* bytes, std::uint64_t size) {
  wait(submit(queue, {copy(slice(buffer, offset, size), hal_host(bytes, size))}));
}

Bytes Case::read(hal_queue* queue, hal_buffer* buffer) {
  return read(queue, buffer, 0, hal_buffer_describe(buffer).bytes);
}

Bytes Case::read(hal_queue* queue, hal_buffer* buffer, std::uint64_t offset, std::uint64_t size) {
  Bytes bytes(size, 0xEE);
  wait(submit(queue, {copy(hal_host(bytes.data(), size), slice(buffer, offset, size))}));
  return bytes;
}

void Case::expect_all(const Bytes& bytes, std::uint64_t offset, std::uint64_t size, std::uint8_t value,
                      const char* what) {
  count_check();
  for (std::uint64_t i = offset; i < offset + size; ++i) {
    if (bytes[i] != value) {
      fail_case(HAL_HERE, std::string(what) + ": byte " + std::to_string(i) + " of " + std::to_string(bytes.size()) +
                              ": expected " + std::to_string(value) + ", found " + std::to_string(bytes[i]));
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- checks

void count_check() { checks.fetch_add(1, std::memory_order_relaxed); }

std::uint64_t checks_made() { return checks.exchange(0); }

void fail_case(Place place, const std::string& what) {
  stream_end_case("fail", what, place.file, place.line, checks_made());
  stream_exit();
}

void not_supported(const std::string& why) {
  stream_end_case("unsupported", why, "", 0, checks_made());
  stream_exit();
}

std::string text_of(hal_error* error) {
  if (error == nullptr) { return ""; }
  std::string text = hal_error_text(error);
  hal_release(error);
  return text;
}

hal_code root_code(const hal_error* error) {
  hal_code code = HAL_OK;
  for (; error != nullptr; error = hal_error_describe(error).cause) { code = hal_error_describe(error).code; }
  return code;
}

bool has_code(const hal_error* error, hal_code code) {
  for (; error != nullptr; error = hal_error_describe(error).cause) {
    if (hal_error_describe(error).code == code) { return true; }
  }
  return false;
}

void expect_ok(Place place, const char* expression, hal_error* error) {
  count_check();
  if (error != nullptr) { fail_case(place, std::string(expression) + ": expected success, found " + text_of(error)); }
}

void expect_code(Place place, const char* expression, hal_error* error, std::initializer_list<hal_code> codes) {
  count_check();
  const hal_code found = hal_error_describe(error).code;
  for (const hal_code code : codes) {
    if (found == code) {
      // Every refusal says something.
      if (error != nullptr && std::strlen(hal_error_describe(error).what) == 0) {
        fail_case(place, std::string(expression) + ": the error " + hal_code_name(found) + " has no text");
      }
      hal_release(error);
      return;
    }
  }
  std::string expected;
  for (const hal_code code : codes) { expected += (expected.empty() ? "" : " or ") + std::string(hal_code_name(code)); }
  fail_case(place, std::string(expression) + ": expected " + expected + ", found " +
                       (error == nullptr ? "success" : text_of(error)));
}

}  // namespace hal::conformance
