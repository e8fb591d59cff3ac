// SPDX-License-Identifier: Apache-2.0
// One rank of the transport tests: argv[1] names what it does. Exit code 0 means that it saw what it should.
#include "fabric/bootstrap/session.hpp"
#include "fabric/transport/engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fabric/bootstrap/need.hpp"

using namespace hal::fabric;
using namespace std::chrono_literals;
using Kind = EndpointRequest::Kind;

namespace {

struct Rank {
  std::unique_ptr<Session> session;
  std::unique_ptr<Engine> engine;
  std::vector<unsigned char> window = std::vector<unsigned char>(1 << 20);
  Engine::Exposed exposed;
  std::vector<RemoteRegion> remote;

  explicit Rank(const World& world) {
    auto joined = Session::join(world, "test", 30s);
    NEED(joined);
    session = *std::move(joined);
    Engine::Options options;
    options.rank = world.rank;
    auto started = Engine::start(options);
    NEED(started);
    engine = *std::move(started);
    auto opened = engine->expose(window.data(), window.size());
    NEED(opened);
    exposed = *std::move(opened);
    const auto addresses = session->all_gather("address", engine->address(), 30s);
    const auto regions =
        session->all_gather("region", {reinterpret_cast<const char*>(&exposed.region), sizeof exposed.region}, 30s);
    NEED(addresses && regions);
    remote.resize(world.size);
    for (unsigned rank = 0; rank < world.size; ++rank) {
      if (rank == world.rank) { continue; }
      NEED((*regions)[rank].size() == sizeof(RemoteRegion));
      std::memcpy(&remote[rank], (*regions)[rank].data(), sizeof(RemoteRegion));
      NEED(engine->connect((*addresses)[rank], rank, 30s));
    }
    NEED(session->barrier("connected", 30s));
  }
  ~Rank() { exposed.handle.reset(); }

  std::future<Result<OperationResult>> begin(Operation operation, std::shared_ptr<std::vector<unsigned char>> local) {
    auto promise = std::make_shared<std::promise<Result<OperationResult>>>();
    auto future = promise->get_future();
    operation.data = local->data();
    operation.bytes = local->size();
    operation.keep = std::move(local);
    operation.done = [promise](Result<OperationResult> result) { promise->set_value(std::move(result)); };
    engine->run([this, operation] { engine->begin(operation); });
    return future;
  }
};

std::vector<unsigned char> pattern(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  std::vector<unsigned char> out(size);
  for (unsigned char& byte : out) { byte = static_cast<unsigned char>(random()); }
  return out;
}

using Shared = std::shared_ptr<std::vector<unsigned char>>;

// Every ordered pair of ranks sends `rounds` messages of random sizes, while each rank puts into and gets back from a
// part of every other's window that is its own.
int random_traffic(const World& world, int rounds) {
  Rank rank(world);
  const std::size_t share = rank.window.size() / world.size;
  std::mt19937_64 random(world.rank);
  std::vector<unsigned> others;
  for (unsigned other = 0; other < world.size; ++other) {
    if (other != world.rank) { others.push_back(other); }
  }
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(others.begin(), others.end(), random);
    struct Flow {
      std::future<Result<OperationResult>> done;
      Shared data;
      std::uint64_t seed;
    };
    std::vector<Flow> receives;
    std::vector<std::future<Result<OperationResult>>> sends;
    const auto size_of = [](std::uint64_t seed) {  // 1 byte to 64 KiB, more small ones than large ones
      return static_cast<std::size_t>(1 + (seed * 0x9e3779b97f4a7c15ULL >> 48) % (1ULL << (seed % 17)));
    };
    const auto seed_of = [&](unsigned from, unsigned to) {
      return static_cast<std::uint64_t>(round) * 1'000'003 + from * 1009 + to;
    };
    for (const unsigned other : others) {
      Operation receive;
      receive.kind = Kind::recv;
      receive.peer = other;
      receive.tag = static_cast<std::uint64_t>(round);
      const std::uint64_t seed = seed_of(other, world.rank);
      auto place = std::make_shared<std::vector<unsigned char>>(size_of(seed));
      receives.push_back({rank.begin(receive, place), place, seed});
      Operation send = receive;
      send.kind = Kind::send;
      const std::uint64_t mine = seed_of(world.rank, other);
      send.stamp = mine;
      sends.push_back(rank.begin(send, std::make_shared<std::vector<unsigned char>>(pattern(mine, size_of(mine)))));
    }
    const unsigned other = others.front();
    const std::size_t size = 1 + random() % share;
    Operation put;
    put.kind = Kind::put;
    put.peer = other;
    put.remote = rank.remote[other];
    put.remote_offset = world.rank * share;
    const auto sent = std::make_shared<std::vector<unsigned char>>(pattern(random(), size));
    NEED(rank.begin(put, sent).get());
    Operation get = put;
    get.kind = Kind::get;
    const auto back = std::make_shared<std::vector<unsigned char>>(size);
    NEED(rank.begin(get, back).get());
    NEED(*back == *sent);
    for (auto& send : sends) { NEED(send.get()); }
    for (Flow& flow : receives) {
      const auto got = flow.done.get();
      NEED(got);
      NEED(got->stamp == flow.seed);
      NEED(got->bytes == flow.data->size());
      NEED(*flow.data == pattern(flow.seed, flow.data->size()));
    }
  }
  NEED(rank.session->barrier("end", 60s));  // nobody closes while another still gets from it
  return 0;
}

// Rank 1 ends in the middle of things; the others have a receive and a put towards it.
int killed(const World& world, std::string_view how) {
  Rank rank(world);
  const bool told = how == "told";
  if (told) {  // the launcher's word reaches the engine; else it must find out alone
    rank.session->listen([&](const Notice& notice) {
      if (notice.kind == Notice::Kind::lost) { rank.engine->peer_gone(notice.rank, notice.text, true); }
    });
  }
  NEED(rank.session->put("pid" + std::to_string(world.rank), std::to_string(::getpid())));
  if (world.rank == 1) {
    NEED(rank.session->get("armed0", 30s) && rank.session->get("armed2", 30s));
    if (how == "stopped") {
      ::kill(::getpid(), SIGSTOP);  // silent without ending; rank 0 lets it go on
      NEED(rank.session->get("judged0", 30s) && rank.session->get("judged2", 30s));
      return 0;
    }
    ::kill(::getpid(), SIGKILL);
  }
  Operation receive;
  receive.kind = Kind::recv;
  receive.peer = 1;
  receive.tag = 5;
  auto lost = rank.begin(receive, std::make_shared<std::vector<unsigned char>>(64));
  const auto pid = static_cast<pid_t>(std::stol(rank.session->get("pid1", 30s).value()));
  NEED(rank.session->put("armed" + std::to_string(world.rank), ""));
  if (how != "stopped") {
    while (::kill(pid, 0) == 0 && lost.wait_for(1ms) != std::future_status::ready) {}
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto status = lost.wait_for(told ? 1s : 3s);
  NEED(status == std::future_status::ready);
  const auto result = lost.get();
  NEED(!result && result.error().code == HAL_PEER_LOST);
  NEED(result.error().what.find("rank 1") != std::string::npos);
  if (told) { NEED(result.error().what.find("SIGKILL") != std::string::npos); }
  std::fprintf(
      stderr, "rank %u: %s after %lld ms: %s\n", world.rank, std::string(how).c_str(),
      static_cast<long long>(
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count()),
      result.error().what.c_str());
  Operation put;
  put.kind = Kind::put;
  put.peer = 1;
  put.remote = rank.remote[1];
  const auto refused = rank.begin(put, std::make_shared<std::vector<unsigned char>>(64)).get();
  NEED(!refused && refused.error().code == HAL_PEER_LOST);
  // The others still reach each other.
  const unsigned other = world.rank == 0 ? 2 : 0;
  Operation ping;
  ping.kind = Kind::send;
  ping.peer = other;
  auto sent = rank.begin(ping, std::make_shared<std::vector<unsigned char>>(8));
  ping.kind = Kind::recv;
  NEED(rank.begin(ping, std::make_shared<std::vector<unsigned char>>(8)).get());
  NEED(sent.get());
  NEED(rank.session->put("judged" + std::to_string(world.rank), ""));
  NEED(rank.session->get("judged" + std::to_string(other), 30s));
  if (how == "stopped" && world.rank == 0) { ::kill(pid, SIGCONT); }
  rank.session->listen(nullptr);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  NEED(argc > 2);
  const auto world = read_world([](const char* name) -> const char* { return std::getenv(name); });
  NEED(world);
  if (std::string_view(argv[1]) == "random") { return random_traffic(*world, std::atoi(argv[2])); }
  if (std::string_view(argv[1]) == "killed") { return killed(*world, argv[2]); }
  return 98;
}
