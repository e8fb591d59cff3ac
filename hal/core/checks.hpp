// SPDX-License-Identifier: Apache-2.0
// The checks of single commands that submissions and recordings share. Implemented in submission.cpp.
#pragma once

#include <string>

#include "core/device.hpp"
#include "hal/result.hpp"

namespace hal::core {

inline constexpr std::uint32_t kMostSlots = 256;

inline bool is_slot(const hal_slice& slice) { return (reinterpret_cast<std::uintptr_t>(slice.buffer) & 1U) != 0; }
inline std::uint32_t slot_number(const hal_slice& slice) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(slice.buffer) >> 1U);
}

// Where we are, for error texts, and whether slots may stand for buffers here.
struct Context {
  Device& device;
  std::uint32_t index = 0;
  const hal_command* command = nullptr;
  bool recording = false;

  Error bad(hal_code code, const std::string& why) const;
};

enum class Use { reads, writes };

// Checks a slice and, where the host reaches another device's buffer, turns it into host memory.
Result<void> resolve(const Context& at, const char* field, hal_slice& slice, Use use);
// Slices that only this device itself may touch: those of programs.
Result<void> own(const Context& at, const char* field, const hal_slice& slice);

// Checks one command in place. Everything that a driver is promised is established here, once; but extents, which
// with_extents() adds.
Result<void> check_command(const Context& at, hal_command& command);

// True for what may point to arguments: a run, and a preparation, which may be given extents.
inline bool has_args(const hal_command& command) { return command.op == HAL_OP_RUN || command.op == HAL_OP_PREPARE; }

// True for a run whose entry has dynamic dimensions. The run was checked.
bool has_symbols(const hal_command& command);

// Gives a run of such an entry its extents behind its arguments, found from the slices if the caller left them out, and
// checks every tensor's length against them. The list lives in `storage`.
Result<void> with_extents(const Context& at, hal_command& command, std::vector<hal_arg>& storage);

// What of a command a slot may give that is neither a slice nor an argument. In a recording its first 8 bytes are where
// in the slot it begins.
struct Value {
  void* at;
  std::uint32_t bytes;
  const char* name;
};
// Has no `at` if the command has no such value.
Value value_of(hal_command& command);
// Where a command with `by_slot` finds its value.
hal_slice value_slot(hal_command& command);

// Calls `visit` with every slice of a command but those of a run's arguments.
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

}  // namespace hal::core
