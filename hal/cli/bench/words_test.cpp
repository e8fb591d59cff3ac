// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/words.hpp"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <halyard_catch.hpp>
#include <memory>
#include <random>

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
      {"A=1 AA=2 p", {"p"}, {"A=1", "AA=2"}},
      {R"(A='~' B=\~ C=x~ D=\:~ p E.=~)", {"p", "E.=~"}, {"A=~", "B=~", "C=x~", "D=:~"}},
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
                           "a [b]", "# a", "a \"$X\"", "a\nb", "A=~/x p", "A=1:~ p", "p A=~", "a\\\nb", "\"a\\\nb\""}) {
    INFO(text);
    const auto found = split_words(text);
    REQUIRE_FALSE(found);
    CHECK(found.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(std::string(found.error().what()).find("is the shell's") != std::string::npos);
    CHECK(std::string(found.error().what()).find("sh -c '...'") != std::string::npos);
  }
  CHECK(std::string(split_words("echo a | cat").error().what()).find("the '|' at 7 ") != std::string::npos);
  CHECK(std::string(split_words("A=1 B=2 A=3 p").error().what()).find("'A=' is given twice") != std::string::npos);
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

namespace {

std::string random_text(std::mt19937& random, std::string_view from, std::size_t longest) {
  std::string out(random() % (longest + 1), ' ');
  for (char& c : out) { c = from[random() % from.size()]; }
  return out;
}

}  // namespace

TEST_CASE("whatever a word is, quoted it comes back whole, behind and in front of others") {
  std::mt19937 random(7);
  std::string all;
  for (int c = 1; c < 256; ++c) { all += static_cast<char>(c); }
  for (int i = 0; i < 2000; ++i) {
    const List words{"p", random_text(random, all, 12), random_text(random, "'\"\\ \n=~$ab", 12), ""};
    std::string text;
    for (const std::string& word : words) { text += quoted_word(word) + " "; }
    const auto found = split_words(text);
    REQUIRE(found);
    CHECK(found->words == words);
    CHECK(found->environment.empty());
  }
}

TEST_CASE("what is split at all is split as the shell does it") {
  std::mt19937 random(11);
  const std::string path =
      (std::filesystem::temp_directory_path() / ("halyard-words-test-" + std::to_string(::getpid()))).string();
  const std::unique_ptr<const char, int (*)(const char*)> removed(path.c_str(), ::unlink);  // whatever fails below
  std::vector<List> expected;
  {
    std::ofstream script(path);
    for (int i = 0; i < 20'000; ++i) {  // each is arguments to printf, whatever else the shell might see in it
      const std::string text = "p " + random_text(random, "aab=:~'\"\\#$`*?[]{}!-  ", 10);
      const auto found = split_words(text);
      if (!found) { continue; }
      expected.push_back(found->words);
      script << "printf '%s\\000' " << text << "\nprintf '\\001'\n";
    }
  }
  REQUIRE(expected.size() > 1000);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> shell(::popen(("sh " + quoted_word(path)).c_str(), "r"),
                                                              ::pclose);
  REQUIRE(shell);
  List words;
  std::string word;
  std::size_t at = 0, wrong = 0;
  for (int c = std::fgetc(shell.get()); c != EOF; c = std::fgetc(shell.get())) {
    if (c == 1) {
      if (at >= expected.size() || words != expected[at]) { ++wrong; }
      ++at;
      words.clear();
    } else if (c == 0) {
      words.push_back(std::move(word));
      word.clear();
    } else {
      word += static_cast<char>(c);
    }
  }
  CHECK(at == expected.size());
  CHECK(wrong == 0);
}
