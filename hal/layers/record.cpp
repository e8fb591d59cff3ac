// SPDX-License-Identifier: Apache-2.0
// The layer `record`: writes what a program asks of the library, so that another device can be asked the same.
//
// Records lie in one order: a submission before anybody can see its effects, what the host learned before it can act on
// it. Host memory is read at a submission that reads it, unless recorded work still writes there, and when the host
// learns that recorded work has written there: that is what a replay must come to.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/checks.hpp"
#include "core/device.hpp"
#include "core/instance.hpp"
#include "core/program.hpp"
#include "core/queue.hpp"
#include "core/recording.hpp"
#include "core/submission.hpp"
#include "core/timeline.hpp"
#include "layers/layers.hpp"
#include "recording/format.hpp"

namespace hal::layers {
namespace {

using core::Kind;
using recording::In;
using recording::Record;

constexpr std::uint64_t kMostContents = 1U << 20U;  // of an expectation; beyond it the checksum alone is kept

// The submission that this thread is making.
struct Mine {
  std::uint32_t id = 0;
  const core::Timeline* lane = nullptr;
  std::uint64_t last = 0;
};
thread_local Mine mine;

class Recorder final : public core::Observer {
 public:
  Recorder(std::string path, std::FILE* file, core::Instance& instance)
      : path_(std::move(path)), file_(file), instance_(instance) {
    put_raw(recording::header(0, 0));
  }
  ~Recorder() override;

  // Something that was to be told got lost for want of memory: so is the recording.
  void missed() noexcept override {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    error_ = ENOMEM;
  }
  void made(const hal_object& object, const core::Made& how) override;
  void labelled(const hal_object& object, const char* label) override;
  void gone(const hal_object& object) override;
  hal_error* submitting(core::Queue& queue, std::span<const hal_command> commands, const hal_sync& sync) override;
  void refused(core::Queue& queue, std::span<const hal_command> commands, const hal_error* error) override;
  void accepted(core::Timeline& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
                bool staged) override;
  void submitted() override;
  void called(core::Timeline& lane, std::uint64_t number) override;
  void signalled(core::Timeline& timeline, std::uint64_t value) override;
  void observed(core::Timeline& timeline, std::uint64_t value) override;
  void abandoned(core::Timeline& timeline) override;

 private:
  struct Memory {
    std::uint64_t bytes = 0;
    std::uintptr_t host = 0;
    std::vector<std::byte> shadow;  // what a replay has there; empty if that is not known
  };
  struct Write {
    recording::Slice where;
    std::uint32_t command;
  };
  struct Pending {
    std::uint32_t id;
    core::Timeline* lane;
    std::uint64_t last;
    std::vector<Write> writes;
  };

  void check(bool done);
  void put_raw(std::span<const std::byte> bytes);
  void put(const Record& record);
  void limit(const std::string& what);
  std::uint32_t id_of(const void* object) const {
    const auto found = ids_.find(object);
    return found != ids_.end() ? found->second : 0;
  }
  recording::Slice slice(const hal_slice& given) const;
  bool encode(const hal_command& given, recording::Command& out);
  bool encode_all_but_slot(const hal_command& command, recording::Command& out);
  void add_args(const hal_command& run, recording::Command& out) const;
  template <class Visit>
  void each_touch(const hal_command& command, std::span<const hal_slice> slots, Visit visit) const;
  void touch(const recording::Slice& where, bool write, std::uint32_t command);
  bool is_pending(const recording::Slice& where) const;
  const std::byte* host_of(const recording::Slice& where) const;
  void look();

  const std::string path_;
  std::FILE* file_;
  core::Instance& instance_;
  std::mutex mutex_;  // of everything below
  std::uint64_t bytes_ = 0;
  recording::Checksum sum_;
  bool failed_ = false;
  int error_ = 0;
  std::uint32_t next_id_ = 1;
  std::unordered_map<const void*, std::uint32_t> ids_;
  std::unordered_map<std::uint32_t, Memory> buffers_;
  std::map<std::uintptr_t, std::pair<std::uint64_t, std::uint64_t>> known_host_;  // address -> bytes, checksum
  std::map<std::pair<const core::Timeline*, std::uint64_t>, std::uint32_t> calls_;
  std::vector<std::uint32_t> new_calls_;
  std::vector<Pending> pending_;
  std::vector<Write> now_;  // of the submission being taken down
  std::unordered_map<std::uint32_t, std::vector<Write>> making_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> making_calls_;
};

bool overlap(const recording::Slice& a, const recording::Slice& b) {
  return a.in == b.in && a.id == b.id && a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

// The first failure counts, with the reason that the system gave just now.
void Recorder::check(bool done) {
  if (done || failed_) { return; }
  failed_ = true;
  error_ = errno;
}

void Recorder::put_raw(std::span<const std::byte> bytes) {
  if (!failed_) { check(std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size()); }
}

void Recorder::put(const Record& record) {
  std::vector<std::byte> out;
  recording::append(out, record);
  put_raw(out);
  sum_.add(out);  // records are whole words, so cuts do not matter
  bytes_ += out.size();
}

void Recorder::limit(const std::string& what) {
  Record record;
  record.kind = recording::Kind::limit;
  record.text = what;
  put(record);
}

Recorder::~Recorder() {
  try {
    const std::vector<std::byte> head = recording::header(bytes_, sum_.value());
    check(std::fseek(file_, 0, SEEK_SET) == 0);  // writes what is still in memory
    put_raw(head);
  } catch (const std::bad_alloc&) { missed(); }
  check(std::fclose(file_) == 0);
  if (failed_) {
    try {
      instance_.log(HAL_LOG_ERROR, "record",
                    fmt::format("{} is incomplete and cannot be replayed: {}", path_, std::strerror(error_)).c_str());
    } catch (const std::bad_alloc&) { instance_.log(HAL_LOG_ERROR, "record", "the recording is incomplete"); }
  }
}

void Recorder::made(const hal_object& object, const core::Made& how) {
  const std::lock_guard lock(mutex_);
  Record record;
  record.text = how.label;
  record.other = how.device != nullptr ? id_of(&how.device->object) : 0;
  switch (static_cast<Kind>(object.kind)) {
    case Kind::device:
      record.kind = recording::Kind::device;
      record.text2 = how.device->describe().name;
      record.other = 0;
      break;
    case Kind::queue: {
      if (how.internal) { return; }
      const auto& queue = *core::cast(reinterpret_cast<hal_queue*>(const_cast<hal_object*>(&object)));
      record.kind = recording::Kind::queue;
      record.value = next_id_++;
      ids_[&queue.timeline().object] = static_cast<std::uint32_t>(record.value);
      break;
    }
    case Kind::timeline:
      if (how.internal || how.device != nullptr) { return; }
      record.kind = recording::Kind::timeline;
      record.value = how.value;
      break;
    case Kind::buffer:
      record.kind = recording::Kind::buffer;
      record.value = how.bytes;
      break;
    case Kind::program:
      record.kind = recording::Kind::program;
      if (how.image->constant_count != 0) { limit("a program was loaded with constants"); }
      record.text = how.image->format;
      record.text2 = how.image->manifest != nullptr ? how.image->manifest : "";
      record.bytes.assign(static_cast<const std::byte*>(how.image->bytes),
                          static_cast<const std::byte*>(how.image->bytes) + how.image->size);
      break;
    case Kind::commands: {
      const auto& list = *static_cast<const core::Commands*>(reinterpret_cast<const hal_commands*>(&object));
      record.kind = recording::Kind::list;
      for (const hal_command& command : list.commands) {
        if (!encode(command, record.commands.emplace_back())) { record.commands.pop_back(); }
      }
      break;
    }
    case Kind::physical:
      limit("virtual memory was used");
      return;
    case Kind::peer:
      limit("a peer was connected");
      return;
    default:
      return;
  }
  record.id = ids_[&object] = next_id_++;
  if (record.kind == recording::Kind::buffer) {
    Memory& memory = buffers_[record.id];
    memory.bytes = how.bytes;
    memory.host = how.memory != nullptr ? reinterpret_cast<std::uintptr_t>(how.memory->host) : 0;
  }
  put(record);
}

void Recorder::labelled(const hal_object& object, const char* label) {
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::labelled;
  record.id = id_of(&object);
  record.text = label;
  if (record.id != 0) { put(record); }
}

void Recorder::gone(const hal_object& object) {
  const std::lock_guard lock(mutex_);
  const auto found = ids_.find(&object);
  if (found == ids_.end()) { return; }
  Record record;
  record.kind = recording::Kind::gone;
  record.id = found->second;
  ids_.erase(found);
  buffers_.erase(record.id);
  std::erase_if(pending_, [&](const Pending& one) { return &one.lane->object == &object; });
  put(record);
}

recording::Slice Recorder::slice(const hal_slice& given) const {
  const auto address = reinterpret_cast<std::uintptr_t>(given.buffer);
  if ((address & 1U) != 0) { return {In::slot, static_cast<std::uint32_t>(address >> 1U), given.offset, given.length}; }
  if (given.buffer != nullptr) { return {In::buffer, id_of(given.buffer), given.offset, given.length}; }
  for (const auto& [id, memory] : buffers_) {  // a buffer may be named by its host address
    if (memory.host != 0 && given.offset >= memory.host && given.offset - memory.host < memory.bytes &&
        given.length <= memory.bytes - (given.offset - memory.host)) {
      return {In::buffer, id, given.offset - memory.host, given.length};
    }
  }
  return {In::host, 0, given.offset, given.length};
}

void Recorder::add_args(const hal_command& command, recording::Command& out) const {
  const auto& run = command.as.run;
  for (std::uint32_t i = 0; run.args != nullptr && i < run.arg_count; ++i) {
    recording::Arg& arg = out.args.emplace_back();
    arg.kind = run.args[i].kind;
    if (arg.kind != HAL_ARG_SCALAR) {
      arg.slice = slice(run.args[i].value.slice);
      continue;
    }
    const auto* first = reinterpret_cast<const std::byte*>(run.args[i].value.scalar);
    arg.scalar.assign(first, first + std::min<std::uint32_t>(run.args[i].size, 16));
  }
}

// False for what a replay cannot do.
bool Recorder::encode(const hal_command& given, recording::Command& out) {
  if (!encode_all_but_slot(given, out)) { return false; }
  hal_command command = given;
  if (command.by_slot != 0 && core::value_of(command).at != nullptr) {
    out.slices.push_back(slice(core::value_slot(command)));
  }
  return true;
}

bool Recorder::encode_all_but_slot(const hal_command& command, recording::Command& out) {
  out.op = command.op;
  out.label = command.label != nullptr ? command.label : "";
  switch (command.op) {
    case HAL_OP_BARRIER:
      return true;
    case HAL_OP_FILL:
      out.slices = {slice(command.as.fill.to)};
      out.numbers = {command.as.fill.pattern, command.as.fill.pattern_bytes};
      return true;
    case HAL_OP_COPY:
      out.slices = {slice(command.as.copy.to), slice(command.as.copy.from)};
      return true;
    case HAL_OP_TIMESTAMP:
      out.slices = {slice(command.as.timestamp.to)};
      return true;
    case HAL_OP_FREE:
      out.slices = {{In::buffer, id_of(command.as.free.buffer), 0, 0}};
      return true;
    case HAL_OP_PREPARE:
      out.numbers = {id_of(command.as.run.program), command.as.run.entry};
      add_args(command, out);
      return true;
    case HAL_OP_RUN: {
      const auto& run = command.as.run;
      out.numbers = {id_of(run.program),     run.entry,
                     run.has_grid,           run.grid.groups[0],
                     run.grid.groups[1],     run.grid.groups[2],
                     run.grid.group_size[0], run.grid.group_size[1],
                     run.grid.group_size[2], run.grid.shared_bytes};
      add_args(command, out);
      return true;
    }
    case HAL_OP_EXECUTE:
      out.numbers = {id_of(command.as.execute.commands)};
      for (std::uint64_t i = 0; command.as.execute.slots != nullptr && i < command.as.execute.slot_count; ++i) {
        out.slices.push_back(slice(command.as.execute.slots[i]));
      }
      return true;
    case HAL_OP_CALL:
      out.numbers = {next_id_};
      new_calls_.push_back(next_id_++);
      return true;
    default:
      limit(fmt::format("an operation {} was submitted", command.op));
      return false;
  }
}

// Every range that a command of the driver's kind touches.
template <class Visit>
void Recorder::each_touch(const hal_command& command, std::span<const hal_slice> slots, Visit visit) const {
  const auto tell = [&](const hal_slice& given, bool write) {
    recording::Slice where = slice(given);
    if (where.in == In::slot) {
      if (where.id >= slots.size()) { return; }
      const recording::Slice whole = slice(slots[where.id]);
      if (where.offset > whole.length) { return; }  // the core refuses it
      where = {whole.in, whole.id, whole.offset + where.offset, std::min(where.length, whole.length - where.offset)};
    }
    if (where.length != 0 && where.in != In::slot) { visit(where, write); }
  };
  hal_command copy = command;
  if (command.by_slot != 0 && core::value_of(copy).at != nullptr) { tell(core::value_slot(copy), false); }
  if (core::has_args(command)) {
    const auto& run = command.as.run;
    for (std::uint32_t i = 0; run.args != nullptr && i < run.arg_count; ++i) {
      if (run.args[i].kind == HAL_ARG_SLOT) { tell(run.args[i].value.slice, false); }
    }
  }
  switch (command.op) {
    case HAL_OP_FILL:
      tell(command.as.fill.to, true);
      break;
    case HAL_OP_COPY:
      tell(command.as.copy.from, false);
      tell(command.as.copy.to, true);
      break;
    case HAL_OP_RUN: {
      const auto& run = command.as.run;
      const auto& entries = core::cast(run.program)->signatures.views();
      if (run.entry >= entries.size() || run.args == nullptr) { break; }
      for (std::uint32_t i = 0; i < std::min(run.arg_count, entries[run.entry].param_count); ++i) {
        if (run.args[i].kind != HAL_ARG_BUFFER) { continue; }
        const hal_direction direction = entries[run.entry].params[i].direction;
        if (direction != HAL_OUT) { tell(run.args[i].value.slice, false); }
        if (direction != HAL_IN) { tell(run.args[i].value.slice, true); }
      }
      break;
    }
    default:
      break;
  }
}

bool Recorder::is_pending(const recording::Slice& where) const {
  const auto writes = [&](const std::vector<Write>& all) {
    return std::any_of(all.begin(), all.end(), [&](const Write& write) { return overlap(write.where, where); });
  };
  return std::any_of(pending_.begin(), pending_.end(), [&](const Pending& one) { return writes(one.writes); }) ||
         std::any_of(making_.begin(), making_.end(), [&](const auto& one) { return writes(one.second); });
}

const std::byte* Recorder::host_of(const recording::Slice& where) const {
  if (where.in == In::host) { return reinterpret_cast<const std::byte*>(static_cast<std::uintptr_t>(where.offset)); }
  const auto found = buffers_.find(where.id);
  if (found == buffers_.end() || found->second.host == 0) { return nullptr; }
  return reinterpret_cast<const std::byte*>(found->second.host + where.offset);
}

// Writes down what the host put where a command is about to look.
void Recorder::touch(const recording::Slice& where, bool write, std::uint32_t command) {
  if (where.offset + where.length < where.offset) { return; }  // the core refuses it
  if (where.in == In::buffer) {
    const auto found = buffers_.find(where.id);
    if (found == buffers_.end() || where.offset + where.length > found->second.bytes) { return; }
  }
  const std::byte* host = host_of(where);
  if (!write && host != nullptr && !is_pending(where)) {
    Record record;
    record.kind = recording::Kind::bytes;
    if (where.in == In::host) {
      const std::uint64_t sum = recording::checksum({host, where.length});
      auto& known = known_host_[where.offset];
      if (known != std::pair(where.length, sum)) {
        known = {where.length, sum};
        record.where = where;
      }
    } else {
      Memory& memory = buffers_[where.id];
      if (memory.shadow.empty()) {
        memory.shadow.resize(memory.bytes);
        std::memcpy(memory.shadow.data() + where.offset, host, where.length);
        record.where = where;
      } else if (std::memcmp(memory.shadow.data() + where.offset, host, where.length) != 0) {
        std::memcpy(memory.shadow.data() + where.offset, host, where.length);
        record.where = where;
      }
    }
    if (record.where.length != 0) {
      record.bytes.assign(host, host + where.length);
      put(record);
    }
  }
  if (write) { now_.push_back({where, command}); }
}

hal_error* Recorder::submitting(core::Queue& queue, std::span<const hal_command> commands, const hal_sync& sync) {
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::submit;
  record.other = id_of(&queue.object);
  mine = {};
  if (record.other == 0) { return nullptr; }
  now_.clear();
  new_calls_.clear();
  for (std::uint32_t i = 0; i < commands.size(); ++i) {
    const hal_command& command = commands[i];
    if (!encode(command, record.commands.emplace_back())) {
      record.commands.back() = {};
      continue;
    }
    const auto visit = [&](const recording::Slice& where, bool write) { touch(where, write, i); };
    if (command.op == HAL_OP_EXECUTE && command.as.execute.commands != nullptr) {
      const auto& list = *static_cast<const core::Commands*>(command.as.execute.commands);
      const std::span<const hal_slice> slots(command.as.execute.slots,
                                             command.as.execute.slots != nullptr ? command.as.execute.slot_count : 0);
      for (const hal_command& inner : list.commands) { each_touch(inner, slots, visit); }
    } else if (command.op != HAL_OP_RUN || command.as.run.program != nullptr) {
      each_touch(command, {}, visit);
    }
  }
  for (const hal_point& wait : std::span(sync.waits, sync.waits != nullptr ? sync.wait_count : 0)) {
    record.waits.push_back({wait.timeline != nullptr ? id_of(wait.timeline) : 0, wait.value});
  }
  for (const hal_point& signal : std::span(sync.signals, sync.signals != nullptr ? sync.signal_count : 0)) {
    record.signals.push_back({signal.timeline != nullptr ? id_of(signal.timeline) : 0, signal.value});
  }
  if (sync.where != nullptr && sync.where->file != nullptr) {
    record.text = fmt::format("{}:{}", sync.where->file, sync.where->line);
  }
  record.id = next_id_++;
  put(record);
  making_[record.id] = std::move(now_);
  making_calls_[record.id] = std::move(new_calls_);
  now_ = {};
  new_calls_ = {};
  mine = {record.id, &queue.timeline(), 0};
  return nullptr;
}

void Recorder::refused(core::Queue&, std::span<const hal_command>, const hal_error*) {
  if (mine.id == 0) { return; }
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::refused;
  record.id = mine.id;
  put(record);
  making_.erase(mine.id);
  making_calls_.erase(mine.id);
  mine = {};
}

void Recorder::accepted(core::Timeline& lane, std::uint64_t number, std::span<const hal_command> commands,
                        const hal_sync&, bool) {
  if (mine.id == 0 || &lane != mine.lane) { return; }
  mine.last = std::max(mine.last, number);
  if (commands.size() != 1 || commands.front().op != HAL_OP_CALL) { return; }
  const std::lock_guard lock(mutex_);
  std::vector<std::uint32_t>& calls = making_calls_[mine.id];
  if (calls.empty()) { return; }
  calls_[{&lane, number}] = calls.front();
  calls.erase(calls.begin());
}

void Recorder::submitted() {
  if (mine.id == 0) { return; }
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::placed;
  record.id = mine.id;
  record.value = mine.last;
  put(record);
  auto& writes = making_[mine.id];
  if (!writes.empty()) {
    pending_.push_back({mine.id, const_cast<core::Timeline*>(mine.lane), mine.last, std::move(writes)});
    for (const Write& write : pending_.back().writes) {
      if (write.where.in == In::host) { known_host_.clear(); }
      if (write.where.in == In::buffer) { buffers_[write.where.id].shadow.clear(); }
    }
  }
  making_.erase(mine.id);
  making_calls_.erase(mine.id);
  mine = {};
}

void Recorder::called(core::Timeline& lane, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find({&lane, number});
  if (found == calls_.end()) { return; }
  Record record;
  record.kind = recording::Kind::returned;
  record.id = found->second;
  calls_.erase(found);
  put(record);
}

void Recorder::signalled(core::Timeline& timeline, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::signal;
  record.id = id_of(&timeline.object);
  record.value = value;
  if (record.id != 0) { put(record); }
}

void Recorder::observed(core::Timeline& timeline, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::observed;
  record.id = id_of(&timeline.object);
  record.value = value;
  record.other = timeline.failed() ? 1 : 0;
  if (record.id == 0) { return; }
  put(record);
  look();
}

void Recorder::abandoned(core::Timeline& timeline) {
  const std::lock_guard lock(mutex_);
  Record record;
  record.kind = recording::Kind::failed;
  record.id = id_of(&timeline.object);
  if (record.id != 0) { put(record); }
}

// What recorded work has written is what a replay must come to. Looked at newest first: what was written over does not
// count.
void Recorder::look() {
  std::vector<Pending> done;
  std::erase_if(pending_, [&](Pending& one) {
    if (!one.lane->reached(one.last)) { return one.lane->failed(); }
    done.push_back(std::move(one));
    return true;
  });
  struct Shown {
    std::uint32_t id;
    Write write;
  };
  std::vector<Shown> shown;
  for (auto one = done.rbegin(); one != done.rend(); ++one) {
    for (auto write = one->writes.rbegin(); write != one->writes.rend(); ++write) {
      const recording::Slice& where = write->where;
      const bool again = std::any_of(shown.begin(), shown.end(),
                                     [&](const Shown& other) { return overlap(other.write.where, where); });
      if (again || host_of(where) == nullptr || is_pending(where)) { continue; }
      shown.push_back({one->id, *write});
    }
  }
  // Oldest first: the first that differs in a replay is where it went wrong. One at a time, for all that a wait has
  // shown may be as much as there is memory.
  for (auto one = shown.rbegin(); one != shown.rend(); ++one) {
    const recording::Slice& where = one->write.where;
    const std::byte* host = host_of(where);
    Record record;
    record.kind = recording::Kind::expect;
    record.id = one->id;
    record.other = one->write.command;
    record.where = where;
    record.value = recording::checksum({host, where.length});
    if (where.length <= kMostContents) { record.bytes.assign(host, host + where.length); }
    put(record);
  }
}

}  // namespace

Result<std::unique_ptr<core::Observer>> make_record(std::string_view argument, core::Instance& instance) {
  const std::string path(argument);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("layer record cannot write {}: {}", path, std::strerror(errno)));
  }
  return std::unique_ptr<core::Observer>(std::make_unique<Recorder>(path, file, instance));
}

}  // namespace hal::layers
