// SPDX-License-Identifier: Apache-2.0
#include "core/manual_driver.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct alignas(4096) Lane : hal_lane {  // pages of its own: see ManualControl::lane
  struct Wait {
    std::uint64_t before;  // the first command behind it
    Lane* other;
    std::uint64_t number;
  };
  std::string label;
  std::deque<hal_command> commands;  // completed + 1, completed + 2, ...
  std::vector<Wait> waits;
  std::uint64_t last = 0, capacity = UINT64_MAX, executed = 0, flushed = 0, lent_ns = 0;
  bool failed = false, cancelled = false;
  int calls = 0;  // into the core, by the test's threads: lane_destroy() waits for their end
};

struct State {
  std::mutex mutex;  // not held during calls into the core
  std::condition_variable called;
  std::map<std::string, Lane*> lanes;
  bool grant = false;
  std::uint64_t granted = 0;
} g;

std::atomic<bool> g_hide_memory{false}, g_clock{false}, g_clock_at_once{false};
std::atomic<std::uint64_t> g_now{1'000};
std::atomic<void (*)(bool)> g_on_destroy{nullptr};
std::atomic<const char* (*)(const char*)> g_on_create{nullptr};
std::atomic<void (*)(const char*, std::uint32_t)> g_on_submit{nullptr};

const hal_host_api* g_host = nullptr;
int g_device = 0;

unsigned char* bytes(const hal_slice& slice) {
  if (slice.buffer == nullptr) { return reinterpret_cast<unsigned char*>(static_cast<std::uintptr_t>(slice.offset)); }
  return static_cast<unsigned char*>(slice.buffer->memory.impl) + slice.offset;
}

void execute(const hal_command& command) {
  if (command.op == HAL_OP_COPY) {
    std::memmove(bytes(command.as.copy.to), bytes(command.as.copy.from), command.as.copy.to.length);
  } else if (command.op == HAL_OP_FILL) {
    const auto& fill = command.as.fill;
    for (std::uint64_t i = 0; i < fill.to.length; i += fill.pattern_bytes) {
      std::memcpy(bytes(fill.to) + i, &fill.pattern, fill.pattern_bytes);
    }
  } else if (command.op == HAL_OP_TIMESTAMP) {
    const std::uint64_t now = ++g_now;
    std::memcpy(bytes(command.as.timestamp.to), &now, sizeof now);
  }
}

// With the lock held: executes one command; false if there is none or its wait has not ended.
bool step(Lane& lane) {
  if (lane.failed || lane.commands.empty()) { return false; }
  const std::uint64_t number = lane.last - lane.commands.size() + 1;
  for (const Lane::Wait& wait : lane.waits) {
    const bool over = hal_lane_completed(wait.other) >= wait.number || wait.other->failed || wait.other->cancelled;
    if (wait.before <= number && !over) { return false; }
  }
  if (!lane.cancelled) {
    execute(lane.commands.front());
    ++lane.executed;
  }
  lane.commands.pop_front();
  return true;
}

void call_ended(Lane& lane) {
  const std::lock_guard lock(g.mutex);
  --lane.calls;
  g.called.notify_all();
}

std::uint64_t complete(const char* label, std::uint64_t number) {
  for (std::uint64_t done = 0;;) {
    Lane* lane = nullptr;
    {
      const std::lock_guard lock(g.mutex);
      if (done != 0 && !g.lanes.contains(label)) { return done; }  // nobody needed it any longer
      lane = g.lanes.at(label);
      done = lane->last - lane->commands.size();
      if (done >= number || !step(*lane)) { return done; }
      ++lane->calls;
    }
    hal_lane_publish(lane, ++done);
    call_ended(*lane);
  }
}

void look_at_clock(const Lane& lane) {
  for (;;) {
    std::uint64_t number = 0;
    {
      const std::lock_guard lock(g.mutex);
      if (lane.commands.empty() || lane.commands.front().op != HAL_OP_TIMESTAMP) { return; }
      number = lane.last - lane.commands.size() + 1;
    }
    if (complete(lane.label.c_str(), number) < number) { return; }
  }
}

hal_error* made(hal_code code, const char* what) {
  hal_error_info info{};
  info.code = code;
  info.what = what;
  info.origin = "manual";
  return g_host->error_create(&info);
}

void fail_lane(Lane* lane, std::uint64_t number, hal_code code, const char* what) {
  hal_lane_fail(lane, number, made(code, what));
}

void fail(const char* label, std::uint64_t number, hal_code code, const char* what) {
  complete(label, number - 1);
  Lane* lane = nullptr;
  {
    const std::lock_guard lock(g.mutex);
    lane = g.lanes.at(label);
    lane->failed = true;
    ++lane->calls;
  }
  fail_lane(lane, number, code, what);
  call_ended(*lane);
}

hal_driver_ops table() {
  hal_driver_ops ops{};
  ops.struct_size = sizeof ops;
  ops.abi_major = HAL_DRIVER_ABI_MAJOR;
  ops.name = "manual";
  ops.destroy = [](hal_driver*) {};
  ops.device_count = [](hal_driver*) -> std::uint32_t { return 1; };
  ops.device_describe = [](hal_driver*, std::uint32_t, hal_device_info* out) {
    out->name = "a device that a test moves by hand";
    out->vendor = "Halyard";
    out->usable = 1;
  };
  ops.device_open = [](hal_driver*, const hal_device_request*, hal_device_traits* out) -> hal_error* {
    *out = {};
    out->impl = &g_device;
    out->ops = 1U << HAL_OP_BARRIER | 1U << HAL_OP_FILL | 1U << HAL_OP_COPY;
    if (g_clock) { out->ops |= 1U << HAL_OP_TIMESTAMP; }
    out->memory_bytes = 1U << 20U;
    return nullptr;
  };
  ops.device_close = [](hal_driver*, void*) {};
  ops.supports = [](hal_driver*, void*, const char* feature) {
    if (g_clock && std::strcmp(feature, "timestamp") == 0) { return hal_verdict{HAL_YES, "it counts the looks"}; }
    return hal_verdict{HAL_NO, "a device for tests of order only"};
  };
  ops.memory_allocate = [](hal_driver*, void*, std::uint64_t size, hal_memory* out) -> hal_error* {
    *out = {};
    out->impl = std::calloc(1, size);
    out->host = g_hide_memory ? nullptr : out->impl;
    out->bytes = size;
    return nullptr;
  };
  ops.memory_free = [](hal_driver*, void*, const hal_memory* memory) { std::free(memory->impl); };
  ops.lane_create = [](hal_driver*, void*, const char* label, void* core, hal_lane** out) -> hal_error* {
    if (auto* hook = g_on_create.load()) { label = hook(label); }
    try {
      auto lane = std::make_unique<Lane>();
      lane->completed = 0;
      lane->wake_at = UINT64_MAX;
      lane->host = g_host;
      lane->core = core;
      lane->label = label;
      const std::lock_guard lock(g.mutex);
      g.lanes[label] = lane.get();
      *out = lane.release();
      return nullptr;
    } catch (const std::bad_alloc&) { return made(HAL_OUT_OF_HOST_MEMORY, "no memory for a lane"); }
  };
  ops.lane_destroy = [](hal_driver*, void*, hal_lane* head) {
    auto* lane = static_cast<Lane*>(head);
    auto* hook = g_on_destroy.load();
    if (hook != nullptr) { hook(true); }
    {
      std::unique_lock lock(g.mutex);
      const auto at = g.lanes.find(lane->label);
      if (at != g.lanes.end() && at->second == lane) { g.lanes.erase(at); }
      g.called.wait(lock, [&] { return lane->calls == 0; });
    }
    delete lane;
    if (hook != nullptr) { hook(false); }
  };
  ops.submit = [](hal_driver*, hal_lane* head, std::uint64_t first, const hal_command* commands, std::uint32_t count) {
    auto* lane = static_cast<Lane*>(head);
    std::uint32_t taken = 0;
    bool starved = false;
    {
      const std::lock_guard lock(g.mutex);
      if (lane->failed) { return count; }
      if (first != lane->last + 1) {  // no test expects it: the core has broken its promise of driver.h
        std::fprintf(stderr, "manual driver: lane '%s' is given command %llu behind %llu\n", lane->label.c_str(),
                     static_cast<unsigned long long>(first), static_cast<unsigned long long>(lane->last));
        std::abort();
      }
      try {
        while (taken < count && lane->commands.size() < lane->capacity) { lane->commands.push_back(commands[taken++]); }
        lane->last = first + taken - 1;
      } catch (const std::bad_alloc&) { lane->failed = starved = true; }
    }
    if (!starved) {
      if (g_clock_at_once) { look_at_clock(*lane); }
      if (auto* hook = g_on_submit.load()) { hook(lane->label.c_str(), taken); }
      return taken;
    }
    fail_lane(lane, first, HAL_OUT_OF_HOST_MEMORY, "no memory for a command");
    return count;
  };
  ops.program_check = [](hal_driver*, void*, const hal_image*) { return hal_verdict{HAL_NO, "it runs no programs"}; };
  ops.program_load = [](hal_driver*, void*, const hal_image*, const hal_signature*, std::uint32_t,
                        void**) -> hal_error* { return made(HAL_UNSUPPORTED, "it runs no programs"); };
  ops.program_unload = [](hal_driver*, void*, void*) {};
  ops.lane_wait = [](hal_driver*, hal_lane* head, hal_lane* other, std::uint64_t number) -> std::uint32_t {
    const std::lock_guard lock(g.mutex);
    if (!g.grant) { return 0; }
    auto* lane = static_cast<Lane*>(head);
    try {
      lane->waits.push_back({lane->last + 1, static_cast<Lane*>(other), number});
    } catch (const std::bad_alloc&) { return 0; }
    ++g.granted;
    return 1;
  };
  ops.flush = [](hal_driver*, hal_lane* head) {
    const std::lock_guard lock(g.mutex);
    ++static_cast<Lane*>(head)->flushed;
  };
  ops.help = [](hal_driver*, hal_lane* head, std::uint64_t, std::uint64_t within_ns) {
    const std::lock_guard lock(g.mutex);
    static_cast<Lane*>(head)->lent_ns += within_ns;
  };
  ops.lane_cancel = [](hal_driver*, hal_lane* head) {
    const std::lock_guard lock(g.mutex);
    static_cast<Lane*>(head)->cancelled = true;
  };
  return ops;
}

const hal_driver_ops g_ops = table();
hal_driver g_driver{&g_ops};

}  // namespace

extern "C" HAL_API const hal::test::ManualControl manual_control;
const hal::test::ManualControl manual_control{complete,
                                              fail,
                                              [](const char* label, std::uint64_t commands) {
                                                const std::lock_guard lock(g.mutex);
                                                g.lanes.at(label)->capacity = commands;
                                              },
                                              [](const char* label) {
                                                const std::lock_guard lock(g.mutex);
                                                return g.lanes.at(label)->last;
                                              },
                                              [](bool yes) {
                                                const std::lock_guard lock(g.mutex);
                                                g.grant = yes;
                                                g.granted = 0;
                                              },
                                              [] {
                                                const std::lock_guard lock(g.mutex);
                                                return g.granted;
                                              },
                                              [](const char* label) {
                                                const std::lock_guard lock(g.mutex);
                                                return g.lanes.at(label)->executed;
                                              },
                                              [](const char* label) {
                                                const std::lock_guard lock(g.mutex);
                                                return g.lanes.at(label)->flushed;
                                              },
                                              [](const char* label) -> hal_lane* {
                                                const std::lock_guard lock(g.mutex);
                                                return g.lanes.at(label);
                                              },
                                              [](bool yes) { g_hide_memory = yes; },
                                              [](void (*hook)(bool)) { g_on_destroy = hook; },
                                              [](const char* (*hook)(const char*)) { g_on_create = hook; },
                                              [](bool yes, bool at_once) {
                                                g_clock = yes;
                                                g_clock_at_once = at_once;
                                              },
                                              [](void (*hook)(const char*, std::uint32_t)) { g_on_submit = hook; },
                                              [](const char* label) {
                                                const std::lock_guard lock(g.mutex);
                                                return g.lanes.at(label)->lent_ns;
                                              }};

extern "C" HAL_API hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out) {
  g_host = host;
  g_driver.ops = &g_ops;
  *out = &g_driver;
  return nullptr;
}
