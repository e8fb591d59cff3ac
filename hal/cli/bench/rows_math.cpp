// SPDX-License-Identifier: Apache-2.0
// Matrix products and softmax on the host. Peers do the same shapes with the same number of threads.
#include <fmt/format.h>

#include <array>

#include "cli/bench/row.hpp"
#include "cli/bench/timing.hpp"
#include "cli/bench/trips.hpp"
#include "hal/graph.hpp"
#include "hal/nn.hpp"

namespace hal::cli::bench {
namespace {

using namespace std::chrono_literals;
constexpr auto kLong = 60s;

// A program of one graph and a buffer for each of its parameters, filled with ones.
struct Runner {
  Queue queue;
  Entry entry;
  std::vector<Buffer> buffers;
  std::vector<Arg> args;
};

Result<std::shared_ptr<Runner>> runner(const Device& host, const Queue& queue, const GraphBuilder& builder,
                                       std::uint32_t one, std::uint32_t one_bytes) {
  HAL_TRY(const std::vector<std::byte> image, builder.finish());
  HAL_TRY(const Program program, host.load({"hal.graph", image}));
  auto made = std::make_shared<Runner>(Runner{queue, program.entry(0), {}, {}});
  const Signature& signature = made->entry.signature();
  Point ready{};
  for (const hal_param& param : std::span(signature.params, signature.param_count)) {
    HAL_TRY(Buffer buffer, host.buffer(param.bytes));
    if (one_bytes == 4) { HAL_TRY(ready, made->queue.fill(buffer, one)); }
    if (one_bytes == 2) { HAL_TRY(ready, made->queue.fill(buffer, static_cast<std::uint16_t>(one))); }
    if (one_bytes == 1) { HAL_TRY(ready, made->queue.fill(buffer, static_cast<std::uint8_t>(one))); }
    made->args.emplace_back(buffer);
    made->buffers.push_back(std::move(buffer));
  }
  HAL_TRY(ready, made->queue.prepare(made->entry));
  HAL_CHECK(wait(ready, kLong));
  return made;
}

// `ones` is how often one repetition runs it.
Row row_of(const Device& host, std::string name, Result<std::shared_ptr<Runner>> made, int ones) {
  Row row;
  row.name = std::move(name);
  row.device = host.uri();
  if (!made) {
    row.missing = std::string(made.error().what());
    return row;
  }
  row.ours = [run = *made, ones] { return timed_trips(ones, [&] { return run->queue.run(run->entry, run->args); }); };
  return row;
}

struct Type {
  const char* name;
  DType in, out;
  std::uint32_t one, one_bytes;
  double target;
};

Row matmul(const Device& host, const Queue& queue, const Type& type, std::int64_t n) {
  GraphBuilder b("matmul");
  const graph::Value left = b.input("a", type.in, {n, n}), right = b.input("b", type.in, {n, n});
  b.output("c", b.contract("mk,kn->mn", left, right, type.out));
  Row row = row_of(host, fmt::format("matmul {} {}", type.name, n), runner(host, queue, b, type.one, type.one_bytes),
                   product_runs(static_cast<double>(n), type.in != DType::f32));
  row.target = Target::speed(type.target, "oneDNN");
  return row;
}

Row softmax(const Device& host, const Queue& queue, std::int64_t rows, std::int64_t columns) {
  GraphBuilder b("softmax");
  b.output("y", nn::softmax(b, b.input("x", DType::f32, {rows, columns})));
  Row row =
      row_of(host, fmt::format("softmax {}x{}", rows, columns), runner(host, queue, b, 0x3f800000U, 4), kSoftmaxRuns);
  row.target = Target::speed(1.0, "oneDNN");
  return row;
}

}  // namespace

Result<std::vector<Row>> math_rows(const Device& host) {
  HAL_TRY(const Queue queue, host.queue("bench math"));
  std::vector<Row> out;
  const std::array types{Type{"f32", DType::f32, DType::f32, 0x3f800000U, 4, 0.95},
                         Type{"bf16", DType::bf16, DType::bf16, 0x3f80U, 2, 0.90},
                         Type{"int8", DType::i8, DType::i32, 1, 1, 0.90}};
  for (const std::int64_t n : {32, 128, 512, 1024}) { out.push_back(matmul(host, queue, types[0], n)); }
  for (const std::int64_t n : {512, 1024}) {
    out.push_back(matmul(host, queue, types[1], n));
    out.push_back(matmul(host, queue, types[2], n));
  }
  out.push_back(softmax(host, queue, 4096, 1024));
  out.push_back(softmax(host, queue, 512, 32768));
  return out;
}

}  // namespace hal::cli::bench
