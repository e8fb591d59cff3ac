// SPDX-License-Identifier: Apache-2.0
#include "cli/usage.hpp"

#include <fmt/format.h>

#include <charconv>

#include "cli/command.hpp"
#include "cli/say.hpp"

namespace hal::cli {
namespace {

constexpr std::string_view kOrigin = "command line";

// "halyard cache list"
std::string words_of(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return app.get_name() + (chosen.empty() ? "" : " " + words_of(*chosen.front()));
}

}  // namespace

Error usage_error(const std::string& what) { return {HAL_INVALID_ARGUMENT, what, kOrigin.data(), "", 0}; }

bool is_usage_error(const Error& error) { return error.info().origin == kOrigin; }

int refuse(const CLI::App& app, std::string_view what) {
  const std::string words = words_of(app);
  say(stderr, "{}: {}\ntry: {} --help\n", words, what, words);
  return kUsage;
}

std::string given_empty(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (std::ranges::any_of(option->results(), &std::string::empty)) { return option->get_name(); }
  }
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? std::string() : given_empty(*chosen.front());
}

CLI::Validator named_value() {
  const auto check = [](const std::string& text) {
    const std::size_t equals = text.find('=');
    const bool good = equals != 0 && equals < text.size() - 1;  // npos is not
    return good ? std::string() : fmt::format("expected NAME=VALUE, not '{}'", text);
  };
  return {check, "", "named value"};
}

CLI::Validator seconds(double least, double most) {
  const auto check = [=](const std::string& text) {
    double value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool good = problem == std::errc() && end == text.data() + text.size() && value >= least && value <= most;
    return good ? std::string() : fmt::format("expected seconds from {} to {}, not '{}'", least, most, text);
  };
  return {check, fmt::format("SECONDS from {} to {}", least, most), "seconds"};
}

}  // namespace hal::cli
