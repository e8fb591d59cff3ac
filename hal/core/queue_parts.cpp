// SPDX-License-Identifier: Apache-2.0
// Submissions with commands that the core carries out itself: host calls, frees, copies between devices.
//
// Such a submission goes in parts, and is one piece of work all the same: everything that can be refused or that may
// take long (memory, lanes of the other device) comes first, then all parts get their numbers under one hold of the
// lock.
#include <fmt/format.h>

#include "core/buffer.hpp"
#include "core/pending.hpp"
#include "core/queue.hpp"

namespace hal::core {

// What a copy between two devices that cannot reach each other needs: host memory, and a lane on each device that is
// not the queue's own. One device writes the memory, the other reads it, and points join the halves.
struct Queue::Crossing {
  static constexpr std::uint64_t kAlignment = 64;

  Crossing(Device& owner, std::uint64_t length)
      : device(Ref<Device>::share(&owner)),
        bytes(allocate(owner.instance().allocator(), length, kAlignment)),
        size(length) {}
  ~Crossing() {
    const hal_allocator& from = device->instance().allocator();
    from.deallocate(from.user, bytes, size, kAlignment);
  }
  Crossing(const Crossing&) = delete;
  Crossing& operator=(const Crossing&) = delete;

  Ref<Device> device;  // first: its instance has the allocator
  void* bytes;
  std::uint64_t size;
  Ref<Queue> reader, writer;  // empty: the queue itself

  hal_slice staging() const { return hal_host(bytes, size); }
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
    if (!buffer.give_back()) { return false; }
    claimed_.push_back(&buffer);
    return true;
  }
  void keep() { claimed_.clear(); }

 private:
  std::vector<Buffer*> claimed_;
};

}  // namespace

Result<std::shared_ptr<Queue::Crossing>> Queue::prepare_crossing(const hal_command& command) const {
  const auto& copy = command.as.copy;
  auto made =
      std::allocate_shared<Crossing>(FromHost<Crossing>(device_->instance().allocator()), *device_, copy.from.length);
  if (is_foreign(*device_, copy.from)) {
    HAL_TRY(made->reader, create(*cast(copy.from.buffer)->device, "copy between devices", Use::core));
  }
  if (is_foreign(*device_, copy.to)) {
    HAL_TRY(made->writer, create(*cast(copy.to.buffer)->device, "copy between devices", Use::core));
  }
  return made;
}

// The first part gets the waits, the last the signals; queue order joins the rest.
Result<std::uint64_t> Queue::submit_parts(std::span<const hal_command> commands, const hal_sync& sync) {
  HAL_CHECK(check_points(sync));
  std::vector<std::shared_ptr<Crossing>> crossings;
  std::vector<std::shared_ptr<Pending>> calls;
  FreeClaims frees;
  for (const hal_command& command : commands) {
    if (command.op == HAL_OP_FREE && !frees.claim(*cast(command.as.free.buffer))) {
      return Error(HAL_INVALID_ARGUMENT, "the buffer was freed already");
    }
    if (command.op == HAL_OP_CALL) { calls.push_back(prepare_call(command)); }
    if (crosses_devices(*device_, command)) {
      HAL_TRY(auto crossing, prepare_crossing(command));
      crossings.push_back(std::move(crossing));
    }
  }
  const auto is_ours = [&](const hal_command& command) {
    return command.op == HAL_OP_CALL || command.op == HAL_OP_FREE || crosses_devices(*device_, command);
  };
  std::uint64_t last = 0;
  {
    const std::lock_guard lock(mutex_);
    if (timeline_->failed()) { return failed_already(); }
    HAL_CHECK(check_limit());
    std::vector<hal_point> waits;
    if (!crossings.empty() && crosses_devices(*device_, commands.front()) && crossings.front()->reader) {
      // It is the other device that begins, so a wait that our own could take over would not hold it up.
      waits.assign(sync.waits, sync.waits + sync.wait_count);
    } else {
      waits = unreached(sync, timeline_->assigned.load(std::memory_order_relaxed) + 1);
    }
    frees.keep();  // from here on nothing is refused: a device that fails meanwhile fails the queue
    auto crossing = crossings.begin();
    auto call = calls.begin();
    const std::size_t held_before = pending_.size();
    for (std::size_t at = 0, next = 0; at < commands.size(); at = next) {
      const hal_command& command = commands[at];
      next = at + 1;
      while (!is_ours(command) && next < commands.size() && !is_ours(commands[next])) { ++next; }
      const bool ends = next == commands.size();
      const hal_sync part{at == 0 ? sync.waits : nullptr, ends ? sync.signals : nullptr, at == 0 ? sync.wait_count : 0,
                          ends ? sync.signal_count : 0, sync.where};
      if (command.op == HAL_OP_CALL) {
        last = place_call(command, std::move(*call++), waits, part);
      } else if (command.op == HAL_OP_FREE) {
        hal_command barrier = kBarrier;
        barrier.label = command.label;
        last = place({&barrier, 1}, waits, is_straight(waits), command, part);
        Buffer& buffer = *cast(command.as.free.buffer);
        if (Observer* observer = device_->instance().observer()) { observer->claimed(*timeline_, last, buffer, true); }
        try {
          buffer.pool->put_after(*buffer.block, timeline_, last);
        } catch (const std::bad_alloc&) {  // the memory comes back with its owner's hal_release() instead
          buffer.take_back();
        }
      } else if (crosses_devices(*device_, command)) {
        last = place_crossing(command, *crossing++, waits, part);
      } else {
        last = place(commands.subspan(at, next - at), waits, is_straight(waits), command, part);
      }
      waits.clear();
    }
    for (std::size_t i = held_before + 1; i < pending_.size(); ++i) {
      pending_[i]->counts = false;
      --held_;
    }
  }
  promise_signals(sync, last);
  return last;
}

// A driver may report a failure at any time, also between two parts: what is left is then held back, and told.
bool Queue::is_straight(const std::vector<hal_point>& waits) const {
  return pending_.empty() && waits.empty() && !timeline_->failed();
}

std::shared_ptr<Pending> Queue::prepare_call(const hal_command& command) const {
  auto pending = Pending::make(device_->instance().allocator());
  pending->function = command.as.call.function;
  pending->user = command.as.call.user;
  pending->call = Pending::Call::waiting;
  pending->commands.push_back(kBarrier);
  return pending;
}

std::uint64_t Queue::place_call(const hal_command& command, std::shared_ptr<Pending> pending,
                                const std::vector<hal_point>& waits, const hal_sync& sync) {
  const std::uint64_t number = pending->first = timeline_->assigned.load(std::memory_order_relaxed) + 1;
  if (sync.where != nullptr) { pending->site = *sync.where; }
  timeline_->assigned.store(number, std::memory_order_release);
  recorder_.note(number, 1, command, sync.where != nullptr ? *sync.where : hal_site{});
  if (Observer* observer = device_->instance().observer()) {
    observer->accepted(*timeline_, number, {&command, 1}, sync, false);
  }
  hold_back(std::move(pending), waits);
  return number;
}

std::uint64_t Queue::place_crossing(const hal_command& command, const std::shared_ptr<Crossing>& crossing,
                                    std::vector<hal_point> waits, const hal_sync& sync) {
  hal_command read = command, write = command;
  read.as.copy.to = write.as.copy.from = crossing->staging();

  // The staging memory stays until that device is done with it.
  const auto keep = [&](Timeline& timeline, std::uint64_t number) {
    timeline.when(
        number,
        [kept = crossing, &instance = device_->instance()](const hal_error*) mutable {
          instance.engine().post([kept = std::move(kept)] {});  // the queue inside must not end in a driver's call
        },
        Timeline::Until::physical);
  };
  const auto own = [&](const hal_command& what) {
    const hal_sync order{waits.data(), sync.signals, static_cast<std::uint32_t>(waits.size()), sync.signal_count,
                         sync.where};
    staging_ = true;
    const std::uint64_t number = place({&what, 1}, waits, is_straight(waits), what, order);
    staging_ = false;
    keep(*timeline_, number);
    waits = {{timeline_.get(), number}};
  };
  // The other queue is known to this submission only, so its lock is never held by somebody who wants ours.
  const auto other = [&](Queue& queue, const hal_command& what) {
    const hal_sync order{waits.data(), nullptr, static_cast<std::uint32_t>(waits.size()), 0, sync.where};
    Result<std::uint64_t> number = queue.submit_plain({&what, 1}, order);
    if (!number) {  // that device is lost: what this queue has accepted fails, and whatever comes behind it
      timeline_->fail(std::move(number).error().release());
      return;
    }
    keep(*queue.timeline_, *number);
    waits = {{queue.timeline_.get(), *number}};
  };
  if (crossing->reader) {
    // Everything that this queue was to do first still comes first.
    waits.push_back({timeline_.get(), timeline_->assigned.load(std::memory_order_relaxed)});
    other(*crossing->reader, read);
  } else {
    own(read);
  }
  if (crossing->writer) {
    other(*crossing->writer, write);
    own(kBarrier);
  } else {
    own(write);
  }
  return timeline_->assigned.load(std::memory_order_relaxed);
}

}  // namespace hal::core
