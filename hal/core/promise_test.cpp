// SPDX-License-Identifier: Apache-2.0
// The promises of a timeline against a plain list of all that were ever given, and how often a look has to ask.
#include "core/promise.hpp"

#include <halyard_catch.hpp>
#include <list>
#include <memory>
#include <random>
#include <vector>

using hal::core::Promised;
using hal::core::PromiseSet;

namespace {

struct Lane {
  std::uint64_t completed = 0, good = UINT64_MAX;  // the last number that can be completed
};

struct One : Promised {
  std::uint64_t gave = 0;  // what it promised: the other is spoilt when it is gone
};

// A set over lanes that the test moves, which owns what it is given and counts what it is asked.
struct Book {
  PromiseSet set;
  std::list<One> all;
  std::uint64_t value = 0, asked = 0;

  static Lane& of(const Promised& one) { return *static_cast<Lane*>(const_cast<void*>(one.lane)); }
  static bool kept(const Promised& one) { return of(one).completed >= one.number; }
  static bool lost(const Promised& one) { return !kept(one) && one.number > of(one).good; }

  One& give(Lane& lane, std::uint64_t number, std::uint64_t promised) {
    One& made = all.emplace_back();
    made.promised = made.gave = promised;
    made.number = number;
    made.lane = &lane;
    add(made);
    return made;
  }
  void add(One& made) {
    Promised* gone = nullptr;
    set.add(made, gone);
    forget(gone);
  }
  PromiseSet::View look() {
    Promised* gone = nullptr;
    const auto is_kept = [&](const Promised& one) { return ++asked, kept(one); };
    const auto is_lost = [&](const Promised& one) { return ++asked, lost(one); };
    const PromiseSet::View view = set.look(value, is_kept, is_lost, gone);
    value = view.kept;
    forget(gone);
    return view;
  }
  std::size_t listed() const {
    return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [](const One& one) { return one.listed; }));
  }
  static void forget(Promised* gone) {
    for (; gone != nullptr; gone = gone->following) {
      REQUIRE_FALSE(gone->listed);
      gone->promised = UINT64_MAX;
    }
  }
};

}  // namespace

TEST_CASE("promises: random lanes complete and fail, and each look says what a list of all would say") {
  std::mt19937 random(7);
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  for (int round = 0; round < 400; ++round) {
    Book book;
    std::vector<Lane> lanes(1 + below(6));
    std::vector<std::uint64_t> next(lanes.size(), 0);
    bool has_failed = false;
    for (int step = 0; step < 150; ++step) {
      const std::size_t i = below(lanes.size());
      Lane& lane = lanes[i];
      switch (below(6)) {
        case 0:
        case 1:
          book.give(lane, ++next[i], 1 + below(60));
          break;
        case 2: {  // two threads come the other way round, and a third in between
          next[i] += 2;
          const std::uint64_t number = next[i];
          book.give(lane, number, 1 + below(60));
          if (below(2) == 0) { book.give(lane, ++next[i], 1 + below(60)); }
          book.give(lane, number - 1, 1 + below(60));
          break;
        }
        case 3:
          if (lane.completed < std::min(next[i], lane.good)) { ++lane.completed; }
          break;
        case 4:
          if (below(8) == 0 && lane.good == UINT64_MAX) { lane.good = lane.completed + below(3); }
          break;
        default: {
          std::uint64_t kept = book.value, open = 0, highest = 0;
          for (const One& one : book.all) {
            if (Book::kept(one)) { kept = std::max(kept, one.gave); }
          }
          for (const One& one : book.all) {
            if (!Book::kept(one) && !Book::lost(one)) { open = std::max(open, one.gave); }
            if (Book::lost(one)) { highest = std::max(highest, one.gave); }
          }
          const auto brings = [&](std::uint64_t wanted) {
            std::uint64_t best = UINT64_MAX;
            for (const One& one : book.all) {
              if (!Book::kept(one) && !Book::lost(one) && one.gave >= wanted) { best = std::min(best, one.gave); }
            }
            return best;
          };
          const PromiseSet::View view = book.look();
          REQUIRE(view.kept == kept);
          REQUIRE(std::max(view.open, kept) == std::max(open, kept));
          const bool fails = highest > std::max(open, kept);
          if (!has_failed) {
            REQUIRE((view.lost != nullptr) == fails);
            if (fails) { REQUIRE(static_cast<const One*>(view.lost)->gave == highest); }
          }
          has_failed = has_failed || fails;
          // Some lane brings a value that is open, and none one that is not; which, only where no other does it
          // earlier.
          const std::uint64_t wanted = kept + 1 + below(10);
          const Promised* found = book.set.bringing(wanted, Book::lost);
          REQUIRE((found != nullptr) == (brings(wanted) != UINT64_MAX));
          if (found != nullptr) {
            REQUIRE(found->promised >= wanted);
            REQUIRE_FALSE(Book::lost(*found));
            for (const One& one : book.all) {
              REQUIRE_FALSE(
                  (one.lane == found->lane && one.gave >= wanted && one.number < found->number && !Book::kept(one)));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("promises: of equal ones that are lost the first that was given is the cause, whoever looked in between") {
  for (const bool first_ends_first : {true, false}) {
    for (const bool looks : {true, false}) {
      Book book;
      Lane a, b;
      const One& first = book.give(a, 1, 5);
      const One& second = book.give(b, 1, 5);
      (first_ends_first ? a : b).good = 0;
      if (looks) { REQUIRE(book.look().lost == nullptr); }
      REQUIRE((first.listed && second.listed));
      a.good = b.good = 0;
      REQUIRE(book.look().lost == &first);
      REQUIRE(book.set.empty());
    }
  }
}

TEST_CASE("promises: what somebody watches is watched once, and only from the value asked for") {
  Book book;
  Lane a, b;
  std::vector<One*> ones;
  for (std::uint64_t i = 1; i <= 20; ++i) { ones.push_back(&book.give(i % 2 == 0 ? a : b, i, i)); }
  const auto watch = [&](std::uint64_t from) {
    std::vector<std::uint64_t> got;
    for (Promised* one = book.set.watch_from(from); one != nullptr; one = one->following) {
      REQUIRE(one->watched);
      got.push_back(one->promised);
    }
    std::sort(got.begin(), got.end());
    return got;
  };
  CHECK(watch(21).empty());
  CHECK(watch(18) == std::vector<std::uint64_t>{18, 19, 20});
  CHECK(watch(18).empty());
  book.give(a, 21, 21);
  book.give(b, 22, 22);
  a.completed = 4;  // 2 and 4 are kept, so 1 and 3 change nothing any more
  book.look();
  book.look();  // their lane had been looked at before
  CHECK_FALSE(ones[0]->listed);
  CHECK_FALSE(ones[2]->listed);
  CHECK(watch(15) == std::vector<std::uint64_t>{15, 16, 17, 21, 22});
  b.good = 16;  // from 17 on b's are lost, watched or not
  book.look();
  CHECK(watch(1) == std::vector<std::uint64_t>{5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
  // One that came late takes out what promises no more, also of those that are watched.
  book.give(a, 23, 40);
  book.give(a, 22, 30);
  One& late = book.give(a, 20, 50);
  CHECK(watch(30) == std::vector<std::uint64_t>{50});
  CHECK(late.listed);
  Promised* gone = nullptr;
  book.set.clear(gone);
  CHECK(book.set.empty());
  CHECK(book.listed() == 0);
}

TEST_CASE("promises: what brings a value is found among many, whatever went before") {
  constexpr std::uint64_t kMany = 100;
  Book book;
  Lane lane;
  for (std::uint64_t i = 1; i <= kMany; ++i) { book.give(lane, i, 2 * i); }
  for (std::uint64_t done = 0; done <= kMany; ++done) {
    lane.completed = done;
    book.look();
    for (std::uint64_t i = done + 1; i <= kMany; ++i) {
      for (const std::uint64_t value : {2 * i - 1, 2 * i}) {
        const Promised* found = book.set.bringing(value, Book::lost);
        REQUIRE(found != nullptr);
        REQUIRE(found->number == i);
      }
    }
    REQUIRE(book.set.bringing(2 * kMany + 1, Book::lost) == nullptr);
  }
}

TEST_CASE("promises: 50,000 behind one older cost a question or two each, kept or open, looked at each step or never") {
  constexpr std::uint64_t kMany = 50'000;
  for (const bool looks : {true, false}) {
    Book book;
    Lane older, lane, behind;
    book.give(older, 1, 2 * kMany);
    for (std::uint64_t i = 1; i <= kMany; ++i) {
      book.give(lane, i, i);
      if (looks) { book.look(); }
    }
    CHECK(book.asked <= (looks ? 4 * kMany : 0));  // all of them open
    book.asked = 0;
    for (std::uint64_t i = 1; i <= kMany; ++i) {
      lane.completed = i;
      if (looks) { CHECK(book.look().kept == i); }
    }
    CHECK(book.look().kept == kMany);
    CHECK(book.asked <= 5 * kMany + 4);
    book.asked = 0;
    for (std::uint64_t i = 1; i <= kMany; ++i) {  // behind them, each kept before the next is given
      book.give(behind, i, kMany + i);
      behind.completed = i;
      if (looks || i == kMany) { CHECK(book.look().kept == kMany + i); }
    }
    CHECK(book.asked <= 4 * kMany + 4);
    CHECK(book.set.bringing(2 * kMany + 1, Book::lost) == nullptr);
    book.look();  // the others have reached what the older one promises
    CHECK(book.set.empty());
  }
}
