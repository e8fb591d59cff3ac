// SPDX-License-Identifier: Apache-2.0
// The subcommands of the tool `halyard`, one source each. Adding one to the app sets `body` when it is chosen; main
// runs the body and turns its result into the process's exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "hal/result.hpp"

namespace hal::cli {

// The tool's exit codes. A body that returns an Error prints its whole story and ends in kFailed.
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;  // the work was done and its answer is no, or it could not be done
inline constexpr int kUsage = 2;   // the command line is wrong; nothing was done

using Body = std::function<Result<int>()>;

void add_bench(CLI::App& app, Body& body);
void add_cache(CLI::App& app, Body& body);
void add_conformance(CLI::App& app, Body& body);
void add_demo(CLI::App& app, Body& body);
void add_devices(CLI::App& app, Body& body);
void add_doctor(CLI::App& app, Body& body);
void add_graph(CLI::App& app, Body& body);
void add_launch(CLI::App& app, Body& body);
void add_replay(CLI::App& app, Body& body);
void add_run(CLI::App& app, Body& body);
void add_topology(CLI::App& app, Body& body);

}  // namespace hal::cli
