// SPDX-License-Identifier: Apache-2.0
// An in-order queue and its verbs. Every verb makes one hal_command, submits it, and returns its Point; submit() takes
// several at once. None of them blocks.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hal/buffer.hpp"
#include "hal/commands.hpp"
#include "hal/peer.hpp"
#include "hal/program.hpp"
#include "hal/sync.hpp"

namespace hal {

using Command = hal_command;

// The commands that the verbs make, for batches and recordings.
namespace command {

inline Command copy(Slice from, Slice to, const char* label = nullptr) {
  Command c{HAL_OP_COPY, 0, label, {}};
  c.as.copy = {to, from};
  return c;
}
template <class T>
  requires std::is_trivially_copyable_v<T>
Command fill(Slice to, T pattern, const char* label = nullptr) {
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8,
                "a pattern has 1, 2, 4 or 8 bytes");
  Command c{HAL_OP_FILL, 0, label, {}};
  c.as.fill = {to, 0, sizeof(T)};
  std::memcpy(&c.as.fill.pattern, &pattern, sizeof pattern);
  return c;
}
// `args` must live until the command is submitted or recorded. The entry's own sizes stand where the grid leaves them
// 0.
inline Command run(const Entry& entry, std::span<const Arg> args, std::optional<Grid> grid = {},
                   const char* label = nullptr) {
  Command c{HAL_OP_RUN, 0, label, {}};
  auto& run = c.as.run;
  run.program = entry.program();
  run.args = args.data();
  run.entry = entry.index();
  run.arg_count = static_cast<std::uint32_t>(args.size());
  if (!grid) { return c; }
  run.has_grid = 1;
  // Number by number: a copy of the whole would wait for the stores that have just made the grid.
  for (int axis = 0; axis < 3; ++axis) {
    const std::uint32_t own = entry.signature().group_size[axis];
    run.grid.groups[axis] = grid->groups[axis];
    run.grid.group_size[axis] = grid->group_size[axis] != 0 ? grid->group_size[axis] : own != 0 ? own : 1;
  }
  run.grid.shared_bytes = grid->shared_bytes;
  return c;
}
// `extents` are what the runs will have, one i64 for each symbol of the entry, or none; they live as the args of run().
inline Command prepare(const Entry& entry, std::span<const Arg> extents = {}) {
  Command c{HAL_OP_PREPARE, 0, nullptr, {}};
  c.as.run = {
      entry.program(), extents.data(), entry.index(), static_cast<std::uint32_t>(extents.size()), hal_grid{}, 0};
  return c;
}
// `slots` must live until the command is submitted.
inline Command execute(const Commands& commands, std::span<const Slice> slots = {}) {
  Command c{HAL_OP_EXECUTE, 0, nullptr, {}};
  c.as.execute = {commands.get(), slots.data(), slots.size()};
  return c;
}
inline Command transfer(hal_op op, const Peer& peer, Slice local, Remote remote) {
  Command c{static_cast<std::uint32_t>(op), 0, nullptr, {}};
  c.as.transfer = {peer.get(), local, remote};
  return c;
}
inline Command put(Slice local, const Peer& peer, Remote remote) { return transfer(HAL_OP_PUT, peer, local, remote); }
inline Command get(const Peer& peer, Remote remote, Slice local) { return transfer(HAL_OP_GET, peer, local, remote); }
inline Command message(hal_op op, const Peer& peer, Slice local, std::uint64_t tag) {
  Command c{static_cast<std::uint32_t>(op), 0, nullptr, {}};
  c.as.message = {peer.get(), local, tag};
  return c;
}
inline Command send(Slice local, const Peer& peer, std::uint64_t tag) { return message(HAL_OP_SEND, peer, local, tag); }
inline Command recv(const Peer& peer, std::uint64_t tag, Slice local) { return message(HAL_OP_RECV, peer, local, tag); }
inline Command timestamp(Slice to) {
  Command c{HAL_OP_TIMESTAMP, 0, nullptr, {}};
  c.as.timestamp = {to};
  return c;
}
inline Command circuit(const char* permutation) {
  Command c{HAL_OP_CIRCUIT, 0, nullptr, {}};
  c.as.circuit = {permutation};
  return c;
}
inline Command free(const Buffer& buffer) {
  Command c{HAL_OP_FREE, 0, nullptr, {}};
  c.as.free = {buffer.get()};
  return c;
}
inline Command barrier() { return Command{HAL_OP_BARRIER, 0, nullptr, {}}; }
// In a recording: the same with the pattern, grid, remote memory or tag that each replay reads from host memory:
// hal::host(value) in its table of slots.
inline Command by_slot(Command command, std::uint32_t number, std::uint64_t offset = 0) {
  hal_by_slot(&command, number, offset);
  return command;
}

}  // namespace command

class Queue : public Handle<hal_queue> {
 public:
  using Handle::Handle;

  // Errors of every verb: as hal_queue_submit().
  Result<Point> submit(std::span<const Command> commands, const Sync& sync = {}) {
    Point point{};
    HAL_CHECK(check(with_order(sync, [&](const hal_sync& order) {
      return hal_queue_submit(get(), commands.data(), static_cast<std::uint32_t>(commands.size()), &order, &point);
    })));
    return point;
  }

  Result<Point> barrier(const Sync& sync = {}) { return one(command::barrier(), sync); }
  Result<Point> copy(Slice from, Slice to, const Sync& sync = {}) { return one(command::copy(from, to), sync); }
  template <class T>
  Result<Point> fill(Slice to, T pattern, const Sync& sync = {}) {
    return one(command::fill(to, pattern), sync);
  }
  // A kernel needs a grid; a tensor graph takes none.
  Result<Point> run(const Entry& entry, std::initializer_list<Arg> args, std::optional<Grid> grid = {},
                    const Sync& sync = {}) {
    return one(command::run(entry, {args.begin(), args.size()}, grid), sync);
  }
  Result<Point> run(const Entry& entry, std::span<const Arg> args, std::optional<Grid> grid = {},
                    const Sync& sync = {}) {
    return one(command::run(entry, args, grid), sync);
  }
  Result<Point> prepare(const Entry& entry, const Sync& sync = {}) { return one(command::prepare(entry), sync); }
  // For runs of these extents: extent(n) for each symbol of the entry.
  Result<Point> prepare(const Entry& entry, std::span<const Arg> extents, const Sync& sync = {}) {
    return one(command::prepare(entry, extents), sync);
  }
  Result<Point> execute(const Commands& commands, std::span<const Slice> slots = {}, const Sync& sync = {}) {
    return one(command::execute(commands, slots), sync);
  }
  Result<Point> put(Slice local, const Peer& peer, Remote remote, const Sync& sync = {}) {
    return one(command::put(local, peer, remote), sync);
  }
  Result<Point> get_remote(const Peer& peer, Remote remote, Slice local, const Sync& sync = {}) {
    return one(command::get(peer, remote, local), sync);
  }
  Result<Point> send(Slice local, const Peer& peer, std::uint64_t tag, const Sync& sync = {}) {
    return one(command::send(local, peer, tag), sync);
  }
  Result<Point> recv(const Peer& peer, std::uint64_t tag, Slice local, const Sync& sync = {}) {
    return one(command::recv(peer, tag, local), sync);
  }
  Result<Point> timestamp(Slice to, const Sync& sync = {}) { return one(command::timestamp(to), sync); }
  Result<Point> circuit(const char* permutation, const Sync& sync = {}) {
    return one(command::circuit(permutation), sync);
  }
  // The buffer's memory goes back to its pool at the point. The handle may be released at any time.
  Result<Point> free(const Buffer& buffer, const Sync& sync = {}) { return one(command::free(buffer), sync); }

  // A host function in queue order, on a thread of the core. An error that it returns fails the queue.
  Result<Point> call(std::function<Result<void>()> function, const Sync& sync = {}) {
    using Function = std::function<Result<void>()>;
    auto kept = std::make_unique<Function>(std::move(function));
    Command c{HAL_OP_CALL, 0, nullptr, {}};
    c.as.call = {[](void* user, const hal_error* failure) -> hal_error* {
                   const std::unique_ptr<Function> mine(static_cast<Function*>(user));
                   if (failure != nullptr) { return nullptr; }
                   Result<void> result = (*mine)();
                   return result ? nullptr : std::move(result).error().release();
                 },
                 kept.get()};
    Result<Point> point = one(c, sync);
    if (point) { (void)kept.release(); }  // the core calls it exactly once
    return point;
  }

  // A buffer that work ordered after the point may use.
  Result<Buffer> alloc(const Pool& pool, std::uint64_t bytes, Point* ready = nullptr, const Sync& sync = {}) {
    hal_buffer* buffer = nullptr;
    HAL_CHECK(check(with_order(sync, [&](const hal_sync& order) {
      return hal_queue_alloc(get(), pool.get(), bytes, &order, &buffer, ready);
    })));
    return Buffer(buffer);
  }

  Result<void> finish(Timeout timeout, const Sync& sync = {}) {
    HAL_TRY(const Point point, barrier(sync));
    return wait(point, timeout);
  }
  // From here to end_capture(), what is submitted is recorded and does not run. Errors: INVALID_ARGUMENT.
  Result<void> begin_capture() { return check(hal_queue_capture_begin(get())); }
  // Errors: INVALID_ARGUMENT, and the failure of a queue that has failed.
  Result<Commands> end_capture(std::source_location where = std::source_location::current()) {
    here(where);
    hal_commands* recorded = nullptr;
    HAL_CHECK(check(hal_queue_capture_end(get(), &recorded)));
    return Commands(recorded);
  }
  Result<void> flush() { return check(hal_queue_flush(get())); }
  void cancel() { hal_queue_cancel(get()); }
  // The last submissions with their arguments and call sites, oldest first, a line each.
  Result<std::string> history() const {
    char* text = nullptr;
    HAL_CHECK(check(hal_queue_history(get(), &text)));
    std::string out(text);
    hal_free_text(text);
    return out;
  }

 private:
  // Calls the C function with `sync` as C takes it: one list of waits.
  template <class Call>
  static hal_error* with_order(const Sync& sync, Call call) {
    const hal_site site{sync.where.file_name(), sync.where.function_name(), sync.where.line(), 0};
    const auto given = [&](std::span<const Point> waits) {
      return call(hal_sync{waits.data(), sync.signals.begin(), static_cast<std::uint32_t>(waits.size()),
                           static_cast<std::uint32_t>(sync.signals.size()), &site});
    };
    if (sync.waits.size() == 0) { return given(sync.more_waits); }
    if (sync.more_waits.empty()) { return given({sync.waits.begin(), sync.waits.size()}); }
    std::vector<Point> both(sync.waits);
    both.insert(both.end(), sync.more_waits.begin(), sync.more_waits.end());
    return given(both);
  }
  Result<Point> one(const Command& command, const Sync& sync) { return submit({&command, 1}, sync); }
};

}  // namespace hal
