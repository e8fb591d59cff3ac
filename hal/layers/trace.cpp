// SPDX-License-Identifier: Apache-2.0
// Writes what queues did as a Chrome JSON trace, which Perfetto opens: one process a device, one row a queue, one slice
// a submission, arrows from signals to the waits they ended. Times are the host's monotonic clock: when a submission
// was made, and when its completion was published.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/device.hpp"
#include "core/flight_recorder.hpp"
#include "core/instance.hpp"
#include "core/settings.hpp"
#include "core/timeline.hpp"
#include "layers/layers.hpp"

namespace hal::core {
namespace {

constexpr std::size_t kMostEvents = 1'000'000;  // about 200 MB of JSON; what comes after is counted

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Names come from users; JSON must stay JSON.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::uint64_t bytes_of(const hal_command& command) {
  switch (command.op) {
    case HAL_OP_FILL:
      return command.as.fill.to.length;
    case HAL_OP_COPY:
      return command.as.copy.to.length;
    case HAL_OP_PUT:
    case HAL_OP_GET:
      return command.as.transfer.local.length;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      return command.as.message.local.length;
    default:
      return 0;
  }
}

class FileTracer final : public Observer {
 public:
  explicit FileTracer(std::string path) : path_(std::move(path)) {}
  ~FileTracer() override { write(); }

  void accepted(Timeline& lane, std::uint64_t number, std::span<const hal_command> commands, const hal_sync& sync,
                bool) override {
    Event event;
    const hal_command& first = commands.front();
    event.name = first.label != nullptr ? fmt::format("{} {}", op_name(first.op), first.label) : op_name(first.op);
    if (commands.size() > 1) { event.name += fmt::format(" +{}", commands.size() - 1); }
    for (const hal_command& command : commands) { event.bytes += bytes_of(command); }
    event.number = number;
    event.submitted = now_ns();
    if (sync.where != nullptr && sync.where->file != nullptr) {
      event.site = fmt::format("{}:{}", sync.where->file, sync.where->line);
    }
    for (const hal_point& wait : std::span(sync.waits, sync.wait_count)) {
      event.waits.emplace_back(wait.timeline, wait.value);
    }
    for (const hal_point& signal : std::span(sync.signals, sync.signal_count)) {
      event.signals.emplace_back(signal.timeline, signal.value);
    }
    event.signals.emplace_back(&lane, number);
    std::size_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      if (events_.size() >= kMostEvents) {
        ++dropped_;
        return;
      }
      event.lane = row_of(lane);
      index = events_.size();
      events_.push_back(std::move(event));
    }
    lane.when(number, [this, index](const hal_error* error) {
      const std::int64_t ended = now_ns();
      const std::lock_guard lock(mutex_);
      events_[index].ended = ended;
      events_[index].failed = error != nullptr;
    });
  }

 private:
  using Mark = std::pair<const void*, std::uint64_t>;  // a timeline (compared only) and a value
  struct Event {
    std::string name, site;
    std::size_t lane = 0;
    std::uint64_t number = 0, bytes = 0;
    std::int64_t submitted = 0, ended = 0;
    bool failed = false;
    std::vector<Mark> waits, signals;
  };
  struct Row {
    const void* key;
    std::string device, label;
    bool emulated;
  };

  std::size_t row_of(const Timeline& lane) {
    // Addresses may come again after a queue has gone, so the newest row with this address is the one.
    for (std::size_t i = rows_.size(); i-- > 0;) {
      if (rows_[i].key == &lane && rows_[i].device == lane.device()->uri() && rows_[i].label == lane.label()) {
        return i;
      }
    }
    rows_.push_back({&lane, lane.device()->uri(), lane.label(), lane.device()->describe().is_emulated != 0});
    return rows_.size() - 1;
  }

  void write() {
    const std::lock_guard lock(mutex_);
    std::FILE* file = std::fopen(path_.c_str(), "w");
    if (file == nullptr) {
      std::fputs(fmt::format("halyard warning: trace: cannot write {}\n", path_).c_str(), stderr);
      return;
    }
    std::map<std::string, std::size_t> processes;
    std::set<Mark> awaited;
    for (const Event& event : events_) { awaited.insert(event.waits.begin(), event.waits.end()); }
    fmt::print(file, "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"dropped\":{}}},\"traceEvents\":[\n", dropped_);
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const std::size_t pid = processes.emplace(rows_[i].device, processes.size() + 1).first->second;
      fmt::print(file, "{{\"ph\":\"M\",\"pid\":{},\"name\":\"process_name\",\"args\":{{\"name\":{}}}}},\n", pid,
                 quoted(rows_[i].device + (rows_[i].emulated ? " (emulated)" : "")));
      fmt::print(file, "{{\"ph\":\"M\",\"pid\":{},\"tid\":{},\"name\":\"thread_name\",\"args\":{{\"name\":{}}}}},\n",
                 pid, i + 1, quoted(rows_[i].label));
    }
    std::vector<std::int64_t> free_at(rows_.size(), 0);
    for (const Event& event : events_) {
      const std::size_t pid = processes.at(rows_[event.lane].device), tid = event.lane + 1;
      const std::int64_t end = event.ended != 0 ? event.ended : event.submitted;
      // A lane is in order, so a submission began when the one before it ended, at the earliest.
      const std::int64_t begin = std::min(std::max(event.submitted, free_at[event.lane]), end);
      free_at[event.lane] = std::max(free_at[event.lane], end);
      fmt::print(file,
                 "{{\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"name\":{},\"args\":{{\"command\":"
                 "{},\"bytes\":{},\"waited_ns\":{},\"outcome\":\"{}\",\"site\":{}}}}},\n",
                 pid, tid, static_cast<double>(begin) / 1e3, static_cast<double>(end - begin) / 1e3, quoted(event.name),
                 event.number, event.bytes, begin - event.submitted,
                 event.ended == 0 ? "never"
                 : event.failed   ? "failed"
                                  : "done",
                 quoted(event.site));
      for (const Mark& wait : event.waits) { flow(file, 'f', wait, pid, tid, begin); }
      for (const Mark& signal : event.signals) {
        if (awaited.contains(signal)) { flow(file, 's', signal, pid, tid, end); }
      }
    }
    fmt::print(file, "{{\"ph\":\"M\",\"pid\":0,\"name\":\"process_name\",\"args\":{{\"name\":\"halyard\"}}}}\n]}}\n");
    std::fclose(file);
  }

  static void flow(std::FILE* file, char phase, const Mark& mark, std::size_t pid, std::size_t tid, std::int64_t at) {
    fmt::print(file,
               "{{\"ph\":\"{}\",\"bp\":\"e\",\"id\":\"{:x}.{}\",\"cat\":\"point\",\"name\":\"point\",\"pid\":{},"
               "\"tid\":{},\"ts\":{:.3f}}},\n",
               phase, reinterpret_cast<std::uintptr_t>(mark.first), mark.second, pid, tid,
               static_cast<double>(at) / 1e3);
  }

  const std::string path_;
  std::mutex mutex_;
  std::vector<Event> events_;
  std::vector<Row> rows_;
  std::size_t dropped_ = 0;
};

}  // namespace

}  // namespace hal::core

namespace hal::layers {

Result<std::unique_ptr<core::Observer>> make_trace(std::string_view argument, core::Instance&) {
  if (argument.empty()) { return Error(HAL_INVALID_ARGUMENT, "layer trace needs a file to write: trace=run.json"); }
  // Ranks of one launch write one file each: trace.json, trace.json.rank1, ...
  const char* rank = core::setting("HALYARD_RANK");
  return std::unique_ptr<core::Observer>(std::make_unique<core::FileTracer>(
      rank != nullptr ? fmt::format("{}.rank{}", argument, rank) : std::string(argument)));
}

}  // namespace hal::layers
