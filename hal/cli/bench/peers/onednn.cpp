// SPDX-License-Identifier: Apache-2.0
// oneDNN called directly, with plain layouts: what the host device is given is plain too.
#include "cli/bench/peers/peer.hpp"

#if defined(HALYARD_PEER_ONEDNN)
#include <fmt/format.h>

#include <dnnl.hpp>
#include <memory>

#include "cli/bench/timing.hpp"
#endif

namespace hal::cli::bench::peers {

#if defined(HALYARD_PEER_ONEDNN)
namespace {

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

std::size_t bytes_of(Type type) { return type == Type::f32 || type == Type::s32 ? 4 : type == Type::bf16 ? 2 : 1; }

// Filled with ones, so that no page is missing and no denormal slows it down.
dnnl::memory ones(const dnnl::memory::desc& desc, Type type) {
  dnnl::memory made(desc, engine());
  auto* bytes = static_cast<unsigned char*>(made.get_data_handle());
  const float one = 1;
  for (std::size_t i = 0; i < desc.get_size(); i += bytes_of(type)) {
    if (type == Type::f32) { std::memcpy(bytes + i, &one, 4); }
    if (type == Type::s32) { std::memset(bytes + i, 0, 4); }
    if (type == Type::bf16) { std::memcpy(bytes + i, reinterpret_cast<const char*>(&one) + 2, 2); }
    if (type == Type::s8) { bytes[i] = 1; }
  }
  return made;
}

Once matmul(dnnl::memory::dim n, Type in, Type out) {
  const dnnl::memory::desc a({n, n}, in, Tag::ab), c({n, n}, out, Tag::ab);
  const dnnl::matmul::primitive_desc made({a, a, c}, engine());
  const dnnl::matmul run(made);
  const dnnl::memory left = ones(a, in), right = ones(a, in), result = ones(c, out);
  const int count = product_runs(static_cast<double>(n), in != Type::f32);
  return [=, stream = dnnl::stream(engine())]() mutable {
    return timed_warm(count, [&] {
      run.execute(stream, {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, right}, {DNNL_ARG_DST, result}});
      stream.wait();
    });
  };
}

Once softmax(dnnl::memory::dim rows, dnnl::memory::dim columns) {
  const dnnl::memory::desc x({rows, columns}, Type::f32, Tag::ab);
  const dnnl::softmax_forward::primitive_desc made({dnnl::prop_kind::forward_inference, x, 1}, engine());
  const dnnl::softmax_forward run(made);
  const dnnl::memory from = ones(x, Type::f32), to = ones(x, Type::f32);
  return [=, stream = dnnl::stream(engine())]() mutable {
    return timed_warm(kSoftmaxRuns, [&] {
      run.execute(stream, {{DNNL_ARG_SRC, from}, {DNNL_ARG_DST, to}});
      stream.wait();
    });
  };
}

}  // namespace
#endif

Peer onednn() {
  Peer peer{"oneDNN", {}, {"softmax 4096x1024", "softmax 512x32768"}, {}, {}};
  for (const char* n : {"32", "128", "512", "1024"}) { peer.rows.push_back(std::string("matmul f32 ") + n); }
  for (const char* n : {"512", "1024"}) {
    peer.rows.push_back(std::string("matmul bf16 ") + n);
    peer.rows.push_back(std::string("matmul int8 ") + n);
  }
#if defined(HALYARD_PEER_ONEDNN)
  const dnnl_version_t* version = dnnl::version();
  peer.notes.push_back(fmt::format("oneDNN {}.{}.{} called directly, plain layouts, OpenMP's default number of threads",
                                   version->major, version->minor, version->patch));
  peer.prepare = [](const std::string& row) {
    const std::size_t last = row.rfind(' ');
    if (row.starts_with("softmax")) {
      const std::size_t by = row.find('x', last);
      return softmax(std::stol(row.substr(last + 1, by - last - 1)), std::stol(row.substr(by + 1)));
    }
    const long n = std::stol(row.substr(last + 1));
    return row.starts_with("matmul f32")    ? matmul(n, Type::f32, Type::f32)
           : row.starts_with("matmul bf16") ? matmul(n, Type::bf16, Type::bf16)
                                            : matmul(n, Type::s8, Type::s32);
  };
#else
  peer.missing = "this build found no oneDNN";
#endif
  return peer;
}

}  // namespace hal::cli::bench::peers
