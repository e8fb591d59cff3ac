// SPDX-License-Identifier: Apache-2.0
#include "core/stuck.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "core/queue.hpp"
#include "core/timeline.hpp"

namespace hal::core {
namespace {

// A timeline, or work of a lane up to a number, as far as it depends on others.
struct Node {
  struct Need {
    Node* on;
    std::uint64_t value;  // of a timeline: what is waited for
  };
  Kept timeline;
  std::uint64_t number;  // 0: the timeline itself
  bool moves = false;    // as far as is known
  std::vector<Need> needs;
};

class Survey {
 public:
  explicit Survey(Timeline& released) { node(Kept(released), 0); }

  bool is_stuck() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {  // grows; a chain of work may be longer than a stack
      Node& one = nodes_[i];
      one.number == 0 ? follow_timeline(one) : follow_work(one);
    }
    // Only now: what has ended since it was followed holds nothing up, and brings nothing. Nothing of what is left can
    // have moved in between, as the first to move would have had to wait for another.
    for (Node& one : nodes_) {
      std::erase_if(one.needs, [](const Node::Need& need) {
        Timeline& timeline = *need.on->timeline;
        return timeline.reached(need.value) || timeline.lost(need.value);
      });
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (auto one = nodes_.rbegin(); one != nodes_.rend(); ++one) {
        const auto moves = [](const Node::Need& need) { return need.on->moves; };
        if (one->moves || !(one->number == 0 ? std::any_of(one->needs.begin(), one->needs.end(), moves)
                                             : std::all_of(one->needs.begin(), one->needs.end(), moves))) {
          continue;
        }
        one->moves = changed = true;
      }
    }
    return !nodes_.front().moves;
  }

 private:
  Node& node(Kept timeline, std::uint64_t number) {
    const auto [at, is_new] = known_.try_emplace({timeline.get(), number}, nullptr);
    if (is_new) { at->second = &nodes_.emplace_back(Node{std::move(timeline), number, false, {}}); }
    return *at->second;
  }

  void follow_timeline(Node& one) {
    Timeline& timeline = *one.timeline;
    // Owners may signal it. Without anything to come it ends by itself.
    const auto sources = timeline.is_released() ? timeline.sources() : Timeline::Sources{};
    one.moves = sources.empty();
    for (const auto& [lane, number] : sources) { one.needs.push_back({&node(Kept(*lane), number), number}); }
  }

  // What the lane has been given moves, and ends.
  void follow_work(Node& one) {
    Timeline& lane = *one.timeline;
    const Ref<Queue> queue = owner_of(lane);
    if (!queue) { return; }
    for (auto& [timeline, value] : queue->waits_until(one.number)) {
      const bool is_lane = timeline->is_lane();
      if (is_lane && value > timeline->assigned.load()) { continue; }  // its owner may still submit it
      one.needs.push_back({&node(std::move(timeline), is_lane ? value : 0), value});
    }
  }

  std::deque<Node> nodes_;
  std::map<std::pair<const Timeline*, std::uint64_t>, Node*> known_;
};

}  // namespace

bool is_stuck(Timeline& released) { return Survey(released).is_stuck(); }

}  // namespace hal::core
