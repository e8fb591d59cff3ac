// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/words.hpp"

#include <halyard_catch.hpp>

using namespace hal::cli::bench;
using List = std::vector<std::string>;

TEST_CASE("a command is split into words as the shell would") {
  const struct {
    const char* text;
    List words, environment;
  } good[] = {
      {"prog", {"prog"}, {}},
      {"  prog  a\tb ", {"prog", "a", "b"}, {}},
      {R"('my prog' "a b" c\ d e'f'"g"h '' "")", {"my prog", "a b", "c d", "efgh", "", ""}, {}},
      {R"(sh -c 'echo "$1" | cat; x=*' \$ \')", {"sh", "-c", "echo \"$1\" | cat; x=*", "$", "'"}, {}},
      {R"(p "a\"b\\c\d\$")", {"p", "a\"b\\c\\d$"}, {}},
      {"A=1 _b2='x y' C= prog D=2", {"prog", "D=2"}, {"A=1", "_b2=x y", "C="}},
      {"'A'=1", {"A=1"}, {}},
      {"1A=1 =x", {"1A=1", "=x"}, {}},
      {"a#b ~c", {}, {}},  // '~' begins a word
      {"a#b c~d", {"a#b", "c~d"}, {}},
  };
  for (const auto& each : good) {
    INFO(each.text);
    const auto found = split_words(each.text);
    REQUIRE(found.has_value() == !each.words.empty());
    if (!found) { continue; }
    CHECK(found->words == each.words);
    CHECK(found->environment == each.environment);
  }
}

TEST_CASE("what only a shell can do is refused with its place") {
  for (const char* text : {"a | b", "a;b", "a && b", "a > f", "a < f", "(a)", "a $X", "a `b`", "a *.txt", "a b?",
                           "a [b]", "# a", "a \"$X\"", "a\nb"}) {
    INFO(text);
    const auto found = split_words(text);
    REQUIRE_FALSE(found);
    CHECK(found.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(std::string(found.error().what()).find("is the shell's") != std::string::npos);
    CHECK(std::string(found.error().what()).find("sh -c '...'") != std::string::npos);
  }
  CHECK(std::string(split_words("echo a | cat").error().what()).find("the '|' at 7 ") != std::string::npos);
  for (const char* text : {"", "  ", "A=1", "'a", "\"a", "a 'b", "a\\", "a \"b\\"}) {
    INFO(text);
    CHECK_FALSE(split_words(text));
  }
}

TEST_CASE("a quoted word comes back whole") {
  for (const std::string word : {"plain", "it's", "a b", "'", "$(x)", "\"", "\\", ""}) {
    const auto found = split_words("p " + quoted_word(word));
    REQUIRE(found);
    CHECK(found->words == List{"p", word});
  }
}
