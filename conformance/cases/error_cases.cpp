// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstring>
#include <thread>

#include "conformance/cases/case.hpp"

namespace hal::conformance {
namespace {

hal_error* fail_on_purpose(void*, const hal_error*) {
  hal_error_info info{};
  info.code = HAL_PEER_LOST;
  info.what = "on purpose";
  return hal_error_create(&info);
}

// A pointer that nobody may follow, to see that outputs stay as they are.
template <class T>
T* untouched() {
  return reinterpret_cast<T*>(std::uintptr_t{0x5A5A});
}

}  // namespace

HAL_CASE(ERR_002, "failing calls leave their outputs alone") {
  auto queue = t.queue();
  hal_device* device = untouched<hal_device>();
  EXPECT_CODE(hal_device_open(t.instance(), "nosuchdriver:0", &device), HAL_NOT_FOUND);
  EXPECT(device == untouched<hal_device>());
  hal_buffer* buffer = untouched<hal_buffer>();
  EXPECT_CODE(hal_buffer_create(t.device(), 0, &buffer), HAL_INVALID_ARGUMENT);
  EXPECT(buffer == untouched<hal_buffer>());
  hal_timeline* timeline = untouched<hal_timeline>();
  EXPECT_CODE(hal_timeline_create(t.instance(), UINT64_MAX, "x", &timeline), HAL_INVALID_ARGUMENT);
  EXPECT(timeline == untouched<hal_timeline>());
  hal_program* program = untouched<hal_program>();
  const hal_image image = {"no.such.format", "x", 1, "entry main kernel group=1,1,1\n", nullptr, 0};
  EXPECT_CODE(hal_program_load(t.device(), &image, &program), HAL_UNSUPPORTED);
  EXPECT(program == untouched<hal_program>());
  hal_commands* commands = untouched<hal_commands>();
  hal_command bad = barrier();
  bad.op = HAL_OP_COUNT;
  EXPECT_CODE(hal_commands_create(t.device(), &bad, 1, &commands), HAL_INVALID_ARGUMENT, HAL_UNSUPPORTED);
  EXPECT(commands == untouched<hal_commands>());
  hal_point point{nullptr, 4711};
  EXPECT_CODE(hal_queue_submit(queue, &bad, 1, nullptr, &point), HAL_INVALID_ARGUMENT, HAL_UNSUPPORTED);
  EXPECT(point.timeline == nullptr && point.value == 4711);
  std::uint64_t number = 4711;
  EXPECT_CODE(hal_device_number(t.device(), "no such number", &number), HAL_NOT_FOUND);
  EXPECT_EQ(number, std::uint64_t{4711});
  hal_instance_desc desc{};
  desc.struct_size = 3;
  hal_instance* instance = untouched<hal_instance>();
  EXPECT_CODE(hal_instance_create(&desc, &instance), HAL_INVALID_ARGUMENT);
  EXPECT(instance == untouched<hal_instance>());
}

HAL_CASE(ERR_005, "missing pointers are invalid arguments") {
  auto queue = t.queue();
  auto timeline = t.timeline();
  auto buffer = t.buffer(8);
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), nullptr, pool.out()));
  hal_device* device = nullptr;
  hal_buffer* made = nullptr;
  hal_queue* none = nullptr;
  hal_commands* commands = nullptr;
  hal_program* program = nullptr;
  hal_pool* no_pool = nullptr;
  hal_device_info info{};
  std::uint64_t number = 0;
  std::uint32_t which = 0;
  const hal_command command = barrier();
  const hal_image image = {"hal.graph", "x", 1, nullptr, nullptr, 0};
  const hal_image no_format = {nullptr, "x", 1, nullptr, nullptr, 0};
  const hal_image no_bytes = {"hal.graph", nullptr, 1, nullptr, nullptr, 0};
  const auto reached = [](void*, const hal_error*) {};
#define NULL_IS_INVALID(...) EXPECT_CODE((__VA_ARGS__), HAL_INVALID_ARGUMENT)
  NULL_IS_INVALID(hal_instance_create(nullptr, nullptr));
  NULL_IS_INVALID(hal_instance_device(nullptr, 0, &info));
  NULL_IS_INVALID(hal_instance_device(t.instance(), 0, nullptr));
  NULL_IS_INVALID(hal_device_open(nullptr, t.uri().c_str(), &device));
  NULL_IS_INVALID(hal_device_open(t.instance(), nullptr, &device));
  NULL_IS_INVALID(hal_device_open(t.instance(), t.uri().c_str(), nullptr));
  NULL_IS_INVALID(hal_device_number(nullptr, "x", &number));
  NULL_IS_INVALID(hal_device_number(t.device(), nullptr, &number));
  NULL_IS_INVALID(hal_buffer_create(nullptr, 8, &made));
  NULL_IS_INVALID(hal_buffer_create(t.device(), 8, nullptr));
  NULL_IS_INVALID(hal_pool_create(nullptr, nullptr, &no_pool));
  NULL_IS_INVALID(hal_pool_create(t.device(), nullptr, nullptr));
  NULL_IS_INVALID(hal_queue_create(nullptr, "x", &none));
  NULL_IS_INVALID(hal_queue_create(t.device(), "x", nullptr));
  NULL_IS_INVALID(hal_queue_submit(nullptr, &command, 1, nullptr, nullptr));
  NULL_IS_INVALID(hal_queue_submit(queue, nullptr, 1, nullptr, nullptr));
  NULL_IS_INVALID(hal_queue_alloc(nullptr, pool, 8, nullptr, &made, nullptr));
  NULL_IS_INVALID(hal_queue_alloc(queue, nullptr, 8, nullptr, &made, nullptr));
  NULL_IS_INVALID(hal_queue_alloc(queue, pool, 8, nullptr, nullptr, nullptr));
  NULL_IS_INVALID(hal_queue_flush(nullptr));
  NULL_IS_INVALID(hal_timeline_create(nullptr, 0, "x", timeline.out()));
  timeline = t.timeline();
  NULL_IS_INVALID(hal_timeline_create(t.instance(), 0, "x", nullptr));
  NULL_IS_INVALID(hal_timeline_value(nullptr, &number));
  NULL_IS_INVALID(hal_timeline_value(timeline, nullptr));
  NULL_IS_INVALID(hal_timeline_signal(nullptr, 1));
  NULL_IS_INVALID(hal_timeline_on_reached(nullptr, 1, reached, nullptr));
  NULL_IS_INVALID(hal_timeline_on_reached(timeline, 1, nullptr, nullptr));
  NULL_IS_INVALID(hal_timeline_import_fd(nullptr, 1, 0));
  NULL_IS_INVALID(hal_point_export_fd({timeline, 1}, nullptr));
  NULL_IS_INVALID(hal_queue_history(nullptr, nullptr));
  NULL_IS_INVALID(hal_queue_history(queue, nullptr));
  NULL_IS_INVALID(hal_wait(nullptr, 1, HAL_WAIT_ALL, 0, &which));
  NULL_IS_INVALID(hal_program_load(nullptr, &image, &program));
  NULL_IS_INVALID(hal_program_load(t.device(), nullptr, &program));
  NULL_IS_INVALID(hal_program_load(t.device(), &image, nullptr));
  NULL_IS_INVALID(hal_program_load(t.device(), &no_format, &program));
  NULL_IS_INVALID(hal_program_load(t.device(), &no_bytes, &program));
  NULL_IS_INVALID(hal_commands_create(nullptr, &command, 1, &commands));
  NULL_IS_INVALID(hal_commands_create(t.device(), nullptr, 1, &commands));
  NULL_IS_INVALID(hal_commands_create(t.device(), &command, 1, nullptr));
#undef NULL_IS_INVALID
  hal_sync sync{};
  sync.wait_count = 1;
  EXPECT_CODE(hal_queue_submit(queue, &command, 1, &sync, nullptr), HAL_INVALID_ARGUMENT);
  sync = {};
  sync.signal_count = 1;
  EXPECT_CODE(hal_queue_submit(queue, &command, 1, &sync, nullptr), HAL_INVALID_ARGUMENT);
}

HAL_CASE(ERR_006, "codes have names") {
  constexpr const char* kNames[] = {"OK",
                                    "INVALID_ARGUMENT",
                                    "OUT_OF_RANGE",
                                    "NOT_FOUND",
                                    "UNSUPPORTED",
                                    "UNAVAILABLE",
                                    "BUSY",
                                    "WOULD_BLOCK",
                                    "OUT_OF_HOST_MEMORY",
                                    "OUT_OF_DEVICE_MEMORY",
                                    "DEADLINE_EXCEEDED",
                                    "CANCELLED",
                                    "DEVICE_LOST",
                                    "PEER_LOST",
                                    "INVALID_IMAGE",
                                    "INCOMPATIBLE",
                                    "EXECUTION_FAILED",
                                    "INTERNAL"};
  for (int code = 0; code < static_cast<int>(std::size(kNames)); ++code) {
    EXPECT_EQ(std::string(hal_code_name(static_cast<hal_code>(code))), kNames[code]);
  }
  // Through memory: a number that no enumerator has must not be spelled as a conversion.
  for (const std::int32_t number : {-1, 18, 19, 1000, INT32_MAX, INT32_MIN}) {
    hal_code code{};
    std::memcpy(&code, &number, sizeof code);
    EXPECT_EQ(std::string(hal_code_name(code)), "UNKNOWN_CODE");
  }
  const hal_error_info none = hal_error_describe(nullptr);
  EXPECT_EQ(none.code, HAL_OK);
  EXPECT(none.what != nullptr && *none.what == '\0' && none.origin != nullptr && none.vendor_name != nullptr);
}

HAL_CASE(ERR_008, "every observer learns the first failure") {
  auto queue = t.queue("failing");
  auto dependant = t.queue("dependant");
  auto done = t.timeline(0, "done");
  auto gate = t.timeline();
  struct Seen {
    std::atomic<int> code{-1};
  } seen;
  const hal_point bad =
      t.submit(queue, {barrier(), call(fail_on_purpose, nullptr), barrier()}, {{{gate, 1}}, {{done, 1}}});
  const hal_point behind = t.submit(dependant, {barrier()}, {{bad}});
  EXPECT_OK(hal_timeline_on_reached(
      bad.timeline, bad.value,
      [](void* user, const hal_error* error) { static_cast<Seen*>(user)->code = root_code(error); }, &seen));
  EXPECT_OK(hal_timeline_signal(gate, 1));
  for (const hal_point& point : {bad, behind, hal_point{done, 1}}) {
    hal_error* error = t.try_wait(point);
    EXPECT_EQ(hal_code_name(root_code(error)), std::string("PEER_LOST"));
    hal_release(error);
  }
  hal_queue_cancel(queue);  // a later failure changes nothing
  std::uint64_t value = 0;
  hal_error* error = hal_timeline_value(bad.timeline, &value);
  EXPECT_EQ(hal_code_name(root_code(error)), std::string("PEER_LOST"));
  hal_release(error);
  error = t.try_submit(queue, {barrier()});
  EXPECT_EQ(hal_code_name(root_code(error)), std::string("PEER_LOST"));
  hal_release(error);
  const std::uint64_t end = now_ns() + t.deadline_ns();
  while (seen.code.load() < 0 && now_ns() < end) { std::this_thread::yield(); }
  EXPECT_EQ(seen.code.load(), static_cast<int>(HAL_PEER_LOST));
}

HAL_CASE(ERR_009, "refusals name the command and the limit") {
  auto queue = t.queue();
  auto buffer = t.buffer(100);
  hal_command bad = fill(slice(buffer, 90, 20), 1);
  bad.label = "the guilty one";
  const std::string text = text_of(t.try_submit(queue, {barrier(), barrier(), bad}));
  EXPECT(text.find("the guilty one") != std::string::npos);
  EXPECT(text.find('2') != std::string::npos);    // its index
  EXPECT(text.find("100") != std::string::npos);  // the buffer's size
  EXPECT(text.find("90") != std::string::npos);
}

HAL_CASE(ERR_010, "a failure carries its call site") {
  auto queue = t.queue();
  const hal_site site = {"the_file.cpp", "the_function", 4711, 0};
  With with;
  with.where = &site;
  const hal_point point = t.submit(queue, {call(fail_on_purpose, nullptr)}, with);
  hal_error* error = t.try_wait(point);
  EXPECT(error != nullptr);
  bool found = false;
  for (const hal_error* at = error; at != nullptr; at = hal_error_describe(at).cause) {
    const hal_site where = hal_error_describe(at).where;
    found = found || (where.line == 4711 && where.file != nullptr && std::strcmp(where.file, "the_file.cpp") == 0);
  }
  const std::string text = text_of(error);
  EXPECT(found);
  EXPECT(text.find("4711") != std::string::npos);
}

HAL_CASE(ERR_011, "owners are counted") {
  EXPECT(hal_retain(nullptr) == nullptr);
  hal_release(nullptr);
  auto buffer = t.buffer(16);
  auto queue = t.queue();
  auto timeline = t.timeline();
  auto recording = [&] {
    const hal_command command = fill(whole(buffer), 3);
    hal_commands* made = nullptr;
    EXPECT_OK(hal_commands_create(t.device(), &command, 1, &made));
    return Owned<hal_commands>(made);
  }();
  hal_device* none = nullptr;
  hal_error* error = hal_device_open(t.instance(), "nosuchdriver:0", &none);
  for (void* object :
       {static_cast<void*>(buffer.get()), static_cast<void*>(queue.get()), static_cast<void*>(timeline.get()),
        static_cast<void*>(recording.get()), static_cast<void*>(error), static_cast<void*>(t.device())}) {
    EXPECT(object != nullptr);
    EXPECT(hal_retain(object) == object);
    hal_release(object);
  }
  t.wait(t.submit(queue, {execute(recording, {})}));
  t.expect_all(t.read(queue, buffer), 0, 16, 3, "after retain and release");
  EXPECT_OK(hal_timeline_signal(timeline, 1));
  EXPECT_EQ(hal_error_describe(error).code, HAL_NOT_FOUND);
  hal_release(error);
}

}  // namespace hal::conformance
