// SPDX-License-Identifier: Apache-2.0
#include "weak_lane.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>

#include "copy.hpp"
#include "driver_kit/clock.hpp"
#include "driver_kit/errors.hpp"
#include "threads/thread.hpp"

namespace hal::host {

namespace {

static_assert(WeakLane::kInFlight >= 2 * WeakLane::kLongestWindow);

// Salts of Perturb: one for each kind of decision.
enum Salt : std::uint32_t {
  kLaneSeed = 41,
  kPatience,
  kWindow,
  kPick,
  kPublish,
  kLag,
  kPieces,
  kCut,
  kScribble,
  kHelp,
  kOrder,
  kSlowness
};

// What one window may decide before its numbers run into the next one's.
constexpr std::uint64_t kDecisions = std::uint64_t{1} << 20U;

struct Range {
  std::byte* begin;
  std::uint64_t bytes;
};

bool overlap(const Range& a, const Range& b) { return a.begin < b.begin + b.bytes && b.begin < a.begin + a.bytes; }

Range range(const hal_slice& slice) { return {address_of(slice), slice.length}; }

}  // namespace

WeakLane::WeakLane(Device& device, std::uint64_t number, const char* label, void* core_object)
    : TaggedLane{},
      device_(device),
      lane_(number),
      perturb_(device.perturb.pick(number, kLaneSeed, UINT64_MAX)),
      slowness_(perturb_.pick(0, kSlowness, 3)),
      patience_(device.patience_ns / 4 * (1 + perturb_.pick(0, kPatience, 4))) {
  host = device.driver->api;
  core = core_object;
  wake_at = UINT64_MAX;
  tag = kTag;
  scratch_.late = &device.lazy_loads;
  full_at_ = 1 + perturb_.pick(0, kWindow, kLongestWindow);
  worker_ = threads::start_thread(label != nullptr && *label != 0 ? label : kOrigin, [this] { work(); });
}

WeakLane::~WeakLane() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
  const std::lock_guard lock(running_);  // a helper may be on its way out
}

// ------------------------------------------------------------------------------------------------------------ submit

std::uint32_t WeakLane::submit(std::uint64_t first, const hal_command* commands, std::uint32_t count) {
  const std::lock_guard lock(mutex_);
  if (failed_) { return count; }  // taken and dropped: the core knows of the failure
  const std::uint64_t in_flight = first - 1 - hal_lane_completed(this);
  const std::uint64_t room = in_flight < kInFlight ? kInFlight - in_flight : 0;
  // A prefix: to the end of the open window, which so is closed and will be published. All of that prefix or nothing:
  // how much room there is depends on time, and the schedule must not. With nothing taken more is in flight than an
  // open window holds, so a publish comes then too.
  std::uint64_t most = std::min<std::uint64_t>(count, full_at_ - tail_);
  if (most > room) { return 0; }
  try {
    for (std::uint64_t i = 0; i < most; ++i) {
      waiting_.emplace_back();
      Entry& entry = waiting_.back();
      entry.number = first + i;
      entry.command = commands[i];
      describe(entry);
      tail_ = entry.number;
    }
    if (tail_ == full_at_) {
      close(full_at_);
      full_at_ += 1 + perturb_.pick(tail_, kWindow, kLongestWindow);
    }
  } catch (const std::bad_alloc&) {
    starved_ = true;  // the thread fails the lane
    most = count;
  }
  if (starved_ || !waiting_.empty()) { changed_.notify_one(); }
  return static_cast<std::uint32_t>(most);
}

// Ends a window here. Where the next one is full does not change. Needs the mutex.
void WeakLane::close(std::uint64_t end) {
  if (end <= closed_) { return; }
  try {
    window_ends_.push_back(end);
  } catch (const std::bad_alloc&) {
    starved_ = true;
    return;
  }
  closed_ = end;
}

// What a command touches. It must not fail: without memory for it the command is a fence that fails when its turn
// comes.
void WeakLane::describe(Entry& entry) const {
  hal_command& command = entry.command;
  const auto touch = [&](const hal_slice& slice, bool writes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(address_of(slice));
    entry.accesses.push_back({begin, begin + slice.length, writes});
  };
  const auto copy_args = [&] {
    auto& run = command.as.run;
    entry.args.assign(run.args, run.args + run.arg_count);
    run.args = entry.args.data();
  };
  try {
    switch (command.op) {
      case HAL_OP_BARRIER:
        break;
      case HAL_OP_FILL:
        touch(command.as.fill.to, true);
        break;
      case HAL_OP_COPY:
        touch(command.as.copy.to, true);
        touch(command.as.copy.from, false);
        break;
      case HAL_OP_PREPARE:
        entry.may_fail = true;
        copy_args();
        break;
      case HAL_OP_RUN: {
        entry.may_fail = true;
        copy_args();
        // Only a tensor graph does nothing but what its signature says.
        const auto& directions = program_of(command).directions;
        entry.fence = directions.size() != entry.args.size();
        for (std::size_t i = 0; !entry.fence && i < entry.args.size(); ++i) {
          if (entry.args[i].kind != HAL_ARG_BUFFER) { continue; }
          if ((directions[i] & HAL_IN) != 0) { touch(entry.args[i].value.slice, false); }
          if ((directions[i] & HAL_OUT) != 0) { touch(entry.args[i].value.slice, true); }
        }
        break;
      }
      default:
        entry.fence = true;  // a timestamp tells the order
    }
  } catch (const std::bad_alloc&) { entry.fence = entry.may_fail = entry.lost = true; }
}

// ----------------------------------------------------------------------------------------------------------- windows

bool WeakLane::must_follow(const Entry& later, const Entry& earlier) {
  if (earlier.may_fail || earlier.fence || later.fence) { return true; }
  for (const Access& a : later.accesses) {
    for (const Access& b : earlier.accesses) {
      if ((a.writes || b.writes) && a.begin < b.end && b.begin < a.end) { return true; }
    }
  }
  return false;
}

// Without memory nothing more is executed: the lane fails from the first command that is not published.
void WeakLane::give_up() {
  {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    starved_ = false;
    waiting_.clear();
    window_ends_.clear();
  }
  hal_lane_fail(this, hal_lane_completed(this) + 1,
                kit::make_error(kOrigin, HAL_OUT_OF_HOST_MEMORY, "the lane has no host memory left to go on"));
}

// Runs every closed window. Needs `running_`.
void WeakLane::run_windows(std::uint64_t within_ns) {
  const std::uint64_t start = kit::clock_ns();
  try {
    while (run_next() && kit::clock_ns() - start < within_ns) {}
  } catch (const std::bad_alloc&) { give_up(); }
}

// False if there is nothing more to run.
bool WeakLane::run_next() {
  std::deque<Entry> window;
  bool skip = false;
  {
    const std::lock_guard lock(mutex_);
    if (failed_) { return false; }
    if (starved_) { throw std::bad_alloc(); }
    if (window_ends_.empty()) { return false; }
    const std::uint64_t end = window_ends_.front();
    window_ends_.pop_front();
    while (!waiting_.empty() && waiting_.front().number <= end) {
      window.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
      // The arguments moved with their vector, whose memory stayed where it was.
    }
    skip = cancelled_;
  }
  if (window.empty()) { return true; }
  if (skip) {
    // A window begins as one, so skipping is for whole windows: nobody sees a later command done and an earlier not.
    hal_lane_publish(this, window.back().number);
    return true;
  }
  if (!run_window(window)) {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    waiting_.clear();
    window_ends_.clear();
    return false;
  }
  return true;
}

bool WeakLane::run_window(std::deque<Entry>& window) {
  decisions_ = window.front().number * kDecisions;  // whatever other windows came to
  lag();
  const std::uint64_t publishing = decide(kPublish, 3);  // 0: one by one, 1: as they come, 2: all at the end
  std::vector<Entry*> ready;
  for (;;) {
    ready.clear();
    for (std::size_t i = 0; i < window.size(); ++i) {
      if (window[i].done) { continue; }
      bool free = true;
      for (std::size_t j = 0; j < i && free; ++j) { free = window[j].done || !must_follow(window[i], window[j]); }
      if (free) { ready.push_back(&window[i]); }
    }
    if (ready.empty()) { break; }
    Entry& entry = *ready[decide(kPick, ready.size())];
    const bool ahead =
        entry.number != std::find_if(window.begin(), window.end(), [](const Entry& e) { return !e.done; })->number;
    device_.weak.note(lane_, entry.number, entry.pieces.size(), ahead);
    // What may take any time, or fail, finds everything before it published.
    if (entry.fence && !entry.begun) { publish_prefix(window, false); }
    hal_error* error = kit::guarded(kOrigin, [&] { return step(entry); });
    if (error != nullptr) {
      // It may have overtaken what cannot fail. That comes first now.
      for (Entry& earlier : window) {
        if (earlier.number >= entry.number) { break; }
        while (!earlier.done) { hal_release(step(earlier)); }
      }
      publish_prefix(window, false);
      hal_lane_fail(
          this, entry.number,
          Error::adopt(error)
              .while_doing(fmt::format("mode=weak executed its own order of work; {} repeats it", device_.uri))
              .release());
      return false;
    }
    if (publishing == 0) { publish_prefix(window, true); }
    if (publishing == 1 && entry.done) { publish_prefix(window, false); }
  }
  lag();
  publish_prefix(window, publishing == 0);
  return true;
}

// Publishes what is done without a gap: at once, or number by number.
void WeakLane::publish_prefix(const std::deque<Entry>& window, bool each) {
  std::uint64_t last = hal_lane_completed(this);
  const std::uint64_t before = last;
  for (const Entry& entry : window) {
    if (entry.number <= before) { continue; }
    if (!entry.done) { break; }
    last = entry.number;
    if (each) { hal_lane_publish(this, last); }
  }
  if (!each && last > before) { hal_lane_publish(this, last); }
}

// Delay: a slow lane sleeps now and then, a quick one lets others run.
void WeakLane::lag() {
  const std::uint64_t much = decide(kLag, 16);
  if (much < 2 * slowness_) {
    std::this_thread::sleep_for(std::chrono::microseconds(40 + 40 * much));
  } else if (much < 8) {
    ::sched_yield();
  }
}

// ------------------------------------------------------------------------------------------------------------ pieces

// Cuts [0, bytes) at multiples of `unit` into pieces of any size, in any order.
void WeakLane::cut(Entry& entry, std::uint64_t bytes, std::uint64_t unit) {
  const std::uint64_t units = bytes / unit;
  const std::uint64_t count = std::min<std::uint64_t>(units, 1 + decide(kPieces, kMostPieces));
  std::vector<std::uint64_t> cuts{0, units};
  for (std::uint64_t i = 1; i < count; ++i) { cuts.push_back(decide(kCut, units)); }
  std::sort(cuts.begin(), cuts.end());
  for (std::size_t i = 1; i < cuts.size(); ++i) {
    if (cuts[i] > cuts[i - 1]) { entry.pieces.emplace_back(cuts[i - 1] * unit, cuts[i] * unit); }
  }
  for (std::size_t i = entry.pieces.size(); i > 1; --i) {
    std::swap(entry.pieces[i - 1], entry.pieces[decide(kOrder, i)]);
  }
}

// One piece of a command. The error, if it failed.
hal_error* WeakLane::step(Entry& entry) {
  const hal_command& command = entry.command;
  if (entry.lost) { return fail(HAL_OUT_OF_HOST_MEMORY, "no host memory to keep a command's arguments"); }
  if (command.op != HAL_OP_FILL && command.op != HAL_OP_COPY) {
    entry.begun = true;
    if (hal_error* error = run(entry)) { return error; }
    entry.done = true;
    return nullptr;
  }
  const bool is_fill = command.op == HAL_OP_FILL;
  const Range to = range(is_fill ? command.as.fill.to : command.as.copy.to);
  const Range from = is_fill ? Range{to.begin, 0} : range(command.as.copy.from);
  if (!entry.begun) {
    entry.begun = true;
    if (!is_fill && overlap(to, from)) {
      // The same bytes by two names: whole, and with no scribbling.
      std::memmove(to.begin, from.begin, to.bytes);
      entry.done = true;
      return nullptr;
    }
    cut(entry, to.bytes, is_fill ? command.as.fill.pattern_bytes : 1);
    // Until a point says so the destination has no contents that anybody could rely on.
    if (decide(kScribble, 2) == 0) {
      std::memset(to.begin, static_cast<int>(0x80U | decide(kScribble, 0x80)), to.bytes);
    }
    return nullptr;
  }
  const auto [begin, end] = entry.pieces.back();
  entry.pieces.pop_back();
  if (is_fill) {
    fill_bytes(to.begin + begin, end - begin, command.as.fill.pattern, command.as.fill.pattern_bytes);
  } else {
    std::memcpy(to.begin + begin, from.begin + begin, end - begin);
  }
  entry.done = entry.pieces.empty();
  return nullptr;
}

hal_error* WeakLane::run(Entry& entry) {
  const hal_command& command = entry.command;
  switch (command.op) {
    case HAL_OP_BARRIER:
      return nullptr;
    case HAL_OP_RUN:
      return program_of(command).run(command, scratch_, perturb_);
    case HAL_OP_PREPARE:
      return kit::to_c(program_of(command).prepare(command, scratch_));
    case HAL_OP_TIMESTAMP: {
      const std::uint64_t now = kit::clock_ns();
      std::memcpy(address_of(command.as.timestamp.to), &now, sizeof(now));
      return nullptr;
    }
    default:
      return fail(HAL_INTERNAL, fmt::format("the host was given operation {}, which it does not declare", command.op));
  }
}

// ----------------------------------------------------------------------------------------------------------- threads

// Somebody waits for `number`: if its window is still open, it ends there. What has not come yet is asked for again
// when it comes, by the core's notify().
void WeakLane::want(std::uint64_t number) {
  {
    const std::lock_guard lock(mutex_);
    if (number > tail_) { return; }
    close(number);
  }
  changed_.notify_one();
}

void WeakLane::notify() { want(__atomic_load_n(&wake_at, __ATOMIC_SEQ_CST)); }

void WeakLane::cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    close(tail_);
  }
  changed_.notify_one();
}

// Half of the time a waiter's thread executes; that half is picked by the number waited for.
void WeakLane::help(std::uint64_t number, std::uint64_t within_ns) {
  want(number);
  if (perturb_.pick(number, kHelp, 2) != 0 || !running_.try_lock()) { return; }
  run_windows(within_ns);
  running_.unlock();
}

void WeakLane::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if ((starved_ || !window_ends_.empty()) && !failed_) {
      lock.unlock();
      {
        const std::lock_guard running(running_);
        run_windows();
      }
      lock.lock();
    } else if (waiting_.empty() || failed_) {
      changed_.wait(lock);
    } else {
      const auto now = Patience::Clock::now();
      const auto end = patience_.end(waiting_.front().number, now);
      if (now >= end) {
        close(tail_);  // nobody waits: it must not be held back for ever
      } else {
        changed_.wait_until(lock, end);
      }
    }
  }
}

}  // namespace hal::host
