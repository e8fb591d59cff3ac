// SPDX-License-Identifier: Apache-2.0
#include "cli/files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <halyard_catch.hpp>

#include "cli/table.hpp"
#include "text/utf8.hpp"

using namespace hal::cli;

TEST_CASE("npy: what is written is read back", "[cli]") {
  for (const hal::graph::Shape& shape : {hal::graph::Shape{}, {3}, {2, 3}, {1, 2, 3, 1}}) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) { count *= static_cast<std::size_t>(size); }
    digits::Array array{hal::DType::i32, shape, std::vector<std::byte>(count * 4, std::byte{7})};
    const auto bytes = to_npy(array).value();
    CHECK(bytes.size() % 64 == array.bytes.size() % 64);  // data starts on a multiple of 64, as numpy wants it
    const auto back = digits::parse_npy(bytes, "memory").value();
    CHECK(back.dtype == array.dtype);
    CHECK(back.shape == array.shape);
    CHECK(back.bytes == array.bytes);
  }
}

TEST_CASE("npy: types without a name in numpy are refused", "[cli]") {
  CHECK(to_npy({hal::DType::bf16, {1}, {}}).error().code() == HAL_UNSUPPORTED);
}

TEST_CASE("text: control characters become question marks, in time that grows with the text", "[cli]") {
  using hal::text::plain;
  CHECK(plain("").empty());
  CHECK(plain("a\n\x1b[1mb\x7f") == "a??[1mb?");
  CHECK(plain("\u0080x\u009f\u00a0\u20ac") == "?x?\u00a0\u20ac");
  CHECK(plain("\u00e9\xff") == "???");
  std::string many;
  for (int i = 0; i < 1 << 22; ++i) { many += "\u0085"; }
  CHECK(plain(many) == std::string(std::size_t{1} << 22U, '?'));
}

TEST_CASE("files: reasons name the file", "[cli]") {
  CHECK(read_file("no/such/file").error().code() == HAL_NOT_FOUND);
  CHECK(std::string(read_file("no/such/file").error().what()).find("no/such/file") == 0);
  CHECK(read_file("/").error().code() == HAL_NOT_FOUND);  // a folder opens and cannot be read
  CHECK(write_file("no/such/file", {}).error().code() == HAL_UNAVAILABLE);
}

TEST_CASE("files: a pipe that nobody writes to is empty", "[cli]") {
  const std::string pipe = "files_test.pipe";
  (void)unlink(pipe.c_str());
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(read_file(pipe).value().empty());
  CHECK(digits::load_npy(pipe).error().code() == HAL_INVALID_IMAGE);
  (void)unlink(pipe.c_str());
}

TEST_CASE("files: what does not end is refused, and npy asks for no more than its header says", "[cli]") {
  const auto endless = read_file("/dev/zero");
  REQUIRE_FALSE(endless);
  CHECK(endless.error().code() == HAL_OUT_OF_RANGE);
  CHECK(std::string(endless.error().what()).find("/dev/zero gives more than 268435456 bytes") == 0);
  CHECK(read_file("/dev/null").value().empty());
  CHECK(digits::load_npy("/dev/zero").error().code() == HAL_INVALID_IMAGE);
  CHECK(digits::load_npy("/dev/null").error().code() == HAL_INVALID_IMAGE);

  const std::string path = "files_test.npy";
  const digits::Array array{hal::DType::i32, {5}, std::vector<std::byte>(20, std::byte{7})};
  auto bytes = to_npy(array).value();
  const auto load = [&](std::size_t size) {
    bytes.resize(size);
    REQUIRE(write_file(path, bytes));
    return digits::load_npy(path);
  };
  const std::size_t whole = bytes.size();
  CHECK(load(whole).value().bytes == array.bytes);
  CHECK(std::string(load(whole + 1).error().what()).find("more than 20 bytes follow") != std::string::npos);
  CHECK(std::string(load(whole - 1).error().what()).find("19 bytes follow") != std::string::npos);
  CHECK(load(whole - 30).error().code() == HAL_INVALID_IMAGE);
  CHECK(load(11).error().code() == HAL_INVALID_IMAGE);
  // An array of 2^58 bytes, of which none comes.
  const std::string text =
      "\x93NUMPY\x01\x01\x50\x01{'descr': '<f8', 'fortran_order': False, 'shape': (36028797018963968,), }";
  bytes.assign(10 + 0x150, std::byte{' '});
  std::memcpy(bytes.data(), text.data(), text.size());
  CHECK(std::string(load(bytes.size()).error().what()).find("0 bytes follow the header") != std::string::npos);
  (void)unlink(path.c_str());
}

TEST_CASE("files: a device stays what it is when it is written to", "[cli]") {
  struct stat before{}, after{};
  const std::string link = "files_test.null";
  (void)unlink(link.c_str());
  REQUIRE(symlink("/dev/null", link.c_str()) == 0);
  const std::array bytes{std::byte{1}};
  CHECK(write_file(link, bytes));
  REQUIRE(lstat(link.c_str(), &before) == 0);
  CHECK(S_ISLNK(before.st_mode));
  REQUIRE(stat(link.c_str(), &after) == 0);
  CHECK(S_ISCHR(after.st_mode));
  (void)unlink(link.c_str());
}

TEST_CASE("table: columns line up and lines do not end in blanks", "[cli]") {
  Table table({{"A"}, {"SIZE", Align::right}, {"B"}});
  table.row({"long name", "1", "x"});
  table.row({"é", "100", ""});
  CHECK(table.text() == "A          SIZE  B\nlong name     1  x\né           100\n");
}

TEST_CASE("numbers have units", "[cli]") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1536) == "1.5 KiB");
  CHECK(bytes_text(std::uint64_t{48} << 30U) == "48.0 GiB");
  CHECK(time_text(1.234) == "1.23 ns");
  CHECK(time_text(999.6) == "1.00 us");
  CHECK(time_text(12.34e6) == "12.3 ms");
  CHECK(time_text(12345e9) == "12345 s");
}
