// SPDX-License-Identifier: Apache-2.0
// What is wrong, said once for each pair of places.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/flight_recorder.hpp"
#include "core/program.hpp"
#include "core/queue.hpp"
#include "core/submission.hpp"
#include "core/timeline.hpp"
#include "layers/layers.hpp"
#include "layers/validation/validation.hpp"

namespace hal::layers {

using core::Kind;

namespace {

constexpr std::uint64_t kRegion = 1U << 20U;

// The validations of this process: to know whose an object is, and to tell at exit what was left.
std::mutex all_mutex;
std::vector<Validation*>& all() {
  static auto* list = new std::vector<Validation*>;  // outlives static destructors
  return *list;
}

// The host call that runs on this thread.
struct Call {
  const core::Timeline* lane = nullptr;
  std::uint64_t number = 0;
};
thread_local Call this_call;

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::instance:
      return "instance";
    case Kind::device:
      return "device";
    case Kind::queue:
      return "queue";
    case Kind::timeline:
      return "timeline";
    case Kind::buffer:
      return "buffer";
    case Kind::pool:
      return "pool";
    case Kind::program:
      return "program";
    case Kind::commands:
      return "recording";
    case Kind::peer:
      return "peer";
    case Kind::physical:
      return "physical memory";
    default:
      return "object";
  }
}

const char* verb(const Access& access) {
  if (access.op == HAL_OP_FREE) { return "gives back"; }
  if (access.op >= HAL_OP_COUNT) { return "allocates"; }
  return access.write ? "writes" : "reads";
}

std::string place(const Access& access) {
  std::string text;
  if (access.file != nullptr) { text += fmt::format(", submitted at {}:{}", access.file, access.line); }
  if (*access.range != '\0') { text += fmt::format(" in range '{}'", access.range); }
  return text;
}

std::string of_type(const hal_param& param) {
  constexpr const char* kTypes[] = {"",    "f64", "f32", "f16", "bf16", "f8e4m3", "f8e5m2", "i64",
                                    "i32", "i8",  "i4",  "u8",  "bool", "u32",    "u64"};
  constexpr const char* kDirections[] = {"", "in ", "out ", "inout "};
  const char* type = static_cast<std::size_t>(param.dtype) < std::size(kTypes) ? kTypes[param.dtype] : "?";
  if (param.kind == HAL_PARAM_SCALAR) {
    return fmt::format("{}: {} scalar of {} bytes", param.name, type, param.bytes);
  }
  std::string shape;
  for (std::uint32_t i = 0; i < param.rank && i < 8; ++i) {
    shape += fmt::format("{}{}", shape.empty() ? "" : "x", param.dims[i]);
  }
  return fmt::format(
      "{}: {}{} {}{}{}", param.name,
      static_cast<std::size_t>(param.direction) < std::size(kDirections) ? kDirections[param.direction] : "", type,
      param.kind == HAL_PARAM_TENSOR ? "tensor " : "buffer ", shape,
      param.bytes != 0 ? fmt::format(" of {}{} bytes", param.kind == HAL_PARAM_TENSOR ? "" : "at least ", param.bytes)
                       : "");
}

// True if all that a usual command names is alive: the short way past against().
template <class Alive>
bool is_sound(const hal_command& command, Alive alive) {
  switch (command.op) {
    case HAL_OP_BARRIER:
      return true;
    case HAL_OP_FILL:
      return alive(command.as.fill.to.buffer);
    case HAL_OP_COPY:
      return alive(command.as.copy.from.buffer) && alive(command.as.copy.to.buffer);
    case HAL_OP_RUN:
      for (std::uint32_t i = 0; command.as.run.args != nullptr && i < command.as.run.arg_count; ++i) {
        const hal_arg& arg = command.as.run.args[i];
        if (arg.kind == HAL_ARG_BUFFER && !alive(arg.value.slice.buffer)) { return false; }
      }
      return alive(command.as.run.program);
    default:
      return false;
  }
}

}  // namespace

Validation::Validation(core::Instance& instance, bool fatal) : instance_(instance), fatal_(fatal) {
  const std::lock_guard lock(all_mutex);
  all().push_back(this);
}

Validation::~Validation() {
  {
    const std::lock_guard lock(all_mutex);
    std::erase(all(), this);
  }
  tell();
}

// ------------------------------------------------------------------------------------------------------------- orders

std::string Validation::describe(const Access& access) const {
  const Lane& lane = *lanes_[access.lane];
  const bool labelled = access.label[0] != '\0';
  const char* op = access.op < HAL_OP_COUNT ? core::op_name(access.op) : "an allocation";
  return fmt::format("{}{}{}{} (command {} of queue '{}' on {}{})", op, labelled ? " '" : "", access.label.data(),
                     labelled ? "'" : "", access.number, lane.label, lane.device, place(access));
}

std::string Validation::describe(const Object& object) const {
  return fmt::format(
      "{}{}{}{}{}{}{}", kind_name(object.kind), object.label.empty() ? "" : " '", object.label,
      object.label.empty() ? "" : "'",
      object.kind == Kind::buffer || object.kind == Kind::physical ? fmt::format(" of {} bytes", object.bytes) : "",
      object.device.empty() ? "" : " on " + object.device, object.where);
}

void Validation::check(const Lane& lane, const void* key, const Access& access) {
  const auto found = [&](const Access& earlier) {
    const Object* object = key != nullptr ? find(key) : nullptr;
    const std::string what = object != nullptr ? describe(*object) : "host memory";
    const bool hex = object == nullptr;
    const auto bytes = [&](const Access& one) {
      return hex ? fmt::format("0x{:x} to 0x{:x}", one.begin, one.end) : fmt::format("{} to {}", one.begin, one.end);
    };
    report(fmt::format("order {}:{} {} {}:{} {} {}", static_cast<const void*>(access.file), access.line, access.op,
                       static_cast<const void*>(earlier.file), earlier.line, earlier.op,
                       access.file == nullptr ? what : ""),
           fmt::format("missing wait: {} {} bytes {} of {}, {} {} bytes {} of it, and no point orders the two; let the "
                       "later one wait for the earlier one's point, or for a signal given after it",
                       describe(earlier), verb(earlier), bytes(earlier), what, describe(access), verb(access),
                       bytes(access)));
  };
  if (key != nullptr) {
    Object* object = find(key);
    if (object != nullptr && object->history) { object->history->add(access, lane.clock.now(), host_, found); }
    return;
  }
  for (std::uint64_t region = access.begin / kRegion; region <= (access.end - 1) / kRegion; ++region) {
    Access part = access;
    part.begin = std::max(access.begin, region * kRegion);
    part.end = std::min(access.end, (region + 1) * kRegion);
    loose_[region].add(part, lane.clock.now(), host_, found);
  }
}

// By the buffers alone, unless there is memory that several of them may show.
Validation::Overlap Validation::overlap_of(const hal_slice& a, const hal_slice& b) {
  const auto of = [](std::uint64_t begin, std::uint64_t end, std::uint64_t from, std::uint64_t to) {
    if (begin >= to || from >= end) { return Overlap::none; }
    return begin == from && end == to ? Overlap::same : Overlap::part;
  };
  if (!has_aliases_) {
    return a.buffer != b.buffer ? Overlap::none : of(a.offset, a.offset + a.length, b.offset, b.offset + b.length);
  }
  std::vector<std::pair<const void*, Access>> left, right;
  touch({}, a, true, false, left);
  touch({}, b, true, false, right);
  const auto memory = [&](const void* key) -> const void* {
    const Object* object = key != nullptr ? find(key) : nullptr;
    return object != nullptr && object->history ? object->history.get() : key;
  };
  bool any = false, same = left.size() == right.size();
  for (std::size_t i = 0; i < left.size(); ++i) {
    for (std::size_t k = 0; k < right.size(); ++k) {
      const Access &one = left[i].second, &other = right[k].second;
      const Overlap found = memory(left[i].first) == memory(right[k].first)
                                ? of(one.begin, one.end, other.begin, other.end)
                                : Overlap::none;
      any = any || found != Overlap::none;
      same = same && (i == k) == (found == Overlap::same);
    }
  }
  return !any ? Overlap::none : same ? Overlap::same : Overlap::part;
}

// Two arguments of one run that overlap: outputs always, an input of a graph unless it is the very same range.
void Validation::check_outputs(const Lane& lane, const hal_command& command, const hal_sync& sync) {
  const auto& run = command.as.run;
  const hal_signature& entry = core::cast(run.program)->signatures.views()[run.entry];
  for (std::uint32_t i = 0; i < run.arg_count; ++i) {
    if (run.args[i].kind != HAL_ARG_BUFFER || entry.params[i].direction == HAL_IN) { continue; }
    const hal_slice& out = run.args[i].value.slice;
    for (std::uint32_t k = 0; k < run.arg_count; ++k) {
      if (k == i || run.args[k].kind != HAL_ARG_BUFFER) { continue; }
      const hal_slice& other = run.args[k].value.slice;
      const bool writes = entry.params[k].direction != HAL_IN;
      if (writes && k < i) { continue; }  // said already
      const Overlap overlap = overlap_of(out, other);
      if (overlap == Overlap::none) { continue; }
      if (!writes && (overlap == Overlap::same || entry.kind != HAL_GRAPH)) { continue; }
      report(fmt::format("alias {} {} {}", entry.name, i, k),
             fmt::format(
                 "overlapping arguments: run '{}' on {} writes argument {} ('{}') at bytes {} to {} and {} argument "
                 "{} ('{}') at bytes {} to {} of the same {}{}{}; give each its own range",
                 entry.name, lane.device, i, entry.params[i].name, out.offset, out.offset + out.length,
                 writes ? "writes" : "reads", k, entry.params[k].name, other.offset, other.offset + other.length,
                 out.buffer == other.buffer ? "buffer" : "memory under another buffer",
                 sync.where != nullptr ? ", submitted at " : "",
                 sync.where != nullptr ? fmt::format("{}:{}", sync.where->file, sync.where->line) : ""));
    }
  }
}

// ------------------------------------------------------------------------------------------------------------ handles

std::string Validation::against(const void* object, Kind kind, const char* what) {
  if (object == nullptr || find(object) != nullptr) { return {}; }
  if (const auto found = dead_.find(object); found != dead_.end()) {
    return fmt::format(
        "use after release: {} is a {} whose last owner has released it ({}); keep a reference until the "
        "call that names it has returned",
        what, kind_name(kind), describe(found->second));
  }
  const std::lock_guard lock(all_mutex);
  for (Validation* other : all()) {
    if (other == this) { continue; }
    // Two instances may look at each other at once: who does not get the lock says nothing.
    const std::unique_lock guard(other->lock_, std::try_to_lock);
    if (!guard.owns_lock() || !other->objects_.contains(object)) { continue; }
    return fmt::format(
        "wrong instance: {} is a {} of another instance ({}); objects work only within the instance that "
        "made them",
        what, kind_name(kind), other->describe(other->objects_.at(object)));
  }
  return {};
}

hal_error* Validation::disturbed(const hal_object& grave) {
  std::string why;
  {
    const std::lock_guard guard(lock_);
    why = against(&grave, Kind::timeline, "a point's timeline");
    if (why.empty()) { return nullptr; }  // it is long since
    report(why, why);
  }
  tell();
  return Error(HAL_INVALID_ARGUMENT, why, "layer validation", "", 0).release();
}

std::string Validation::against(const hal_command& command) {
  const auto slice = [&](const hal_slice& range, const char* what) {
    const bool is_slot = (reinterpret_cast<std::uintptr_t>(range.buffer) & 1U) != 0;
    return is_slot ? std::string() : against(range.buffer, Kind::buffer, what);
  };
  std::string why;
  switch (command.op) {
    case HAL_OP_FILL:
      return slice(command.as.fill.to, "'to'");
    case HAL_OP_COPY:
      why = slice(command.as.copy.from, "'from'");
      return why.empty() ? slice(command.as.copy.to, "'to'") : why;
    case HAL_OP_RUN:
      why = against(command.as.run.program, Kind::program, "'program'");
      for (std::uint32_t i = 0; why.empty() && command.as.run.args != nullptr && i < command.as.run.arg_count; ++i) {
        const hal_arg& arg = command.as.run.args[i];
        if (arg.kind == HAL_ARG_BUFFER) { why = slice(arg.value.slice, fmt::format("argument {}", i).c_str()); }
      }
      return why;
    case HAL_OP_PREPARE:
      return against(command.as.run.program, Kind::program, "'program'");
    case HAL_OP_EXECUTE:
      why = against(command.as.execute.commands, Kind::commands, "'commands'");
      for (std::uint64_t i = 0; why.empty() && command.as.execute.slots != nullptr && i < command.as.execute.slot_count;
           ++i) {
        why = slice(command.as.execute.slots[i], fmt::format("slot {}", i).c_str());
      }
      return why;
    case HAL_OP_PUT:
    case HAL_OP_GET:
      why = against(command.as.transfer.peer, Kind::peer, "'peer'");
      return why.empty() ? slice(command.as.transfer.local, "'local'") : why;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      why = against(command.as.message.peer, Kind::peer, "'peer'");
      return why.empty() ? slice(command.as.message.local, "'local'") : why;
    case HAL_OP_TIMESTAMP:
      return slice(command.as.timestamp.to, "'to'");
    case HAL_OP_FREE:
      return against(command.as.free.buffer, Kind::buffer, "'buffer'");
    default:
      return {};
  }
}

hal_error* Validation::submitting(core::Queue& queue, std::span<const hal_command> commands, const hal_sync& sync) {
  const bool points = (sync.wait_count | sync.signal_count) != 0;
  const auto is_usual = [&](const hal_command& command) {
    return is_sound(command, [&](const void* object) { return is_known(object); });
  };
  if (!points && std::all_of(commands.begin(), commands.end(), is_usual)) { return nullptr; }
  return look_closely(queue, commands, sync);
}

hal_error* Validation::look_closely(core::Queue& queue, std::span<const hal_command> commands, const hal_sync& sync) {
  std::string why;
  {
    const std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < commands.size() && why.empty(); ++i) {
      if (is_sound(commands[i], [&](const void* object) { return object == nullptr || find(object) != nullptr; })) {
        continue;
      }
      why = against(commands[i]);
      if (why.empty()) { continue; }
      const char* label = commands[i].label;
      why = fmt::format("{}; in command {} ({}{}{}{}) for queue '{}'", why, i, core::op_name(commands[i].op),
                        label != nullptr ? " '" : "", label != nullptr ? label : "", label != nullptr ? "'" : "",
                        queue.label());
    }
    const auto look_at = [&](const hal_point* list, std::uint32_t count, const char* what) {
      for (std::uint32_t i = 0; list != nullptr && i < count && why.empty(); ++i) {
        why = against(list[i].timeline, Kind::timeline, what);
      }
    };
    look_at(sync.waits, sync.wait_count, "a wait's timeline");
    look_at(sync.signals, sync.signal_count, "a signal's timeline");
    if (!why.empty()) {
      if (sync.where != nullptr) { why += fmt::format(", submitted at {}:{}", sync.where->file, sync.where->line); }
      report(why, why);
    }
  }
  if (why.empty()) { return nullptr; }
  tell();
  return Error(HAL_INVALID_ARGUMENT, why, "layer validation", "", 0).release();
}

// What the entry takes, beside what it was given: the core's error names the first argument that is wrong.
void Validation::refused(core::Queue&, std::span<const hal_command> commands, const hal_error* error) {
  const hal_code code = hal_error_describe(error).code;
  if (code != HAL_INVALID_ARGUMENT && code != HAL_OUT_OF_RANGE) { return; }
  for (const hal_command& command : commands) {
    if (command.op != HAL_OP_RUN || command.as.run.program == nullptr) { continue; }
    const auto& entries = core::cast(command.as.run.program)->signatures.views();
    if (command.as.run.entry >= entries.size()) { continue; }
    const hal_signature& entry = entries[command.as.run.entry];
    std::string takes, got;
    for (std::uint32_t i = 0; i < entry.param_count; ++i) {
      takes += fmt::format("{}{}", i != 0 ? ", " : "", of_type(entry.params[i]));
    }
    for (std::uint32_t i = 0; command.as.run.args != nullptr && i < command.as.run.arg_count; ++i) {
      const hal_arg& arg = command.as.run.args[i];
      got += fmt::format("{}{} of {} bytes", i != 0 ? ", " : "", arg.kind == HAL_ARG_SCALAR ? "scalar" : "slice",
                         arg.kind == HAL_ARG_SCALAR ? arg.size : arg.value.slice.length);
    }
    instance_.log(HAL_LOG_INFO, "validation",
                  fmt::format("a run of '{}' was refused; it takes ({}) and got ({})", entry.name, takes, got).c_str());
  }
}

// --------------------------------------------------------------------------------------------------------- host calls

void Validation::calling(core::Timeline& timeline, std::uint64_t number) {
  this_call = {&timeline, number};
  judge([&] {
    if (waiting_lanes_ != 0) { advance(); }
    const Lane* lane = lane_of(timeline);
    if (lane != nullptr) { join(host_, lane->clock.at(lane->id, lane->base + number - 1)); }
  });
}

void Validation::called(core::Timeline& timeline, std::uint64_t number) {
  this_call = {};
  judge([&] {
    Lane* lane = lane_of(timeline);
    if (lane == nullptr) { return; }
    for (Step& step : lane->steps) {
      if (step.kind != Step::Kind::call || step.first != lane->base + number) { continue; }
      step.returned = true;
      step.host = host_;
    }
    advance();
  });
  tell();
}

hal_error* Validation::waiting(std::span<const hal_point> points, hal_wait_mode mode) {
  tell();
  if (this_call.lane == nullptr) { return nullptr; }
  std::size_t own = 0;
  std::uint64_t value = 0;
  for (const hal_point& point : points) {
    if (point.timeline == nullptr || core::cast(point.timeline) != this_call.lane || point.value < this_call.number) {
      continue;
    }
    ++own;
    value = point.value;
  }
  if (own == 0 || (mode == HAL_WAIT_ANY && own != points.size())) { return nullptr; }
  const std::string why = fmt::format(
      "waiting from inside a host call: command {} of queue '{}' is this very call, and it waits for command {} of the "
      "same "
      "queue, which cannot begin before the call returns; return first, or submit that work to another queue",
      this_call.number, this_call.lane->label(), value);
  {
    const std::lock_guard guard(lock_);
    report(why, why);
  }
  tell();
  return Error(HAL_INVALID_ARGUMENT, why, "layer validation", "", 0).release();
}

// ------------------------------------------------------------------------------------------------------------ telling

void Validation::report(std::string key, std::string text) {
  constexpr std::size_t kMostReports = 10'000;
  if (reported_.size() >= kMostReports || !reported_.insert(std::move(key)).second) { return; }
  texts_.push_back(std::move(text));
  findings_.fetch_add(1, std::memory_order_relaxed);
  untold_.store(true, std::memory_order_release);
}

void Validation::tell() {
  if (!untold_.load(std::memory_order_acquire)) { return; }
  std::vector<std::string> texts;
  bool blind = false;
  {
    const std::lock_guard guard(lock_);
    texts.swap(texts_);
    blind = std::exchange(blindness_untold_, false);
    untold_.store(false, std::memory_order_release);
  }
  if (blind) {
    instance_.log(HAL_LOG_WARNING, "validation",
                  "the host's memory ran out and something was missed: from here on no missing wait is looked for");
  }
  for (const std::string& text : texts) { instance_.log(HAL_LOG_ERROR, "validation", text.c_str()); }
  if (fatal_ && !texts.empty()) { std::abort(); }
}

std::vector<std::string> Validation::leaks() {
  const std::unique_lock guard(lock_, std::try_to_lock);
  if (!guard.owns_lock()) { return {}; }  // a thread still submits while the process ends
  if (blind_) { return {}; }              // somebody's end may be among what was missed
  std::vector<std::string> lines;
  for (const bool devices : {false, true}) {
    for (const auto& [key, object] : objects_) {
      if (!object.internal && (object.kind == Kind::device) == devices) { lines.push_back(describe(object)); }
    }
    if (!lines.empty()) { break; }  // whatever is left keeps its device
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

Result<std::unique_ptr<core::Observer>> make_validation(std::string_view argument, core::Instance& instance) {
  if (!argument.empty() && argument != "fatal") {
    return Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("layer validation: '{}' is no mode; it takes nothing, or fatal to end the program at the first "
                    "finding",
                    argument));
  }
  return std::unique_ptr<core::Observer>(std::make_unique<Validation>(instance, !argument.empty()));
}

namespace {

// An instance goes with its last object, so whatever is left when the process ends was leaked. The user's log may be
// gone by now, so this goes to standard error.
__attribute__((destructor)) void tell_leaks() {
  const std::unique_lock lock(all_mutex, std::try_to_lock);
  if (!lock.owns_lock()) { return; }
  for (Validation* one : all()) {
    // What was released in the last moment may still be on its way out: it goes when its queue's work is done.
    std::vector<std::string> lines = one->leaks();
    for (int looks = 0; !lines.empty() && looks < 30; ++looks) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      lines = one->leaks();
    }
    for (std::size_t i = 0; i < lines.size() && i < 20; ++i) {
      std::fputs(fmt::format("halyard error: validation: never released: {}\n", lines[i]).c_str(), stderr);
    }
    if (lines.size() > 20) {
      std::fputs(fmt::format("halyard error: validation: and {} more objects\n", lines.size() - 20).c_str(), stderr);
    }
  }
}

}  // namespace

}  // namespace hal::layers
