// SPDX-License-Identifier: Apache-2.0
#include "core/submission.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/buffer.hpp"
#include "core/flight_recorder.hpp"
#include "core/program.hpp"
#include "core/range.hpp"

namespace hal::core {
namespace {

constexpr std::uint32_t kMostSlots = 256;

bool is_slot(const hal_slice& slice) { return (reinterpret_cast<std::uintptr_t>(slice.buffer) & 1U) != 0; }
std::uint32_t slot_number(const hal_slice& slice) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(slice.buffer) >> 1U);
}

// Where we are, for error texts, and whether slots may stand for buffers here.
struct Context {
  Device& device;
  std::uint32_t index = 0;
  const hal_command* command = nullptr;
  bool recording = false;

  Error bad(hal_code code, const std::string& why) const {
    const char* label = command->label;
    return Error(
        code, fmt::format("command {} ({}{}{}{}) for {}: {}", index, op_name(command->op), label != nullptr ? " '" : "",
                          label != nullptr ? label : "", label != nullptr ? "'" : "", device.uri(), why));
  }
};

enum class Use { reads, writes };

// Checks a slice and, where the host reaches another device's buffer, turns it into host memory.
Result<void> resolve(const Context& at, const char* field, hal_slice& slice, Use use) {
  if (is_slot(slice)) {
    if (!at.recording) {
      return at.bad(HAL_INVALID_ARGUMENT,
                    fmt::format("'{}' names slot {}; slots stand only in recordings", field, slot_number(slice)));
    }
    if (slot_number(slice) >= kMostSlots) {
      return at.bad(HAL_INVALID_ARGUMENT,
                    fmt::format("'{}' names slot {}; the highest is {}", field, slot_number(slice), kMostSlots - 1));
    }
    return {};
  }
  if (slice.buffer == nullptr) {
    if (slice.offset == 0 && slice.length != 0) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("'{}' has neither a buffer nor a host address", field));
    }
    if (slice.offset + slice.length < slice.offset) {
      return at.bad(HAL_OUT_OF_RANGE, fmt::format("'{}' ends beyond the address space", field));
    }
    return {};
  }
  const Buffer& buffer = *cast(slice.buffer);
  if (__atomic_load_n(&buffer.returned, __ATOMIC_RELAXED)) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("'{}' is a buffer{} that a free gave back to its pool", field, label_of(slice.buffer)));
  }
  if (slice.offset > buffer.memory.bytes || slice.length > buffer.memory.bytes - slice.offset) {
    return at.bad(HAL_OUT_OF_RANGE,
                  fmt::format("'{}' is bytes {} to {} of a buffer{} of {}", field, slice.offset,
                              slice.offset + slice.length, label_of(slice.buffer), buffer.memory.bytes));
  }
  if (buffer.range && slice.length != 0) {
    if (Result<void> mapped = buffer.range->allows(slice.offset, slice.length, use == Use::writes); !mapped) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("'{}': {}", field, mapped.error().what()));
    }
  }
  if (buffer.device_impl != at.device.impl() && buffer.memory.host != nullptr) {
    slice = hal_host(static_cast<const char*>(buffer.memory.host) + slice.offset, slice.length);
  }
  return {};
}

// Slices that only this device itself may touch: those of programs.
Result<void> own(const Context& at, const char* field, const hal_slice& slice) {
  if (is_slot(slice) || slice.buffer == nullptr || slice.buffer->device_impl == at.device.impl()) { return {}; }
  return at.bad(HAL_INVALID_ARGUMENT, fmt::format("'{}' is a buffer{} of {}; copy it to this device first", field,
                                                  label_of(slice.buffer), cast(slice.buffer)->device->uri()));
}

bool meet(std::uint64_t a, std::uint64_t a_length, std::uint64_t b, std::uint64_t b_length) {
  return a < b + b_length && b < a + a_length;
}

// Where the host sees a slice; 0 if it does not, or if a replay is to say.
std::uint64_t seen_at(const hal_slice& slice) {
  if (is_slot(slice)) { return 0; }
  if (slice.buffer == nullptr) { return slice.offset; }
  const void* host = slice.buffer->memory.host;
  return host != nullptr ? reinterpret_cast<std::uintptr_t>(host) + slice.offset : 0;
}

// The same bytes may be named as a buffer's and as host memory. Physical memory that is mapped twice is not seen
// through.
bool overlap(const hal_slice& a, const hal_slice& b) {
  if (a.buffer == b.buffer) { return meet(a.offset, a.length, b.offset, b.length); }
  const std::uint64_t host_a = seen_at(a), host_b = seen_at(b);
  return host_a != 0 && host_b != 0 && meet(host_a, a.length, host_b, b.length);
}

Result<void> check_fill(const Context& at, hal_command& command) {
  auto& fill = command.as.fill;
  HAL_CHECK(resolve(at, "to", fill.to, Use::writes));
  if (fill.pattern_bytes != 1 && fill.pattern_bytes != 2 && fill.pattern_bytes != 4 && fill.pattern_bytes != 8) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("pattern_bytes is {}; it must be 1, 2, 4 or 8", fill.pattern_bytes));
  }
  if (fill.to.length % fill.pattern_bytes != 0) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("the length of {} bytes is no multiple of the pattern's {}",
                                                    fill.to.length, fill.pattern_bytes));
  }
  if (fill.to.buffer != nullptr && !is_slot(fill.to)) { HAL_CHECK(own(at, "to", fill.to)); }
  if (fill.to.length == 0) { command.op = HAL_OP_BARRIER; }
  return {};
}

Result<void> check_copy(const Context& at, hal_command& command) {
  auto& copy = command.as.copy;
  if (copy.to.length != copy.from.length) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("'from' has {} bytes and 'to' has {}; they must be equal",
                                                    copy.from.length, copy.to.length));
  }
  HAL_CHECK(resolve(at, "from", copy.from, Use::reads));
  HAL_CHECK(resolve(at, "to", copy.to, Use::writes));
  if (overlap(copy.from, copy.to)) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("'from' at {} and 'to' at {} overlap ({} bytes each)",
                                                    copy.from.offset, copy.to.offset, copy.to.length));
  }
  if (copy.to.length == 0) { command.op = HAL_OP_BARRIER; }
  return {};
}

Result<void> check_grid(const Context& at, hal_command& command, const hal_signature& entry) {
  auto& run = command.as.run;
  if (entry.kind == HAL_GRAPH) {
    if (run.has_grid != 0) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("entry '{}' is a tensor graph and takes no grid", entry.name));
    }
    return {};
  }
  if (run.has_grid == 0) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("entry '{}' is a kernel and needs a grid", entry.name));
  }
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (run.grid.groups[axis] == 0) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("grid.groups[{}] is 0; the least is 1", axis));
    }
    if (run.grid.group_size[axis] == 0) { run.grid.group_size[axis] = std::max(entry.group_size[axis], 1U); }
  }
  return {};
}

Result<void> check_run(const Context& at, hal_command& command) {
  auto& run = command.as.run;
  if (run.program == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'program' is NULL"); }
  const Program& program = *cast(run.program);
  if (program.device_impl != at.device.impl()) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("'program' was loaded on {}; load the image on this device too", program.device->uri()));
  }
  const auto& entries = program.signatures.views();
  if (run.entry >= entries.size()) {
    return at.bad(HAL_OUT_OF_RANGE, fmt::format("'entry' is {}; the program has {}", run.entry, entries.size()));
  }
  if (command.op == HAL_OP_PREPARE) { return {}; }
  const hal_signature& entry = entries[run.entry];
  HAL_CHECK(check_grid(at, command, entry));
  if (run.arg_count != entry.param_count) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("entry '{}' takes {} arguments, got {}", entry.name, entry.param_count, run.arg_count));
  }
  if (run.arg_count != 0 && run.args == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'args' is NULL"); }
  for (std::uint32_t i = 0; i < run.arg_count; ++i) {
    const hal_arg& arg = run.args[i];
    if (Result<void> fits = check_arg(entry, i, arg); !fits) {
      return at.bad(fits.error().code(), std::string(fits.error().what()));
    }
    if (arg.kind != HAL_ARG_BUFFER) { continue; }
    if (arg.value.slice.length == 0) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("argument {} ('{}') has no bytes", i, entry.params[i].name));
    }
    HAL_CHECK(own(at, entry.params[i].name, arg.value.slice));
    hal_slice copy = arg.value.slice;  // arguments stay where they are: nothing to rewrite for our own buffers
    HAL_CHECK(resolve(at, entry.params[i].name, copy, entry.params[i].direction == HAL_IN ? Use::reads : Use::writes));
  }
  return {};
}

Result<void> check_peer(const Context& at, hal_peer* peer, const hal_slice& local) {
  if (peer == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'peer' is NULL"); }
  if (peer->device_impl != at.device.impl()) {
    return at.bad(HAL_INVALID_ARGUMENT, "'peer' was connected on another port");
  }
  return own(at, "local", local);
}

Result<void> check_transfer(const Context& at, hal_command& command) {
  auto& transfer = command.as.transfer;
  HAL_CHECK(resolve(at, "local", transfer.local, command.op == HAL_OP_GET ? Use::writes : Use::reads));
  HAL_CHECK(check_peer(at, transfer.peer, transfer.local));
  if (transfer.local.length > transfer.remote.length) {
    return at.bad(HAL_OUT_OF_RANGE, fmt::format("'local' has {} bytes, the peer exported {}", transfer.local.length,
                                                transfer.remote.length));
  }
  if (transfer.local.length == 0) { command.op = HAL_OP_BARRIER; }
  return {};
}

// Checks one command in place. Everything that a driver is promised is established here, once.
Result<void> check(const Context& at, hal_command& command) {
  if (command.op >= HAL_OP_COUNT) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("op is {}; the highest is {}", command.op, HAL_OP_COUNT - 1));
  }
  if (command.reserved != 0) { return at.bad(HAL_INVALID_ARGUMENT, "reserved is not 0"); }
  const bool ours = command.op == HAL_OP_CALL || command.op == HAL_OP_FREE || command.op == HAL_OP_EXECUTE;
  if (!ours && !at.device.executes(command.op)) {
    return at.bad(HAL_UNSUPPORTED, "the device does not do this operation");
  }
  switch (command.op) {
    case HAL_OP_FILL:
      return check_fill(at, command);
    case HAL_OP_COPY:
      return check_copy(at, command);
    case HAL_OP_RUN:
    case HAL_OP_PREPARE:
      return check_run(at, command);
    case HAL_OP_PUT:
    case HAL_OP_GET:
      return check_transfer(at, command);
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      HAL_CHECK(resolve(at, "local", command.as.message.local, command.op == HAL_OP_RECV ? Use::writes : Use::reads));
      return check_peer(at, command.as.message.peer, command.as.message.local);
    case HAL_OP_TIMESTAMP:
      HAL_CHECK(resolve(at, "to", command.as.timestamp.to, Use::writes));
      if (command.as.timestamp.to.length != 8) {
        return at.bad(HAL_INVALID_ARGUMENT,
                      fmt::format("'to' has {} bytes; a timestamp has 8", command.as.timestamp.to.length));
      }
      return own(at, "to", command.as.timestamp.to);
    case HAL_OP_CIRCUIT:
      if (command.as.circuit.permutation == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'permutation' is NULL"); }
      return {};
    case HAL_OP_CALL:
      if (command.as.call.function == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'function' is NULL"); }
      return {};
    case HAL_OP_FREE: {
      const hal_slice whole{command.as.free.buffer, 0, 0};
      if (whole.buffer == nullptr || is_slot(whole)) { return at.bad(HAL_INVALID_ARGUMENT, "'buffer' is NULL"); }
      hal_slice probe = whole;
      HAL_CHECK(own(at, "buffer", whole));
      HAL_CHECK(resolve(at, "buffer", probe, Use::writes));
      if (cast(whole.buffer)->block == nullptr) {
        return at.bad(HAL_INVALID_ARGUMENT, "'buffer' is a range or imported memory, which no pool takes back");
      }
      return {};
    }
    default:
      return {};
  }
}

template <class Visit>
void each_slice(hal_command& command, Visit visit) {
  switch (command.op) {
    case HAL_OP_FILL:
      visit(command.as.fill.to);
      break;
    case HAL_OP_COPY:
      visit(command.as.copy.to);
      visit(command.as.copy.from);
      break;
    case HAL_OP_PUT:
    case HAL_OP_GET:
      visit(command.as.transfer.local);
      break;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      visit(command.as.message.local);
      break;
    case HAL_OP_TIMESTAMP:
      visit(command.as.timestamp.to);
      break;
    default:
      break;
  }
}

// Unrolls a recording. Commands without slots were checked when they were recorded; those with slots are checked now.
Result<void> unroll(const Context& at, const hal_command& execute, Batch& out) {
  if (execute.as.execute.commands == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'commands' is NULL"); }
  const Commands& recording = *cast(execute.as.execute.commands);
  if (recording.device.get() != &at.device) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("the recording was made for {}", recording.device->uri()));
  }
  const std::span<const hal_slice> slots(execute.as.execute.slots,
                                         execute.as.execute.slots != nullptr ? execute.as.execute.slot_count : 0);
  if (slots.size() < recording.slot_count) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("the recording has {} slots, got {}", recording.slot_count, slots.size()));
  }
  for (const hal_object* owned : recording.owned) {
    if (owned->kind != static_cast<std::uint32_t>(Kind::buffer)) { continue; }
    const auto& buffer = *static_cast<const Buffer*>(reinterpret_cast<const hal_buffer*>(owned));
    if (__atomic_load_n(&buffer.returned, __ATOMIC_RELAXED)) {
      return at.bad(HAL_INVALID_ARGUMENT, "the recording uses a buffer that a free gave back to its pool");
    }
  }
  const auto fill_in = [&](hal_slice& slice) -> Result<bool> {
    if (!is_slot(slice)) { return false; }
    const hal_slice& given = slots[slot_number(slice)];
    if (is_slot(given)) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("slot {} is given a slot", slot_number(slice)));
    }
    if (slice.offset > given.length || slice.length > given.length - slice.offset) {
      return at.bad(HAL_OUT_OF_RANGE,
                    fmt::format("slot {} is given {} bytes, the recording uses bytes {} to {} of it",
                                slot_number(slice), given.length, slice.offset, slice.offset + slice.length));
    }
    if (given.offset + given.length < given.offset) {
      return at.bad(HAL_OUT_OF_RANGE, fmt::format("slot {} is given a range that wraps", slot_number(slice)));
    }
    slice = {given.buffer, given.offset + slice.offset, slice.length};
    return true;
  };
  for (const hal_command& recorded : recording.commands) {
    hal_command& command = out.commands.emplace_back(recorded);
    bool filled = false;
    Result<void> fine;
    each_slice(command, [&](hal_slice& slice) {
      Result<bool> done = fill_in(slice);
      if (!done) {
        fine = std::move(done).error();
      } else {
        filled = filled || *done;
      }
    });
    if (command.op == HAL_OP_RUN && recording.slot_count != 0 && command.as.run.arg_count != 0) {
      const std::size_t start = out.args.size();
      out.args.insert(out.args.end(), command.as.run.args, command.as.run.args + command.as.run.arg_count);
      for (std::size_t i = start; i < out.args.size(); ++i) {
        if (out.args[i].kind != HAL_ARG_BUFFER) { continue; }
        Result<bool> done = fill_in(out.args[i].value.slice);
        if (!done) {
          fine = std::move(done).error();
        } else {
          filled = filled || *done;
        }
      }
      command.as.run.args = out.args.data() + start;
    }
    HAL_CHECK(std::move(fine));
    if (filled || recording.names_ranges) {
      Context inside = at;
      inside.command = &recorded;
      HAL_CHECK(check(inside, command));
    }
  }
  return {};
}

bool uses(hal_command& command, const hal_buffer* buffer) {
  bool found = command.op == HAL_OP_FREE && command.as.free.buffer == buffer;
  each_slice(command, [&](const hal_slice& slice) { found = found || slice.buffer == buffer; });
  if (command.op != HAL_OP_RUN) { return found; }
  return found ||
         std::any_of(command.as.run.args, command.as.run.args + command.as.run.arg_count, [&](const hal_arg& arg) {
           return arg.kind == HAL_ARG_BUFFER && arg.value.slice.buffer == buffer;
         });
}

// A buffer is marked as returned when its FREE is accepted, so use after it in the same submission is found here.
Result<void> check_frees(const Device& device, std::span<hal_command> commands) {
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (commands[i].op != HAL_OP_FREE) { continue; }
    for (hal_command& later : commands.subspan(i + 1)) {
      if (!uses(later, commands[i].as.free.buffer)) { continue; }
      return Error(HAL_INVALID_ARGUMENT,
                   fmt::format("a {} for {} uses a buffer that a free before it in the same submission gives back",
                               op_name(later.op), device.uri()));
    }
  }
  return {};
}

// How many arguments unrolling will copy, so that their storage does not move while commands point into it.
std::size_t args_of(std::span<const hal_command> commands) {
  std::size_t total = 0;
  for (const hal_command& command : commands) {
    if (command.op == HAL_OP_EXECUTE && command.as.execute.commands != nullptr) {
      total += cast(command.as.execute.commands)->args.size();
    }
  }
  return total;
}

}  // namespace

bool crosses_devices(const Device& device, const hal_command& command) {
  if (command.op != HAL_OP_COPY) { return false; }
  const auto foreign = [&](const hal_slice& slice) {
    return slice.buffer != nullptr && !is_slot(slice) && slice.buffer->device_impl != device.impl();
  };
  return foreign(command.as.copy.from) || foreign(command.as.copy.to);
}

Result<void> lower(Device& device, std::span<const hal_command> commands, Batch& out) {
  out.args.reserve(out.args.size() + args_of(commands));
  Context at{device};
  bool replays = false;
  for (const hal_command& given : commands) {
    at.command = &given;
    if (given.op == HAL_OP_EXECUTE) {
      replays = true;
      HAL_CHECK(unroll(at, given, out));
    } else {
      hal_command& command = out.commands.emplace_back(given);
      HAL_CHECK(check(at, command));
      out.plain =
          out.plain && command.op != HAL_OP_CALL && command.op != HAL_OP_FREE && !crosses_devices(device, command);
    }
    ++at.index;
  }
  if (!out.plain) { HAL_CHECK(check_frees(device, out.commands)); }
  if (out.plain && replays) {
    // Recordings and their slots may have brought a foreign buffer into a copy.
    out.plain = std::none_of(out.commands.begin(), out.commands.end(),
                             [&](const hal_command& command) { return crosses_devices(device, command); });
  }
  return {};
}

Result<Ref<Commands>> record(Device& device, std::span<const hal_command> commands) {
  const auto dispose = [](hal_object* object) {
    auto* self = reinterpret_cast<Commands*>(object);
    for (hal_object* owned : self->owned) { release(*owned); }
    Storage::unmake(self->device->instance().allocator(), self);
  };
  const hal_allocator& from = device.instance().allocator();
  Ref<Commands> made(Storage::make<Commands>(from, from));
  made->device = Ref<Device>::share(&device);
  init(made->object, Kind::commands, dispose);
  made->device_impl = device.impl();
  made->commands.reserve(commands.size());
  std::size_t arg_count = 0;
  for (const hal_command& command : commands) { arg_count += command.op == HAL_OP_RUN ? command.as.run.arg_count : 0; }
  made->args.reserve(arg_count);

  const auto keep = [&](hal_object& object) {
    retain(object);
    made->owned.push_back(&object);
  };
  const auto note = [&](const hal_slice& slice) {
    if (is_slot(slice)) {
      made->slot_count = std::max(made->slot_count, slot_number(slice) + 1);
    } else if (slice.buffer != nullptr) {
      keep(slice.buffer->object);
      made->names_ranges = made->names_ranges || cast(slice.buffer)->range != nullptr;
    }
  };
  Context at{device, 0, nullptr, true};
  for (const hal_command& given : commands) {
    at.command = &given;
    if (given.op == HAL_OP_CALL || given.op == HAL_OP_FREE || given.op == HAL_OP_EXECUTE) {
      return at.bad(HAL_INVALID_ARGUMENT, "cannot be recorded; submit it beside the recording");
    }
    hal_command& command = made->commands.emplace_back(given);
    HAL_CHECK(check(at, command));
    hal_command named =
        given;  // as the user named them: check() may have turned a foreign buffer into its host address
    each_slice(named, note);
    if (command.op == HAL_OP_RUN || command.op == HAL_OP_PREPARE) { keep(command.as.run.program->object); }
    if (command.op == HAL_OP_PUT || command.op == HAL_OP_GET) { keep(command.as.transfer.peer->object); }
    if (command.op == HAL_OP_SEND || command.op == HAL_OP_RECV) { keep(command.as.message.peer->object); }
    if (command.op == HAL_OP_CIRCUIT) {
      command.as.circuit.permutation = made->texts.emplace_back(command.as.circuit.permutation).c_str();
    }
    if (command.op == HAL_OP_RUN) {
      const std::size_t start = made->args.size();
      made->args.insert(made->args.end(), command.as.run.args, command.as.run.args + command.as.run.arg_count);
      command.as.run.args = made->args.data() + start;
      for (std::size_t i = start; i < made->args.size(); ++i) {
        if (made->args[i].kind == HAL_ARG_BUFFER) { note(made->args[i].value.slice); }
      }
    }
    ++at.index;
  }
  if (Observer* observer = device.instance().observer()) { announce(*observer, made->object, {.device = &device}); }
  return made;
}

}  // namespace hal::core

using namespace hal::core;

extern "C" hal_error* hal_commands_create(hal_device* device, const hal_command* commands, std::uint32_t count,
                                          hal_commands** out) {
  return guarded("hal_commands_create", {device, out}, [&]() -> hal::Result<void> {
    if (commands == nullptr && count != 0) {
      return hal::Error(HAL_INVALID_ARGUMENT, "hal_commands_create(): 'commands' is NULL");
    }
    HAL_TRY(auto made, record(*cast(device), {commands, count}));
    *out = made.take();
    return {};
  });
}
