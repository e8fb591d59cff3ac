// SPDX-License-Identifier: Apache-2.0
#include "core/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/queue.hpp"
#include "core/timeline.hpp"

namespace hal::core {
namespace {

constexpr std::size_t kMostLines = 40;    // shown
constexpr std::size_t kMostSteps = 5000;  // followed: a chain of work may be long, a stack is not
constexpr std::size_t kMostDepth = 1500;
constexpr std::size_t kMostEnds = 4;
constexpr std::uint32_t kRecent = 8;

std::string quoted(const Timeline& timeline) {
  return timeline.is_lane() ? fmt::format("queue '{}' on {}", timeline.label(), timeline.device()->uri())
                            : fmt::format("timeline '{}'", timeline.label());
}

class Walk {
 public:
  explicit Walk(const Progress& progress) : progress_(progress) {}

  void point(Timeline& timeline, std::uint64_t value, std::size_t depth) {
    const std::string stands = fmt::format("{} stands at {}, {} was wanted", quoted(timeline), timeline.value(), value);
    if (timeline.lost(value)) {
      line(depth, stands);
      end(depth + 1, fmt::format("{} has failed and will not get there", quoted(timeline)));
      return;
    }
    std::uint64_t number = 0;
    const Ref<Timeline> producer = timeline.producer(value, number);
    if (!points_.insert({&timeline, value}).second &&
        std::find(path_.begin(), path_.end(), producer.get()) == path_.end()) {
      line(depth, stands + ": told above");
      return;
    }
    line(depth, stands);
    if (steps_++ > kMostSteps || depth > kMostDepth) {
      end(depth + 1, fmt::format("and so on: not followed beyond {} steps", std::min(steps_, depth)));
      return;
    }
    if (!producer) {
      end(depth + 1, unsignalled(timeline, value));
      return;
    }
    if (!timeline.is_lane()) {
      line(depth + 1, fmt::format("{} is to signal it with {}", quoted(*producer), command(*producer, number)));
    }
    lane(*producer, number, depth + 1);
  }

  std::string first_end() const { return ends_.empty() ? std::string{} : ends_.front(); }
  std::string take_details() {
    if (hidden_ != 0) {
      text_ += fmt::format("    ... {} more lines are not shown; the ways end so:\n", hidden_);
      for (const std::string& one : ends_) { text_ += fmt::format("    {}\n", one); }
    }
    for (const Ref<Timeline>& stuck : stuck_) {
      const Ref<Queue> owner = owner_of(*stuck);
      if (!owner) { continue; }
      text_ += fmt::format("    recent work of {}:\n", quoted(*stuck)) + owner->history(kRecent, "      ");
    }
    return std::move(text_);
  }

 private:
  void line(std::size_t depth, const std::string& what) {
    if (lines_ >= kMostLines) {
      ++hidden_;
      return;
    }
    ++lines_;
    text_.append(4 + 2 * std::min<std::size_t>(depth, 12), ' ');
    text_ += what;
    text_ += '\n';
  }
  void end(std::size_t depth, const std::string& what) {
    line(depth, what);
    if (ends_.size() < kMostEnds && std::find(ends_.begin(), ends_.end(), what) == ends_.end()) {
      ends_.push_back(what);
    }
  }
  // Owned: the lane's own work may end, and it with it, before the text is written.
  void stuck_at(Timeline& lane) {
    const auto is_it = [&](const Ref<Timeline>& one) { return one.get() == &lane; };
    if (stuck_.size() < 2 && std::none_of(stuck_.begin(), stuck_.end(), is_it)) {
      if (Ref<Timeline> owned = try_share(&lane)) { stuck_.push_back(std::move(owned)); }
    }
  }

  static std::string command(Timeline& lane, std::uint64_t number) {
    const Ref<Queue> owner = owner_of(lane);
    return owner ? owner->describe(number) : fmt::format("command {}", number);
  }

  // A plain timeline that nothing submitted moves: what has moved it so far tells whose turn it probably is.
  static std::string unsignalled(const Timeline& timeline, std::uint64_t value) {
    const Timeline::Signals so_far = timeline.signals(value);
    const std::string name = quoted(timeline);
    if (so_far.import_comes) {
      return fmt::format("an imported file descriptor is to signal {} to {} and is not readable yet", value, name);
    }
    if (so_far.by_work != 0 && so_far.by_work >= so_far.by_host) {
      return fmt::format("work has signalled {} up to {}; a signal to {} was never submitted", name, so_far.by_work,
                         value);
    }
    if (so_far.by_host != 0) {
      return fmt::format("the host has signalled {} up to {}; the host is to signal {}", name, so_far.by_host, value);
    }
    return fmt::format(
        "nothing submitted will signal {} to {}: a signal was never submitted, or the host is to give it", value, name);
  }

  void lane(Timeline& lane, std::uint64_t number, std::size_t depth) {
    if (const std::uint64_t assigned = lane.assigned.load(); number > assigned) {
      end(depth, fmt::format("only {} commands were ever submitted to {}; command {} was never submitted", assigned,
                             quoted(lane), number));
      stuck_at(lane);
      return;
    }
    Queue::Blocker blocker;
    if (const Ref<Queue> owner = owner_of(lane)) { blocker = owner->blocker(); }
    if (blocker.number == 0 || number < blocker.number) {
      on_device(lane, number, depth);
      return;
    }
    const std::string what = command(lane, blocker.number);
    const std::string before =
        number >= blocker.number && number != blocker.number ? fmt::format("before it in {}: ", quoted(lane)) : "";
    if (blocker.call == Queue::Blocker::Call::running) {
      const bool ours = Queue::calling_here() == &lane;
      end(depth, fmt::format("{}{} is a host function that has not returned{}", before, what,
                             ours ? ", and it is the one that waits here: a cycle" : ""));
      stuck_at(lane);
      return;
    }
    if (blocker.call == Queue::Blocker::Call::posted) {
      const std::size_t threads = lane.instance().workers().threads();
      end(depth,
          fmt::format("{}{} is a host function that waits for a thread: the instance has {} of at most {}, all in "
                      "functions that have not returned{}",
                      before, what, threads, Workers::kMost,
                      threads < Workers::kMost ? ", and the system gives no more" : ""));
      stuck_at(lane);
      return;
    }
    if (blocker.waits.empty()) {
      if (blocker.call == Queue::Blocker::Call::waiting) {
        line(depth, fmt::format("{}{} waits for what was submitted before it", before, what));
        on_device(lane, blocker.number - 1, depth);
        return;
      }
      const std::uint64_t done = hal_lane_completed(lane.lane()), handed = lane.handed.load();
      line(depth, fmt::format("{}{} is held back by the device's limit: its lane holds {} commands and takes no more",
                              before, what, handed - std::min(done, handed)));
      on_device(lane, handed, depth);
      return;
    }
    if (const auto on_path = std::find(path_.begin(), path_.end(), &lane); on_path != path_.end()) {
      std::string loop;
      for (auto it = on_path; it != path_.end(); ++it) { loop += quoted(**it) + ", which waits for "; }
      end(depth, fmt::format("a cycle: {}{} again", loop, quoted(lane)));
      for (auto it = on_path; it != path_.end(); ++it) { stuck_at(**it); }
      return;
    }
    if (!told_.insert(&lane).second) {
      line(depth, fmt::format("{}{} is held back: told above", before, what));
      return;
    }
    line(depth, fmt::format("{}{} is held back:", before, what));
    path_.push_back(&lane);
    for (const auto& [timeline, value] : blocker.waits) { point(*timeline, value, depth + 1); }
    path_.pop_back();
  }

  void on_device(Timeline& lane, std::uint64_t number, std::size_t depth) {
    const std::uint64_t done = hal_lane_completed(lane.lane()), handed = lane.handed.load();
    std::uint64_t wanted = 0;
    if (const Ref<Timeline> source = lane.gate(number, wanted); source && !source->reached(wanted)) {
      line(depth, fmt::format("{} has it, and waits by itself:", lane.device()->uri()));
      path_.push_back(&lane);
      point(*source, wanted, depth + 1);
      path_.pop_back();
      return;
    }
    stuck_at(lane);
    if (number <= done) {
      end(depth, fmt::format("{} completed it just now", quoted(lane)));
      return;
    }
    const std::string at = fmt::format("{} has completed {} of the {} commands that its device took, next is {}",
                                       quoted(lane), done, handed, command(lane, done + 1));
    if (!progress_.known()) {
      end(depth, at + "; a wait with time to spare would tell whether it moves");
    } else if (const std::uint64_t moved = progress_.since(lane); moved != 0) {
      end(depth, fmt::format("{}; it completed {} while this waited: slow work, not a hang", at, moved));
    } else {
      const std::uint64_t others = progress_.of_device_since(lane);
      end(depth, fmt::format("{}; nothing was completed there while this waited: one long command, or a hang{}", at,
                             others != 0 ? fmt::format(" (other queues of the device completed {})", others) : ""));
    }
  }

  const Progress& progress_;
  std::string text_;
  std::size_t lines_ = 0, hidden_ = 0, steps_ = 0;
  std::vector<std::string> ends_;
  std::vector<Ref<Timeline>> stuck_;
  std::vector<Timeline*> path_;
  std::set<const Timeline*> told_;  // lanes whose held-back work was followed
  std::set<std::pair<const Timeline*, std::uint64_t>> points_;
};

}  // namespace

void Progress::begin(Instance& instance) {
  if (begun_) { return; }
  begun_ = true;
  instance_ = &instance;
  before_ = instance.progress();
}

std::uint64_t Progress::since(const Timeline& lane) const {
  const std::uint64_t now = hal_lane_completed(lane.lane());
  for (const auto& [other, before] : before_) {
    if (other == &lane) { return now - std::min(before, now); }
  }
  return now;
}

std::uint64_t Progress::of_device_since(const Timeline& lane) const {
  std::uint64_t total = 0;
  for (const Ref<Timeline>& other : instance_->lanes_of(*lane.device())) {
    if (other.get() != &lane) { total += since(*other); }
  }
  return total;
}

Explanation explain(std::span<const hal_point> points, const Progress& progress) {
  Explanation out;
  Walk walk(progress);
  std::size_t missing = 0;
  for (const hal_point& point : points) {
    Timeline* timeline = point.timeline != nullptr ? cast(point.timeline) : nullptr;
    if (timeline == nullptr || timeline->reached(point.value)) { continue; }
    if (missing++ == 0) {
      out.summary = fmt::format("{} stands at {}, {} was wanted", quoted(*timeline), timeline->value(), point.value);
    }
    walk.point(*timeline, point.value, 0);
  }
  if (missing > 1) { out.summary += fmt::format(" ({} of {} points are missing)", missing, points.size()); }
  if (const std::string end = walk.first_end(); !end.empty()) { out.summary += "; " + end; }
  out.details = walk.take_details();
  return out;
}

}  // namespace hal::core
