// SPDX-License-Identifier: Apache-2.0
#include "core/submission.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/buffer.hpp"
#include "core/checks.hpp"
#include "core/flight_recorder.hpp"
#include "core/program.hpp"
#include "core/range.hpp"
#include "core/recording.hpp"

namespace hal::core {

Error Context::bad(hal_code code, const std::string& why) const {
  const char* label = command->label;
  hal_command copy = *command;
  const Value value = value_of(copy);
  return Error(
      code, fmt::format("command {} ({}{}{}{}) for {}: {}{}", index, op_name(command->op), label != nullptr ? " '" : "",
                        label != nullptr ? label : "", label != nullptr ? "'" : "", device.uri(), why,
                        command->by_slot != 0 && value.at != nullptr
                            ? fmt::format(" (slot {} gives the {})", command->by_slot - 1, value.name)
                            : ""));
}

Value value_of(hal_command& command) {
  switch (command.op) {
    case HAL_OP_FILL:
      return {&command.as.fill.pattern,
              static_cast<std::uint32_t>(std::min<std::uint64_t>(command.as.fill.pattern_bytes, 8)), "pattern"};
    case HAL_OP_RUN:
      return {&command.as.run.grid, sizeof(hal_grid), "grid"};
    case HAL_OP_PUT:
    case HAL_OP_GET:
      return {&command.as.transfer.remote, sizeof(hal_remote), "remote memory"};
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      return {&command.as.message.tag, sizeof command.as.message.tag, "tag"};
    default:
      return {nullptr, 0, ""};
  }
}

hal_slice value_slot(hal_command& command) {
  const Value value = value_of(command);
  std::uint64_t offset = 0;
  std::memcpy(&offset, value.at, sizeof offset);
  return hal_slot(command.by_slot - 1, offset, value.bytes);
}

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
    if (slice.length != HAL_REST && slice.offset + slice.length < slice.offset) {
      return at.bad(HAL_OUT_OF_RANGE, fmt::format("'{}' is a range of slot {} that wraps", field, slot_number(slice)));
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
  if (buffer.is_returned()) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("'{}' is a buffer{} that a free gave back to its pool", field, label_of(slice.buffer)));
  }
  if (slice.offset > buffer.memory.bytes || slice.length > buffer.memory.bytes - slice.offset) {
    return at.bad(HAL_OUT_OF_RANGE,
                  fmt::format("'{}' is {} of a buffer{} of {}", field, span_text(slice.offset, slice.length),
                              label_of(slice.buffer), buffer.memory.bytes));
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

Result<void> own(const Context& at, const char* field, const hal_slice& slice) {
  if (is_slot(slice) || slice.buffer == nullptr || slice.buffer->device_impl == at.device.impl()) { return {}; }
  return at.bad(HAL_INVALID_ARGUMENT,
                fmt::format("'{}' is a buffer{} of {}; copy it to this device first", field, label_of(slice.buffer),
                            owner_text(*cast(slice.buffer)->device, at.device)));
}

namespace {

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
  if (a.length == HAL_REST || b.length == HAL_REST) { return false; }  // of slots; replay looks again
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
  if (fill.to.length != HAL_REST && fill.to.length % fill.pattern_bytes != 0) {
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
  if (command.by_slot != 0) { return {}; }
  for (std::size_t axis = 0; axis < 3; ++axis) {
    if (run.grid.groups[axis] == 0) {
      return at.bad(HAL_INVALID_ARGUMENT, fmt::format("grid.groups[{}] is 0; the least is 1", axis));
    }
    if (run.grid.group_size[axis] == 0) { run.grid.group_size[axis] = std::max(entry.group_size[axis], 1U); }
  }
  return {};
}

Result<void> check_scalar_slot(const Context& at, const char* name, const hal_arg& arg) {
  if (!is_slot(arg.value.slice)) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("argument '{}' is a scalar slot, but its slice is no slot", name));
  }
  if (arg.value.slice.length != arg.size) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("argument '{}' is a scalar slot of {} bytes over a range of {}",
                                                    name, arg.size, arg.value.slice.length));
  }
  hal_slice copy = arg.value.slice;
  return resolve(at, name, copy, Use::reads);
}

// What runs of the entry will have as extents: all of them, or none.
Result<void> check_prepared(const Context& at, const decltype(hal_command::as.run)& run, const hal_signature& entry) {
  if (run.has_grid != 0) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("preparing entry '{}' takes no grid", entry.name));
  }
  const std::uint32_t count = run.arg_count;
  if (count == 0) { return {}; }
  if (count != entry.symbol_count) {
    return at.bad(
        HAL_INVALID_ARGUMENT,
        fmt::format("preparing entry '{}' takes no arguments{}, got {}", entry.name,
                    entry.symbol_count != 0 ? fmt::format(", or {} extents", entry.symbol_count) : "", count));
  }
  if (run.args == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'args' is NULL"); }
  std::array<hal_arg, kMostSymbols> args;
  std::copy_n(run.args, count, args.begin());
  for (std::uint32_t i = 0; i < count; ++i) {
    if (args[i].kind != HAL_ARG_SLOT) { continue; }
    HAL_CHECK(check_scalar_slot(at, entry.symbols[i], args[i]));
    const std::uint32_t size = args[i].size;
    args[i] = {HAL_ARG_SCALAR, size, {}};
    args[i].value.scalar[0] = 1;  // any extent: a replay looks again
  }
  std::array<std::int64_t, kMostSymbols> extents;
  if (Result<void> fits = read_extents(entry, {args.data(), count}, 0, std::span(extents).first(count)); !fits) {
    return at.bad(fits.error().code(), std::string(fits.error().what()));
  }
  return {};
}

Result<void> check_run(const Context& at, hal_command& command) {
  auto& run = command.as.run;
  if (run.program == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'program' is NULL"); }
  const Program& program = *cast(run.program);
  if (program.device_impl != at.device.impl()) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("'program' was loaded on {}; load the image on this device too",
                                                    owner_text(*program.device, at.device)));
  }
  const auto& entries = program.signatures.views();
  if (run.entry >= entries.size()) {
    return at.bad(HAL_OUT_OF_RANGE, fmt::format("'entry' is {}; the program has {}", run.entry, entries.size()));
  }
  const hal_signature& entry = entries[run.entry];
  if (command.op == HAL_OP_PREPARE) { return check_prepared(at, run, entry); }
  HAL_CHECK(check_grid(at, command, entry));
  if (run.arg_count != entry.param_count && run.arg_count != entry.param_count + entry.symbol_count) {
    return at.bad(HAL_INVALID_ARGUMENT,
                  fmt::format("entry '{}' takes {} arguments{}, got {}", entry.name, entry.param_count,
                              entry.symbol_count != 0 ? fmt::format(" (and {} extents)", entry.symbol_count) : "",
                              run.arg_count));
  }
  if (run.arg_count != 0 && run.args == nullptr) { return at.bad(HAL_INVALID_ARGUMENT, "'args' is NULL"); }
  for (std::uint32_t i = 0; i < entry.param_count; ++i) {
    const hal_arg& arg = run.args[i];
    if (arg.kind == HAL_ARG_SLOT) { HAL_CHECK(check_scalar_slot(at, entry.params[i].name, arg)); }
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
  for (std::uint32_t i = entry.param_count; i < run.arg_count; ++i) {
    if (run.args[i].kind == HAL_ARG_SLOT) {
      HAL_CHECK(check_scalar_slot(at, entry.symbols[i - entry.param_count], run.args[i]));
    }
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

// The value itself is checked by each replay.
Result<void> check_value_slot(const Context& at, hal_command& command) {
  const Value value = value_of(command);
  if (value.at == nullptr) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("by_slot is {}, and it has no value that a slot could give: a fill "
                                                    "has its pattern, a run its grid, a put or get the remote memory, "
                                                    "a send or recv its tag",
                                                    command.by_slot));
  }
  hal_slice slot = value_slot(command);
  return resolve(at, value.name, slot, Use::reads);
}

Result<void> check_transfer(const Context& at, hal_command& command) {
  auto& transfer = command.as.transfer;
  HAL_CHECK(resolve(at, "local", transfer.local, command.op == HAL_OP_GET ? Use::writes : Use::reads));
  HAL_CHECK(check_peer(at, transfer.peer, transfer.local));
  if (command.by_slot == 0 && transfer.local.length != HAL_REST && transfer.local.length > transfer.remote.length) {
    return at.bad(HAL_OUT_OF_RANGE, fmt::format("'local' has {} bytes, the peer exported {}", transfer.local.length,
                                                transfer.remote.length));
  }
  if (transfer.local.length == 0) { command.op = HAL_OP_BARRIER; }
  return {};
}

}  // namespace

Result<void> check_command(const Context& at, hal_command& command) {
  if (command.op >= HAL_OP_COUNT) {
    return at.bad(HAL_INVALID_ARGUMENT, fmt::format("op is {}; the highest is {}", command.op, HAL_OP_COUNT - 1));
  }
  if (command.by_slot != 0) { HAL_CHECK(check_value_slot(at, command)); }
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

bool has_symbols(const hal_command& command) {
  return command.op == HAL_OP_RUN &&
         cast(command.as.run.program)->signatures.views()[command.as.run.entry].symbol_count != 0;
}

Result<void> with_extents(const Context& at, hal_command& command, std::vector<hal_arg>& storage) {
  auto& run = command.as.run;
  const hal_signature& entry = cast(run.program)->signatures.views()[run.entry];
  std::array<std::int64_t, kMostSymbols> extents;
  const std::span<std::int64_t> found(extents.data(), entry.symbol_count);
  if (Result<void> fits = bind_extents(entry, {run.args, run.arg_count}, found); !fits) {
    return at.bad(fits.error().code(), std::string(fits.error().what()));
  }
  storage.assign(run.args, run.args + entry.param_count);
  for (const std::int64_t extent : found) {
    hal_arg& arg = storage.emplace_back();
    arg.kind = HAL_ARG_SCALAR;
    arg.size = sizeof extent;
    std::memcpy(arg.value.scalar, &extent, sizeof extent);
  }
  run.args = storage.data();
  run.arg_count = static_cast<std::uint32_t>(storage.size());
  return {};
}

namespace {

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
  for (const hal_command& given : commands) {
    at.command = &given;
    if (given.op == HAL_OP_EXECUTE) {
      HAL_CHECK(replay(at, given, out));
    } else {
      hal_command& command = out.commands.emplace_back(given);
      HAL_CHECK(check_command(at, command));
      if (has_symbols(command)) { HAL_CHECK(with_extents(at, command, out.bound.emplace_back())); }
      out.plain =
          out.plain && command.op != HAL_OP_CALL && command.op != HAL_OP_FREE && !crosses_devices(device, command);
    }
    ++at.index;
  }
  if (!out.plain) { HAL_CHECK(check_frees(device, out.commands)); }
  return {};
}

}  // namespace hal::core
