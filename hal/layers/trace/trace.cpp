// SPDX-License-Identifier: Apache-2.0
#include "layers/trace/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/device.hpp"
#include "core/instance.hpp"
#include "core/settings.hpp"
#include "core/timeline.hpp"
#include "layers/layers.hpp"
#include "layers/trace/stamps.hpp"

namespace hal::layers::trace {
namespace {

// The buffer of this thread, and of which trace it is.
struct Mine {
  std::uint64_t trace = 0;
  ThreadBuffer* buffer = nullptr;
};
thread_local Mine mine __attribute__((tls_model("initial-exec")));

std::uint64_t this_thread() {
  static std::atomic<std::uint64_t> next{1};
  thread_local const std::uint64_t id = next.fetch_add(1, std::memory_order_relaxed);
  return id;
}

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::uint64_t bytes_of(const hal_command& command) {
  switch (command.op) {
    case HAL_OP_FILL:
      return command.as.fill.to.length;
    case HAL_OP_COPY:
      return command.as.copy.to.length;
    case HAL_OP_PUT:
    case HAL_OP_GET:
      return command.as.transfer.local.length;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      return command.as.message.local.length;
    case HAL_OP_RUN: {
      std::uint64_t bytes = 0;
      for (const hal_arg& arg : std::span(command.as.run.args, command.as.run.arg_count)) {
        if (arg.kind == HAL_ARG_BUFFER) { bytes += arg.value.slice.length; }
      }
      return bytes;
    }
    default:
      return 0;
  }
}

}  // namespace

Trace::Trace(std::string path, core::Instance& instance)
    : path_(std::move(path)), instance_(instance), id_(next_id()), first_tick_(ticks()), first_ns_(now_ns()) {
  rows_.emplace_back();  // row 0 is nobody's
}

inline Event* Trace::take() noexcept {
  if (mine.trace == id_ && mine.buffer->next != mine.buffer->end) [[likely]] {
    // The lines may still lie with the core that has cleared them.
    __builtin_prefetch(mine.buffer->next + 16, 1);
    return mine.buffer->next++;
  }
  return take_slowly();
}

Event* Trace::take_slowly() noexcept {
  try {
    if (Event* event = begin_chunk()) { return event; }
  } catch (const std::bad_alloc&) {}  // of the chunk's place in a list
  missed();
  return nullptr;
}

Event* Trace::begin_chunk() {
  const std::lock_guard lock(mutex_);
  ThreadBuffer*& buffer = by_thread_[this_thread()];
  if (buffer == nullptr) {
    buffer = buffers_.emplace_back(std::make_unique<ThreadBuffer>()).get();
    buffer->thread = static_cast<std::uint32_t>(buffers_.size());
  }
  mine = {id_, buffer};
  if (buffer->next == buffer->end) {
    buffer->chunks.reserve(buffer->chunks.size() + 1);  // a chunk that is taken is kept
    Event* const events = chunks_.take();
    if (events == nullptr) { return nullptr; }
    buffer->chunks.push_back(events);
    buffer->next = events;
    buffer->end = events + Chunks::kEvents;
  }
  return buffer->next++;
}

void Trace::made(const hal_object& object, const core::Made& how) {
  const auto kind = static_cast<core::Kind>(object.kind);
  if (kind == core::Kind::timeline) {
    const std::lock_guard lock(mutex_);
    auto& timeline = *core::cast(reinterpret_cast<hal_timeline*>(const_cast<hal_object*>(&object)));
    timeline.row = static_cast<std::uint32_t>(rows_.size());
    row_of_[&object] = timeline.row;
    Row& row = rows_.emplace_back();
    row.label = how.label;
    row.is_lane = how.device != nullptr;
    if (how.device != nullptr) {
      row.device = how.device->uri();
      row.emulated = how.device->describe().is_emulated != 0;
    }
  } else if (kind == core::Kind::buffer && how.device != nullptr) {
    {
      const std::lock_guard lock(mutex_);
      buffers_alive_[&object] = {how.device->uri(), how.bytes};
    }
    add_memory(how.device->uri(), static_cast<std::int64_t>(how.bytes));
  }
}

void Trace::labelled(const hal_object& object, const char* label) {
  const std::lock_guard lock(mutex_);
  if (const auto found = row_of_.find(&object); found != row_of_.end()) { rows_[found->second].label = label; }
}

void Trace::gone(const hal_object& object) {
  Bytes freed;
  {
    const std::lock_guard lock(mutex_);
    row_of_.erase(&object);
    const auto found = buffers_alive_.find(&object);
    if (found == buffers_alive_.end()) { return; }
    freed = found->second;
    buffers_alive_.erase(found);
  }
  add_memory(freed.device, -static_cast<std::int64_t>(freed.bytes));
}

void Trace::add_memory(const std::string& device, std::int64_t bytes) {
  std::uint32_t row = 0;
  std::uint64_t now = 0;
  {
    const std::lock_guard lock(mutex_);
    auto [found, added] = memory_.try_emplace(device, static_cast<std::uint32_t>(rows_.size()), 0);
    if (added) {
      rows_.emplace_back();
      rows_.back().device = device;
    }
    row = found->second.first;
    now = found->second.second += static_cast<std::uint64_t>(bytes);
  }
  if (Event* event = take()) {
    event->tick = ticks();
    event->kind = EventKind::memory;
    event->row = row;
    event->bytes = now;
  }
}

void Trace::accepted(core::Timeline& lane, std::uint64_t number, std::span<const hal_command> commands,
                     const hal_sync& sync, bool) {
  Event* event = take();
  if (event == nullptr) { return; }
  event->tick = ticks();
  event->number = number;
  event->row = lane.row;
  event->kind = EventKind::submitted;
  event->op = static_cast<std::uint8_t>(commands.front().op);
  event->count = static_cast<std::uint16_t>(std::min<std::size_t>(commands.size(), UINT16_MAX));
  event->file = sync.where != nullptr ? sync.where->file : nullptr;
  event->line = sync.where != nullptr ? sync.where->line : 0;
  std::uint64_t bytes = 0;
  for (const hal_command& command : commands) { bytes += bytes_of(command); }
  event->bytes = bytes;
  if (const char* label = commands.front().label) {
    for (std::size_t length = std::strlen(label), at = 0; at < std::min<std::size_t>(length, 120);
         at += sizeof event->text) {
      if (Event* text = take()) {
        text->tick = event->tick;
        text->kind = EventKind::label;
        text->row = lane.row;
        text->number = number;
        text->count = static_cast<std::uint16_t>(std::min(length - at, sizeof text->text));
        std::memcpy(text->text, label + at, text->count);
      }
    }
  }
  for (const hal_point& point : std::span(sync.waits, sync.wait_count)) {
    const std::uint32_t row = point.timeline != nullptr ? core::cast(point.timeline)->row : 0;
    Event* wait = row != 0 ? take() : nullptr;
    if (wait == nullptr) { continue; }
    wait->tick = event->tick;
    wait->kind = EventKind::wait;
    wait->row = row;
    wait->number = point.value;
    wait->bytes = number;
    wait->line = lane.row;
  }
}

void Trace::promised(core::Timeline& lane, std::uint64_t number, std::span<const hal_point> signals) {
  for (const hal_point& point : signals) {
    Event* event = take();
    if (event == nullptr) { return; }
    event->tick = ticks();
    event->kind = EventKind::signal;
    event->row = core::cast(point.timeline)->row;
    event->number = point.value;
    event->bytes = number;
    event->line = lane.row;
  }
}

void Trace::completed(core::Timeline& lane, std::uint64_t number) {
  Event* event = take();
  if (event == nullptr) { return; }
  event->tick = ticks();
  event->kind = EventKind::completed;
  event->row = lane.row;
  event->number = number;
}

void Trace::signalled(core::Timeline& timeline, std::uint64_t value) {
  Event* event = take();
  if (event == nullptr) { return; }
  event->tick = ticks();
  event->kind = EventKind::signal;
  event->row = timeline.row;
  event->number = value;
  event->line = 0;  // the host
}

void Trace::ranged(const char* label) noexcept {
  Event* event = take();
  if (event == nullptr) { return; }
  event->tick = ticks();
  event->kind = label != nullptr ? EventKind::begin : EventKind::end;
  event->file = label;
}

std::uint32_t Trace::add_clock(const char* what, bool emulated) {
  const std::lock_guard lock(mutex_);
  Row& row = rows_.emplace_back();
  row.label = what;
  row.is_clock = true;
  row.emulated = emulated;
  return static_cast<std::uint32_t>(rows_.size() - 1);
}

void Trace::stamped(EventKind kind, std::uint64_t tick, std::uint32_t row, std::uint32_t clock, std::uint64_t number,
                    std::uint64_t ns) noexcept {
  Event* event = take();
  if (event == nullptr) { return; }
  event->tick = tick;
  event->kind = kind;
  event->row = row;
  event->line = clock;
  event->number = number;
  event->bytes = ns;
}

Trace::~Trace() {
  try {
    finish();
  } catch (const std::bad_alloc&) {
    instance_.log(HAL_LOG_ERROR, "trace", "the host has no memory left to write the trace");
  }
}

void Trace::finish() {
  const std::uint64_t last_tick = ticks();
  const std::int64_t last_ns = now_ns();
  Account account;
  account.first_tick = first_tick_;
  account.first_ns = first_ns_;
  account.ns_per_tick = static_cast<double>(last_ns - first_ns_) /
                        static_cast<double>(std::max<std::uint64_t>(last_tick - first_tick_, 1));
  {
    const std::lock_guard lock(mutex_);
    account.rows = std::move(rows_);
    account.dropped = dropped_.load();
    for (const auto& buffer : buffers_) {
      for (const Event* chunk : buffer->chunks) {
        const Event* const end = chunk == buffer->chunks.back() ? buffer->next : chunk + Chunks::kEvents;
        for (const Event* event = chunk; event != end; ++event) {
          account.events.push_back({*event, buffer->thread, account.ns(event->tick)});
        }
      }
    }
  }
  // Stable: what follows a submission keeps following it.
  std::stable_sort(account.events.begin(), account.events.end(),
                   [](const Account::Timed& a, const Account::Timed& b) { return a.at < b.at; });
  if (account.dropped != 0) {
    instance_.log(
        HAL_LOG_WARNING, "trace",
        fmt::format("{} events were dropped: a trace holds {}, {} at a time for a thread; trace a shorter piece of the "
                    "program",
                    account.dropped, Chunks::kMost * Chunks::kEvents, Chunks::kEvents)
            .c_str());
  }
  if (const std::string problem = write(path_, account); !problem.empty()) {
    instance_.log(HAL_LOG_ERROR, "trace", problem.c_str());
  }
}

}  // namespace hal::layers::trace

namespace hal::layers {

Result<void> make_trace(std::string_view argument, bool device, core::Instance& instance, core::Layers& into) {
  auto made = std::make_unique<trace::Trace>(std::string(argument), instance);
  if (device) { into.wrappers.push_back(std::make_unique<trace::Stamps>(*made)); }
  into.observers.push_back(std::move(made));
  return {};
}

}  // namespace hal::layers
