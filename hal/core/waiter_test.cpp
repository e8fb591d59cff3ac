// SPDX-License-Identifier: Apache-2.0
#include "core/waiter.hpp"

#include <algorithm>
#include <array>
#include <halyard_catch.hpp>
#include <map>
#include <random>
#include <vector>

using hal::core::Waiter;
using hal::core::WaiterHeap;
using hal::core::WaiterList;

TEST_CASE("waiters: come out by value, equals as they came, whatever is taken back in between") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Waiter> all(1 + random() % 200);
    WaiterHeap heap;
    std::multimap<std::uint64_t, Waiter*> model;
    std::uint64_t order = 0;
    const auto take = [&](std::uint64_t value) {
      WaiterList out;
      heap.take(value, out);
      std::vector<Waiter*> got, expected;
      while (Waiter* one = out.pop()) {
        REQUIRE_FALSE(one->linked);
        got.push_back(one);
      }
      const auto end = model.upper_bound(value);
      for (auto it = model.begin(); it != end; ++it) { expected.push_back(it->second); }
      model.erase(model.begin(), end);
      REQUIRE(got == expected);
    };
    for (Waiter& waiter : all) {
      waiter.value = random() % 50;
      waiter.order = order++;
      heap.add(waiter);
      model.emplace(waiter.value, &waiter);
      if (random() % 4 == 0) {
        Waiter& back = all[random() % all.size()];
        if (back.linked) {
          heap.remove(back);
          const auto found =
              std::find_if(model.begin(), model.end(), [&](const auto& at) { return at.second == &back; });
          model.erase(found);
        }
      }
      if (random() % 8 == 0) { take(random() % 20); }
      REQUIRE(heap.empty() == model.empty());
      if (!model.empty()) { REQUIRE(heap.first() == model.begin()->second); }
    }
    take(UINT64_MAX);
    REQUIRE(heap.empty());
  }
}

TEST_CASE("waiters: 100,000 that are there in any order cost no deep stack") {
  std::vector<Waiter> all(100'000);
  WaiterHeap heap;
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].value = i % 2 == 0 ? i : all.size() - i;
    heap.add(all[i]);
  }
  WaiterList out;
  heap.take(UINT64_MAX, out);
  std::uint64_t last = 0;
  std::size_t count = 0;
  while (const Waiter* one = out.pop()) {
    REQUIRE(one->value >= last);
    last = one->value;
    ++count;
  }
  CHECK(count == all.size());
}

TEST_CASE("waiters: a list that was emptied takes others") {
  std::array<Waiter, 3> all;
  WaiterList list;
  list.push(all[0]);
  CHECK(list.pop() == &all[0]);
  CHECK(list.pop() == nullptr);
  CHECK(list.empty());
  list.push(all[1]);
  list.push(all[2]);
  CHECK(list.pop() == &all[1]);
  CHECK(list.pop() == &all[2]);
  CHECK(list.pop() == nullptr);
}
