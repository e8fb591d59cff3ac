// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "conformance/faults/shim.hpp"

namespace hal::fault {
namespace {

void drop(hal_command& command) { command = {HAL_OP_BARRIER, 0, command.label, {}}; }

bool has_room(const hal_slice& slice, std::uint64_t more) {
  return slice.buffer != nullptr && slice.offset + slice.length + more <= slice.buffer->memory.bytes;
}

// The command's own arguments, to be changed.
std::vector<hal_arg>& own_args(hal_command& command, std::vector<std::vector<hal_arg>>& args) {
  auto& run = command.as.run;
  args.emplace_back(run.args, run.args + run.arg_count);
  run.args = args.back().data();
  return args.back();
}

void spoil_copy(const Shim& shim, hal_command& command) {
  auto& copy = command.as.copy;
  if (shim.is("SF-206")) {
    if (copy.to.length == 1) { return drop(command); }
    copy.to.length = --copy.from.length;
  }
  if (shim.is("SF-207") && has_room(copy.to, 1) && has_room(copy.from, 1)) { copy.to.length = ++copy.from.length; }
  if (shim.is("SF-208")) { copy.to.length = copy.from.length = std::min<std::uint64_t>(copy.from.length, 65536); }
}

void spoil_fill(const Shim& shim, hal_command& command) {
  auto& fill = command.as.fill;
  if (shim.is("SF-042") && fill.pattern_bytes == 2 && has_room(fill.to, 2)) { fill.to.length += 2; }
  if (shim.is("SF-043") && fill.pattern_bytes > 1 && fill.to.offset % 8 != 0) {
    const std::uint64_t bits = fill.pattern_bytes * 8;
    const std::uint64_t mask = bits == 64 ? UINT64_MAX : (std::uint64_t{1} << bits) - 1;
    const std::uint64_t pattern = fill.pattern & mask;
    fill.pattern = ((pattern >> 8U) | (pattern << (bits - 8))) & mask;
  }
}

// SF-251: names the first byte of the allocation instead of the buffer's. The driver may look at it at any time later.
void misplace(Shim& shim, hal_slice& slice) {
  if (slice.buffer == nullptr || slice.buffer->memory.offset == 0) { return; }
  const std::lock_guard lock(shim.mutex);
  hal_buffer& other = shim.misplaced.emplace_back(*slice.buffer);
  hal_memory& memory = other.memory;
  if (memory.host != nullptr) { memory.host = static_cast<std::byte*>(memory.host) - memory.offset; }
  memory.address -= memory.address != 0 ? memory.offset : 0;
  memory.offset = 0;
  slice.buffer = &other;
}

// Where the extents of a dynamic program's run begin among its arguments; none for anything else.
std::uint32_t first_extent(const Shim& shim, const hal_command& command) {
  const auto& run = command.as.run;
  const auto known = shim.dynamic.find(run.program->impl);
  return known == shim.dynamic.end() ? run.arg_count : std::min(known->second[run.entry], run.arg_count);
}

std::int64_t value_of(const hal_arg& extent) {
  std::int64_t value = 0;
  std::memcpy(&value, extent.value.scalar, sizeof value);
  return value;
}

// Extents never grow, so that nothing is written past the end.
void shrink(hal_arg& extent, std::int64_t most) {
  const std::int64_t value = std::min(value_of(extent), most);
  std::memcpy(extent.value.scalar, &value, sizeof value);
}

// SF-248: those of a program's first run are kept.
void keep_first_extents(Shim& shim, hal_command& command, std::vector<std::vector<hal_arg>>& args) {
  auto& run = command.as.run;
  const std::lock_guard lock(shim.mutex);
  const std::uint32_t at = first_extent(shim, command);
  if (at == run.arg_count) { return; }
  std::vector<std::int64_t>& first = shim.first_extents[run.program->impl];
  const bool is_first = first.empty();
  std::vector<hal_arg>& own = own_args(command, args);
  for (std::uint32_t i = at; i < run.arg_count; ++i) {
    if (is_first) { first.push_back(value_of(own[i])); }
    shrink(own[i], first[i - at]);
  }
}

// SF-253: those of the last run are taken if another lane had it.
void take_foreign_extents(const Lane& lane, hal_command& command, std::vector<std::vector<hal_arg>>& args) {
  auto& run = command.as.run;
  const std::lock_guard lock(lane.shim->mutex);
  const std::uint32_t at = first_extent(*lane.shim, command);
  if (at == run.arg_count) { return; }
  Shim::LastRun& last = lane.shim->last_run[run.program->impl];
  Shim::LastRun now{&lane, {}};
  std::vector<hal_arg>& own = own_args(command, args);
  for (std::uint32_t i = at; i < run.arg_count; ++i) {
    now.extents.push_back(value_of(own[i]));
    if (!last.extents.empty() && last.lane != &lane) { shrink(own[i], last.extents[i - at]); }
  }
  last = std::move(now);
}

void spoil_run(const Lane& lane, hal_command& command, std::vector<std::vector<hal_arg>>& args) {
  Shim& shim = *lane.shim;
  auto& run = command.as.run;
  if (shim.is("SF-231")) {
    const std::lock_guard lock(shim.mutex);
    if (const std::uint32_t at = first_extent(shim, command); at < run.arg_count) {
      hal_arg& extent = own_args(command, args)[at];
      shrink(extent, value_of(extent) - 1);
    }
  }
  if (run.has_grid == 0) {
    if (shim.is("SF-248")) { keep_first_extents(shim, command, args); }
    if (shim.is("SF-253")) { take_foreign_extents(lane, command, args); }
    if (!shim.is("SF-216")) { return; }
    const std::lock_guard lock(shim.mutex);
    if (!shim.graphs_run.insert(run.program->impl).second) { drop(command); }
    return;
  }
  if (shim.is("SF-117")) {
    for (hal_arg& each : own_args(command, args)) {
      if (each.kind == HAL_ARG_SCALAR && each.size == 8) { std::memset(each.value.scalar + 4, 0, 4); }
    }
  }
  if (shim.is("SF-118")) {
    for (hal_arg& each : own_args(command, args)) {
      if (each.kind == HAL_ARG_BUFFER) { each.value.slice.offset = 0; }
    }
  }
  if (shim.is("SF-119") && run.grid.groups[0] > 1) { --run.grid.groups[0]; }
  if (shim.is("SF-214") && run.entry == 1) { run.entry = 0; }
}

bool is_alike(const hal_command& a, const hal_command& b) {
  if (a.op != b.op) { return false; }
  if (a.op == HAL_OP_FILL) { return a.as.fill.pattern_bytes == b.as.fill.pattern_bytes; }
  return a.op == HAL_OP_RUN && a.as.run.program == b.as.run.program && a.as.run.entry == b.as.run.entry;
}

// SF-187, SF-256, SF-257: each launch of an entry, or fill, gets something of the last one in the batch.
void capture_late(const Shim& shim, std::vector<hal_command>& commands, std::vector<std::vector<hal_arg>>& args) {
  if (!shim.is("SF-187") && !shim.is("SF-256") && !shim.is("SF-257")) { return; }
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const auto last = std::find_if(commands.rbegin(), commands.rend() - static_cast<std::ptrdiff_t>(i) - 1,
                                   [&](const hal_command& later) { return is_alike(commands[i], later); });
    if (last == commands.rend() - static_cast<std::ptrdiff_t>(i) - 1) { continue; }
    if (commands[i].op == HAL_OP_FILL) {
      if (shim.is("SF-256")) { commands[i].as.fill.pattern = last->as.fill.pattern; }
      continue;
    }
    if (shim.is("SF-257")) { commands[i].as.run.grid = last->as.run.grid; }
    if (!shim.is("SF-187")) { continue; }
    std::vector<hal_arg>& changed = own_args(commands[i], args);
    for (std::size_t a = 0; a < changed.size(); ++a) {
      if (changed[a].kind == HAL_ARG_SCALAR) { changed[a] = last->as.run.args[a]; }
    }
  }
}

}  // namespace

void spoil(const Lane& lane, std::uint64_t first, std::vector<hal_command>& commands,
           std::vector<std::vector<hal_arg>>& args) {
  Shim& shim = *lane.shim;
  args.reserve(commands.size() * 2);
  capture_late(shim, commands, args);
  for (std::size_t i = 0; i < commands.size(); ++i) {
    hal_command& command = commands[i];
    if (shim.is("SF-074") && i + 8 < commands.size()) { drop(command); }
    if (shim.is("SF-228") && (first + i) % 7 == 0) { drop(command); }
    if (shim.is("SF-215") && command.op == HAL_OP_TIMESTAMP) {
      const std::lock_guard lock(shim.mutex);
      const hal_slice to = command.as.timestamp.to;
      command.op = HAL_OP_FILL;
      command.as.fill = {to, --shim.clock, 8};
    }
    if (shim.is("SF-252") && command.op == HAL_OP_PREPARE) { drop(command); }
    if (shim.is("SF-254") && command.op == HAL_OP_PREPARE) { command.as.run.arg_count = 0; }
    if (shim.is("SF-251") && command.op == HAL_OP_COPY) {
      misplace(shim, command.as.copy.to);
      misplace(shim, command.as.copy.from);
    }
    if (shim.is("SF-251") && command.op == HAL_OP_FILL) { misplace(shim, command.as.fill.to); }
    switch (command.op) {
      case HAL_OP_COPY:
        spoil_copy(shim, command);
        break;
      case HAL_OP_FILL:
        spoil_fill(shim, command);
        break;
      case HAL_OP_RUN:
        ++shim.runs;
        spoil_run(lane, command, args);
        break;
      default:
        break;
    }
  }
  if (shim.is("SF-210")) {
    for (std::size_t i = 0; i + 1 < commands.size(); i += 2) {
      if (commands[i].op != HAL_OP_BARRIER && commands[i + 1].op != HAL_OP_BARRIER) {
        std::swap(commands[i], commands[i + 1]);
      }
    }
  }
}

}  // namespace hal::fault
