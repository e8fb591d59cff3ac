// SPDX-License-Identifier: Apache-2.0
// Copies and fills beside the C library's, and buffers from a pool that has one ready.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "cli/bench/names.hpp"
#include "cli/bench/row.hpp"
#include "cli/bench/timing.hpp"
#include "cli/bench/trips.hpp"
#include "cli/table.hpp"

namespace hal::cli::bench {
namespace {

using namespace std::chrono_literals;
constexpr auto kLong = 30s;

// About a millisecond's worth, and at least twice.
int count_for(std::uint64_t bytes) {
  return static_cast<int>(std::clamp<std::uint64_t>((32U << 20U) / bytes, 2, 5000));
}

// The library's functions work on the very buffers that ours uses: pages and caches are the same.
Result<std::vector<Row>> moves(const Device& host, const Queue& queue, std::uint64_t bytes) {
  HAL_TRY(const Buffer from, host.buffer(bytes));
  HAL_TRY(const Buffer to, host.buffer(bytes));
  const std::span<std::byte> source = from.host(), target = to.host();
  if (source.empty() || target.empty()) { return Error(HAL_UNSUPPORTED, "the buffers have no host address"); }
  std::memset(source.data(), 1, source.size());
  std::memset(target.data(), 2, target.size());
  const int count = count_for(bytes);
  Row copy, fill;
  copy.device = fill.device = host.uri();
  copy.name = fmt::format("copy {}", bytes_text(bytes));
  copy.ours = [=] { return timed_trips(count, [&] { return const_cast<Queue&>(queue).copy(from, to); }); };
  copy.limit = {"memcpy",
                [=, hold = std::array{from, to}]() -> Result<double> {
                  return timed_warm(count, [&] {
                    std::memcpy(target.data(), source.data(), bytes);
                    keep(target.data());
                  });
                },
                {}};
  copy.target = bytes < 1U << 16U    ? Target::over(50, "memcpy")
                : bytes < 16U << 20U ? Target::speed(0.95, "memcpy")
                                     : Target::speed(1.2, "memcpy");
  fill.name = fmt::format("fill {}, 4-byte pattern", bytes_text(bytes));
  fill.ours = [=] {
    return timed_trips(count, [&] { return const_cast<Queue&>(queue).fill(to, std::uint32_t{0x01020304}); });
  };
  fill.limit = {"memset",
                [=, hold = to]() -> Result<double> {
                  return timed_warm(count, [&] {
                    std::memset(target.data(), 7, bytes);
                    keep(target.data());
                  });
                },
                {}};
  fill.target = bytes < 1U << 12U   ? Target{}
                : bytes < 1U << 16U ? Target::over(50, "memset")
                                    : Target::speed(0.9, "memset");
  return std::vector{std::move(copy), std::move(fill)};
}

}  // namespace

Result<std::vector<Row>> memory_rows(const Device& host) {
  HAL_TRY(const Queue queue, host.queue("bench memory"));
  HAL_TRY(const Pool pool, host.pool());
  std::vector<Row> out;
  for (const std::uint64_t bytes : {std::uint64_t{64}, std::uint64_t{4} << 10U, std::uint64_t{64} << 10U,
                                    std::uint64_t{1} << 20U, std::uint64_t{16} << 20U, std::uint64_t{64} << 20U}) {
    HAL_TRY(std::vector<Row> more, moves(host, queue, bytes));
    std::ranges::move(more, std::back_inserter(out));
  }
  constexpr int kMany = 5'000;
  constexpr std::uint64_t kBytes = 1U << 20U;
  const Subject limit{"malloc and free of 64 B",
                      []() -> Result<double> {
                        return timed(kMany, [] {
                          void* block = std::malloc(64);
                          keep(block);
                          std::free(block);
                        });
                      },
                      {}};
  Row row;
  row.device = host.uri();
  row.name = kWarmBuffer;
  row.limit = limit;
  row.target = Target::at_most(150);
  row.ours = [host]() -> Result<double> {
    const auto start = Clock::now();
    for (int i = 0; i < kMany; ++i) {
      HAL_TRY(const Buffer made, host.buffer(kBytes));
      keep(made.get());
    }
    return ns_between(start, Clock::now()) / kMany;
  };
  out.push_back(row);
  row.name = "warm buffer of 1 MiB, alloc and free on a queue";
  row.target = {};
  row.ours = [host, queue, pool]() -> Result<double> {
    Queue& on = const_cast<Queue&>(queue);
    Point last{};
    const auto start = Clock::now();
    for (int i = 0; i < kMany; ++i) {
      HAL_TRY(const Buffer made, on.alloc(pool, kBytes));
      HAL_TRY(last, on.free(made));
    }
    HAL_CHECK(wait(last, kLong));
    return ns_between(start, Clock::now()) / kMany;
  };
  out.push_back(std::move(row));
  return out;
}

}  // namespace hal::cli::bench
