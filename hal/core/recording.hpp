// SPDX-License-Identifier: Apache-2.0
// Recorded lists of commands: made by hal_commands_create() or captured from a queue, checked once, replayed often.
//
// A recording is flat: another recording inside it is copied command by command, so a replay never recurses, and a
// cycle cannot be written down. It is immutable, so replays need no lock.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <vector>

#include "core/allocator.hpp"
#include "core/checks.hpp"
#include "core/object.hpp"
#include "core/submission.hpp"

namespace hal::core {

struct Buffer;

struct Commands : hal_commands {
  explicit Commands(const hal_allocator& from)
      : commands(FromHost<hal_command>(from)), args(FromHost<hal_arg>(from)), owned(FromHost<hal_object*>(from)) {}

  // A command that names slots. `full`: its lengths, extents or grid depend on what they are given, or it names an
  // address range, where the mapping may change between replays; so all is checked again.
  struct Open {
    std::uint32_t index;
    bool full;
  };

  Ref<Device> device;
  HostVector<hal_command> commands;
  HostVector<hal_arg> args;       // of all runs, in order
  std::vector<Open> open;         // in order
  std::deque<std::string> texts;  // names of permutations
  HostVector<hal_object*> owned;  // what the commands name, kept alive
  std::uint32_t slot_count = 0;   // one more than the highest slot named
  std::uint32_t depth = 0;        // levels of recordings inside
  bool crosses = false;           // some command without slots is a copy to or from another device
};

inline Commands* cast(hal_commands* handle) { return static_cast<Commands*>(handle); }

class Recorder {
 public:
  explicit Recorder(Device& device);

  // Room for so many commands and the arguments of their runs: a speed matter only.
  void expect(std::span<const hal_command> commands);
  // Appends one command, or the commands of the recording that it executes. Errors as hal_commands_create(); the
  // recorder must not be used after one.
  Result<void> add(const hal_command& given);
  std::size_t size() const { return made_->commands.size(); }
  Ref<Commands> finish();

 private:
  struct Naming;

  Result<void> nest(const hal_command& execute);
  void append(hal_command command, const hal_command& named, bool full);
  void keep(hal_object& object);
  bool note(const hal_slice& slice, bool& full);

  std::vector<hal_object*> seen_;  // a small hash of what is kept already
  Ref<Commands> made_;             // behind what may fail: it becomes an object in the constructor's body
  Context at_;
};

// Appends a recording's commands, with its slots filled in, to `out`.
Result<void> replay(const Context& at, const hal_command& execute, Batch& out);

}  // namespace hal::core
