// SPDX-License-Identifier: Apache-2.0
// Data-parallel over two processes joined by the fabric port: rank 0 has all images, puts half of them into rank 1's
// memory, both classify on a device of their own, and rank 1 puts its answers into rank 0's memory.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "cli/demo/job.hpp"

namespace hal::cli::demo {

inline constexpr const char* kPort = "photonic:0";

struct RankOptions {
  std::string samples;               // as load_job()
  std::string result;                // rank 0 writes the answers and its account there
  std::vector<std::string> devices;  // by rank
  std::int64_t batch = 128;
};

/// What rank 0 reports of the whole.
struct FabricAccount {
  Answers answers;
  std::vector<std::string> names;  // of the devices, by rank
  std::uint64_t fabric_bytes = 0;  // through the port, both ways
  std::uint64_t device_bytes = 0;  // between host and devices, both ranks
  double run_ns = 0;               // from the first submission to the last answer, on rank 0
  std::vector<std::string> ports;  // each port's own report, JSON
};

/// Runs two ranks of this tool and returns rank 0's account. Errors: what a rank reported, as EXECUTION_FAILED
Result<FabricAccount> run_ranks(const RankOptions& options);

/// One rank, in its own process.
Result<int> rank_main(const RankOptions& options);

}  // namespace hal::cli::demo
