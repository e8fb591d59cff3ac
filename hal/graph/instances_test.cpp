// SPDX-License-Identifier: Apache-2.0
#include "graph/instances.hpp"

#include <atomic>
#include <halyard_catch.hpp>
#include <latch>
#include <thread>

#include "hal/graph.hpp"

namespace graph = hal::graph;

namespace {

struct Closed {
  explicit Closed(std::int64_t size) : n(size) { ++alive; }
  ~Closed() { --alive; }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;
  std::int64_t n;
  inline static std::atomic<int> alive{0};
};
using Ref = std::shared_ptr<const Closed>;

std::vector<std::byte> rows() {
  hal::GraphBuilder b("rows");
  const std::int64_t n = b.symbol("n");
  const auto x = b.input("x", hal::DType::f32, {n, 4});
  b.output("twice", b.concat({x, x}, 0));
  return b.finish().value();
}

struct Fixture {
  std::vector<std::byte> bytes = rows();
  graph::Instances<Closed> instances{graph::View::verify_dynamic(bytes).value(), 3};
  std::atomic<int> made{0};

  Ref get(std::int64_t n) {
    const std::int64_t extents[] = {n, 2 * n};
    return instances
        .obtain(extents,
                [&](const graph::View& view) -> hal::Result<Ref> {
                  ++made;
                  return std::make_shared<const Closed>(view.tensor(0).dims[0]);
                })
        .value();
  }
  Ref find(std::int64_t n) {
    const std::int64_t extents[] = {n, 2 * n};
    return instances.find(extents);
  }
};

}  // namespace

TEST_CASE("instances: each set of sizes is made once, and the one used longest ago goes") {
  Fixture f;
  CHECK(f.find(1) == nullptr);
  const Ref one = f.get(1);
  CHECK(one->n == 1);
  CHECK(f.get(1) == one);
  CHECK(f.find(1) == one);
  f.get(2);
  f.get(3);
  f.get(1);  // used again
  f.get(4);
  CHECK(f.made == 4);
  CHECK(f.find(2) == nullptr);
  CHECK(f.find(1) == one);
  CHECK(f.find(3)->n == 3);
  CHECK(f.find(4)->n == 4);
}

TEST_CASE("instances: what had to go lives until its last user is done") {
  {
    Fixture f;
    Ref one = f.get(1);
    for (std::int64_t n = 2; n <= 5; ++n) { f.get(n); }
    CHECK(Closed::alive == 4);  // three kept, and the one in use
    CHECK(one->n == 1);
    one.reset();
    CHECK(Closed::alive == 4);  // not here, where a device may be telling that it is done
    f.get(6);
    CHECK(Closed::alive == 3);
  }
  CHECK(Closed::alive == 0);
}

TEST_CASE("instances: who asks for what is being made waits for it, and nobody else does") {
  Fixture f;
  const std::int64_t one[] = {1, 2};
  std::latch making{1};
  Ref made, asked;
  std::jthread maker([&](const std::stop_token& go) {
    made = f.instances
               .obtain(one,
                       [&](const graph::View&) -> hal::Result<Ref> {
                         making.count_down();
                         while (!go.stop_requested()) { std::this_thread::yield(); }
                         for (int i = 0; i < 1000; ++i) { std::this_thread::yield(); }  // who does not wait is seen
                         ++f.made;
                         return std::make_shared<const Closed>(1);
                       })
               .value();
  });
  making.wait();
  CHECK(f.get(2)->n == 2);  // meanwhile
  CHECK(f.find(1) == nullptr);
  std::jthread asks([&] {
    maker.request_stop();
    asked = f.get(1);
  });
  maker.join();
  asks.join();
  CHECK(asked == made);
  CHECK(made->n == 1);
  CHECK(f.made == 2);
}

TEST_CASE("instances: a failure leaves nothing behind, and says what does not fit") {
  Fixture f;
  const std::int64_t odd[] = {3, 5};
  const auto never = [](const graph::View&) -> hal::Result<Ref> { return Ref(); };
  const auto refused = f.instances.obtain(odd, never);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == HAL_INVALID_ARGUMENT);
  CHECK(std::string(refused.error().what()) ==
        "graph \"rows\": axis 0 of argument 1 (\"twice\") is 5, and (n + n) is 6 with n = 3");
  const std::int64_t three[] = {3, 6};
  const auto failed = f.instances.obtain(
      three, [](const graph::View&) -> hal::Result<Ref> { return hal::Error(HAL_UNSUPPORTED, "too large"); });
  CHECK(failed.error().code() == HAL_UNSUPPORTED);
  const auto throws = [](const graph::View&) -> hal::Result<Ref> { throw std::bad_alloc(); };
  CHECK_THROWS_AS(f.instances.obtain(three, throws), std::bad_alloc);
  CHECK(f.get(3)->n == 3);
}

TEST_CASE("instances: extents are read from behind a run's arguments, and are a preparation's own") {
  hal_arg args[4]{};
  for (std::int64_t i = 0; i < 4; ++i) {
    args[i].kind = HAL_ARG_SCALAR;
    args[i].size = sizeof i;
    std::memcpy(args[i].value.scalar, &i, sizeof i);
  }
  const std::vector<std::byte> bytes = rows();
  const graph::View view = graph::View::verify_dynamic(bytes).value();
  hal_command command{};
  command.op = HAL_OP_RUN;
  command.as.run.args = args;
  command.as.run.arg_count = 4;
  const graph::GivenExtents given(command, view);
  REQUIRE(given.span().size() == 2);
  CHECK(given.span()[0] == 2);
  CHECK(given.span()[1] == 3);
  command.op = HAL_OP_PREPARE;
  command.as.run.arg_count = 2;
  const graph::GivenExtents prepared(command, view);
  REQUIRE(prepared.span().size() == 2);
  CHECK(prepared.span()[0] == 0);
  CHECK(prepared.span()[1] == 1);
  command.as.run.arg_count = 0;
  CHECK(graph::GivenExtents(command, view).span().empty());
}
