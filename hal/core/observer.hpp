// SPDX-License-Identifier: Apache-2.0
// Where the core tells what users ask of it, if somebody listens: the layers that watch (trace, validation, record).
//
// An instance without such a layer has no observer, and every place below costs one branch on a null pointer. Calls
// come on the thread that made them; several at once, so an observer has a lock of its own. It may read what it is
// given during the call and must not call back into the core, but for Instance::log().
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>

#include "core/object.hpp"
#include "hal/driver.h"

namespace hal::core {

class Device;
class Queue;
class Timeline;

// How an object came to be. Pointers are valid during the call; `site` and `range` name literals.
struct Made {
  const char* label = "";
  const Device* device = nullptr;
  std::uint64_t bytes = 0;             // buffers
  const hal_image* image = nullptr;    // programs
  const hal_memory* memory = nullptr;  // buffers
  bool imported = false;               // a buffer of the caller's own host memory
  std::uint64_t value = 0;             // timelines: where it starts
  bool internal = false;               // the core made it for itself; a user never holds it
  hal_site site{};                     // see hal_here()
  const char* range = "";              // the innermost open range of the thread
};

class Observer {
 public:
  virtual ~Observer() = default;

  // -- objects --
  virtual void made(const hal_object&, const Made&) {}
  virtual void labelled(const hal_object&, const char*) {}
  // The last owner has let go. Nothing but the address and the kind may be used.
  virtual void gone(const hal_object&) {}
  // Whether the core is to recognise timelines after that: their memory stays for a while.
  virtual bool wants_graves() const { return false; }
  // Somebody names such a timeline. What to tell them, or NULL.
  virtual hal_error* disturbed(const hal_object& /*grave*/) { return nullptr; }

  // -- virtual memory: what new work sees from now on --
  virtual void mapped(const hal_buffer& /*range*/, std::uint64_t /*offset*/, const hal_physical&,
                      std::uint64_t /*from*/, std::uint64_t /*bytes*/) {}
  virtual void unmapped(const hal_buffer& /*range*/, std::uint64_t /*offset*/, std::uint64_t /*bytes*/) {}
  // The memory came in by this descriptor, or went out. It is open during the call.
  virtual void shared(const hal_physical&, int /*fd*/) {}

  // -- submissions --
  // Before anything was looked at, as the user wrote it. An error refuses the submission.
  virtual hal_error* submitting(Queue&, std::span<const hal_command>, const hal_sync&) { return nullptr; }
  // The core refused it; `error` is what the caller will get.
  virtual void refused(Queue&, std::span<const hal_command>, const hal_error*) {}
  // The core took it: commands `number` - commands.size() + 1 to `number`, as the driver will get them, in queue order
  // and under the queue's lock. Waits are in `sync`; signals follow with promised().
  // `staged`: host memory in it is the core's own.
  virtual void accepted(Timeline& /*lane*/, std::uint64_t /*number*/, std::span<const hal_command>, const hal_sync&,
                        bool /*staged*/) {}
  // The submission is over, whatever came of it, and no lock is held: the place to tell the user something.
  virtual void submitted() {}
  // A buffer was allocated in queue order, or given back to its pool, by command `number`.
  virtual void claimed(Timeline& /*lane*/, std::uint64_t /*number*/, const hal_buffer&, bool /*freed*/) {}
  // Once `lane` has completed `number`, the signals are given. Before anybody can see them.
  virtual void promised(Timeline& /*lane*/, std::uint64_t /*number*/, std::span<const hal_point> /*signals*/) {}
  // The user's function of command `number` begins, and has returned, on this thread.
  virtual void calling(Timeline& /*lane*/, std::uint64_t /*number*/) {}
  virtual void called(Timeline& /*lane*/, std::uint64_t /*number*/) {}

  // -- the host --
  // The host is about to signal.
  virtual void signalled(Timeline&, std::uint64_t /*value*/) {}
  // The host has seen that `value` is reached, or that it never will be.
  virtual void observed(Timeline&, std::uint64_t /*value*/) {}
  // The same, and that the timeline stands there.
  virtual void read(Timeline& timeline, std::uint64_t value) { observed(timeline, value); }
  // Before a wait; an error refuses it.
  virtual hal_error* waiting(std::span<const hal_point>, hal_wait_mode) { return nullptr; }
  // The host has failed the timeline, or cancelled its queue.
  virtual void abandoned(Timeline&) {}
  // Not through tell(), which a range has no time for: it catches what it throws itself.
  virtual void ranged(const char* /*label, NULL at the end*/) noexcept {}

  // A lane was seen to have completed `number`: on the driver's thread, sometimes late and not always in order. Only if
  // wants_completions() says so, because drivers then wake the core at each publish.
  virtual void completed(Timeline& /*lane*/, std::uint64_t /*number*/) {}
  virtual bool wants_completions() const { return false; }

  // Something that was to be told got lost, because the observer ran out of memory over it.
  virtual void missed() noexcept {}

  // How many findings it has reported.
  virtual std::uint64_t findings() const { return 0; }
};

// Tells an observer, if there is one, where nothing may fail any more. What it has no memory for it misses.
template <class Call>
void tell(Observer* observer, Call call) noexcept {
  if (observer == nullptr) { return; }
  try {
    call(*observer);
  } catch (const std::exception&) { observer->missed(); }
}

}  // namespace hal::core
