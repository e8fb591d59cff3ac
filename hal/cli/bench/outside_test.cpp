// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/outside.hpp"

#include "cli/bench/line.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <halyard_catch.hpp>

using namespace hal::cli::bench;

namespace {

Row row(std::string name, std::string device = "host:0") {
  Row made;
  made.name = std::move(name);
  made.device = std::move(device);
  return made;
}

// A file that goes with the test.
struct TemporaryFile {
  std::string path;
  explicit TemporaryFile(const std::string& text) {
    char name[] = "/tmp/halyard-bench-XXXXXX";
    const int handle = ::mkstemp(name);
    REQUIRE(handle >= 0);
    path = name;
    std::ofstream(path) << text;
    std::fclose(::fdopen(handle, "r"));
  }
  ~TemporaryFile() { std::remove(path.c_str()); }
};

}  // namespace

TEST_CASE("a line of results has three parts between tabs") {
  const hal::Result<Line> line = parse_line("null barrier\tIREE local-sync\t64.5\r", "x:1");
  REQUIRE(line);
  CHECK(line->row == "null barrier");
  CHECK(line->subject == "IREE local-sync");
  CHECK(line->ns == 64.5);
  CHECK(parse_line("a\tb\t-", "x:1")->nothing);
  CHECK(parse_line("a\tb\tmissing: no library", "x:1")->missing == "no library");
}

TEST_CASE("a line that is none says where and what") {
  for (const char* text : {"", "a", "a\tb", "a\tb\t", "a\tb\tx", "a\tb\t1 ", "a\tb\t0", "a\tb\t-1", "a\tb\tnan",
                           "a\tb\tinf", "a\tb\t1e999", "a\xFF\tb\t1", "a\tb\xC3\t1", "a\tb\x1B[2J\t1",
                           "a\tb\tmissing: \xFF", "\tb\t1", "a\t\t1", "a\tb\tmissing: "}) {
    const hal::Result<Line> line = parse_line(text, "here:7");
    INFO(text);
    REQUIRE_FALSE(line);
    CHECK(line.error().code() == HAL_INVALID_ARGUMENT);
    CHECK(line.error().what().starts_with("here:7: "));
  }
}

TEST_CASE("a file's results become peers of the host's rows alone") {
  const TemporaryFile file("#made elsewhere\nbarrier\tother\t10\nbarrier\tother\t30\n\ncopy\tother\t-\n");
  std::vector<Row> rows{row("barrier"), row("barrier", "cuda:0"), row("copy")};
  std::vector<std::string> notes;
  REQUIRE(add_peers({file.path}, rows, notes));
  REQUIRE(rows[0].peers.size() == 1);
  CHECK(rows[0].peers[0].name == "other (from a file)");
  CHECK(*rows[0].peers[0].once() == 10);
  CHECK(*rows[0].peers[0].once() == 30);
  CHECK(*rows[0].peers[0].once() == 10);
  CHECK(rows[1].peers.empty());
  CHECK(rows[2].peers.empty());
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].starts_with("made elsewhere"));
}

TEST_CASE("a file with a row that does not exist names file, line and row") {
  const TemporaryFile file("barrier\tother\t10\nnosuch\tother\t10\n");
  std::vector<Row> rows{row("barrier")};
  std::vector<std::string> notes;
  const hal::Result<void> added = add_peers({file.path}, rows, notes);
  REQUIRE_FALSE(added);
  CHECK(added.error().what().find(":2: no row 'nosuch'") != std::string::npos);
}

TEST_CASE("a program answers row by row, may comment, and may be missing") {
  std::vector<Row> rows{row("one"), row("two"), row("three")};
  std::vector<std::string> notes;
  REQUIRE(
      add_peers({"sh -c 'echo \"# version 1\"; read -r r; printf \"%s\\tp\\t5\\n\" \"$r\"; read -r r; "
                 "printf \"%s\\tp\\t-\\n\" \"$r\"; read -r r; printf \"%s\\tp\\tmissing: gone\\n\" \"$r\"; read -r r; "
                 "printf \"%s\\tp\\t7\\n\" \"$r\"'"},
                rows, notes));
  REQUIRE(rows[0].peers.size() == 1);
  CHECK(rows[1].peers.empty());
  REQUIRE(rows[2].peers.size() == 1);
  CHECK(rows[2].peers[0].missing == "gone");
  CHECK(*rows[0].peers[0].once() == 7);
  const hal::Result<double> ended = rows[0].peers[0].once();
  REQUIRE_FALSE(ended);
  CHECK(notes.size() == 2);
}

TEST_CASE("a program that answers for another row is refused") {
  std::vector<Row> rows{row("one")};
  std::vector<std::string> notes;
  const hal::Result<void> added = add_peers({"sh -c 'read -r r; printf \"two\\tp\\t5\\n\"'"}, rows, notes);
  REQUIRE_FALSE(added);
  CHECK(added.error().what().find("was asked for 'one' and answered for 'two'") != std::string::npos);
}
