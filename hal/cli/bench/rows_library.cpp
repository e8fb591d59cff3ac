// SPDX-License-Identifier: Apache-2.0
// What the library itself costs: opening it, crossing into it, and tracing.
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>

#include "cli/bench/row.hpp"
#include "cli/bench/timing.hpp"

namespace hal::cli::bench {
namespace {

using namespace std::chrono_literals;
constexpr int kMany = 20'000;
constexpr auto kLong = 30s;

Result<double> open_and_close() {
  constexpr int kOpenings = 4;
  const auto start = Clock::now();
  for (int i = 0; i < kOpenings; ++i) { HAL_TRY(const Instance instance, Instance::create("host")); }
  return ns_between(start, Clock::now()) / kOpenings;
}

// Only the submissions: what is traced is written when the instance goes.
Result<double> barriers(Queue& queue) {
  Point last{};
  const auto start = Clock::now();
  for (int i = 0; i < kMany; ++i) { HAL_TRY(last, queue.barrier()); }
  HAL_CHECK(wait(last, kLong));
  return ns_between(start, Clock::now()) / kMany;
}

// With the layer and nothing else that the environment asks for.
Result<Instance> traced_instance() {
  static constexpr const char* kName = "HALYARD_TRACE";
  const char* before = std::getenv(kName);
  const std::optional<std::string> kept = before != nullptr ? std::optional<std::string>(before) : std::nullopt;
  ::setenv(kName, "/dev/null", 1);
  Result<Instance> instance = Instance::create("host");
  if (kept) {
    ::setenv(kName, kept->c_str(), 1);
  } else {
    ::unsetenv(kName);
  }
  return instance;
}

Result<double> traced_submissions() {
  HAL_TRY(const Instance instance, traced_instance());
  HAL_TRY(const Device device, instance.open("host:0"));
  HAL_TRY(Queue queue, device.queue("bench traced"));
  return barriers(queue);
}

// Nanoseconds of one event; a range has two.
double ranges(hal_instance* instance) {
  return timed(kMany,
               [&] {
                 hal_range_begin(instance, "range");
                 hal_range_end(instance);
               }) /
         2;
}

Result<double> traced_ranges() {
  HAL_TRY(const Instance instance, traced_instance());
  // Not counted: the trace's own thread obtains the pages meanwhile, and the core comes back to speed.
  for (const auto start = Clock::now(); Clock::now() - start < 20ms;) { (void)ranges(nullptr); }
  (void)ranges(instance.get());
  return ranges(instance.get());
}

}  // namespace

Result<std::vector<Row>> library_rows(const Device& host) {
  HAL_TRY(const Queue queue, host.queue("bench library"));
  std::vector<Row> out;
  Row row;
  row.device = host.uri();
  row.name = "open and close an instance, host driver only";
  row.ours = open_and_close;
  row.target = Target::at_most(300'000);
  out.push_back(row);

  row = {};
  row.device = host.uri();
  row.name = "call into the library";
  row.ours = [queue]() -> Result<double> { return timed(kMany, [&] { keep(hal_queue_timeline(queue.get())); }); };
  row.limit = {"call through a table",
               []() -> Result<double> {
                 struct Table {
                   hal_timeline* (*entry)(hal_queue*);
                 };
                 static const Table table{[](hal_queue* given) { return reinterpret_cast<hal_timeline*>(given); }};
                 const Table* volatile at = &table;
                 return timed(kMany, [&] { keep(at->entry(nullptr)); });
               },
               {}};
  row.target = Target::at_most(3);
  out.push_back(row);

  row = {};
  row.device = host.uri();
  row.name = "event of a trace, begin or end of a range";
  row.ours = traced_ranges;
  row.target = Target::at_most(13);
  out.push_back(row);

  row = {};
  row.device = host.uri();
  row.name = "begin or end of a range that no layer hears of";
  row.ours = [plain = std::make_shared<Result<Instance>>(Instance::create("host"))]() -> Result<double> {
    if (!*plain) { return Error((*plain).error()); }
    return ranges((*plain)->get());
  };
  row.limit = {"the same without an instance", []() -> Result<double> { return ranges(nullptr); }, {}};
  row.target = Target::over(0.5, "the same without an instance");
  out.push_back(row);

  row = {};
  row.device = host.uri();
  row.name = "traced submission of an empty command, two events";
  row.ours = traced_submissions;
  row.limit = {"the same, not traced", [queue]() -> Result<double> { return barriers(const_cast<Queue&>(queue)); }, {}};
  out.push_back(std::move(row));
  return out;
}

}  // namespace hal::cli::bench
