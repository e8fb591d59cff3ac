// SPDX-License-Identifier: Apache-2.0
// How commands print for people. Names come from files, drivers and the environment: they do nothing to a terminal.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "text/utf8.hpp"

namespace hal::cli {

template <class... Args>
void say(std::FILE* to, fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = text::plain_lines(fmt::format(format, std::forward<Args>(args)...));
  (void)std::fwrite(text.data(), 1, text.size(), to);  // main asks stdout at the end
}

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  say(stdout, format, std::forward<Args>(args)...);
}

}  // namespace hal::cli
