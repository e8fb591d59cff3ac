// SPDX-License-Identifier: Apache-2.0
// From events to Perfetto's rows: one process a device, one row a queue, one slice a submission, arrows from signals to
// the waits they ended, counters, and the application's own ranges by thread. Where devices were stamped each queue has
// a second row: what the device did, by its own clock.
//
// All times are the host's monotonic clock. A queue's slice begins when its submission was made or the one before it
// ended, whichever is later, and ends when its completion was published.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <set>

#include "core/flight_recorder.hpp"
#include "layers/trace/clock.hpp"
#include "layers/trace/trace.hpp"

namespace hal::layers::trace {
namespace {

// Names come from users; JSON must stay JSON.
std::string quoted(std::string_view text) {
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

using Mark = std::pair<std::uint32_t, std::uint64_t>;  // a row and a value

struct Slice {
  std::string name, site;
  std::uint64_t first = 0, last = 0, bytes = 0;
  std::int64_t submitted = 0;
  std::vector<Mark> waits;
};

class Writer {
 public:
  Writer(const std::string& path, const Account& account) : account_(account), file_(std::fopen(path.c_str(), "w")) {}

  std::string run(const std::string& path) {
    if (file_ == nullptr) { return fmt::format("cannot write {}: {}", path, std::strerror(errno)); }
    print("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
    read_clocks();
    names();
    for (const Account::Timed& timed : account_.events) { take(timed); }
    for (auto& [row, lane] : lanes_) {
      for (const Slice& slice : lane.open) { put(row, lane, slice, std::max(lane.free_at, slice.submitted), "never"); }
    }
    arrows();
    print("{{\"ph\":\"M\",\"pid\":0,\"name\":\"process_name\",\"args\":{{\"name\":\"halyard\"}}}}\n],\n");
    other_data();
    const bool failed = std::ferror(file_) != 0;
    const int error = errno;
    if (std::fclose(file_) != 0 || failed) {
      return fmt::format("{} is incomplete: {}", path, std::strerror(failed ? error : errno));
    }
    return {};
  }

 private:
  struct Lane {
    std::deque<Slice> open;
    std::int64_t free_at = 0;
    std::uint64_t submitted = 0, completed = 0;
  };
  struct Place {
    std::size_t pid, tid;
    std::int64_t at;
  };
  struct Stamp {
    std::uint64_t device;  // ns
    std::int64_t at;       // on the host
  };
  // What was stamped of a lane, by the commands' numbers.
  struct Stamped {
    std::uint32_t clock = 0;
    std::int64_t free_at = 0;
    std::map<std::uint64_t, Stamp> begins, ends;
  };

  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    text_.clear();
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    (void)std::fwrite(text_.data(), 1, text_.size(), file_);  // ferror() tells at the end
  }
  static double us(std::int64_t ns) { return static_cast<double>(ns) / 1e3; }

  void names() {
    for (std::uint32_t row = 1; row < account_.rows.size(); ++row) {
      const Trace::Row& one = account_.rows[row];
      if (one.device.empty()) { continue; }
      const auto [found, added] = pids_.try_emplace(one.device, pids_.size() + 1);
      if (added || (one.emulated && emulated_.insert(found->second).second)) {
        print("{{\"ph\":\"M\",\"pid\":{},\"name\":\"process_name\",\"args\":{{\"name\":{}}}}},\n", found->second,
              quoted(one.device + (one.emulated ? " (emulated)" : "")));
        if (one.emulated) { emulated_.insert(found->second); }
      }
      if (!one.is_lane) { continue; }
      name_row(found->second, row, 2 * row, one.label);
      if (const auto stamped = stamped_.find(row); stamped != stamped_.end()) {
        const Trace::Row& clock = account_.rows[stamped->second.clock];
        name_row(found->second, device_row(row), 2 * row + 1,
                 fmt::format("{}: device{}", one.label, clock.emulated ? " (emulated clock)" : ""));
      }
    }
  }

  void name_row(std::size_t pid, std::size_t tid, std::size_t place, std::string_view name) {
    print("{{\"ph\":\"M\",\"pid\":{},\"tid\":{},\"name\":\"thread_name\",\"args\":{{\"name\":{}}}}},\n", pid, tid,
          quoted(name));
    print("{{\"ph\":\"M\",\"pid\":{},\"tid\":{},\"name\":\"thread_sort_index\",\"args\":{{\"sort_index\":{}}}}},\n",
          pid, tid, place);
  }
  std::size_t device_row(std::uint32_t row) const { return account_.rows.size() + row; }

  // All that devices' clocks said, before anything is placed by it.
  void read_clocks() {
    for (const Account::Timed& timed : account_.events) {
      const Event& event = timed.event;
      if (event.kind == EventKind::pair) {
        clocks_[event.row].pair(timed.at, account_.ns(event.number), event.bytes);
      } else if (event.kind == EventKind::device_begin || event.kind == EventKind::device_end) {
        Stamped& lane = stamped_[event.row];
        lane.clock = event.line;
        (event.kind == EventKind::device_begin ? lane.begins : lane.ends)[event.number] = {event.bytes, timed.at};
      }
    }
    for (const auto& [row, lane] : stamped_) {
      DeviceClock& clock = clocks_[lane.clock];
      for (const auto& [last, end] : lane.ends) {
        const auto next = lane.begins.upper_bound(last);
        if (next == lane.begins.begin()) { continue; }
        const Stamp& begin = std::prev(next)->second;
        clock.stamp(begin.device, begin.at, end.at);
        clock.stamp(end.device, begin.at, end.at);
      }
    }
    for (auto& [row, clock] : clocks_) { clock.fit(); }
  }

  void other_data() {
    print(
        "\"otherData\":{{\"dropped\":{},\"clock\":\"host monotonic; a slice of a queue ends when its completion was "
        "published\",\"device_clocks\":[",
        account_.dropped);
    const char* separator = "";
    for (const auto& [row, clock] : clocks_) {
      const Trace::Row& what = account_.rows[row];
      print(
          "{}\n{{\"device\":{},\"what\":{},\"emulated\":{},\"pairs\":{},\"tightest_pair_ns\":{},"
          "\"host_ns_a_device_ns\":{},\"uncertainty_ns\":{},\"runs_with_host\":{}}}",
          separator, quoted(device_of(row)), quoted(what.label), what.emulated, clock.pairs(), clock.tightest(),
          clock.runs_with_host() ? fmt::format("{:.9f}", clock.rate()) : "null", clock.uncertainty(),
          clock.runs_with_host());
      separator = ",";
    }
    print("]}}}}\n");
  }
  std::string_view device_of(std::uint32_t clock) const {
    for (const auto& [row, lane] : stamped_) {
      if (lane.clock == clock) { return account_.rows[row].device; }
    }
    return "";
  }

  std::size_t pid_of(std::uint32_t row) const { return pids_.at(account_.rows[row].device); }

  void take(const Account::Timed& timed) {
    const Event& event = timed.event;
    switch (event.kind) {
      case EventKind::submitted: {
        Lane& lane = lanes_[event.row];
        Slice& slice = lane.open.emplace_back();
        slice.name = core::op_name(event.op);
        if (event.count > 1) { slice.name += fmt::format(" +{}", event.count - 1); }
        slice.first = event.number - event.count + 1;
        slice.last = event.number;
        slice.bytes = event.bytes;
        slice.submitted = timed.at;
        if (event.file != nullptr) { slice.site = fmt::format("{}:{}", event.file, event.line); }
        lane.submitted = std::max(lane.submitted, event.number);
        depth(event.row, lane, timed.at);
        break;
      }
      case EventKind::label:
        for (Slice& slice : lanes_[event.row].open) {
          if (slice.last != event.number) { continue; }
          if (slice.name.find(' ') == std::string::npos) { slice.name += ' '; }
          slice.name.append(event.text, event.count);
        }
        break;
      case EventKind::wait:
        for (Slice& slice : lanes_[event.line].open) {
          if (slice.last == event.bytes) { slice.waits.emplace_back(event.row, event.number); }
        }
        break;
      case EventKind::signal:
        if (event.line != 0) { given_[{event.row, event.number}] = {event.line, event.bytes}; }  // 0: the host
        break;
      case EventKind::completed: {
        Lane& lane = lanes_[event.row];
        while (!lane.open.empty() && lane.open.front().last <= event.number) {
          put(event.row, lane, lane.open.front(), timed.at, "done");
          lane.open.pop_front();
        }
        lane.completed = std::max(lane.completed, event.number);
        depth(event.row, lane, timed.at);
        break;
      }
      case EventKind::begin:
        if (threads_.insert(timed.thread).second) {
          print("{{\"ph\":\"M\",\"pid\":0,\"tid\":{},\"name\":\"thread_name\",\"args\":{{\"name\":\"thread {}\"}}}},\n",
                timed.thread, timed.thread);
        }
        ++open_ranges_[timed.thread];
        print("{{\"ph\":\"B\",\"pid\":0,\"tid\":{},\"ts\":{:.3f},\"name\":{}}},\n", timed.thread, us(timed.at),
              quoted(event.file));
        break;
      case EventKind::end:
        if (open_ranges_[timed.thread] == 0) { break; }
        --open_ranges_[timed.thread];
        print("{{\"ph\":\"E\",\"pid\":0,\"tid\":{},\"ts\":{:.3f}}},\n", timed.thread, us(timed.at));
        break;
      case EventKind::device_begin:
      case EventKind::device_end:
      case EventKind::pair:
        break;  // see read_clocks()
      case EventKind::memory:
        print("{{\"ph\":\"C\",\"pid\":{},\"ts\":{:.3f},\"name\":\"buffers\",\"args\":{{\"bytes\":{}}}}},\n",
              pid_of(event.row), us(timed.at), event.bytes);
        break;
    }
  }

  void depth(std::uint32_t row, const Lane& lane, std::int64_t at) {
    print("{{\"ph\":\"C\",\"pid\":{},\"ts\":{:.3f},\"name\":{},\"args\":{{\"commands\":{}}}}},\n", pid_of(row), us(at),
          quoted(fmt::format("depth of {} ({})", account_.rows[row].label, row)),
          lane.submitted - std::min(lane.completed, lane.submitted));
  }

  void put(std::uint32_t row, Lane& lane, const Slice& slice, std::int64_t end, const char* outcome) {
    const std::size_t pid = pid_of(row);
    // A lane is in order, so a submission began when the one before it ended, at the earliest.
    const std::int64_t begin = std::min(std::max(slice.submitted, lane.free_at), end);
    lane.free_at = std::max(lane.free_at, end);
    print(
        "{{\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"name\":{},\"args\":{{\"command\":{},"
        "\"bytes\":{},\"waited_ns\":{},\"outcome\":\"{}\",\"site\":{}}}}},\n",
        pid, row, us(begin), us(end - begin), quoted(slice.name), slice.last, slice.bytes, begin - slice.submitted,
        outcome, quoted(slice.site));
    ends_[{row, slice.last}] = {pid, row, end};
    for (const Mark& wait : slice.waits) { waits_.emplace_back(wait, Place{pid, row, begin}); }
    put_device(pid, row, slice);
  }

  // What was handed over in pieces has several stamps: the first and the last count.
  void put_device(std::size_t pid, std::uint32_t row, const Slice& slice) {
    const auto found = stamped_.find(row);
    if (found == stamped_.end()) { return; }
    Stamped& lane = found->second;
    const auto first = lane.begins.lower_bound(slice.first);
    const auto last = lane.ends.find(slice.last);
    if (first == lane.begins.end() || first->first > slice.last || last == lane.ends.end()) { return; }
    const Stamp& begin = first->second;
    const Stamp& end = last->second;
    DeviceClock::Slice on_host = clocks_.at(lane.clock).place(begin.device, end.device, begin.at, end.at);
    on_host.begin = std::max(on_host.begin, lane.free_at);
    on_host.end = lane.free_at = std::max(on_host.end, on_host.begin);
    print(
        "{{\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"cat\":\"device\",\"name\":{},\"args\":{{"
        "\"command\":{},\"device_begin_ns\":{},\"device_end_ns\":{}}}}},\n",
        pid, device_row(row), us(on_host.begin), us(on_host.end - on_host.begin), quoted(slice.name), slice.last,
        begin.device, end.device);
  }

  // An arrow begins where the awaited point was reached: at the end of the lane's slice, or of the slice that signals.
  void arrows() {
    for (const auto& [mark, to] : waits_) {
      Mark source = mark;
      if (!account_.rows[mark.first].is_lane) {
        // A timeline comes to a value by the least signal that is not below it.
        const auto signal = given_.lower_bound(mark);
        if (signal == given_.end() || signal->first.first != mark.first) { continue; }
        source = signal->second;
      }
      const auto from = ends_.lower_bound(source);
      if (from == ends_.end() || from->first.first != source.first) { continue; }
      const std::string id = fmt::format("{}.{}", mark.first, mark.second);
      if (begun_.insert(mark).second) { flow('s', id, from->second); }
      flow('f', id, to);
    }
  }

  void flow(char phase, const std::string& id, const Place& place) {
    print(
        "{{\"ph\":\"{}\",\"bp\":\"e\",\"id\":\"{}\",\"cat\":\"point\",\"name\":\"point\",\"pid\":{},\"tid\":{},"
        "\"ts\":{:.3f}}},\n",
        phase, id, place.pid, place.tid, us(place.at));
  }

  const Account& account_;
  std::FILE* file_;
  std::string text_;
  std::map<std::string, std::size_t> pids_;
  std::set<std::size_t> emulated_;
  std::map<std::uint32_t, Lane> lanes_;
  std::map<std::uint32_t, Stamped> stamped_;  // lanes
  std::map<std::uint32_t, DeviceClock> clocks_;
  std::map<Mark, Mark> given_;  // a signal -> the row and number that gives it
  std::map<Mark, Place> ends_;
  std::vector<std::pair<Mark, Place>> waits_;
  std::set<Mark> begun_;
  std::set<std::uint32_t> threads_;
  std::map<std::uint32_t, std::uint32_t> open_ranges_;
};

}  // namespace

std::string write(const std::string& path, const Account& account) { return Writer(path, account).run(path); }

}  // namespace hal::layers::trace
