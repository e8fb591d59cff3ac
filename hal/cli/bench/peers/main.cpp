// SPDX-License-Identifier: Apache-2.0
// halyard-peers NAME: answers rows of `halyard bench` on standard input, in the format of cli/bench/line.hpp.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <exception>
#include <iostream>
#include <map>

#include "cli/bench/peers/peer.hpp"

namespace {

using namespace hal::cli::bench::peers;

long interruptions() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

// As the tool does with ours: again if other work took the core.
double quiet(const Once& once) {
  constexpr int kTries = 4;
  for (int i = 1;; ++i) {
    const long before = interruptions();
    const double ns = once();
    if (interruptions() == before || i == kTries) { return ns; }
  }
}

int serve(const Peer& peer) {
  for (const std::string& note : peer.notes) { std::cout << "# " << note << std::endl; }
  std::map<std::string, Once> prepared;
  for (std::string row; std::getline(std::cin, row);) {
    std::string answer;
    if (std::ranges::find(peer.rows, row) == peer.rows.end()) {
      answer = "-";
    } else if (!peer.missing.empty()) {
      answer = "missing: " + peer.missing;
    } else {
      try {
        auto found = prepared.find(row);
        if (found == prepared.end()) { found = prepared.emplace(row, peer.prepare(row)).first; }
        answer = fmt::format("{:.4f}", quiet(found->second));
      } catch (const std::exception& problem) { answer = fmt::format("missing: {}", problem.what()); }
    }
    std::cout << row << '\t' << peer.name << '\t' << answer << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, Peer (*)()> known{
      {"onednn", onednn}, {"openblas", openblas}, {"opencl", opencl}, {"tbb", tbb}};
  const auto found = argc == 2 ? known.find(argv[1]) : known.end();
  if (found == known.end()) {
    std::cerr << "usage: halyard-peers onednn | openblas | opencl | tbb\n"
                 "answers rows of `halyard bench` on standard input; docs/performance.md has the format\n";
    return 2;
  }
  return serve(found->second());
}
