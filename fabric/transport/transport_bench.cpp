// SPDX-License-Identifier: Apache-2.0
// One-way times between two ports of one process: best and median of single operations, never a mean over a spinning
// loop. A tagged ping-pong is halved; a put is timed from begin to the moment its bytes are known to be at the peer.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "fabric/transport/engine.hpp"

using namespace hal::fabric;
using Kind = EndpointRequest::Kind;
using Clock = Engine::Clock;

namespace {

// Runs operations one after the other and waits for each.
class Waiter {
 public:
  void done(const Result<OperationResult>& result) {
    if (!result) {
      std::fprintf(stderr, "%s\n", result.error().what.c_str());
      std::_Exit(1);
    }
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_one();
  }
  void wait(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
    count_ = 0;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

void print(const char* what, const char* provider, std::size_t bytes, std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  std::printf("%-10s %-12s %9zu B   best %8.1f us   p50 %8.1f us   p99 %8.1f us   %7.2f GB/s at p50\n", what, provider,
              bytes, times.front(), median, times[times.size() * 99 / 100], static_cast<double>(bytes) / median / 1e3);
}

void measure(const char* provider) {
  Engine::Options options;
  options.providers = provider;
  options.rank = 0;
  auto a = Engine::start(options).value();
  options.rank = 1;
  auto b = Engine::start(options).value();
  a->connect(b->address(), 1, std::chrono::seconds(10)).value();
  b->connect(a->address(), 0, std::chrono::seconds(10)).value();
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{1024}, std::size_t{65'536}, std::size_t{1'048'576}}) {
    const int rounds = bytes > 100'000 ? 300 : 2000;
    auto memory = std::make_shared<std::vector<std::byte>>(4 * bytes);
    const auto operation = [&](Kind kind, std::uint32_t peer, std::size_t part, std::function<void()> then) {
      Operation o;
      o.kind = kind;
      o.peer = peer;
      o.tag = 1;
      o.keep = memory;
      o.data = memory->data() + part * bytes;
      o.bytes = bytes;
      o.done = [then = std::move(then)](const Result<OperationResult>& result) {
        if (!result) { std::_Exit(1); }
        then();
      };
      return o;
    };
    Waiter waiter;
    std::vector<double> times;
    for (int round = 0; round < rounds; ++round) {
      const auto begin = Clock::now();
      b->run([&] { b->begin(operation(Kind::recv, 0, 1, [&] { b->begin(operation(Kind::send, 0, 2, [] {})); })); });
      a->run([&] {
        a->begin(operation(Kind::recv, 1, 3, [&] { waiter.done(OperationResult{}); }));
        a->begin(operation(Kind::send, 1, 0, [] {}));
      });
      waiter.wait(1);
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / 2);
    }
    print("ping-pong", provider, bytes, times);
    std::vector<std::byte> window(bytes);
    auto exposed = b->expose(window.data(), bytes).value();
    times.clear();
    for (int round = 0; round < rounds; ++round) {
      const auto begin = Clock::now();
      a->run([&] {
        Operation o = operation(Kind::put, 1, 0, [&] { waiter.done(OperationResult{}); });
        o.remote = exposed.region;
        a->begin(std::move(o));
      });
      waiter.wait(1);
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    }
    print("put", provider, bytes, times);
    exposed.handle.reset();
  }
}

}  // namespace

int main() {
  measure("tcp;ofi_rxm");
  measure("net");
  return 0;
}
