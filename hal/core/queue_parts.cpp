// SPDX-License-Identifier: Apache-2.0
// Submissions with commands that the core carries out itself: host calls, frees, copies between devices.
//
// Such a submission goes in parts, and is one piece of work all the same: everything that can be refused or that may
// take long (memory, lanes of the other device) comes first, then all parts get their numbers under one hold of the
// lock.
#include <array>

#include "core/buffer.hpp"
#include "core/failure.hpp"
#include "core/queue.hpp"

namespace hal::core {

// What a copy between two devices that cannot reach each other needs: host memory, and a lane on each device that is
// not the queue's own. One device writes the memory, the other reads it, and points join the halves.
struct Queue::Crossing {
  static constexpr std::uint64_t kAlignment = 64;

  Crossing(Device& owner, const hal_command& copy)
      : device(Ref<Device>::share(&owner)),
        size(copy.as.copy.from.length),
        bytes(allocate(owner.instance().allocator(), size, kAlignment)),
        read(copy),
        write(copy) {
    read.as.copy.to = write.as.copy.from = hal_host(bytes, size);
  }
  ~Crossing() {
    const hal_allocator& from = device->instance().allocator();
    from.deallocate(from.user, bytes, size, kAlignment);
  }
  Crossing(const Crossing&) = delete;
  Crossing& operator=(const Crossing&) = delete;

  // The staging memory stays until the device of `lane` is done with it.
  void keep(const std::shared_ptr<Crossing>& self, Timeline& lane, std::uint64_t number) {
    Kept& one = kept[keepers++];
    one.self = self;
    one.task = {[](void* of) { const auto last = std::move(static_cast<Kept*>(of)->self); }, &one};
    one.waiter.of = &one;
    one.waiter.ended = [](void* of, const hal_error*) {
      auto& done = *static_cast<Kept*>(of);
      // The queue inside must not end in a driver's call.
      done.self->device->instance().engine().post(done.task);
    };
    lane.when(one.waiter, number, Timeline::Until::physical);
  }

  Ref<Device> device;  // first: its instance has the allocator
  std::uint64_t size;
  void* bytes;
  hal_command read, write;
  Ref<Queue> reader, writer;  // empty: the queue itself
  Ref<Pending> held_read, held_write, held_end;
  std::vector<hal_point> waits;  // of the first half, with room for one more

 private:
  struct Kept {
    std::shared_ptr<Crossing> self;
    Waiter waiter;
    Task task;
  };
  std::array<Kept, 3> kept;
  std::size_t keepers = 0;  // counted, as those in front may go at any time
};

// A piece of a submission, with everything that it needs to be placed.
struct Queue::Part {
  enum class Kind { plain, call, free, crossing } kind = Kind::plain;
  std::span<const hal_command> commands;  // as the user gave them
  Ref<Pending> held;                      // if it may have to wait: of calls, and of all parts but the first
  std::unique_ptr<Pool::Return> back;     // of frees
  std::shared_ptr<Crossing> crossing;
  hal_command barrier = kBarrier;  // takes the number of a call or a free

  // As the lane gets them.
  std::span<const hal_command> placed() const {
    return kind == Kind::free || kind == Kind::call ? std::span(&barrier, 1) : commands;
  }
};

namespace {

bool is_foreign(const Device& device, const hal_slice& slice) {
  return slice.buffer != nullptr && slice.buffer->device_impl != device.impl();
}

// Marks the buffers of a submission's frees as returned, and takes that back unless the submission is accepted.
class FreeClaims {
 public:
  FreeClaims() = default;
  FreeClaims(const FreeClaims&) = delete;
  FreeClaims& operator=(const FreeClaims&) = delete;
  ~FreeClaims() {
    for (Buffer* buffer : claimed_) { buffer->take_back(); }
  }

  bool claim(Buffer& buffer) {
    claimed_.push_back(&buffer);
    if (buffer.give_back()) { return true; }
    claimed_.pop_back();
    return false;
  }
  void keep() { claimed_.clear(); }

 private:
  std::vector<Buffer*> claimed_;
};

}  // namespace

Result<std::shared_ptr<Queue::Crossing>> Queue::prepare_crossing(const hal_command& command, std::size_t waits) const {
  const auto& copy = command.as.copy;
  auto made = std::allocate_shared<Crossing>(FromHost<Crossing>(device_->instance().allocator()), *device_, command);
  if (is_foreign(*device_, copy.from)) {
    HAL_TRY(made->reader, create(*cast(copy.from.buffer)->device, "copy between devices", Use::core));
  }
  if (is_foreign(*device_, copy.to)) {
    HAL_TRY(made->writer, create(*cast(copy.to.buffer)->device, "copy between devices", Use::core));
  }
  made->waits.reserve(waits + 1);
  made->held_read = hold({&made->read, 1}, waits + 1);
  made->held_write = hold({&made->write, 1}, 1);
  if (made->writer) { made->held_end = hold({&kBarrier, 1}, 1); }
  return made;
}

// Everything of one part that can be refused or take long.
Result<void> Queue::prepare(Part& part, std::span<const hal_command> commands, const hal_sync& sync) {
  const hal_command& command = commands.front();
  part.commands = commands;
  if (crosses_devices(*device_, command)) {
    part.kind = Part::Kind::crossing;
    HAL_TRY(part.crossing, prepare_crossing(command, sync.wait_count));
  } else if (command.op == HAL_OP_CALL) {
    part.kind = Part::Kind::call;
    HAL_CHECK(device_->instance().workers().start());
    part.held = hold(part.placed(), sync.wait_count);
    part.held->function = command.as.call.function;
    part.held->user = command.as.call.user;
    part.held->call = Pending::Call::waiting;
  } else if (command.op == HAL_OP_FREE) {
    part.kind = Part::Kind::free;
    part.barrier.label = command.label;
    part.back = cast(command.as.free.buffer)->pool->prepare_return();
  }
  return {};
}

// `behind`: something comes before it that is held back, or may come to be.
void Queue::hold_if_needed(Part& part, bool behind, const hal_sync& sync, std::uint64_t first) {
  if (part.kind == Part::Kind::crossing) { return; }
  if (!part.held && (behind || must_wait(sync, first))) { part.held = hold(part.placed(), sync.wait_count); }
}

// The first part gets the waits, the last the signals; queue order joins the rest.
Result<std::uint64_t> Queue::submit_parts(std::span<const hal_command> commands, const hal_sync& sync) {
  HAL_CHECK(check_points(sync));
  const auto is_ours = [&](const hal_command& command) {
    return command.op == HAL_OP_CALL || command.op == HAL_OP_FREE || crosses_devices(*device_, command);
  };
  std::vector<Part> parts;
  FreeClaims frees;
  for (std::size_t at = 0, next = 0; at < commands.size(); at = next) {
    next = at + 1;
    while (!is_ours(commands[at]) && next < commands.size() && !is_ours(commands[next])) { ++next; }
    if (commands[at].op == HAL_OP_FREE && !frees.claim(*cast(commands[at].as.free.buffer))) {
      return Error(HAL_INVALID_ARGUMENT, "the buffer was freed already");
    }
    HAL_CHECK(prepare(parts.emplace_back(), commands.subspan(at, next - at), sync));
  }
  Promises signals(sync.signal_count);
  std::uint64_t last = 0;
  {
    const std::lock_guard lock(mutex_);
    if (timeline_->failed()) { return failed_already(); }
    HAL_CHECK(check_limit());
    const std::uint64_t first = timeline_->assigned.load(std::memory_order_relaxed) + 1;
    bool behind = !pending_.empty();
    for (Part& part : parts) {
      hold_if_needed(part, behind, &part == &parts.front() ? sync : hal_sync{}, first);
      behind = true;  // a full lane may leave the rest of any part, and then it is too late to ask for memory
    }
    frees.keep();  // from here on nothing is refused: a device that fails meanwhile fails the queue
    Pending* const last_before = pending_.back();
    for (Part& part : parts) {
      const bool begins = &part == &parts.front(), ends = &part == &parts.back();
      last = place_part(part, {begins ? sync.waits : nullptr, ends ? sync.signals : nullptr,
                               begins ? sync.wait_count : 0, ends ? sync.signal_count : 0, sync.where});
    }
    Pending* counted = pending_.after(last_before);
    for (Pending* part = counted != nullptr ? pending_.after(counted) : nullptr; part != nullptr;
         part = pending_.after(part)) {
      part->counts = false;
      --held_;
    }
  }
  promise_signals(signals, sync, last);
  return last;
}

std::uint64_t Queue::place_part(Part& part, const hal_sync& sync) noexcept {
  const hal_command& command = part.commands.front();
  if (part.kind == Part::Kind::crossing) { return place_crossing(part.crossing, sync); }
  if (part.held) { add_waits(*part.held, sync, timeline_->assigned.load(std::memory_order_relaxed) + 1); }
  if (part.kind == Part::Kind::call) { return place_call(command, std::move(part.held), sync); }
  if (part.held && may_begin(*part.held)) { part.held = {}; }
  const std::uint64_t last = place(part.placed(), std::move(part.held), command, sync);
  if (part.kind != Part::Kind::free) { return last; }
  Buffer& buffer = *cast(command.as.free.buffer);
  tell(device_->instance().observer(), [&](Observer& observer) { observer.claimed(*timeline_, last, buffer, true); });
  buffer.pool->put_after(*buffer.block, timeline_, last, std::move(part.back));
  return last;
}

std::uint64_t Queue::place_call(const hal_command& command, Ref<Pending> held, const hal_sync& sync) noexcept {
  const std::uint64_t number = held->first = timeline_->assigned.load(std::memory_order_relaxed) + 1;
  if (sync.where != nullptr) { held->site = *sync.where; }
  timeline_->assigned.store(number, std::memory_order_release);
  recorder_.note(number, 1, command, sync.where != nullptr ? *sync.where : hal_site{});
  tell(device_->instance().observer(),
       [&](Observer& observer) { observer.accepted(*timeline_, number, {&command, 1}, sync, false); });
  hold_back(std::move(held));
  return number;
}

std::uint64_t Queue::place_crossing(const std::shared_ptr<Crossing>& crossing, const hal_sync& sync) noexcept {
  crossing->waits.assign(sync.waits, sync.waits + sync.wait_count);
  const auto order = [&](std::uint32_t signals) {
    return hal_sync{crossing->waits.data(), sync.signals, static_cast<std::uint32_t>(crossing->waits.size()), signals,
                    sync.where};
  };
  const auto own = [&](const hal_command& what, Ref<Pending> held) {
    add_waits(*held, order(0), timeline_->assigned.load(std::memory_order_relaxed) + 1);
    if (may_begin(*held)) { held = {}; }
    staging_ = true;
    const std::uint64_t number = place({&what, 1}, std::move(held), what, order(sync.signal_count));
    staging_ = false;
    crossing->keep(crossing, *timeline_, number);
    crossing->waits.assign(1, {timeline_.get(), number});
  };
  // The other queue is known to this submission only, so its lock is never held by somebody who wants ours.
  const auto other = [&](Queue& queue, const hal_command& what, Ref<Pending> held) {
    Result<std::uint64_t> number = queue.submit_prepared(what, std::move(held), order(0));
    if (!number) {  // that device is lost: what this queue has accepted fails, and whatever comes behind it
      timeline_->fail(std::move(number).error().release());
      crossing->waits.clear();  // what comes next has room for one
      return;
    }
    crossing->keep(crossing, *queue.timeline_, *number);
    crossing->waits.assign(1, {queue.timeline_.get(), *number});
  };
  if (crossing->reader) {
    // Everything that this queue was to do first still comes first.
    crossing->waits.push_back({timeline_.get(), timeline_->assigned.load(std::memory_order_relaxed)});
    other(*crossing->reader, crossing->read, std::move(crossing->held_read));
  } else {
    own(crossing->read, std::move(crossing->held_read));
  }
  if (crossing->writer) {
    // Without the first half there is nothing to write, and no point that would keep it back.
    if (!crossing->waits.empty()) { other(*crossing->writer, crossing->write, std::move(crossing->held_write)); }
    own(kBarrier, std::move(crossing->held_end));
  } else {
    own(crossing->write, std::move(crossing->held_write));
  }
  return timeline_->assigned.load(std::memory_order_relaxed);
}

}  // namespace hal::core
