// SPDX-License-Identifier: Apache-2.0
// What drivers that run graphs with open sizes have in common, for their tests: which sizes are made when, from any
// number of threads, and lanes and programs that go while one is being made.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <exception>
#include <halyard_catch.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "driver_kit/harness.hpp"
#include "graph/reference.hpp"
#include "graph/signature.hpp"
#include "graph/view.hpp"
#include "hal/graph.hpp"

namespace hal::kit {

class OpenGraphCheck {
 public:
  explicit OpenGraphCheck(Harness::Device& device) : device_(device) {
    // An intermediate between two sums, so that memory for it has to be found; twice the rows, which only it knows.
    GraphBuilder b("rows");
    const std::int64_t n = b.symbol("n");
    const auto x = b.input("x", DType::i32, {n, 4});
    const auto squares = b.contract("nk,mk->nm", x, x);
    b.output("sums", b.contract("nm,mk->nk", squares, x));
    b.output("twice", b.concat({x, x}, 0));
    bytes_ = b.finish().value();
  }

  void run_all() {
    each_size_is_made_once();
    many_threads();
    failures();
  }

 private:
  // One run with its own buffers.
  struct Run {
    Run(OpenGraphCheck& of, hal_program* its_program, std::int64_t n, std::int64_t twice) {
      const auto view = graph::View::verify_dynamic(of.bytes_).value();
      const auto bound = view.bind(std::span(&n, 1)).value();
      input.resize(static_cast<std::size_t>(n) * 4);
      for (std::size_t i = 0; i < input.size(); ++i) { input[i] = static_cast<std::int32_t>(i * i % 17) - 8; }
      const auto given = std::as_bytes(std::span(input));
      expected = graph::evaluate_reference(bound, {&given, 1}).value();
      for (std::size_t t = 0; t < 3; ++t) {
        args[t].kind = HAL_ARG_BUFFER;
        args[t].value.slice = {of.allocate(bound.tensor(t).bytes), 0, bound.tensor(t).bytes};
        if (t > 0) { found[t - 1].resize(bound.tensor(t).bytes); }
      }
      for (std::size_t s = 0; s < 2; ++s) {
        const std::int64_t extent = s == 0 ? n : twice;
        args[3 + s].kind = HAL_ARG_SCALAR;
        args[3 + s].size = sizeof extent;
        std::memcpy(args[3 + s].value.scalar, &extent, sizeof extent);
      }
      program = its_program;
    }
    Run(OpenGraphCheck& of, hal_program* its_program, std::int64_t n) : Run(of, its_program, n, 2 * n) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    void submit(Harness::Lane& lane) {
      hal_command in{}, run{}, out[2]{};
      in.op = HAL_OP_COPY;
      in.as.copy = {args[0].value.slice, hal_host(input.data(), input.size() * 4)};
      run.op = HAL_OP_RUN;
      run.as.run.program = program;
      run.as.run.args = args;
      run.as.run.arg_count = 5;
      for (std::size_t i = 0; i < 2; ++i) {
        out[i].op = HAL_OP_COPY;
        out[i].as.copy = {hal_host(found[i].data(), found[i].size()), args[1 + i].value.slice};
      }
      lane.submit({in, run});  // what comes later must not pass a run that is being made
      lane.submit({out[0], out[1]});
    }
    bool is_right() const { return found[0] == expected[0] && found[1] == expected[1]; }

    std::vector<std::int32_t> input;
    std::vector<std::vector<std::byte>> expected;
    std::vector<std::byte> found[2];
    hal_arg args[5]{};
    hal_program* program = nullptr;
  };

  hal_buffer* allocate(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    return device_.allocate(bytes);
  }
  std::uint64_t lazy_loads() const {
    std::uint64_t count = 0;
    const hal_driver_ops& ops = device_.host().ops();
    REQUIRE(ops.number(device_.host().driver(), device_.impl(), "program.lazy_loads", &count) == 1);
    return count;
  }
  hal_program* load() {
    const graph::Signature signature(graph::View::verify_dynamic(bytes_).value());
    return device_.load({"hal.graph", bytes_.data(), bytes_.size(), nullptr, nullptr, 0}, {&signature.describe(), 1});
  }

  void each_size_is_made_once() {
    hal_program* program = load();
    std::deque<Run> runs;  // outlive the lane's work
    Harness::Lane lane(device_);
    const auto made_for = [&](std::int64_t n) {
      const std::uint64_t before = lazy_loads();
      Run& run = runs.emplace_back(*this, program, n);
      run.submit(lane);
      lane.finish();
      CHECK(run.is_right());
      return lazy_loads() - before;
    };
    CHECK(made_for(9) == 1);  // the largest first: its memory serves the others too
    CHECK(made_for(9) == 0);
    for (std::int64_t n = 1; n < 9; ++n) { CHECK(made_for(n) == 1); }
    CHECK(made_for(8) == 0);
    CHECK(made_for(1) == 0);
    CHECK(made_for(9) == 1);  // eight others were used since
    CHECK(made_for(2) == 1);
  }

  int run_many(hal_program* program, int seed) {
    std::vector<std::unique_ptr<Run>> runs;  // outlive the lane's work
    Harness::Lane lane(device_);
    for (int i = 0; i < 30; ++i) {
      runs.push_back(std::make_unique<Run>(*this, program, 1 + (i * (seed + 3) + seed) % 12));
      runs.back()->submit(lane);
    }
    lane.finish();
    return static_cast<int>(std::ranges::count_if(runs, [](const auto& run) { return run->is_right(); }));
  }

  void many_threads() {
    hal_program* program = load();
    std::atomic<int> right{0};
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
          try {
            right += run_many(program, t);
          } catch (const std::exception&) {}  // without memory: what is missing in the count says so
        });
      }
    }
    CHECK(right == 90);
  }

  // A run that cannot be made fails at its number with everything that does not fit; lane and program go at once.
  void failures() {
    hal_program* program = load();
    {
      Run good(*this, program, 5), bad(*this, program, 6, 11), never(*this, program, 5);
      Harness::Lane lane(device_);
      good.submit(lane);
      bad.submit(lane);
      never.submit(lane);
      REQUIRE_FALSE(lane.wait(lane.submitted()));
      CHECK(good.is_right());
      CHECK_FALSE(never.is_right());
      CHECK(lane.failed_number() == 6);
      CHECK(lane.completed() == 5);
      CHECK(hal_error_describe(lane.failure()).code == HAL_INVALID_ARGUMENT);
      const std::string what = hal_error_describe(lane.failure()).what;
      CHECK(what == "graph \"rows\": axis 0 of argument 2 (\"twice\") is 11, and (n + n) is 12 with n = 6");
    }
    Run after(*this, program, 6);
    Harness::Lane other(device_);
    after.submit(other);
    other.finish();
    CHECK(after.is_right());
  }

  Harness::Device& device_;
  std::vector<std::byte> bytes_;
  std::mutex mutex_;  // of the harness's list of buffers
};

}  // namespace hal::kit
