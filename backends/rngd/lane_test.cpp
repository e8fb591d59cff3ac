// SPDX-License-Identifier: Apache-2.0
// What has happened on the card, and to the host memory that it reaches, when a lane's failure is told.
#include <atomic>
#include <functional>
#include <future>
#include <halyard_catch.hpp>
#include <vector>

#include "backend.hpp"
#include "driver/internal.hpp"
#include "driver_kit/harness.hpp"

using hal::kit::Harness;

extern "C" hal_error* hal_driver_entry(const hal_host_api* host, hal_driver** out);

namespace {

// The bus of the card, with the mappings of host memory counted, and a function called before one ends.
rngd_bus g_bus;
std::atomic<int> g_mapped;
std::function<void()> g_before_unmap;

struct Fixture {
  Harness host{hal_driver_entry};
  std::unique_ptr<Harness::Device> device = host.open(0, "", "pe0");
  rngd_device* card = static_cast<hal::rngd_backend::Device*>(device->impl())->device;

  Fixture() {
    g_bus = card->bus;
    g_mapped = 0;
    g_before_unmap = [] {};
    card->bus.map_host = [](void* context, void* address, std::uint64_t bytes, std::uint64_t* iova) {
      const int result = g_bus.map_host(context, address, bytes, iova);
      if (result == 0) { ++g_mapped; }
      return result;
    };
    card->bus.unmap_host = [](void* context, std::uint64_t iova, std::uint64_t bytes) {
      g_before_unmap();
      --g_mapped;
      return g_bus.unmap_host(context, iova, bytes);
    };
  }
  ~Fixture() {
    card->bus.map_host = g_bus.map_host;
    card->bus.unmap_host = g_bus.unmap_host;
  }
};

hal_command fill(void* word) { return hal::kit::fill(hal_host(word, 4), 9, 4); }

// Keeps the card's thread where it gives the lane's first host memory back: the command is done, and not published.
class Gate {
 public:
  Gate() {
    g_before_unmap = [this, first = true]() mutable {
      if (!std::exchange(first, false)) { return; }
      inside_.set_value();
      go_.get_future().wait();
    };
  }
  void wait() { inside_.get_future().wait(); }
  void open() { go_.set_value(); }

 private:
  std::promise<void> inside_, go_;
};

// A lane whose first command is done and not published, and how much host memory of its commands was mapped when it
// failed.
struct HeldLane {
  Fixture fixture;
  Gate gate;
  Harness::Lane lane{*fixture.device};
  const int own = g_mapped;  // the lane's rings
  int mapped = -1;

  explicit HeldLane(std::uint32_t* word) {
    lane.at_failure = [this] { mapped = g_mapped - own; };
    lane.submit({fill(word)});
    lane.flush();
    gate.wait();
  }
};

}  // namespace

TEST_CASE(
    "rngd lane: a card that is lost while its thread publishes fails the lane behind what that thread has found") {
  std::uint32_t word = 0;
  HeldLane held(&word);
  REQUIRE(rngd_device_reset(held.fixture.card, nullptr) == RNGD_OK);
  CHECK(held.lane.submit({hal_command{}, hal_command{}}) == 3);  // finds the loss
  CHECK(held.lane.failure() == nullptr);
  CHECK(held.lane.completed() == 0);
  held.gate.open();
  CHECK_FALSE(held.lane.wait(3));
  CHECK(held.lane.failed_number() == 2);
  CHECK(held.lane.completed() == 1);
  CHECK(word == 9);
  CHECK(held.mapped == 0);
  CHECK(hal_error_describe(held.lane.failure()).code == HAL_DEVICE_LOST);
}

TEST_CASE("rngd lane: a command that cannot be handed over fails when the card has let go of those before it") {
  std::uint32_t word = 0;
  HeldLane held(&word);
  CHECK(held.lane.submit({fill(nullptr), hal_command{}}) == 3);
  CHECK(held.lane.failure() == nullptr);
  held.gate.open();
  CHECK_FALSE(held.lane.wait(3));
  CHECK((held.lane.failed_number() == 2 && held.lane.completed() == 1));
  CHECK(held.mapped == 0);
}

TEST_CASE("rngd lane: where the card goes on behind a failure it is stopped before that is told") {
  std::vector<std::uint32_t> words(900), told;
  HeldLane held(&words[0]);
  held.lane.at_failure = [&] {
    held.mapped = g_mapped - held.own;
    told = words;
  };
  // The card does the second command, but never says so; it knows of no failure.
  REQUIRE(rngd_device_inject(held.fixture.card, RNGD_INJECT_LOSE_COMPLETION, 0xFFFF, 0, 1, 0, nullptr) == RNGD_OK);
  std::vector<hal_command> commands;
  for (std::size_t i = 1; i < words.size(); ++i) { commands.push_back(fill(&words[i])); }
  held.lane.submit(commands);
  held.lane.flush();
  held.gate.open();
  CHECK_FALSE(held.lane.wait(words.size(), false));
  CHECK((held.lane.failed_number() == 2 && held.lane.completed() == 1));
  CHECK(held.mapped == 0);
  CHECK(told[1] == 9);
  CHECK(told.back() == 0);
  CHECK(told == words);
}
