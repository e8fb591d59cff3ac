// SPDX-License-Identifier: Apache-2.0
// Which sleeping thread is called, and where it may wake.
#include "driver_kit/sleepers.hpp"

#include <sched.h>
#include <unistd.h>

#include <future>
#include <halyard_catch.hpp>
#include <thread>

using hal::kit::KeptOff;
using hal::kit::Sleeper;
using hal::kit::Sleepers;

TEST_CASE("sleepers: the last that fell asleep on another core is called, else the last of all") {
  Sleepers sleepers;
  Sleeper a, b, c, d;
  CHECK(sleepers.empty());
  CHECK(sleepers.take(0) == nullptr);
  sleepers.add(a, 1);
  sleepers.add(b, 2);
  sleepers.add(c, 1);
  sleepers.add(d, 0);
  CHECK((a.asleep && b.asleep && c.asleep && d.asleep));
  CHECK(sleepers.take(0) == &c);
  CHECK(sleepers.take(1) == &d);
  CHECK(sleepers.take(1) == &b);
  CHECK_FALSE((b.asleep || c.asleep || d.asleep));
  CHECK(sleepers.take(1) == &a);
  CHECK(sleepers.empty());
}

TEST_CASE("sleepers: one that naps is called if nobody else sleeps, on whatever core") {
  Sleepers sleepers;
  Sleeper a, b, c;
  sleepers.add(a, 1);
  sleepers.add(b, 1);
  sleepers.add(c, 2);
  c.naps = true;
  CHECK(sleepers.take(1) == &b);
  CHECK(sleepers.take(0) == &a);
  CHECK(sleepers.take(2) == &c);
  CHECK(sleepers.empty());
}

TEST_CASE("sleepers: one that wakes by itself is not called any more, wherever it is") {
  for (int which = 0; which < 3; ++which) {
    Sleepers sleepers;
    Sleeper all[3];
    for (Sleeper& one : all) { sleepers.add(one, 7); }
    sleepers.remove(all[which]);
    CHECK_FALSE(all[which].asleep);
    for (int i = 2; i >= 0; --i) {
      if (i != which) { CHECK(sleepers.take(7) == &all[i]); }
    }
    CHECK(sleepers.empty());
  }
}

TEST_CASE("sleepers: a thread is kept off one core until it is awake") {
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  const int core = sched_getcpu();
  KeptOff kept_off;
  std::promise<void> go, ended, leave;
  std::thread thread([&] {
    go.get_future().wait();
    kept_off.end();
    ended.set_value();
    leave.get_future().wait();
  });
  const auto allowed = [&] {
    cpu_set_t now;
    CHECK(pthread_getaffinity_np(thread.native_handle(), sizeof now, &now) == 0);
    return now;
  };
  kept_off.begin(thread.native_handle(), core);
  cpu_set_t others = before;
  CPU_CLR(static_cast<std::size_t>(core), &others);
  const cpu_set_t asleep = allowed();
  // Where it may run on one core only it stays there.
  const bool has_others = CPU_COUNT(&others) > 0;
  CHECK(kept_off.on() == has_others);
  CHECK(CPU_EQUAL(&asleep, has_others ? &others : &before));
  go.set_value();
  ended.get_future().wait();
  CHECK_FALSE(kept_off.on());
  const cpu_set_t awake = allowed();
  CHECK(CPU_EQUAL(&awake, &before));
  leave.set_value();
  thread.join();
}
