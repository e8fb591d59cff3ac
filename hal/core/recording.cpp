// SPDX-License-Identifier: Apache-2.0
#include "core/recording.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/buffer.hpp"
#include "core/program.hpp"

namespace hal::core {
namespace {

constexpr std::size_t kMostCommands = std::size_t{1} << 24U;
constexpr std::uint32_t kMostDepth = 32;
constexpr std::size_t kSeen = 256;  // a power of two

using Slots = std::span<const hal_slice>;

// Puts in place of a range of a slot that range of what the table gives. Inside another recording that may be a slot
// again. True if there was a slot.
Result<bool> fill_in(const Context& at, Slots slots, hal_slice& slice) {
  if (!is_slot(slice)) { return false; }
  const std::uint32_t number = slot_number(slice);
  const hal_slice& given = slots[number];
  if (is_slot(given) && !at.recording) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("slot {} is given a slot", number));
  }
  const bool open_end = is_slot(given) && given.length == HAL_REST;
  if (!open_end &&
      (slice.offset > given.length || (slice.length != HAL_REST && slice.length > given.length - slice.offset))) {
    return at.bad(HAL_OUT_OF_RANGE,
                  slice.length == HAL_REST
                      ? fmt::format("slot {} is given {} bytes, the recording uses it from byte {} on", number,
                                    given.length, slice.offset)
                      : fmt::format("slot {} is given {} bytes, the recording uses {} of it", number, given.length,
                                    span_text(slice.offset, slice.length)));
  }
  if ((!open_end && given.offset + given.length < given.offset) || given.offset + slice.offset < given.offset) {
    return at.bad(HAL_OUT_OF_RANGE, fmt::format("slot {} is given a range that wraps", number));
  }
  const std::uint64_t length =
      slice.length != HAL_REST ? slice.length : (open_end ? HAL_REST : given.length - slice.offset);
  slice = {given.buffer, given.offset + slice.offset, length};
  return true;
}

// The same for what is read now, into `to`, if the table gives host memory. False if it gives a slot again, which
// `slice` is then.
Result<bool> read_in(const Context& at, Slots slots, hal_slice& slice, const char* what, void* to) {
  const std::uint32_t number = slot_number(slice);
  HAL_TRY([[maybe_unused]] const bool filled, fill_in(at, slots, slice));
  if (is_slot(slice)) { return false; }
  if (slice.buffer != nullptr || slice.offset == 0) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("slot {} stands for a {} of {} bytes and is given {}; give hal_host(&value, {})", number,
                              what, slice.length, slice.buffer != nullptr ? "a buffer" : "no address", slice.length));
  }
  std::memcpy(to, reinterpret_cast<const void*>(static_cast<std::uintptr_t>(slice.offset)), slice.length);
  return true;
}

Result<void> fill_in_scalar(const Context& at, Slots slots, hal_arg& arg) {
  hal_slice slice = arg.value.slice;
  HAL_TRY(const bool known, read_in(at, slots, slice, "scalar", arg.value.scalar));
  if (known) {
    arg.kind = HAL_ARG_SCALAR;
  } else {
    arg.value.slice = slice;
  }
  return {};
}

Result<void> fill_in_value(const Context& at, Slots slots, hal_command& command) {
  hal_slice slice = value_slot(command);
  const Value value = value_of(command);
  std::memset(value.at, 0, std::max<std::size_t>(value.bytes, sizeof slice.offset));
  HAL_TRY(const bool known, read_in(at, slots, slice, value.name, value.at));
  command.by_slot = known ? 0 : slot_number(slice) + 1;
  if (!known) { std::memcpy(value.at, &slice.offset, sizeof slice.offset); }
  return {};
}

// All slots of a command. Its arguments, if it has any, are the caller's to change.
Result<void> fill_in_command(const Context& at, Slots slots, hal_command& command) {
  Result<void> fine;
  each_slice(command, [&](hal_slice& slice) {
    if (Result<bool> done = fill_in(at, slots, slice); !done && fine) { fine = std::move(done).error(); }
  });
  HAL_CHECK(std::move(fine));
  return command.by_slot != 0 ? fill_in_value(at, slots, command) : Result<void>();
}

// Fills in a run's arguments, which are the caller's to change. Kinds and lengths were checked when it was recorded;
// what is new is whose buffer it is, and whether the range is inside it.
Result<void> fill_in_args(const Context& at, Slots slots, std::span<hal_arg> args) {
  const auto& run = at.command->as.run;
  const hal_signature& entry = cast(run.program)->signatures.views()[run.entry];
  for (hal_arg& arg : args) {
    if (arg.kind == HAL_ARG_SLOT) {
      HAL_CHECK(fill_in_scalar(at, slots, arg));
      continue;
    }
    if (arg.kind != HAL_ARG_BUFFER || !is_slot(arg.value.slice)) { continue; }
    const std::uint32_t number = slot_number(arg.value.slice);
    HAL_TRY([[maybe_unused]] const bool filled, fill_in(at, slots, arg.value.slice));
    if (is_slot(arg.value.slice)) { continue; }
    if (arg.value.slice.buffer == nullptr) {
      return at.bad(
          HAL_INVALID_ARGUMENT,
          fmt::format("slot {} is host memory; a program takes buffers of its device: copy it there first", number));
    }
    hal_slice copy = arg.value.slice;
    HAL_CHECK(own(at, "slot", copy));
    const auto i = static_cast<std::size_t>(&arg - args.data());
    HAL_CHECK(resolve(at, "slot", copy, entry.params[i].direction == HAL_IN ? Use::reads : Use::writes));
  }
  return {};
}

Result<const Commands*> check_execute(const Context& at, const hal_command& execute, Slots& slots) {
  const auto& given = execute.as.execute;
  if (given.commands == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'commands' is NULL"); }
  const Commands& recording = *cast(given.commands);
  if (recording.device.get() != &at.device) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("the recording was made for {}", owner_text(*recording.device, at.device)));
  }
  slots = Slots(given.slots, given.slots != nullptr ? given.slot_count : 0);
  if (slots.size() < recording.slot_count) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("the recording has {} slots, got {}", recording.slot_count, slots.size()));
  }
  for (const hal_object* owned : recording.owned) {
    if (owned->kind != static_cast<std::uint32_t>(Kind::buffer)) { continue; }
    const auto& buffer = *static_cast<const Buffer*>(reinterpret_cast<const hal_buffer*>(owned));
    if (buffer.is_returned()) {
      return at.bad(HAL_INVALID_ARGUMENT, "the recording uses a buffer that a free gave back to its pool");
    }
  }
  return &recording;
}

// Extents are known at recording unless a slot brings them or a tensor's length.
bool extents_open(const hal_command& command) {
  const auto& run = command.as.run;
  return std::any_of(run.args, run.args + run.arg_count, [](const hal_arg& arg) {
    return arg.kind == HAL_ARG_SLOT || (arg.kind == HAL_ARG_BUFFER && arg.value.slice.length == HAL_REST);
  });
}

bool names_rest(const hal_command& command) {
  return command.op == HAL_OP_RUN &&
         std::any_of(command.as.run.args, command.as.run.args + command.as.run.arg_count, [](const hal_arg& arg) {
           return arg.kind == HAL_ARG_BUFFER && arg.value.slice.length == HAL_REST;
         });
}

// Gives a run of an entry with symbols its extents, if they are known already; else a replay has to check all of it.
Result<void> bind_known(const Context& at, hal_command& command, std::vector<hal_arg>& storage, bool& full) {
  if (!extents_open(command)) { return with_extents(at, command, storage); }
  full = true;
  return {};
}

}  // namespace

Recorder::Recorder(Device& device)
    : seen_(kSeen),
      made_(Storage::make<Commands>(device.instance().allocator(), device.instance().allocator())),
      at_{device, 0, nullptr, true} {
  const auto dispose = [](hal_object* object) {
    auto* self = reinterpret_cast<Commands*>(object);
    for (hal_object* owned : self->owned) { release(*owned); }
    Storage::unmake(self->device->instance().allocator(), self);
  };
  made_->device = Ref<Device>::share(&device);
  init(made_->object, Kind::commands, dispose);
  made_->device_impl = device.impl();
}

void Recorder::expect(std::span<const hal_command> commands) {
  std::size_t count = 0, args = 0;
  for (const hal_command& command : commands) {
    if (has_args(command)) { args += command.as.run.arg_count; }
    if (command.op == HAL_OP_EXECUTE && command.as.execute.commands != nullptr) {
      count += cast(command.as.execute.commands)->commands.size();
      args += cast(command.as.execute.commands)->args.size();
    }
    ++count;
  }
  made_->commands.reserve(std::min(count, kMostCommands));
  made_->args.reserve(args);
}

void Recorder::keep(hal_object& object) {
  hal_object*& place = seen_[(reinterpret_cast<std::uintptr_t>(&object) >> 4U) % kSeen];
  if (place == &object) { return; }
  place = &object;
  made_->owned.push_back(&object);
  retain(object);  // after the list has room: what is listed is released
}

// Keeps what a slice names. True if a replay has to look at it: a slot, or an address range.
bool Recorder::note(const hal_slice& slice, bool& full) {
  if (is_slot(slice)) {
    made_->slot_count = std::max(made_->slot_count, slot_number(slice) + 1);
    return true;
  }
  if (slice.buffer == nullptr) { return false; }
  keep(slice.buffer->object);
  if (cast(slice.buffer)->range == nullptr) { return false; }
  full = true;
  return true;
}

// `named` is the command as the user gave it: the check may have turned a foreign buffer into its host address. What a
// replay looks at again keeps the buffer, so that a range is looked up again.
// Arguments are copied, and pointed at when all of them lie still.
void Recorder::append(hal_command command, const hal_command& named, bool full) {
  Commands& made = *made_;
  bool open = false;
  hal_command given = named;
  each_slice(given, [&](const hal_slice& slice) { open = note(slice, full) || open; });
  if (given.by_slot != 0) { open = full = note(value_slot(given), full); }
  switch (command.op) {
    case HAL_OP_RUN:
    case HAL_OP_PREPARE: {
      const std::size_t start = made.args.size();
      made.args.insert(made.args.end(), command.as.run.args, command.as.run.args + command.as.run.arg_count);
      command.as.run.args = nullptr;
      for (std::size_t i = start; i < made.args.size(); ++i) {
        if (made.args[i].kind != HAL_ARG_SCALAR) { open = note(made.args[i].value.slice, full) || open; }
      }
      keep(command.as.run.program->object);
      break;
    }
    case HAL_OP_PUT:
    case HAL_OP_GET:
      keep(command.as.transfer.peer->object);
      break;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      keep(command.as.message.peer->object);
      break;
    case HAL_OP_CIRCUIT:
      command.as.circuit.permutation = made.texts.emplace_back(command.as.circuit.permutation).c_str();
      break;
    default:
      break;
  }
  if (open) {
    made.open.push_back({static_cast<std::uint32_t>(made.commands.size()), full});
    if (command.op != HAL_OP_RUN) { command = named; }
  } else {
    made.crosses = made.crosses || crosses_devices(at_.device, command);
  }
  made.commands.push_back(command);
}

Result<void> Recorder::add(const hal_command& given) {
  at_.command = &given;
  if (given.op == HAL_OP_CALL || given.op == HAL_OP_FREE) {
    return at_.bad(HAL_INVALID_ARGUMENT, "cannot be recorded; submit it beside the recording");
  }
  if (given.op == HAL_OP_EXECUTE) {
    HAL_CHECK(nest(given));
  } else {
    if (size() >= kMostCommands) {
      return at_.bad(HAL_INVALID_ARGUMENT, fmt::format("the recording has {} commands, the most there may be", size()));
    }
    hal_command command = given;
    HAL_CHECK(check_command(at_, command));
    std::vector<hal_arg> bound;
    bool full = names_rest(command);
    if (has_symbols(command)) { HAL_CHECK(bind_known(at_, command, bound, full)); }
    append(command, given, full);
  }
  ++at_.index;
  return {};
}

// Another recording's commands are copied; what is new is only what its slots are given here.
Result<void> Recorder::nest(const hal_command& execute) {
  Slots slots;
  HAL_TRY(const Commands* inner, check_execute(at_, execute, slots));
  if (inner->depth + 1 > kMostDepth) {
    return at_.bad(HAL_INVALID_ARGUMENT,
                   fmt::format("recordings would be nested {} deep; the most is {}", inner->depth + 1, kMostDepth));
  }
  if (inner->commands.size() > kMostCommands - size()) {
    return at_.bad(HAL_INVALID_ARGUMENT, fmt::format("the recording would have {} commands; the most is {}",
                                                     size() + inner->commands.size(), kMostCommands));
  }
  made_->depth = std::max(made_->depth, inner->depth + 1);
  for (hal_object* owned : inner->owned) { keep(*owned); }
  auto open = inner->open.begin();
  std::vector<hal_arg> args;
  std::vector<hal_arg> bound;
  for (std::uint32_t i = 0; i < inner->commands.size(); ++i) {
    const hal_command& recorded = inner->commands[i];
    if (open == inner->open.end() || open->index != i) {
      append(recorded, recorded, false);
      continue;
    }
    ++open;
    Context inside = at_;
    inside.command = &recorded;
    hal_command command = recorded;
    HAL_CHECK(fill_in_command(inside, slots, command));
    if (has_args(command)) {
      args.assign(recorded.as.run.args, recorded.as.run.args + recorded.as.run.arg_count);
      HAL_CHECK(fill_in_args(inside, slots, args));
      command.as.run.args = args.data();
    }
    const hal_command named = command;
    HAL_CHECK(check_command(inside, command));
    bool full = names_rest(command);
    if (has_symbols(command)) { HAL_CHECK(bind_known(inside, command, bound, full)); }
    append(command, named, full);
  }
  return {};
}

Ref<Commands> Recorder::finish() {
  const hal_arg* next = made_->args.data();
  for (hal_command& command : made_->commands) {
    if (!has_args(command)) { continue; }
    command.as.run.args = next;
    next += command.as.run.arg_count;
  }
  if (Observer* observer = at_.device.instance().observer()) {
    announce(*observer, made_->object, {.device = &at_.device});
  }
  return std::move(made_);
}

Result<void> replay(const Context& at, const hal_command& execute, Batch& out) {
  Slots slots;
  HAL_TRY(const Commands* recording, check_execute(at, execute, slots));
  const std::size_t start = out.commands.size();
  out.commands.insert(out.commands.end(), recording->commands.begin(), recording->commands.end());
  out.plain = out.plain && !recording->crosses;
  for (const Commands::Open& open : recording->open) {
    Context inside = at;
    inside.command = &recording->commands[open.index];
    hal_command& command = out.commands[start + open.index];
    HAL_CHECK(fill_in_command(inside, slots, command));
    if (has_args(command)) {
      auto& run = command.as.run;
      const std::size_t first = out.args.size();
      out.args.insert(out.args.end(), run.args, run.args + run.arg_count);
      run.args = out.args.data() + first;
      HAL_CHECK(fill_in_args(inside, slots, std::span(out.args).subspan(first)));
      if (command.op == HAL_OP_RUN && !open.full) { continue; }
    }
    HAL_CHECK(check_command(inside, command));
    if (has_symbols(command)) { HAL_CHECK(with_extents(inside, command, out.bound.emplace_back())); }
    out.plain = out.plain && !crosses_devices(at.device, command);
  }
  return {};
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_commands_create(hal_device* device, const hal_command* commands, std::uint32_t count,
                                          hal_commands** out) {
  return guarded("hal_commands_create", {device, out}, [&]() -> hal::Result<void> {
    if (commands == nullptr && count != 0) {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_commands_create(): 'commands' is NULL");
    }
    Recorder recorder(*cast(device));
    recorder.expect({commands, count});
    for (const hal_command& command : std::span(commands, count)) { HAL_CHECK(recorder.add(command)); }
    *out = recorder.finish().take();
    return {};
  });
}
