// SPDX-License-Identifier: Apache-2.0
// A command that somebody wrote as one text: its words, and what stands in front of them for its environment. The
// quotes are the shell's; everything else that the shell would act on is refused, because no shell reads it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hal/hal.hpp"

namespace hal::cli::bench {

struct Words {
  std::vector<std::string> words;        // at least one, the program
  std::vector<std::string> environment;  // "NAME=VALUE"
};

/// Errors: INVALID_ARGUMENT with the character and its place.
Result<Words> split_words(std::string_view text);

/// As one word of such a text.
std::string quoted_word(std::string_view word);

}  // namespace hal::cli::bench
