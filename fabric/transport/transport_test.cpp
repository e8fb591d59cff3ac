// SPDX-License-Identifier: Apache-2.0
#include "fabric/bootstrap/launcher.hpp"
#include "fabric/transport/engine.hpp"

#include <halyard_catch.hpp>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <future>
#include <numeric>
#include <string>
#include <vector>

using namespace hal::fabric;
using namespace std::chrono_literals;
using Kind = EndpointRequest::Kind;

namespace {

std::unique_ptr<Engine> start(std::uint32_t rank, Engine::Options options = {}) {
  options.rank = rank;
  auto engine = Engine::start(options);
  if (!engine) { FAIL(engine.error().what); }
  return *std::move(engine);
}

// Two ports in this process, connected to each other.
struct Pair {
  explicit Pair(Engine::Options options = {}) : a(start(0, options)), b(start(1, options)) {
    REQUIRE(a->connect(b->address(), 1, 10s));
    REQUIRE(b->connect(a->address(), 0, 10s));
  }
  std::unique_ptr<Engine> a, b;
};

using Bytes = std::shared_ptr<std::vector<unsigned char>>;
Bytes bytes(std::size_t size, unsigned char first = 0) {
  auto out = std::make_shared<std::vector<unsigned char>>(size);
  std::iota(out->begin(), out->end(), first);
  return out;
}

std::future<Result<OperationResult>> begin(Engine& engine, Operation operation, const Bytes& local) {
  auto promise = std::make_shared<std::promise<Result<OperationResult>>>();
  auto future = promise->get_future();
  operation.keep = local;
  operation.data = local->data();
  if (operation.bytes == 0) { operation.bytes = local->size(); }
  operation.done = [promise](Result<OperationResult> result) { promise->set_value(std::move(result)); };
  engine.run([&engine, operation] { engine.begin(operation); });
  return future;
}

Operation message(Kind kind, std::uint32_t peer, std::uint64_t tag, std::uint64_t stamp = 0) {
  Operation operation;
  operation.kind = kind;
  operation.peer = peer;
  operation.tag = tag;
  operation.stamp = stamp;
  return operation;
}

Operation one_sided(Kind kind, std::uint32_t peer, RemoteRegion remote, std::uint64_t offset = 0) {
  Operation operation;
  operation.kind = kind;
  operation.peer = peer;
  operation.remote = remote;
  operation.remote_offset = offset;
  return operation;
}

LaunchResult run(unsigned ranks, std::vector<std::string> arguments) {
  LaunchOptions options;
  options.ranks = ranks;
  options.command = {HALYARD_TRANSPORT_RANK};
  options.command.insert(options.command.end(), arguments.begin(), arguments.end());
  options.timeout = 120s;
  auto result = launch(options);
  if (!result) { FAIL(result.error().what); }
  return *std::move(result);
}

}  // namespace

TEST_CASE("transport: opening libfabric leaves the program's signals alone", "[fabric]") {
  struct sigaction mine{};
  mine.sa_handler = [](int) { std::_Exit(9); };
  struct sigaction before{};
  REQUIRE(::sigaction(SIGSEGV, &mine, &before) == 0);
  REQUIRE(fabric_library());
  struct sigaction after{};
  REQUIRE(::sigaction(SIGSEGV, &before, &after) == 0);
  CHECK(after.sa_handler == mine.sa_handler);
}

TEST_CASE("transport: messages carry bytes and a stamp, early and late, small and large", "[fabric]") {
  const std::string provider = GENERATE("tcp;ofi_rxm", "net");
  Engine::Options options;
  options.providers = provider;
  Pair pair(options);
  CHECK(pair.a->provider() == provider);
  for (const std::size_t size : {std::size_t{1}, std::size_t{300}, std::size_t{70'000}, std::size_t{5'000'000}}) {
    for (const bool receive_first : {true, false}) {
      const Bytes sent = bytes(size, 7);
      const Bytes received = bytes(size);
      std::future<Result<OperationResult>> recv, send;
      if (receive_first) { recv = begin(*pair.b, message(Kind::recv, 0, 42), received); }
      send = begin(*pair.a, message(Kind::send, 1, 42, 0xfeedfacecafebeef), sent);
      if (!receive_first) { recv = begin(*pair.b, message(Kind::recv, 0, 42), received); }
      REQUIRE(send.get());
      const auto got = recv.get();
      REQUIRE(got);
      CHECK(got->bytes == size);
      CHECK(got->stamp == 0xfeedfacecafebeef);
      CHECK(*received == *sent);
    }
  }
}

TEST_CASE("transport: puts are there when they complete, gets bring what is there", "[fabric]") {
  const std::string provider = GENERATE("tcp;ofi_rxm", "net");
  Engine::Options options;
  options.providers = provider;
  Pair pair(options);
  std::vector<unsigned char> window(6'000'000, 0);
  auto exposed = pair.b->expose(window.data(), window.size());
  REQUIRE(exposed);
  for (const std::size_t size : {std::size_t{1}, std::size_t{4096}, std::size_t{5'000'000}}) {
    const Bytes local = bytes(size, 3);
    REQUIRE(begin(*pair.a, one_sided(Kind::put, 1, exposed->region, 1000), local).get());
    CHECK(std::memcmp(window.data() + 1000, local->data(), size) == 0);
    const Bytes back = bytes(size);
    REQUIRE(begin(*pair.a, one_sided(Kind::get, 1, exposed->region, 1000), back).get());
    CHECK(*back == *local);
  }
  const auto outside = begin(*pair.a, one_sided(Kind::put, 1, exposed->region, 5'999'999), bytes(2)).get();
  REQUIRE_FALSE(outside);
  CHECK(outside.error().code == HAL_OUT_OF_RANGE);
  exposed->handle.reset();
}

TEST_CASE("transport: a message longer than its place is refused, not cut", "[fabric]") {
  Pair pair;
  const Bytes place = bytes(100);
  auto recv = begin(*pair.b, message(Kind::recv, 0, 1), place);
  auto send = begin(*pair.a, message(Kind::send, 1, 1), bytes(200));
  const auto got = recv.get();
  REQUIRE_FALSE(got);
  CHECK(got.error().code == HAL_OUT_OF_RANGE);
  (void)send.get();
}

TEST_CASE("transport: a deadline names operation and peer", "[fabric]") {
  Engine::Options options;
  options.deadline = 50ms;
  Pair pair(options);
  const auto got = begin(*pair.b, message(Kind::recv, 0, 9), bytes(64)).get();
  REQUIRE_FALSE(got);
  CHECK(got.error().code == HAL_DEADLINE_EXCEEDED);
  CHECK(
      got.error().what.starts_with("recv of 64 bytes from rank 0 with tag 9 did not complete in 50 ms; the peer last"));
}

TEST_CASE("transport: what cannot begin", "[fabric]") {
  Pair pair;
  CHECK(begin(*pair.a, message(Kind::send, 5, 1), bytes(1)).get().error().what ==
        "send of 1 bytes to rank 5 with tag 1: not connected");
  CHECK(begin(*pair.a, message(Kind::send, 1, kMaxTag + 1), bytes(1)).get().error().code == HAL_INVALID_ARGUMENT);
  CHECK(pair.a->connect("nonsense", 1, 1s).error().code == HAL_INVALID_ARGUMENT);
  CHECK(pair.a->connect(pair.b->address(), 2, 1s).error().what ==
        "asked to connect to rank 2 by the address of rank 1");
  CHECK(pair.a->connect(pair.b->address(), 1, 1s).error().code == HAL_BUSY);
  std::string cut = pair.b->address();
  cut.pop_back();
  CHECK(pair.a->connect(cut, 1, 1s).error().code == HAL_INVALID_ARGUMENT);
  Engine::Options options;
  options.providers = "no-such-provider,net-of-gold";
  const auto none = Engine::start(options);
  REQUIRE_FALSE(none);
  CHECK(none.error().code == HAL_UNAVAILABLE);
  CHECK(none.error().what.find("net-of-gold: fi_getinfo on 127.0.0.1") != std::string::npos);
}

TEST_CASE("transport: a peer that is not there is lost, one that goes too", "[fabric]") {
  auto a = start(0);
  std::string address;
  {
    auto gone = start(1);
    address = gone->address();
  }
  const auto nobody = a->connect(address, 1, 100ms);
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error().code == HAL_PEER_LOST);
  auto b = start(2);
  REQUIRE(a->connect(b->address(), 2, 10s));
  auto recv = begin(*a, message(Kind::recv, 2, 1), bytes(8));
  b.reset();  // no goodbye: only its silence says so
  REQUIRE(recv.wait_for(20s) == std::future_status::ready);
  CHECK(recv.get().error().code == HAL_PEER_LOST);
  CHECK(begin(*a, message(Kind::send, 2, 1), bytes(8)).get().error().code == HAL_PEER_LOST);
}

TEST_CASE("transport: closing a port ends what is left", "[fabric]") {
  Pair pair;
  auto recv = begin(*pair.a, message(Kind::recv, 1, 1), bytes(8));
  pair.a.reset();
  CHECK(recv.get().error().code == HAL_CANCELLED);
}

TEST_CASE("transport: a receive can be called back, and only its owner's", "[fabric]") {
  const std::string provider = GENERATE("tcp;ofi_rxm", "net");
  Engine::Options options;
  options.providers = provider;
  Pair pair(options);
  const int mine = 0;
  Operation first = message(Kind::recv, 1, 1);
  first.owner = &mine;
  auto called_back = begin(*pair.a, first, bytes(8));
  auto other = begin(*pair.a, message(Kind::recv, 1, 2), bytes(8));
  pair.a->run([&] { pair.a->call_back(&mine); });
  CHECK(called_back.get().error().code == HAL_CANCELLED);
  REQUIRE(begin(*pair.b, message(Kind::send, 0, 2), bytes(8)).get());
  CHECK(other.get());
}

TEST_CASE("transport: disconnecting ends what is left with that peer", "[fabric]") {
  Pair pair;
  auto recv = begin(*pair.a, message(Kind::recv, 1, 1), bytes(8));
  pair.a->disconnect(1);
  CHECK(recv.get().error().code == HAL_CANCELLED);
  CHECK(pair.a->connect(pair.b->address(), 1, 10s));
}

TEST_CASE("transport: eight ranks on few cores exchange at random", "[fabric]") {
  const auto begin = std::chrono::steady_clock::now();
  CHECK(run(8, {"random", "125"}).exit_code == 0);
  CHECK(std::chrono::steady_clock::now() - begin < 100s);
}

TEST_CASE("transport: a killed peer is reported within three seconds, by whoever notices first", "[fabric]") {
  CHECK(run(3, {"killed", "told"}).exit_code == 128 + 9);
  CHECK(run(3, {"killed", "silent"}).exit_code == 128 + 9);
  CHECK(run(3, {"killed", "stopped"}).exit_code == 0);
}
