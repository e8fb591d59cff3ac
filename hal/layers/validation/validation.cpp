// SPDX-License-Identifier: Apache-2.0
// What happened before what, kept up to date with each call, and every access judged by it.
#include "layers/validation/validation.hpp"

#include <sched.h>
#include <sys/stat.h>

#include <tuple>
#include <utility>

#include "core/annotation.hpp"
#include "core/api.hpp"
#include "core/buffer.hpp"
#include "core/flight_recorder.hpp"
#include "core/program.hpp"
#include "core/queue.hpp"
#include "core/timeline.hpp"

namespace hal::layers {

using core::Kind;

namespace {

constexpr std::uint32_t kAllocation = HAL_OP_COUNT;

bool receives(const hal_command& command) { return command.op == HAL_OP_RECV || command.op == HAL_OP_GET; }

// Calls `visit` with each range that the command touches, and whether it writes there.
template <class Visit>
void each_slice(const hal_command& command, Visit visit) {
  switch (command.op) {
    case HAL_OP_FILL:
      visit(command.as.fill.to, true);
      break;
    case HAL_OP_COPY:
      visit(command.as.copy.from, false);
      visit(command.as.copy.to, true);
      break;
    case HAL_OP_PUT:
    case HAL_OP_GET:
      visit(command.as.transfer.local, command.op == HAL_OP_GET);
      break;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      visit(command.as.message.local, command.op == HAL_OP_RECV);
      break;
    case HAL_OP_TIMESTAMP:
      visit(command.as.timestamp.to, true);
      break;
    case HAL_OP_RUN: {
      const auto& run = command.as.run;
      const hal_signature& entry = core::cast(run.program)->signatures.views()[run.entry];
      for (std::uint32_t i = 0; i < run.arg_count; ++i) {
        if (run.args[i].kind != HAL_ARG_BUFFER) { continue; }
        visit(run.args[i].value.slice, entry.params[i].direction != HAL_IN);
      }
      break;
    }
    default:
      break;
  }
}

}  // namespace

void ShortLock::wait() { sched_yield(); }

// ------------------------------------------------------------------------------------------------------------ objects

void Validation::made(const hal_object& object, const core::Made& how) {
  const std::lock_guard guard(lock_);
  const void* key = &object;
  dead_.erase(key);
  Object& added = objects_[key];
  added = {};
  added.kind = static_cast<Kind>(object.kind);
  added.internal = how.internal;
  added.bytes = how.bytes;
  added.label = how.label;
  added.device = how.device != nullptr ? how.device->uri() : "";
  if (how.site.file != nullptr) {
    added.where = " made at " + std::string(how.site.file) + ":" + std::to_string(how.site.line);
  }
  if (*how.range != '\0') { added.where += std::string(" in range '") + how.range + "'"; }
  if (added.kind == Kind::buffer) {
    if (how.memory != nullptr && how.memory->host != nullptr) {
      added.host = reinterpret_cast<std::uintptr_t>(how.memory->host);
      added.imported = how.imported;
      has_aliases_ = has_aliases_ || how.imported;
    }
    if (!added.imported) { added.history = std::make_shared<History>(); }
    if (added.host != 0 && !added.imported) { host_visible_.insert_or_assign(added.host, key); }
  } else if (added.kind == Kind::physical) {
    added.history = std::make_shared<History>();
  } else if (added.kind == Kind::timeline && how.device == nullptr) {
    added.signals = std::make_unique<SignalClocks>(how.value);
  } else if (added.kind == Kind::timeline) {
    Lane& lane = new_lane();
    lane.timeline = core::cast(reinterpret_cast<hal_timeline*>(const_cast<hal_object*>(&object)));
    lane.label = how.label;
    lane.device = added.device;
    lane_ids_[key] = lane.id;
  }
}

void Validation::labelled(const hal_object& object, const char* label) {
  const std::lock_guard guard(lock_);
  if (Object* found = find(&object)) { found->label = label; }
}

void Validation::gone(const hal_object& object) {
  const std::lock_guard guard(lock_);
  const void* key = &object;
  const auto found = objects_.find(key);
  if (found == objects_.end()) { return; }
  Object& old = found->second;
  if (old.host != 0) {
    const auto place = host_visible_.find(old.host);
    if (place != host_visible_.end() && place->second == key) { host_visible_.erase(place); }
  }
  if (Lane* lane = old.kind == Kind::timeline && !old.signals
                       ? lane_of(*core::cast(reinterpret_cast<hal_timeline*>(const_cast<hal_object*>(&object))))
                       : nullptr) {
    lane->timeline = nullptr;
    if (!lane->steps.empty()) { --waiting_lanes_; }
    lane->steps.clear();
    lane_ids_.erase(key);
    lane_cache_[slot(key)].clear();
  }
  old.history.reset();
  old.signals.reset();
  old.mappings.reset();
  object_cache_[slot(key)].clear();
  // Out of sight in any case. To remember who it was may want memory, and only the words of a later error need it.
  auto node = objects_.extract(found);
  try {
    dead_.erase(key);
    dead_order_.push_back(key);
    dead_.insert(std::move(node));
    if (dead_order_.size() > kMostDead) {
      dead_.erase(dead_order_.front());
      dead_order_.pop_front();
    }
  } catch (const std::bad_alloc&) {}
}

// A range has no history of its own: each piece of it is a piece of some physical memory.
void Validation::mapped(const hal_buffer& range, std::uint64_t offset, const hal_physical& physical, std::uint64_t from,
                        std::uint64_t bytes) {
  judge([&] {
    Object* object = find(&range.object);
    if (object == nullptr) { return; }
    has_aliases_ = true;
    if (!object->mappings) { object->mappings = std::make_unique<Mappings>(); }
    object->history.reset();
    object->mappings->insert_or_assign(offset, Mapping{bytes, from, &physical.object});
  });
}

void Validation::unmapped(const hal_buffer& range, std::uint64_t offset, std::uint64_t) {
  judge([&] {
    Object* object = find(&range.object);
    if (object != nullptr && object->mappings) { object->mappings->erase(offset); }
  });
}

// Memory that came in by a descriptor is that which went out by one of the same file. What is no file of its own (a
// device's node, an anonymous inode) looks the same for every piece of memory, and says nothing.
void Validation::shared(const hal_physical& physical, int fd) {
  struct stat file{};
  if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) { return; }
  judge([&] {
    Object* object = find(&physical.object);
    if (object == nullptr) { return; }
    std::erase_if(shared_, [](const auto& known) { return known.second.expired(); });
    std::weak_ptr<History>& known = shared_[{file.st_dev, file.st_ino}];
    if (std::shared_ptr<History> history = known.lock()) {
      object->history = std::move(history);
    } else {
      known = object->history;
    }
  });
}

Validation::Object* Validation::find_slowly(const void* key) {
  const auto found = objects_.find(key);
  if (found == objects_.end()) { return nullptr; }
  object_cache_[slot(key)].set(key, &found->second);
  return &found->second;
}

Validation::Lane* Validation::lane_of(const core::Timeline& timeline) {
  const void* key = &timeline.object;
  Cached& cached = lane_cache_[slot(key)];
  if (cached.is(key)) { return static_cast<Lane*>(cached.value); }
  const auto found = lane_ids_.find(key);
  if (found == lane_ids_.end()) { return nullptr; }
  Lane* lane = lanes_[found->second].get();
  cached.set(key, lane);
  return lane;
}

// A slot is used again once the host has seen all that the lane before did; its epochs go on.
Validation::Lane& Validation::new_lane() {
  for (const auto& old : lanes_) {
    if (old->timeline != nullptr || old->accepted > at(host_, old->id)) { continue; }
    Lane fresh;
    fresh.id = old->id;
    fresh.base = fresh.accepted = old->accepted;
    *old = std::move(fresh);
    return *old;
  }
  Lane& lane = *lanes_.emplace_back(std::make_unique<Lane>());
  lane.id = static_cast<std::uint32_t>(lanes_.size() - 1);
  return lane;
}

// -------------------------------------------------------------------------------------------------------- submissions

void Validation::touch(Access access, const hal_slice& slice, bool write, bool staged,
                       std::vector<std::pair<const void*, Access>>& out) {
  if (slice.length == 0) { return; }
  access.write = write;
  access.begin = slice.offset;
  access.end = slice.offset + slice.length;
  const void* key = slice.buffer;
  if (key == nullptr && staged) { return; }
  const Object* object = key != nullptr ? find(key) : nullptr;
  const bool imported = object != nullptr && object->imported;
  if (imported) {
    access.begin += object->host;
    access.end += object->host;
  }
  // The same memory may be a buffer's as well.
  if (key == nullptr || imported) {
    std::tie(key, object) = buffer_at(access.begin);
    if (key != nullptr) {
      access.begin -= object->host;
      access.end -= object->host;
    }
  }
  if (object == nullptr || !object->mappings) {
    out.emplace_back(key, access);
    return;
  }
  const auto& mappings = *object->mappings;
  auto at = mappings.upper_bound(access.begin);
  if (at != mappings.begin()) { --at; }
  for (; at != mappings.end() && at->first < access.end; ++at) {
    const auto& [offset, mapping] = *at;
    if (offset + mapping.bytes <= access.begin) { continue; }
    Access piece = access;
    piece.begin = std::max(access.begin, offset) - offset + mapping.from;
    piece.end = std::min(access.end, offset + mapping.bytes) - offset + mapping.from;
    out.emplace_back(mapping.physical, piece);
  }
}

// The buffer that the host reaches at an address; none is NULL twice.
std::pair<const void*, const Validation::Object*> Validation::buffer_at(std::uintptr_t address) {
  const auto next = host_visible_.upper_bound(address);
  if (next == host_visible_.begin()) { return {}; }
  const auto& [start, buffer] = *std::prev(next);
  const Object* object = find(buffer);
  if (object == nullptr || address - start >= object->bytes) { return {}; }
  return {buffer, object};
}

void Validation::collect(const Lane& lane, std::uint64_t number, const hal_command& command, const hal_sync& sync,
                         bool staged, std::vector<std::pair<const void*, Access>>& out) {
  Access access;
  access.by(lane.id, number, lane.base + number, command, sync.where, core::innermost_range());
  each_slice(command, [&](const hal_slice& slice, bool write) { touch(access, slice, write, staged, out); });
}

// A command that waits for nothing and does to its buffers what the lane did to them last, and nothing else is
// remembered of them. False, and nothing is done, if it is not of that sort.
[[gnu::always_inline]] inline bool Validation::again(Lane& lane, std::uint64_t number, const hal_command& command,
                                                     const hal_sync& sync) {
  const bool usual = command.op == HAL_OP_BARRIER || command.op == HAL_OP_COPY || command.op == HAL_OP_FILL ||
                     command.op == HAL_OP_RUN;
  if (!usual || blind_ || sync.wait_count != 0 || !lane.steps.empty()) { return false; }
  struct Touch {
    Access* access;
    const hal_slice* slice;
    bool write;
  };
  std::array<Touch, 8> touches;
  std::size_t count = 0;
  bool all = true;
  each_slice(command, [&](const hal_slice& slice, bool write) __attribute__((always_inline)) {
    if (!all) { return; }
    const Object* object = slice.buffer != nullptr ? find(slice.buffer) : nullptr;
    Access* access = object != nullptr && object->history && count < touches.size()
                         ? object->history->repeated(lane.id, slice.offset, slice.offset + slice.length, write)
                         : nullptr;
    all = access != nullptr;
    for (std::size_t i = 0; i < count; ++i) { all = all && touches[i].access != access; }
    if (all) { touches[count++] = {access, &slice, write}; }
  });
  if (!all) { return false; }
  lane.accepted = lane.base + number;
  const char* range = count != 0 ? core::innermost_range() : "";
  for (const Touch& touch : std::span(touches.data(), count)) {
    touch.access->begin = touch.slice->offset;
    touch.access->end = touch.slice->offset + touch.slice->length;
    touch.access->write = touch.write;
    touch.access->by(lane.id, number, lane.accepted, command, sync.where, range);
  }
  return true;
}

void Validation::accepted(core::Timeline& timeline, std::uint64_t number, std::span<const hal_command> commands,
                          const hal_sync& sync, bool staged) {
  const std::lock_guard guard(lock_);
  Lane* lane = lane_of(timeline);
  if (lane == nullptr) { return; }
  const bool repeated = commands.size() == 1 && again(*lane, number, commands.front(), sync);
  if (repeated && commands.front().op != HAL_OP_RUN) { return; }
  try {
    for (const hal_command& command : commands) {
      if (command.op == HAL_OP_RUN) { check_outputs(*lane, command, sync); }
    }
    if (!repeated && !blind_) { accept(*lane, number, commands, sync, staged); }
  } catch (const std::bad_alloc&) { go_blind(); }
}

void Validation::accept(Lane& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
                        bool staged) {
  lane.accepted = lane.base + number;
  const std::uint64_t first = number - commands.size() + 1;
  bool straight = lane.steps.empty() && sync.wait_count == 0;
  scratch_.clear();
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const hal_command& command = commands[i];
    if (command.op == HAL_OP_BARRIER) { continue; }
    collect(lane, first + i, command, sync, staged, scratch_);
    if (command.op == HAL_OP_CALL || receives(command)) { straight = false; }
  }
  if (straight) {
    for (const auto& [key, access] : scratch_) { check(lane, key, access); }
    return;
  }
  Step step;
  step.accesses = scratch_;
  step.first = lane.base + first;
  step.last = lane.accepted;
  step.waits.assign(sync.waits, sync.waits + sync.wait_count);
  take_step(lane, std::move(step));
  // What comes in by message or call ends as a step of its own: only then is it known what happened before.
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const bool call = commands[i].op == HAL_OP_CALL;
    if (!call && !receives(commands[i])) { continue; }
    Step end;
    end.kind = call ? Step::Kind::call : Step::Kind::receive;
    end.first = end.last = lane.base + first + i;
    take_step(lane, std::move(end));
  }
}

void Validation::claimed(core::Timeline& timeline, std::uint64_t number, const hal_buffer& buffer, bool freed) {
  judge([&] {
    Lane* lane = lane_of(timeline);
    if (lane == nullptr) { return; }
    Access access;
    access.lane = lane->id;
    access.number = number;
    access.epoch = lane->base + number;
    access.end = buffer.memory.bytes;
    access.op = freed ? static_cast<std::uint32_t>(HAL_OP_FREE) : kAllocation;
    access.write = true;
    access.range = core::innermost_range();
    Step step;
    step.first = step.last = access.epoch;
    step.accesses.emplace_back(&buffer, access);
    take_step(*lane, std::move(step));
  });
}

void Validation::promised(core::Timeline& timeline, std::uint64_t number, std::span<const hal_point> signals) {
  judge([&] {
    Lane* lane = lane_of(timeline);
    if (lane == nullptr) { return; }
    Step step;
    step.kind = Step::Kind::signal;
    step.first = step.last = lane->base + number;
    step.signals.assign(signals.begin(), signals.end());
    take_step(*lane, std::move(step));
  });
}

void Validation::take_step(Lane& lane, Step&& step) {
  VectorClock before;
  if (lane.steps.empty() && ready(lane, step, before)) {
    const bool news = step.kind == Step::Kind::signal;
    perform(lane, step, before);
    if (news || waiting_lanes_ != 0) { advance(); }
    return;
  }
  if (lane.steps.empty()) { ++waiting_lanes_; }
  lane.steps.push_back(std::move(step));
  if (lane.steps.size() > kMostSteps) {
    // Too much is open to follow. Everything until now counts as ordered before what comes.
    lane.steps.clear();
    --waiting_lanes_;
    VectorClock all;
    for (const auto& other : lanes_) { raise(all, other->id, other->accepted); }
    lane.clock.wait(lane.accepted, all);
  }
}

// Of a signal: not if its lane has failed before it. Of a lane that has gone nobody knows any more.
bool Validation::may_come(const Signal& signal) const {
  if (signal.lane == Signal::kHost) { return true; }
  const Lane& lane = *lanes_[signal.lane];
  return lane.timeline != nullptr && signal.epoch > lane.base && !lane.timeline->lost(signal.epoch - lane.base);
}

bool Validation::clock_of(const hal_point& point, VectorClock& out) {
  if (point.timeline == nullptr) { return true; }
  if (const Lane* lane = lane_of(*core::cast(point.timeline))) {
    const std::uint64_t epoch = lane->base + point.value;
    if (epoch > lane->accepted || (!lane->steps.empty() && lane->steps.front().first <= epoch)) { return false; }
    join(out, lane->clock.at(lane->id, epoch));
    return true;
  }
  const Object* object = find(point.timeline);
  if (object == nullptr || !object->signals) {
    // Nobody told us about this timeline: it may order everything.
    for (const auto& other : lanes_) { raise(out, other->id, other->accepted); }
    return true;
  }
  VectorClock signal;
  if (!object->signals->find(point.value, signal, may_come_)) { return false; }
  join(out, signal);
  return true;
}

bool Validation::ready(Lane& lane, const Step& step, VectorClock& before) {
  switch (step.kind) {
    case Step::Kind::work:
      for (const hal_point& wait : step.waits) {
        if (core::cast(wait.timeline) == lane.timeline) { continue; }
        if (!clock_of(wait, before)) { return false; }
      }
      return true;
    case Step::Kind::call:
      if (step.returned) { before = step.host; }
      return step.returned;
    case Step::Kind::receive:
      // The far side may be a lane of ours: once the bytes are here, all that was submitted may have happened before.
      if (lane.timeline == nullptr || !lane.timeline->reached(step.last - lane.base)) { return false; }
      for (const auto& other : lanes_) { raise(before, other->id, other->accepted); }
      return true;
    case Step::Kind::signal:
      return true;
  }
  return true;
}

void Validation::perform(Lane& lane, Step& step, const VectorClock& before) {
  switch (step.kind) {
    case Step::Kind::work:
      if (!before.empty()) { lane.clock.wait(step.first, before); }
      for (const auto& [key, access] : step.accesses) { check(lane, key, access); }
      break;
    case Step::Kind::call:
    case Step::Kind::receive:
      lane.clock.wait(step.last, before);
      break;
    case Step::Kind::signal:
      for (const hal_point& signal : step.signals) {
        Object* object = find(signal.timeline);
        if (object != nullptr && object->signals) {
          object->signals->add(signal.value, {lane.clock.at(lane.id, step.last), lane.id, step.last});
        }
      }
      break;
  }
}

// Goes on with the lanes that wait for news, until there is none.
void Validation::advance() {
  for (bool moved = true; moved && waiting_lanes_ != 0;) {
    moved = false;
    for (const auto& lane : lanes_) {
      if (lane->steps.empty()) { continue; }
      if (lane->timeline != nullptr && lane->timeline->failed()) {
        lane->steps.clear();  // none of it will begin
      }
      while (!lane->steps.empty()) {
        VectorClock before;
        if (!ready(*lane, lane->steps.front(), before)) { break; }
        perform(*lane, lane->steps.front(), before);
        lane->steps.pop_front();
        moved = true;
      }
      if (lane->steps.empty()) { --waiting_lanes_; }
    }
  }
}

// ----------------------------------------------------------------------------------------------------------- the host

void Validation::signalled(core::Timeline& timeline, std::uint64_t value) {
  judge([&] {
    Object* object = find(&timeline.object);
    if (object == nullptr || !object->signals) { return; }
    object->signals->add(value, {host_});
    advance();
  });
}

void Validation::observed(core::Timeline& timeline, std::uint64_t value) { see(timeline, value, false); }

void Validation::read(core::Timeline& timeline, std::uint64_t value) { see(timeline, value, true); }

// `stands`: exactly there, and not at least.
void Validation::see(core::Timeline& timeline, std::uint64_t value, bool stands) {
  judge([&] {
    if (waiting_lanes_ != 0) { advance(); }
    if (const Lane* lane = lane_of(timeline)) {
      const std::uint64_t epoch = timeline.failed() ? lane->accepted : std::min(lane->base + value, lane->accepted);
      if (epoch > at(host_, lane->id)) { join(host_, lane->clock.at(lane->id, epoch)); }
      return;
    }
    const Object* object = find(&timeline.object);
    if (object == nullptr || !object->signals) { return; }
    VectorClock signal;
    const bool found =
        stands ? object->signals->find_at(value, signal, may_come_) : object->signals->find(value, signal, may_come_);
    if (found) { join(host_, signal); }
  });
}

// Of what the core could not tell nothing more can be said, and too little order would look like a mistake.
void Validation::missed() noexcept {
  const std::lock_guard guard(lock_);
  go_blind();
}

void Validation::go_blind() noexcept {
  if (std::exchange(blind_, true)) { return; }
  blindness_untold_ = true;
  untold_.store(true, std::memory_order_release);
  for (const auto& lane : lanes_) { lane->steps.clear(); }
  waiting_lanes_ = 0;
  loose_.clear();
}

// What a cancelled queue had taken may still run, but nobody can wait for it any more: nothing is said about it.
void Validation::abandoned(core::Timeline& timeline) {
  judge([&] {
    if (const Lane* lane = lane_of(timeline)) { raise(host_, lane->id, lane->accepted); }
  });
}

}  // namespace hal::layers
