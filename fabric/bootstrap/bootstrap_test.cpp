// SPDX-License-Identifier: Apache-2.0
#include "fabric/bootstrap/launcher.hpp"
#include "fabric/bootstrap/message.hpp"
#include "fabric/bootstrap/rendezvous.hpp"
#include "fabric/bootstrap/session.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>

#include <atomic>
#include <csignal>
#include <map>
#include <string>
#include <thread>

#include "failing_allocations.hpp"
#include "program_symbols.hpp"

using namespace hal::fabric;
using namespace std::chrono_literals;

namespace {

LaunchResult run(unsigned ranks, std::vector<std::string> arguments, std::chrono::milliseconds grace = 10s) {
  LaunchOptions options;
  options.ranks = ranks;
  options.command = {HALYARD_BOOTSTRAP_RANK};
  options.command.insert(options.command.end(), arguments.begin(), arguments.end());
  options.grace = grace;
  options.timeout = 60s;
  auto result = launch(options);
  if (!result) { FAIL(result.error().what); }
  return *std::move(result);
}

// A rendezvous that serves from a thread of its own.
class Served {
 public:
  explicit Served(unsigned size) : rendezvous_(Rendezvous::open(size).value()) {
    thread_ = std::thread([this] {
      while (!stop_) { rendezvous_->serve(5); }
    });
  }
  ~Served() {
    stop_ = true;
    thread_.join();
  }
  World world(unsigned rank, unsigned size) const { return {rank, size, rendezvous_->address()}; }

 private:
  std::unique_ptr<Rendezvous> rendezvous_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace

TEST_CASE("launch: ranks exchange values and meet", "[fabric]") {
  for (const unsigned ranks : {1U, 2U, 5U}) { CHECK(run(ranks, {"exchange"}).exit_code == 0); }
}

TEST_CASE("launch: events have one order for all", "[fabric]") { CHECK(run(4, {"events"}).exit_code == 0); }

TEST_CASE("launch: a rank that fails is told to the others, and its code is the launch's", "[fabric]") {
  const LaunchResult result = run(3, {"loss", "exit"});
  CHECK(result.exit_code == 7);
  CHECK(result.ranks[0].code == 0);
  CHECK(result.ranks[1].code == 7);
  CHECK(result.ranks[2].code == 0);
}

TEST_CASE("launch: a rank that is killed is told to the others within three seconds", "[fabric]") {
  const LaunchResult result = run(3, {"loss", "kill"});
  CHECK(result.exit_code == 128 + SIGKILL);
  CHECK(result.ranks[0].code == 0);
  CHECK(result.ranks[1].signal == SIGKILL);
  CHECK_FALSE(result.ranks[1].stopped);
}

TEST_CASE("launch: a rank that leaves is no failure", "[fabric]") { CHECK(run(3, {"loss", "leave"}).exit_code == 0); }

TEST_CASE("launch: stragglers are killed after the grace, by pid", "[fabric]") {
  const auto begin = std::chrono::steady_clock::now();
  const LaunchResult result = run(3, {"linger"}, 100ms);
  CHECK(std::chrono::steady_clock::now() - begin < 20s);
  CHECK(result.exit_code == 3);
  CHECK(result.ranks[1].signal == SIGKILL);
  CHECK(result.ranks[1].stopped);
  CHECK(result.ranks[2].stopped);
}

TEST_CASE("launch: time runs out", "[fabric]") {
  LaunchOptions options;
  options.command = {HALYARD_BOOTSTRAP_RANK, "for-ever"};
  options.timeout = 200ms;
  const auto result = launch(options);
  REQUIRE(result);
  CHECK(result->timed_out);
  CHECK(result->exit_code == 124);
  CHECK(result->ranks[0].signal == SIGTERM);
}

TEST_CASE("launch: what cannot be launched", "[fabric]") {
  LaunchOptions options;
  CHECK(launch(options).error().code == HAL_INVALID_ARGUMENT);
  options.command = {"/no/such/program"};
  const auto result = launch(options);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == HAL_NOT_FOUND);
  CHECK(result.error().what == "the program \"/no/such/program\" cannot be run: No such file or directory");
  options.ranks = 0;
  CHECK(launch(options).error().code == HAL_INVALID_ARGUMENT);
}

TEST_CASE("world: read from settings", "[fabric]") {
  std::map<std::string, std::string> set;
  const auto setting = [&](const char* name) -> const char* {
    const auto found = set.find(name);
    return found == set.end() ? nullptr : found->second.c_str();
  };
  CHECK(read_world(setting)->size == 1);
  set["HALYARD_RANK"] = "1";
  CHECK(read_world(setting).error().what ==
        "HALYARD_RANK, HALYARD_WORLD_SIZE and HALYARD_RENDEZVOUS go together; HALYARD_WORLD_SIZE is not set");
  set["HALYARD_WORLD_SIZE"] = "2";
  set["HALYARD_RENDEZVOUS"] = "127.0.0.1:80/ff";
  CHECK(read_world(setting)->rank == 1);
  set["HALYARD_RANK"] = "2";
  CHECK(read_world(setting).error().what == "HALYARD_RANK is \"2\"; it must be a number below HALYARD_WORLD_SIZE, 2");
  set["HALYARD_RANK"] = "0";
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:99999/1", "x:80/1", "127.0.0.1:80/xyz"}) {
    set["HALYARD_RENDEZVOUS"] = bad;
    CHECK(read_world(setting).error().code == HAL_INVALID_ARGUMENT);
  }
  set["HALYARD_RENDEZVOUS"] = "10.0.0.1:80/ff";
  CHECK(read_world(setting).error().what ==
        "HALYARD_RENDEZVOUS is \"10.0.0.1:80/ff\"; only loopback addresses are used");
}

TEST_CASE("rendezvous: strangers and nonsense are put out and hurt nobody", "[fabric]") {
  Served served(1);
  auto session = Session::join(served.world(0, 1), "test", 10s);
  REQUIRE(session);
  const std::string address = served.world(0, 1).rendezvous;
  const auto shout = [&](const std::string& bytes) {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
    REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    REQUIRE(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
    char answer = 0;
    return ::recv(socket.get(), &answer, 1, 0) <= 0;  // closed without a word
  };
  CHECK(shout("GET / HTTP/1.1\r\n\r\n"));
  CHECK(shout(MessageWriter(MessageType::hello).number(1).number(0).text("x").take()));
  CHECK(shout(MessageWriter(MessageType::put).text("a").text("b").take()));
  CHECK(shout(std::string("\xff\xff\xff\xff\x01", 5)));
  CHECK(shout(std::string("\x04\x00\x00\x00\x01zzzz", 9)));
  CHECK((*session)->put("still", "here"));
  CHECK((*session)->get("still", 10s).value() == "here");
}

TEST_CASE("session: refusals and a rendezvous that is gone", "[fabric]") {
  auto served = std::make_unique<Served>(2);
  const auto refused = Session::join(served->world(5, 6), "test", 10s);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().what == "the rendezvous refused: rank 5 asked to join a world of 2 ranks");
  auto session = Session::join(served->world(0, 2), "test", 10s);
  REQUIRE(session);
  const World world = served->world(1, 2);
  const auto barrier = (*session)->barrier("alone", 20ms);
  CHECK(barrier.error().code == HAL_DEADLINE_EXCEEDED);
  CHECK((*session)->put("k", std::string(kMaxMessageBytes, 'x')).error().code == HAL_INVALID_ARGUMENT);
  served.reset();
  const auto get = (*session)->get("k", 20s);
  REQUIRE_FALSE(get);
  CHECK(get.error().code == HAL_UNAVAILABLE);
  CHECK(Session::join(world, "test", 10s).error().code == HAL_UNAVAILABLE);
}

TEST_CASE("session: a rank that has no memory for what it is told is lost, and whoever asks hears why", "[fabric]") {
  // The test is the rendezvous: nobody but the session's own thread asks the library for memory.
  const Descriptor listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
  REQUIRE(::listen(listening.get(), 1) == 0);
  REQUIRE(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
  const std::string welcome = MessageWriter(MessageType::welcome).number(2).take();
  const std::string event = MessageWriter(MessageType::event_from).number(1).text(std::string(200, 'x')).take();
  Descriptor socket;
  std::thread greets([&] {
    socket = Descriptor(::accept(listening.get(), nullptr, nullptr));
    (void)::send(socket.get(), welcome.data(), welcome.size(), MSG_NOSIGNAL);
  });
  const World world{0, 2, "127.0.0.1:" + std::to_string(ntohs(name.sin_port)) + "/1"};
  auto session = Session::join(world, "test", 20s);
  greets.join();
  REQUIRE(session);
  hal::test::read_program_symbols();
  hal::test::fail_every(1);
  const bool sent = ::send(socket.get(), event.data(), event.size(), MSG_NOSIGNAL) > 0;
  const bool starved = hal::test::eventually([] { return hal::test::failures() > 0; });
  char rest[64];
  ssize_t left = 1;
  while (left > 0) { left = ::recv(socket.get(), rest, sizeof rest, 0); }  // what it said before, and the end
  hal::test::fail_no_more();
  REQUIRE(sent);
  REQUIRE(starved);
  CHECK(left == 0);
  const auto got = (*session)->get("anything", 20s);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == HAL_OUT_OF_HOST_MEMORY);
  CHECK(got.error().what.find("no memory to read what the rendezvous says") != std::string::npos);
}

TEST_CASE("session: a rank that left may come back", "[fabric]") {
  Served served(1);
  REQUIRE(Session::join(served.world(0, 1), "first", 10s));
  auto again = Session::join(served.world(0, 1), "second", 10s);
  REQUIRE(again);
  CHECK((*again)->barrier("alone", 10s));
}

TEST_CASE("launch: works in a program that ignores its children", "[fabric]") {
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  struct sigaction before{};
  REQUIRE(::sigaction(SIGCHLD, &ignore, &before) == 0);
  const LaunchResult result = run(2, {"exchange"});
  REQUIRE(::sigaction(SIGCHLD, &before, nullptr) == 0);
  CHECK(result.exit_code == 255);  // whatever it was, nobody can say that it was 0
}

TEST_CASE("session: a world of one needs nobody", "[fabric]") {
  auto session = Session::join({}, "test", 1s).value();
  CHECK(session->put("a", "b"));
  CHECK(session->get("a", 1s).value() == "b");
  CHECK(session->barrier("x", 1s));
  CHECK(session->get("c", 5ms).error().code == HAL_DEADLINE_EXCEEDED);
  std::string event;
  CHECK(session->broadcast("early"));
  session->listen([&](const Notice& notice) { event += notice.text; });
  CHECK(session->broadcast(" late"));
  CHECK(event == "early late");
}
