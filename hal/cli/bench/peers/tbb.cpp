// SPDX-License-Identifier: Apache-2.0
// TBB's tasks: the cheapest way that a library offers to run a function on whatever thread has time.
#include "cli/bench/names.hpp"
#include "cli/bench/peers/peer.hpp"

#if defined(HALYARD_PEER_TBB)
#include <fmt/format.h>
#include <tbb/flow_graph.h>
#include <tbb/info.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#include <tbb/version.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "cli/bench/timing.hpp"
#endif

namespace hal::cli::bench::peers {

#if defined(HALYARD_PEER_TBB)
namespace {

constexpr int kMany = 10'000;

Once round_trips() {
  return [group = std::make_shared<tbb::task_group>()] {
    return timed(kMany, [&] {
      group->run([] {});
      group->wait();
    });
  };
}

Once cold() {
  return [group = std::make_shared<tbb::task_group>()] {
    constexpr int kRounds = 8;
    double ns = 0;
    for (int i = 0; i < kRounds; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ns += timed(1, [&] {
        group->run([] {});
        group->wait();
      });
    }
    return ns / kRounds;
  };
}

double many_tasks(tbb::task_group& group) {
  return timed_warm(1,
                    [&] {
                      for (int i = 0; i < kMany; ++i) {
                        group.run([] {});
                      }
                      group.wait();
                    }) /
         kMany;
}

// What is the faster: a second thread that steals tasks costs more than an empty one takes, where the cores are apart.
Once pipelined() {
  struct Ways {
    tbb::task_group shared, alone;
    tbb::task_arena one{1};
  };
  return [ways = std::make_shared<Ways>()] {
    return std::min(many_tasks(ways->shared), ways->one.execute([&] { return many_tasks(ways->alone); }));
  };
}

using Node = tbb::flow::continue_node<tbb::flow::continue_msg>;
constexpr int kNodes = 256;

// An order of 256 nodes, as a recording has.
struct Chain {
  tbb::flow::graph graph;
  std::vector<std::unique_ptr<Node>> nodes;
  Chain() {
    for (int i = 0; i < kNodes; ++i) {
      nodes.push_back(std::make_unique<Node>(graph, [](const tbb::flow::continue_msg&) {}));
      if (i > 0) { tbb::flow::make_edge(*nodes[nodes.size() - 2], *nodes.back()); }
    }
  }
  ~Chain() { graph.wait_for_all(); }
};

Once replay() {
  return [chain = std::make_shared<Chain>()] {
    return timed(40,
                 [&] {
                   chain->nodes.front()->try_put({});
                   chain->graph.wait_for_all();
                 }) /
           kNodes;
  };
}

Once recording() {
  return [] { return timed(20, [] { const Chain chain; }) / kNodes; };
}

}  // namespace
#endif

Peer tbb() {
  Peer peer{"TBB", {}, {kEmptyDispatch, kThreadedHot, kThreadedCold, kPipelined, kReplay, kRecording}, {}, {}};
#if defined(HALYARD_PEER_TBB)
  peer.notes.push_back(fmt::format("TBB {}, {} threads; replay and recording are a chain of a flow graph",
                                   TBB_runtime_version(), ::tbb::info::default_concurrency()));
  peer.prepare = [](const std::string& row) {
    return row == kThreadedCold ? cold()
           : row == kPipelined  ? pipelined()
           : row == kReplay     ? replay()
           : row == kRecording  ? recording()
                                : round_trips();
  };
#else
  peer.missing = "this build found no TBB";
#endif
  return peer;
}

}  // namespace hal::cli::bench::peers
