// SPDX-License-Identifier: Apache-2.0
// What is wrong with a command line by its words alone: the same ending everywhere, kUsage and where to read on.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "hal/result.hpp"

namespace hal::cli {

/// For bodies that find more than CLI11's checks do.
Error usage_error(const std::string& what);
bool is_usage_error(const Error& error);

/// Says it with a hint at --help. Returns kUsage.
int refuse(const CLI::App& app, std::string_view what);

/// The option that was given an empty value, which no option takes; empty if there is none.
std::string given_empty(const CLI::App& app);

/// NAME=VALUE, neither empty.
CLI::Validator named_value();
/// A number of seconds. Checked as text: no range of CLI11's keeps nan out.
CLI::Validator seconds(double least, double most);

}  // namespace hal::cli
