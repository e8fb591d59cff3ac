// SPDX-License-Identifier: Apache-2.0
#include "recording/replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <unordered_map>

namespace hal::recording {
namespace {

const char* op_name(std::uint32_t op) {
  constexpr const char* kNames[] = {"barrier", "fill", "copy", "run",  "prepare",   "execute", "call",
                                    "put",     "get",  "send", "recv", "timestamp", "circuit", "free"};
  return op < std::size(kNames) ? kNames[op] : "?";
}

// The program's host memory, by the addresses it had: what overlaps is one piece.
class HostMemory {
 public:
  void want(const Slice& where) {
    if (where.in == In::host && where.length != 0) { wanted_.emplace_back(where.offset, where.offset + where.length); }
  }
  void build() {
    std::sort(wanted_.begin(), wanted_.end());
    for (const auto& [begin, end] : wanted_) {
      if (!pieces_.empty() && begin <= pieces_.back().end) {
        pieces_.back().end = std::max(pieces_.back().end, end);
      } else {
        pieces_.push_back({begin, end, {}});
      }
    }
    for (Piece& piece : pieces_) { piece.bytes.resize(piece.end - piece.begin); }
  }
  std::byte* at(std::uint64_t address) {
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), address,
                                        [](std::uint64_t value, const Piece& piece) { return value < piece.begin; });
    Piece& piece = *std::prev(after);
    return piece.bytes.data() + (address - piece.begin);
  }

 private:
  struct Piece {
    std::uint64_t begin, end;
    std::vector<std::byte> bytes;
  };
  std::vector<std::pair<std::uint64_t, std::uint64_t>> wanted_;
  std::vector<Piece> pieces_;
};

// A host call of the recording: it comes back when the recording says so.
struct Call {
  Timeline returned;
  Point point{};
  std::uint64_t deadline_ns = 0;

  static hal_error* run(void* user, const hal_error* failure) {
    auto& self = *static_cast<Call*>(user);
    return failure != nullptr ? nullptr : hal_wait(&self.point, 1, HAL_WAIT_ALL, self.deadline_ns, nullptr);
  }
};

// A submission in the recording's words and in ours.
struct Made {
  const Record* record = nullptr;
  std::uint64_t recorded_last = 0;  // the number of its last command then
  Point point{};                    // and now
};

class Replay {
 public:
  Replay(const Instance& instance, const std::vector<Record>& records, const ReplayOptions& options)
      : instance_(instance), records_(records), options_(options) {}
  ~Replay() {
    // Nothing of ours may go while the devices still use it: calls come back, queues end.
    for (auto& [id, call] : calls_) { (void)call->returned.signal(1).has_value(); }
    for (auto& [id, queue] : queues_) { (void)queue.barrier().has_value(); }
    for (auto& [id, queue] : queues_) {
      const Result<Point> end = queue.barrier();
      if (end) { (void)hal::wait(*end, options_.deadline).has_value(); }
    }
  }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  Result<Outcome> run() {
    for (const Record& record : records_) {
      if (record.kind == Kind::refused) { refused_.insert(record.id); }
    }
    for (const Record& record : records_) { survey(record); }
    host_.build();
    for (std::size_t i = 0; i < records_.size(); ++i) {
      Result<void> done = step(records_[i]);
      if (!done) {
        return std::move(done).error().while_doing(fmt::format("replaying record {} of {}", i, records_.size()));
      }
    }
    return outcome_;
  }

 private:
  // Looks ahead: which memory is used, what was refused, where submissions ended.
  void survey(const Record& record) {
    if (record.kind == Kind::submit && refused_.contains(record.id)) { return; }
    host_.want(record.where);
    for (const Command& command : record.commands) {
      for (const Slice& slice : command.slices) { host_.want(slice); }
      for (const Arg& arg : command.args) { host_.want(arg.slice); }
    }
    if (record.kind == Kind::placed) { placed_[record.id] = record.value; }
    if (record.kind == Kind::returned) { returns_.insert(record.id); }
  }

  Result<void> step(const Record& record) {
    switch (record.kind) {
      case Kind::device: {
        const std::string uri = options_.device.empty() ? record.text : options_.device;
        HAL_TRY(devices_[record.id], instance_.open(uri));
        return {};
      }
      case Kind::queue: {
        HAL_TRY(queues_[record.id], devices_.at(record.other).queue(record.text));
        labels_[record.id] = record.text;
        queue_of_timeline_[static_cast<std::uint32_t>(record.value)] = record.id;
        return {};
      }
      case Kind::timeline: {
        HAL_TRY(timelines_[record.id], instance_.timeline(record.value, record.text));
        return {};
      }
      case Kind::buffer: {
        HAL_TRY(buffers_[record.id], devices_.at(record.other).buffer(record.value));
        device_of_[record.id] = record.other;
        labels_[record.id] = record.text;
        return {};
      }
      case Kind::program: {
        if (record.text == "host.functions") {
          return Error(HAL_UNSUPPORTED,
                       "the recording loads an image of format 'host.functions', which holds addresses of the process "
                       "that made it; record a program whose work is in images, such as hal.graph");
        }
        HAL_TRY(programs_[record.id],
                devices_.at(record.other)
                    .load({record.text.c_str(), record.bytes, record.text2.empty() ? nullptr : record.text2.c_str()}));
        return {};
      }
      case Kind::list: {
        std::deque<std::vector<hal_arg>> args;
        HAL_TRY(const std::vector<hal_command> commands, translate(record.commands, args));
        HAL_TRY(lists_[record.id], devices_.at(record.other).record(commands));
        return {};
      }
      case Kind::submit:
        return refused_.contains(record.id) ? Result<void>{} : submit(record);
      case Kind::signal:
        return timelines_.at(record.id).signal(record.value);
      case Kind::observed:
        return observe(record);
      case Kind::returned:
        return calls_.at(record.id)->returned.signal(1);
      case Kind::bytes:
        return put(record);
      case Kind::expect:
        return compare(record);
      case Kind::failed:
        if (const auto queue = queue_of_timeline_.find(record.id); queue != queue_of_timeline_.end()) {
          if (const auto found = queues_.find(queue->second); found != queues_.end()) {
            hal_queue_cancel(found->second.get());
          }
        } else {
          timelines_.at(record.id).fail(Error(HAL_CANCELLED, "the recording failed this timeline here"));
        }
        return {};
      case Kind::gone:
        // Queues stay until the end: their points are still asked for.
        buffers_.erase(record.id);
        programs_.erase(record.id);
        lists_.erase(record.id);
        return {};
      case Kind::labelled:
        labels_[record.id] = record.text;
        return {};
      case Kind::placed:
      case Kind::refused:
        return {};
      case Kind::limit:
        return Error(HAL_UNSUPPORTED, fmt::format("the recording cannot be replayed: {}", record.text));
    }
    return {};
  }

  // A point of the recording in ours: numbers of a queue's timeline differ from device to device.
  Result<Point> point(const PointRecord& given) const {
    if (given.timeline == 0) { return Point{nullptr, 0}; }
    const auto queue = queue_of_timeline_.find(given.timeline);
    if (queue == queue_of_timeline_.end()) { return timelines_.at(given.timeline).at(given.value); }
    const auto found = made_.find(queue->second);
    if (found != made_.end()) {
      for (const Made& one : found->second) {
        if (one.recorded_last >= given.value) { return one.point; }
      }
    }
    if (given.value == 0) { return Point{nullptr, 0}; }
    return Error(
        HAL_UNSUPPORTED,
        fmt::format("queue '{}' is waited for at {} before that work was submitted; a replay cannot know what its "
                    "number will be on this device",
                    labels_.at(queue->second), given.value));
  }

  hal_slice slice(const Slice& given) {
    switch (given.in) {
      case In::host:
        return given.length == 0 ? hal_host(nullptr, 0) : hal_host(host_.at(given.offset), given.length);
      case In::buffer:
        return hal_slice{buffers_.at(given.id).get(), given.offset, given.length};
      case In::slot:
        return hal_slot(given.id, given.offset, given.length);
    }
    return hal_slice{};
  }

  Result<std::vector<hal_command>> translate(const std::vector<Command>& commands,
                                             std::deque<std::vector<hal_arg>>& args) {
    std::vector<hal_command> out;
    for (const Command& given : commands) {
      hal_command& command = out.emplace_back();
      command = {};
      command.op = given.op;
      command.label = given.label.empty() ? nullptr : given.label.c_str();
      switch (given.op) {
        case HAL_OP_FILL:
          command.as.fill.to = slice(given.slices[0]);
          command.as.fill.pattern = given.numbers[0];
          command.as.fill.pattern_bytes = given.numbers[1];
          if (given.slices.size() > 1) { hal_by_slot(&command, given.slices[1].id, given.slices[1].offset); }
          break;
        case HAL_OP_COPY:
          command.as.copy.to = slice(given.slices[0]);
          command.as.copy.from = slice(given.slices[1]);
          break;
        case HAL_OP_TIMESTAMP:
          command.as.timestamp.to = slice(given.slices[0]);
          break;
        case HAL_OP_FREE:
          command.as.free.buffer = buffers_.at(given.slices[0].id).get();
          break;
        case HAL_OP_PREPARE:
        case HAL_OP_RUN: {
          auto& run = command.as.run;
          run.program = programs_.at(static_cast<std::uint32_t>(given.numbers[0])).get();
          run.entry = static_cast<std::uint32_t>(given.numbers[1]);
          if (given.op == HAL_OP_RUN) {
            run.has_grid = given.numbers[2] != 0 ? 1 : 0;
            for (std::size_t i = 0; i < 3; ++i) {
              run.grid.groups[i] = static_cast<std::uint32_t>(given.numbers[3 + i]);
              run.grid.group_size[i] = static_cast<std::uint32_t>(given.numbers[6 + i]);
            }
            run.grid.shared_bytes = static_cast<std::uint32_t>(given.numbers[9]);
            if (!given.slices.empty()) { hal_by_slot(&command, given.slices[0].id, given.slices[0].offset); }
          }
          std::vector<hal_arg>& list = args.emplace_back();
          for (const Arg& arg : given.args) {
            hal_arg& one = list.emplace_back();
            one = {};
            one.kind = arg.kind;
            if (arg.kind == HAL_ARG_SCALAR) {
              one.size = static_cast<std::uint32_t>(arg.scalar.size());
              if (!arg.scalar.empty()) { std::memcpy(one.value.scalar, arg.scalar.data(), arg.scalar.size()); }
            } else {
              one.value.slice = slice(arg.slice);
              if (arg.kind == HAL_ARG_SLOT) { one.size = static_cast<std::uint32_t>(arg.slice.length); }
            }
          }
          run.args = list.data();
          run.arg_count = static_cast<std::uint32_t>(list.size());
          break;
        }
        case HAL_OP_EXECUTE: {
          command.as.execute.commands = lists_.at(static_cast<std::uint32_t>(given.numbers[0])).get();
          std::vector<hal_slice>& slots = slots_.emplace_back();
          for (const Slice& one : given.slices) { slots.push_back(slice(one)); }
          command.as.execute.slots = slots.data();
          command.as.execute.slot_count = slots.size();
          break;
        }
        case HAL_OP_CALL: {
          const auto id = static_cast<std::uint32_t>(given.numbers[0]);
          auto call = std::make_unique<Call>();
          Result<Timeline> returned = instance_.timeline(0, fmt::format("host call {}", id));
          if (!returned) { return std::move(returned).error(); }
          call->returned = std::move(*returned);
          call->point = call->returned.at(1);
          call->deadline_ns = static_cast<std::uint64_t>(options_.deadline.count());
          if (!returns_.contains(id)) { HAL_CHECK(call->returned.signal(1)); }
          command.as.call.function = Call::run;
          command.as.call.user = call.get();
          calls_[id] = std::move(call);
          break;
        }
        default:
          break;
      }
    }
    return out;
  }

  Result<void> submit(const Record& record) {
    std::deque<std::vector<hal_arg>> args;
    slots_.clear();
    HAL_TRY(const std::vector<hal_command> commands, translate(record.commands, args));
    std::vector<hal_point> waits, signals;
    for (const PointRecord& one : record.waits) {
      HAL_TRY(const hal_point wait, point(one));
      waits.push_back(wait);
    }
    for (const PointRecord& one : record.signals) {
      HAL_TRY(const hal_point signal, point(one));
      signals.push_back(signal);
    }
    hal_sync sync{};
    sync.waits = waits.data();
    sync.wait_count = static_cast<std::uint32_t>(waits.size());
    sync.signals = signals.data();
    sync.signal_count = static_cast<std::uint32_t>(signals.size());
    hal_point out{};
    const hal_command barrier{};
    const bool bare = commands.empty();  // an allocation in queue order: its memory was made before
    HAL_CHECK(check(hal_queue_submit(queues_.at(record.other).get(), bare ? &barrier : commands.data(),
                                     bare ? 1 : static_cast<std::uint32_t>(commands.size()), &sync, &out)));
    const auto placed = placed_.find(record.id);
    const Made made{&record, placed != placed_.end() ? placed->second : 0, out};
    made_[record.other].push_back(made);
    by_id_[record.id] = made;
    ++outcome_.submissions;
    outcome_.commands += record.commands.size();
    return {};
  }

  Result<void> observe(const Record& record) {
    Result<Point> awaited = point({record.id, record.value});
    if (!awaited) { return record.other != 0 || record.value == 0 ? Result<void>{} : std::move(awaited).error(); }
    const Result<void> waited = hal::wait(*awaited, options_.deadline);
    return record.other != 0 ? Result<void>{} : waited;  // there it had failed: here it may do as it likes
  }

  // The queue by which the replay itself reads and writes a device.
  Result<Queue*> helper(std::uint32_t device) {
    Queue& queue = helpers_[device];
    if (!queue) { HAL_TRY(queue, devices_.at(device).queue("replay")); }
    return &queue;
  }

  Result<void> put(const Record& record) {
    if (record.bytes.empty()) { return {}; }
    if (record.where.in == In::host) {
      std::memcpy(host_.at(record.where.offset), record.bytes.data(), record.bytes.size());
      return {};
    }
    HAL_TRY(Queue* const queue, helper(device_of_.at(record.where.id)));
    const hal_slice to = slice(record.where);
    HAL_TRY(const Point done, queue->copy(hal_host(record.bytes.data(), record.bytes.size()), to));
    return hal::wait(done, options_.deadline);
  }

  Result<void> compare(const Record& record) {
    const auto made = by_id_.find(record.id);
    if (made == by_id_.end() || record.where.length == 0) { return {}; }
    HAL_CHECK(hal::wait(made->second.point, options_.deadline));
    std::vector<std::byte> read;
    const std::byte* now = nullptr;
    if (record.where.in == In::host) {
      now = host_.at(record.where.offset);
    } else {
      read.resize(record.where.length);
      HAL_TRY(Queue* const queue, helper(device_of_.at(record.where.id)));
      const hal_slice from = slice(record.where);
      HAL_TRY(const Point done, queue->copy(from, hal_host(read.data(), read.size())));
      HAL_CHECK(hal::wait(done, options_.deadline));
      now = read.data();
    }
    ++outcome_.compared;
    outcome_.compared_bytes += record.where.length;
    if (checksum({now, record.where.length}) == record.value) { return {}; }
    Difference& difference = outcome_.differences.emplace_back();
    const bool host = record.where.in == In::host;
    const std::string label = host ? "" : labels_.at(record.where.id);
    difference.where =
        host ? fmt::format("host memory at 0x{:x}", record.where.offset)
             : fmt::format("buffer {}{}", record.where.id, label.empty() ? "" : fmt::format(" '{}'", label));
    difference.where += fmt::format(", bytes {} to {}", host ? 0 : record.where.offset,
                                    (host ? 0 : record.where.offset) + record.where.length);
    const Record& submission = *made->second.record;
    const Command* command = record.other < submission.commands.size() ? &submission.commands[record.other] : nullptr;
    difference.writer = fmt::format(
        "command {}{} of submission {} on queue '{}'{}{}", record.other,
        command != nullptr
            ? fmt::format(" ({}{}{})", op_name(command->op), command->label.empty() ? "" : " ", command->label)
            : "",
        record.id, labels_.at(submission.other), submission.text.empty() ? "" : ", submitted at ", submission.text);
    if (record.bytes.empty()) {
      difference.what = "the checksum differs; contents beyond 1 MiB are not in a recording";
      return {};
    }
    const auto [mine, theirs] = std::mismatch(now, now + record.where.length, record.bytes.begin());
    const auto offset = static_cast<std::uint64_t>(mine - now);
    if (offset == record.where.length) {
      difference.what = "the recording's own checksum does not fit its contents";
    } else {
      std::uint64_t wrong = 0;
      for (std::uint64_t i = 0; i < record.where.length; ++i) { wrong += now[i] != record.bytes[i] ? 1U : 0U; }
      difference.what =
          fmt::format("byte {} is 0x{:02x} and was 0x{:02x}; {} of {} bytes differ", offset,
                      static_cast<unsigned>(*mine), static_cast<unsigned>(*theirs), wrong, record.where.length);
    }
    return {};
  }

  const Instance& instance_;
  const std::vector<Record>& records_;
  const ReplayOptions& options_;
  Outcome outcome_;
  // Destroyed from the last to the first: queues before what they use.
  HostMemory host_;
  std::unordered_map<std::uint32_t, Device> devices_;
  std::unordered_map<std::uint32_t, Timeline> timelines_;
  std::unordered_map<std::uint32_t, std::unique_ptr<Call>> calls_;
  std::unordered_map<std::uint32_t, Program> programs_;
  std::unordered_map<std::uint32_t, Buffer> buffers_;
  std::unordered_map<std::uint32_t, Commands> lists_;
  std::unordered_map<std::uint32_t, Queue> queues_, helpers_;
  std::deque<std::vector<hal_slice>> slots_;
  std::unordered_map<std::uint32_t, std::uint32_t> device_of_, queue_of_timeline_;
  std::unordered_map<std::uint32_t, std::string> labels_;
  std::unordered_map<std::uint32_t, std::vector<Made>> made_;
  std::unordered_map<std::uint32_t, Made> by_id_;
  std::unordered_map<std::uint32_t, std::uint64_t> placed_;
  std::set<std::uint32_t> refused_, returns_;
};

}  // namespace

Result<Outcome> replay(const Instance& instance, const std::vector<Record>& records, const ReplayOptions& options) {
  try {
    return Replay(instance, records, options).run();
  } catch (const std::bad_alloc&) {
    return Error(HAL_OUT_OF_HOST_MEMORY, "the host has no memory for what the recording names");
  } catch (const std::out_of_range&) {
    return Error(
        HAL_INVALID_IMAGE,
        "the recording contradicts itself: it names an object that a refused submission was to make, or gives a "
        "queue's own timeline a signal");
  }
}

}  // namespace hal::recording
