// SPDX-License-Identifier: Apache-2.0
// What a lane's failure waits for, what happens before it is told, and that it is told once, whoever looks.
#include "driver_kit/lane_progress.hpp"

#include <atomic>
#include <functional>
#include <future>
#include <halyard_catch.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "driver_kit/errors.hpp"

namespace {

// A core and a device that note, in order, what they are told: "3": published up to 3; "stop?": asked to stop and not
// yet there; "stop"; "fail 4 text".
struct Scene final : hal::kit::DeviceLane {
  hal_host_api host{};
  hal_lane lane{};
  std::atomic<std::uint64_t> count{0};
  std::atomic<bool> stops{true};
  std::uint64_t last_at_stop = 0;  // the device does so much more before it stands still
  std::function<void()> on_reached = [] {}, on_done = [] {};
  hal::kit::LaneProgress progress{lane, *this};

  Scene() {
    host.reached = [](hal_lane* of) {
      Scene& self = *static_cast<Scene*>(of->core);
      self.note(std::to_string(hal_lane_completed(of)));
      self.on_reached();
    };
    host.failed = [](hal_lane* of, std::uint64_t failed, hal_error* error) {
      Scene& self = *static_cast<Scene*>(of->core);
      REQUIRE(error != nullptr);
      self.note("fail " + std::to_string(failed) + " " + hal_error_describe(error).what);
      hal_release(error);
    };
    lane.host = &host;
    lane.core = this;
    lane.wake_at = 0;  // every publish is told
  }
  std::uint64_t done() noexcept override {
    on_done();
    return count;
  }
  bool stop() noexcept override {
    if (!stops) {
      note("stop?");
      return false;
    }
    if (last_at_stop > count) { count = last_at_stop; }
    note("stop");
    return true;
  }
  void note(const std::string& what) {
    const std::lock_guard lock(mutex);
    notes.push_back(what);
  }
  std::vector<std::string> told() {
    const std::lock_guard lock(mutex);
    return notes;
  }
  bool done_is(std::uint64_t to) {
    count = to;
    return progress.look();
  }

 private:
  std::mutex mutex;
  std::vector<std::string> notes;
};

using Notes = std::vector<std::string>;

hal_error* error(const char* what) { return hal::kit::make_error("test", HAL_EXECUTION_FAILED, what); }

}  // namespace

TEST_CASE("lane progress: a failure waits for what is before it, and is told once") {
  Scene scene;
  CHECK_FALSE(scene.progress.look());
  CHECK(scene.done_is(2));
  CHECK_FALSE(scene.progress.failed());
  scene.progress.fail(5, error("five"));
  CHECK(scene.progress.failed());
  CHECK_FALSE(scene.progress.look());
  CHECK(scene.done_is(3));
  CHECK_FALSE(scene.progress.is_told());
  CHECK(scene.done_is(4));
  CHECK(scene.progress.is_told());
  CHECK_FALSE(scene.progress.look());
  scene.progress.fail(2, error("too late"));
  scene.progress.lose(error("too late"));
  CHECK_FALSE(scene.done_is(9));
  CHECK(scene.told() == Notes{"2", "3", "4", "stop", "fail 5 five"});
}

TEST_CASE("lane progress: what the device counts from a failure on is not published") {
  Scene scene;
  scene.progress.fail(3, error("three"));
  CHECK(scene.done_is(7));
  CHECK(scene.told() == Notes{"2", "stop", "fail 3 three"});
}

TEST_CASE("lane progress: a failure is told when the device stands still, not before") {
  Scene scene;
  scene.stops = false;
  scene.progress.fail(2, error("two"));
  CHECK(scene.done_is(1));
  CHECK_FALSE(scene.progress.look());
  CHECK_FALSE(scene.progress.is_told());
  scene.stops = true;
  CHECK(scene.progress.look());
  CHECK(scene.told() == Notes{"1", "stop?", "stop?", "stop", "fail 2 two"});
}

TEST_CASE("lane progress: a lost device fails its lane behind what turns out to be done") {
  Scene scene;
  CHECK(scene.done_is(2));
  scene.last_at_stop = 5;
  scene.progress.lose(error("lost"));
  scene.progress.lose(error("once more"));
  CHECK(scene.progress.look());
  CHECK(scene.told() == Notes{"2", "stop", "5", "fail 6 lost"});
}

TEST_CASE("lane progress: of failures the earliest counts, whichever is found first, and a command's before a loss") {
  {
    Scene scene;
    scene.progress.fail(9, error("nine"));
    scene.progress.fail(4, error("four"));
    scene.progress.fail(6, error("six"));
    CHECK(scene.done_is(3));
    CHECK(scene.told() == Notes{"3", "stop", "fail 4 four"});
  }
  for (const std::uint64_t last : {2U, 3U, 8U}) {  // of what the lost device did before it stood still
    Scene scene;
    scene.last_at_stop = last;
    scene.progress.fail(4, error("four"));
    scene.progress.lose(error("lost"));
    CHECK(scene.done_is(1));
    CHECK(scene.told() ==
          (last == 2 ? Notes{"1", "stop", "2", "fail 3 lost"} : Notes{"1", "stop", "3", "fail 4 four"}));
  }
}

TEST_CASE("lane progress: no publish is on its way when a failure is told") {
  Scene scene;
  std::promise<void> inside, go;
  scene.on_reached = [&] {
    if (hal_lane_completed(&scene.lane) != 3) { return; }
    inside.set_value();
    go.get_future().wait();
    scene.note("out of 3");
  };
  std::thread device([&] { scene.done_is(3); });
  inside.get_future().wait();
  // It is lost while the device's thread publishes. Who finds out does not wait, and leaves it to that thread.
  scene.count = 4;
  scene.progress.lose(error("lost"));
  CHECK_FALSE(scene.progress.look());
  CHECK(scene.told() == Notes{"3"});
  go.set_value();
  device.join();
  CHECK(scene.told() == Notes{"3", "out of 3", "4", "stop", "fail 5 lost"});
}

TEST_CASE("lane progress: a count that was read before a failure was found is published before it is told") {
  // The thread of the device has read its count when another finds the device lost.
  Scene scene;
  std::promise<void> inside, go;
  bool first = true;
  scene.on_done = [&] {
    if (!std::exchange(first, false)) { return; }
    inside.set_value();
    go.get_future().wait();
  };
  std::thread device([&] { scene.done_is(2); });
  inside.get_future().wait();
  scene.progress.lose(error("lost"));
  CHECK_FALSE(scene.progress.look());
  CHECK(scene.told().empty());
  go.set_value();
  device.join();
  CHECK(scene.told() == Notes{"2", "stop", "fail 3 lost"});
}

TEST_CASE("lane progress: one of who finds a failure and who counts tells it") {
  for (int round = 0; round < 2000; ++round) {
    Scene scene;
    std::atomic<int> ready{0};
    std::thread device([&] {
      ++ready;
      while (ready != 2) {}
      scene.done_is(1);
    });
    ++ready;
    while (ready != 2) {}
    scene.progress.fail(2, error("two"));
    scene.progress.look();
    device.join();
    REQUIRE(scene.told() == Notes{"1", "stop", "fail 2 two"});
  }
}
