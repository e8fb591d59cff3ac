// SPDX-License-Identifier: Apache-2.0
// One rank of the port tests: argv[1] is the driver, argv[2] what to do. Exit code 0 means that it saw what it should.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fabric/bootstrap/need.hpp"
#include "fabric/bootstrap/session.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;
using hal::fabric::Session;

namespace {

constexpr auto kSoon = 30s;
constexpr std::uint64_t kBytes = 65'536;

struct Rank {
  hal::fabric::World world;
  std::unique_ptr<Session> session;
  hal::Instance instance;
  hal::Device device;
  hal::Queue queue;
  hal::Buffer window;  // one part for each rank to put into
  std::vector<hal::Peer> peers;
  std::vector<hal::Remote> remotes;

  explicit Rank(const char* driver)
      : world(hal::fabric::read_world([](const char* name) -> const char* { return std::getenv(name); }).value()),
        session(Session::join(world, "program", kSoon).value()),
        instance(hal::Instance::create(driver).value()),
        device(instance.open("photonic:0").value()),
        queue(device.queue("q").value()),
        window(device.buffer(kBytes * world.size).value()),
        peers(world.size),
        remotes(world.size) {
    const auto address = device.address().value();
    const auto remote = window.export_memory().value();
    const auto text = [](const void* data, std::size_t size) {
      return std::string_view(static_cast<const char*>(data), size);
    };
    const auto addresses = session->all_gather("address", text(address.data(), address.size()), kSoon).value();
    const auto windows = session->all_gather("window", text(&remote, sizeof remote), kSoon).value();
    for (unsigned other = 0; other < world.size; ++other) {
      if (other == world.rank) { continue; }
      peers[other] = device.connect(std::as_bytes(std::span(addresses[other])), other).value();
      NEED(windows[other].size() == sizeof(hal::Remote));
      std::memcpy(&remotes[other], windows[other].data(), sizeof(hal::Remote));
    }
    NEED(session->barrier("connected", kSoon));
  }
};

std::uint32_t word(unsigned from, unsigned to) { return 0xc0de0000U + from * 256 + to; }

int exchange(Rank& r) {
  NEED(r.instance.devices().size() == 1);
  NEED(r.device.number("fabric.rank").value() == r.world.rank);
  auto local = r.device.buffer(kBytes).value();
  auto gotten = r.device.buffer(kBytes).value();
  for (unsigned other = 0; other < r.world.size; ++other) {
    if (other == r.world.rank) { continue; }
    hal::Remote part = r.remotes[other];
    part.address += r.world.rank * kBytes;
    part.length = kBytes;
    r.queue.fill(local, word(r.world.rank, other)).value();
    r.queue.put(local, r.peers[other], part).value();
    r.queue.get_remote(r.peers[other], part, gotten).value();
    NEED(r.queue.finish(kSoon));
    NEED(std::memcmp(local.host().data(), gotten.host().data(), kBytes) == 0);
  }
  NEED(r.session->barrier("all have put", kSoon));
  for (unsigned other = 0; other < r.world.size; ++other) {
    if (other == r.world.rank) { continue; }
    for (const std::uint64_t at : {std::uint64_t{0}, kBytes - 4}) {
      std::uint32_t there = 0;
      std::memcpy(&there, r.window.host().data() + other * kBytes + at, 4);
      NEED(there == word(other, r.world.rank));
    }
  }
  // Rank 0 changes the circuits for all; a rank learns of it with or before any message that crosses them.
  if (r.world.rank == 0) {
    r.queue.circuit("ring").value();
    NEED(r.queue.finish(kSoon));
  }
  const auto deadline = std::chrono::steady_clock::now() + kSoon;
  while (r.device.report().value().find("\"permutation\": \"ring\"") == std::string::npos) {
    NEED(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
  NEED(r.session->barrier("ring is set", kSoon));
  const unsigned next = (r.world.rank + 1) % r.world.size;
  const unsigned before = (r.world.rank + r.world.size - 1) % r.world.size;
  hal::Queue other = r.device.queue("ring").value();
  const hal::Point received = other.recv(r.peers[before], 9, gotten).value();
  r.queue.fill(local, word(r.world.rank, next)).value();
  r.queue.send(local, r.peers[next], 9).value();
  NEED(r.queue.finish(kSoon));
  NEED(hal::wait(received, kSoon));
  std::uint32_t there = 0;
  std::memcpy(&there, gotten.host().data(), 4);
  NEED(there == word(before, r.world.rank));
  if (r.world.size > 2) {  // the way back is dark now
    hal::Queue dark = r.device.queue("dark").value();
    const auto sent = hal::wait(dark.send(local, r.peers[before], 9).value(), kSoon);
    NEED(!sent && sent.error().code() == HAL_UNAVAILABLE);
  }
  NEED(r.session->barrier("end", kSoon));
  return 0;
}

int killed(Rank& r) {
  if (r.world.rank == 1) {
    NEED(r.session->get("armed0", kSoon) && r.session->get("armed2", kSoon));
    ::kill(::getpid(), SIGKILL);
  }
  auto place = r.device.buffer(64).value();
  hal::Queue waiting = r.device.queue("waiting").value();
  const hal::Point point = waiting.recv(r.peers[1], 1, place).value();
  NEED(r.session->put("armed" + std::to_string(r.world.rank), ""));
  const auto lost = hal::wait(point, kSoon);
  NEED(!lost && lost.error().code() == HAL_PEER_LOST);
  NEED(lost.error().text().find("rank 1 is gone") != std::string_view::npos);
  const auto refused = hal::wait(r.queue.put(place, r.peers[1], r.remotes[1]).value(), kSoon);
  NEED(!refused && refused.error().code() == HAL_PEER_LOST);
  // The others still reach each other.
  const unsigned other = r.world.rank == 0 ? 2 : 0;
  hal::Queue out = r.device.queue("out").value();
  hal::Queue in = r.device.queue("in").value();
  const hal::Point got = in.recv(r.peers[other], 2, place).value();
  auto local = r.device.buffer(64).value();
  out.send(local, r.peers[other], 2).value();
  NEED(out.finish(kSoon));
  NEED(hal::wait(got, kSoon));
  NEED(r.session->put("done" + std::to_string(r.world.rank), ""));
  NEED(r.session->get("done" + std::to_string(other), kSoon));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  NEED(argc > 2);
  Rank rank(argv[1]);
  const std::string_view what = argv[2];
  if (what == "exchange") { return exchange(rank); }
  if (what == "killed") { return killed(rank); }
  return 98;
}
