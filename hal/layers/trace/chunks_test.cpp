// SPDX-License-Identifier: Apache-2.0
#include "trace/chunks.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <halyard_catch.hpp>
#include <halyard_eventually.hpp>
#include <set>
#include <thread>

using hal::layers::trace::Chunks;
using hal::layers::trace::Event;

namespace {

bool pages_can_be_asked_for() {
#if defined(MADV_POPULATE_WRITE)
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool can = page != MAP_FAILED && ::madvise(page, 4096, MADV_POPULATE_WRITE) == 0;
  if (page != MAP_FAILED) { ::munmap(page, 4096); }
  return can;
#else
  return false;
#endif
}

bool becomes_ready(const Chunks& chunks, std::uint32_t count) {
  return hal::test::eventually([&] { return chunks.ready() >= count; }) && chunks.ready() == count;
}

}  // namespace

TEST_CASE("the chunks of a trace are apart, empty, whole, and no more than there are") {
  Chunks chunks;
  std::set<Event*> taken;
  for (std::uint32_t i = 0; i < Chunks::kMost; ++i) {
    Event* const events = chunks.take();
    REQUIRE(events != nullptr);
    REQUIRE(std::all_of(events, events + Chunks::kEvents, [](const Event& event) { return event.tick == 0; }));
    std::for_each(events, events + Chunks::kEvents, [](Event& event) { event.tick = 1; });
    REQUIRE(taken.insert(events).second);
  }
  CHECK(chunks.take() == nullptr);
  CHECK(chunks.take() == nullptr);
}

TEST_CASE("the pages of the next two blocks of a trace are there before its chunks are taken, and of no others") {
  Chunks chunks;
  if (!pages_can_be_asked_for()) {
    WARN("a kernel before 5.14 obtains no pages ahead");
    return;
  }
  REQUIRE(becomes_ready(chunks, 2));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // time enough for one too many
  CHECK(chunks.ready() == 2);
  CHECK(chunks.take() != nullptr);
  CHECK(becomes_ready(chunks, 3));
  for (std::uint32_t i = 1; i < Chunks::kMost; ++i) { CHECK(chunks.take() != nullptr); }
  CHECK(becomes_ready(chunks, Chunks::kBlocks));
}
