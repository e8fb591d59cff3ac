// SPDX-License-Identifier: Apache-2.0
#include "driver_kit/background.hpp"

#include <atomic>
#include <halyard_catch.hpp>
#include <latch>
#include <thread>
#include <vector>

using hal::kit::Background;

namespace {

// A job that says where it is, and ends when it may; a while later, so that who does not wait for it is seen.
struct Gated {
  std::latch began{1}, may_end{1};
  std::atomic<bool> ended{false};
  std::atomic<int> runs{0};
  Background::Job job{[](void* of) {
                        auto& self = *static_cast<Gated*>(of);
                        if (self.runs++ != 0) { return; }
                        self.began.count_down();
                        self.may_end.wait();
                        for (int i = 0; i < 1000; ++i) { std::this_thread::yield(); }
                        self.ended = true;
                      },
                      this};
};

}  // namespace

TEST_CASE("background: jobs run one after the other, in their order, away from who posts them") {
  std::vector<int> seen;
  std::thread::id where;
  struct Job {
    std::vector<int>* seen;
    std::thread::id* where;
    int number;
    Background::Job job{[](void* of) {
                          auto& self = *static_cast<Job*>(of);
                          self.seen->push_back(self.number);
                          *self.where = std::this_thread::get_id();
                        },
                        this};
  };
  std::vector<std::unique_ptr<Job>> jobs;
  {
    Background background("test", "test");
    for (int i = 0; i < 100; ++i) {
      jobs.push_back(std::unique_ptr<Job>(new Job{&seen, &where, i}));
      REQUIRE(background.post(jobs.back()->job));
    }
    background.drain(nullptr);
    CHECK(seen.size() == 100);
    REQUIRE(background.post(jobs[7]->job));  // again
  }  // what is posted runs before the end
  REQUIRE(seen.size() == 101);
  for (int i = 0; i < 100; ++i) { CHECK(seen[static_cast<std::size_t>(i)] == i); }
  CHECK(seen.back() == 7);
  CHECK(where != std::this_thread::get_id());
}

TEST_CASE("background: what is forgotten does not run, and what runs is waited for") {
  Background background("test", "test");
  Gated first, second, third;
  third.may_end.count_down();
  REQUIRE(background.post(first.job));
  REQUIRE(background.post(second.job));
  REQUIRE(background.post(third.job));
  first.began.wait();
  background.forget(second.job);
  first.may_end.count_down();
  background.forget(first.job);
  CHECK(first.ended);
  background.drain(nullptr);
  CHECK(third.ended);
  CHECK_FALSE(second.ended);
  background.forget(second.job);  // of nothing
}

TEST_CASE("background: what is posted again while it runs is forgotten when it does neither") {
  Background background("test", "test");
  Gated again, between;  // what is between the two runs holds the second one back until it is forgotten
  REQUIRE(background.post(again.job));
  again.began.wait();
  REQUIRE(background.post(between.job));
  REQUIRE(background.post(again.job));  // as a lane does whose command is done before the job is
  again.may_end.count_down();
  background.forget(again.job);
  CHECK(again.ended);
  between.may_end.count_down();
  background.drain(nullptr);
  CHECK(again.runs == 1);
}

TEST_CASE("background: a drain waits for what was posted before it") {
  Background background("test", "test");
  Gated running, waiting;
  REQUIRE(background.post(running.job));
  REQUIRE(background.post(waiting.job));
  running.may_end.count_down();
  waiting.may_end.count_down();
  background.drain(nullptr);
  CHECK(running.ended);
  CHECK(waiting.ended);
}

TEST_CASE("background: a drain waits for the jobs of its own, and for nobody else's") {
  Background background("test", "test");
  const int others = 0, own = 0;
  Gated other, mine;
  other.job.serves = &others;
  mine.job.serves = &own;
  REQUIRE(background.post(other.job));
  other.began.wait();
  background.drain(&own);  // comes back while the other stands in its gate
  CHECK_FALSE(other.ended);
  REQUIRE(background.post(mine.job));
  mine.may_end.count_down();
  other.may_end.count_down();
  background.drain(&own);
  CHECK(mine.ended);
  background.drain(&others);
  CHECK(other.ended);
}
