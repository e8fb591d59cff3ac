// SPDX-License-Identifier: Apache-2.0
// One peer of `halyard bench`, in a program of its own: which rows it does, and one repetition of each.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace hal::cli::bench::peers {

using Once = std::function<double()>;  // nanoseconds of one operation

struct Peer {
  std::string name;
  std::string missing;             // why it cannot be measured here; empty if it can
  std::vector<std::string> rows;   // that it does, or would do
  std::vector<std::string> notes;  // version, threads, settings
  std::function<Once(const std::string& row)> prepare;
};

Peer onednn();
Peer openblas();
Peer opencl();
Peer tbb();

}  // namespace hal::cli::bench::peers
