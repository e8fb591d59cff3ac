// SPDX-License-Identifier: Apache-2.0
// One rank of the bootstrap tests: argv[1] names what it does. Exit code 0 means that it saw what it should.
#include "fabric/bootstrap/session.hpp"

#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>

#include "fabric/bootstrap/need.hpp"

using namespace hal::fabric;
using namespace std::chrono_literals;

namespace {

int exchange(Session& session) {
  const auto value_of = [](unsigned rank) { return "value of rank " + std::to_string(rank); };
  const auto all = session.all_gather("value", value_of(session.rank()), 20s);
  NEED(all && all->size() == session.size());
  for (unsigned rank = 0; rank < session.size(); ++rank) { NEED((*all)[rank] == value_of(rank)); }
  for (int round = 0; round < 20; ++round) { NEED(session.barrier("round", 20s)); }
  const auto missing = session.get("nobody puts this", 20ms);
  NEED(!missing && missing.error().code == HAL_DEADLINE_EXCEEDED);
  return 0;
}

// Every rank sends events, and all see one order.
int events(Session& session) {
  std::mutex mutex;
  std::condition_variable changed;
  std::string order;
  const std::size_t expected = 25 * session.size();
  std::size_t seen = 0;
  session.listen([&](const Notice& notice) {
    if (notice.kind != Notice::Kind::event) { return; }
    const std::lock_guard lock(mutex);
    order += std::to_string(notice.rank) + ":" + notice.text + " ";
    if (++seen == expected) { changed.notify_one(); }
  });
  for (int i = 0; i < 25; ++i) { NEED(session.broadcast(std::to_string(i))); }
  {
    std::unique_lock lock(mutex);
    NEED(changed.wait_for(lock, 20s, [&] { return seen == expected; }));
  }
  session.listen(nullptr);
  NEED(session.put("order" + std::to_string(session.rank()), order));
  NEED(session.get("order0", 20s).value() == order);
  NEED(session.barrier("end", 20s));
  return 0;
}

// Rank 1 goes as `how` says; the others wait until they are told, and what a barrier says.
int loss(Session& session, std::string_view how) {
  NEED(session.barrier("all here", 20s));
  if (session.rank() == 1) {
    if (how == "exit") { std::_Exit(7); }
    if (how == "kill") { ::kill(::getpid(), SIGKILL); }
    return 0;  // leave: the session says goodbye
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::string why;
  session.listen([&](const Notice& notice) {
    const std::lock_guard lock(mutex);
    NEED(notice.rank == 1);
    NEED((notice.kind == Notice::Kind::left) == (how == "leave"));
    why = notice.text;
    changed.notify_one();
  });
  {
    std::unique_lock lock(mutex);
    NEED(changed.wait_for(lock, 3s, [&] { return !why.empty(); }));
  }
  if (how == "exit") { NEED(why == "it exited with code 7"); }
  if (how == "kill") { NEED(why == "it was ended by SIGKILL"); }
  const auto barrier = session.barrier("without rank 1", 20s);
  NEED(!barrier && barrier.error().code == HAL_PEER_LOST);
  NEED(barrier.error().what.find("rank 1") != std::string::npos);
  session.listen(nullptr);
  // All others are done with the rendezvous before anyone's goodbye could be taken for rank 1's.
  NEED(session.put("done" + std::to_string(session.rank()), ""));
  for (unsigned rank = 0; rank < session.size(); ++rank) {
    if (rank != 1) { NEED(session.get("done" + std::to_string(rank), 20s)); }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  NEED(argc > 1);
  const std::string_view what = argv[1];
  auto world = read_world([](const char* name) -> const char* { return std::getenv(name); });
  NEED(world);
  if (what == "linger") {  // rank 0 fails, the others never end by themselves
    if (world->rank == 0) { return 3; }
    std::signal(SIGTERM, SIG_IGN);
    while (true) { ::pause(); }
  }
  if (what == "for-ever") {
    while (true) { ::pause(); }
  }
  auto session = Session::join(*world, "test", 20s);
  NEED(session);
  if (what == "exchange") { return exchange(**session); }
  if (what == "events") { return events(**session); }
  if (what == "loss") { return loss(**session, argv[2]); }
  return 98;
}
