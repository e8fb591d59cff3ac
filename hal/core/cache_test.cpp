// SPDX-License-Identifier: Apache-2.0
// Serialised programs and the cache of compiled ones: the emulated RNGD compiles, the host writes graphs as they are.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <halyard_catch.hpp>
#include <thread>

#include "cache/folder.hpp"
#include "core/file_digest.hpp"
#include "core/sha256.hpp"
#include "graph/add_graph.hpp"
#include "hal/hal.hpp"

using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path;
  Folder() {
    static int count = 0;
    path =
        fs::temp_directory_path() / ("halyard-cache-test-" + std::to_string(getpid()) + "-" + std::to_string(count++));
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    if (fs::exists(path)) {
      for (const auto& each : fs::directory_iterator(path)) { all.push_back(each.path()); }
    }
    return all;
  }
};

hal::Instance with_cache(const Folder& folder, std::string* warnings = nullptr, std::uint64_t bytes = 0) {
  const std::string name = folder.path.string();
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "rngd:host";
  desc.cache = name.c_str();
  desc.cache_bytes = bytes;
  desc.log_user = warnings;
  if (warnings != nullptr) {
    desc.log = [](void* user, hal_log_level, const char*, const char* text) {
      *static_cast<std::string*>(user) += std::string(text) + "\n";
    };
  }
  return hal::Instance::create(desc).value();
}

std::uint64_t number(const hal::Device& device, const char* name) { return device.number(name).value(); }

void expect_sum(const hal::Device& device, const hal::Program& program) {
  hal::Queue queue = device.queue("q").value();
  hal::Buffer x = device.buffer(16).value(), y = device.buffer(16).value(), sum = device.buffer(16).value();
  queue.fill(x, 1.5F).value();
  queue.fill(y, 2.0F).value();
  std::array<float, 4> out{};
  queue.run(program.entry("add").value(), {x, y, sum}).value();
  REQUIRE(hal::wait(queue.copy(sum, hal::host(out)).value(), 20s));
  CHECK(out == std::array<float, 4>{3.5F, 3.5F, 3.5F, 3.5F});
}

}  // namespace

TEST_CASE("sha256: the examples of FIPS 180-4") {
  const auto of = [](std::string_view text) {
    return hal::core::hex(hal::core::sha256(std::as_bytes(std::span(text))));
  };
  CHECK(of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(of(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("file digest: of what the file is now, and nothing of what cannot be read") {
  const Folder folder;
  fs::create_directories(folder.path);
  const std::string path = (folder.path / "file").string();
  const auto expect = [&](const std::string& text) {
    const auto found = hal::core::file_digest(path);
    REQUIRE(found);
    CHECK(*found == hal::core::sha256(std::as_bytes(std::span(text))));
  };
  const auto write = [&](const std::string& to, const std::string& text) { std::ofstream(to) << text; };
  const std::string first(200'000, 'a');
  write(path, first);
  expect(first);
  expect(first);
  write(path, first + "b");  // another size
  expect(first + "b");
  write(path + ".new", std::string(200'001, 'c'));  // another inode
  fs::rename(path + ".new", path);
  expect(std::string(200'001, 'c'));
  fs::remove(path);
  CHECK_FALSE(hal::core::file_digest(path));
  CHECK_FALSE(hal::core::file_digest(folder.path.string()));
}

TEST_CASE("serialize: a program comes back from its bytes, on the same kind of device") {
  hal::Instance instance = hal::Instance::create("rngd:host").value();
  const auto graph = hal::add_graph(4);
  std::vector<std::byte> of_rngd;
  for (const char* uri : {"rngd:0/pe0", "host:0"}) {
    hal::Device device = instance.open(uri).value();
    const std::vector<std::byte> bytes = device.load({"hal.graph", graph}).value().serialize().value();
    CHECK(device.check_image({"hal.program", bytes}).support != HAL_NO);
    hal::Program again = device.load({"hal.program", bytes}).value();
    CHECK(again.entry(0).signature().params[0].dims[0] == 4);
    expect_sum(device, again);
    if (of_rngd.empty()) { of_rngd = bytes; }
    const hal_constant value = hal::constant("x", 1);
    CHECK(device.load({"hal.program", bytes, nullptr, {&value, 1}}).error().code() == HAL_INVALID_ARGUMENT);
    for (std::size_t size = 1; size < bytes.size(); size += 13) {
      CHECK(device.load({"hal.program", std::span(bytes).first(size)}).error().code() == HAL_INVALID_IMAGE);
    }
    for (std::size_t at = 0; at < bytes.size(); at += 11) {
      std::vector<std::byte> bad = bytes;
      bad[at] ^= std::byte{0x10};
      const auto code = device.load({"hal.program", bad}).error().code();
      CHECK((code == HAL_INVALID_IMAGE || code == HAL_INCOMPATIBLE));
    }
  }
  // Another driver, and the same card cut otherwise.
  for (const char* uri : {"host:0", "rngd:0/pe0-1"}) {
    hal::Device other = instance.open(uri).value();
    CHECK(other.check_image({"hal.program", of_rngd}).support == HAL_NO);
    CHECK(other.load({"hal.program", of_rngd}).error().code() == HAL_INCOMPATIBLE);
  }
}

TEST_CASE("serialize: a scalar that is larger than an argument is damage, also behind the right digest") {
  hal::Instance instance = hal::Instance::create("host").value();
  hal::Device device = instance.open("host:0").value();
  std::vector<std::byte> bytes = device.load({"hal.graph", hal::add_graph(8)}).value().serialize().value();
  // The first parameter: its name with its length, then its kind.
  constexpr std::array<unsigned char, 9> kTensor{1, 0, 0, 0, 'x', HAL_PARAM_TENSOR, 0, 0, 0};
  const auto found =
      std::search(bytes.begin(), bytes.end(), kTensor.begin(), kTensor.end(),
                  [](std::byte have, unsigned char wanted) { return std::to_integer<unsigned char>(have) == wanted; });
  REQUIRE(found != bytes.end());
  found[5] = std::byte{HAL_PARAM_SCALAR};
  constexpr std::size_t kDigest = 32, kHeader = 64;
  const hal::core::Digest digest = hal::core::sha256(std::span(bytes).subspan(kHeader));
  std::memcpy(bytes.data() + kDigest, digest.data(), digest.size());
  const hal::Error error = device.load({"hal.program", bytes}).error();
  CHECK(error.code() == HAL_INVALID_IMAGE);
  CHECK(error.what().find("rank is 1, expected 0 to 0") != std::string_view::npos);
}

TEST_CASE("cache: the second load reads what the first compiled; other images and devices have files of their own") {
  const Folder folder;
  const auto four = hal::add_graph(4), eight = hal::add_graph(8);
  {
    hal::Instance instance = with_cache(folder);
    hal::Device device = instance.open("rngd:0/pe0").value();
    expect_sum(device, device.load({"hal.graph", four}).value());
    CHECK(number(device, "program.cache.misses") == 1);
    CHECK(number(device, "program.cache.written") == 1);
    expect_sum(device, device.load({"hal.graph", four}).value());
    CHECK(number(device, "program.cache.hits") == 1);
    hal::Device host = instance.open("host:0").value();
    host.load({"hal.graph", four}).value();  // nothing to gain: not cached
    CHECK(folder.files().size() == 1);
  }
  hal::Instance instance = with_cache(folder);
  {
    hal::Device device = instance.open("rngd:0/pe0").value();
    hal::Program program = device.load({"hal.graph", four}).value();
    CHECK(number(device, "program.cache.hits") == 1);
    expect_sum(device, program);
    device.load({"hal.graph", eight}).value();
    CHECK(number(device, "program.cache.misses") == 1);
  }
  hal::Device wide = instance.open("rngd:0/pe0-1").value();
  wide.load({"hal.graph", four}).value();
  CHECK(number(wide, "program.cache.misses") == 2);
  CHECK(folder.files().size() == 3);
}

TEST_CASE("cache: a damaged, short or foreign file is a warning and written anew, never another answer") {
  const Folder folder;
  const auto four = hal::add_graph(4), eight = hal::add_graph(8);
  std::string warnings;
  hal::Instance instance = with_cache(folder, &warnings);
  hal::Device device = instance.open("rngd:0/pe0").value();
  device.load({"hal.graph", four}).value();
  REQUIRE(folder.files().size() == 1);
  const fs::path file = folder.files()[0];
  device.load({"hal.graph", eight}).value();
  const auto files = folder.files();
  const fs::path other = files[0] == file ? files[1] : files[0];
  const auto size = fs::file_size(file);
  std::uint64_t rejected = 0;
  const auto spoilt = [&](auto damage) {
    warnings.clear();
    damage();
    expect_sum(device, device.load({"hal.graph", four}).value());
    CHECK(number(device, "program.cache.rejected") == ++rejected);
    CHECK(warnings.find(file.filename().string()) != std::string::npos);
    const std::uint64_t hits = number(device, "program.cache.hits");
    expect_sum(device, device.load({"hal.graph", four}).value());  // written anew
    CHECK(number(device, "program.cache.hits") == hits + 1);
  };
  spoilt([&] { fs::resize_file(file, size / 2); });
  spoilt([&] { fs::resize_file(file, 0); });
  spoilt([&] {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(size) - 5);
    stream.put('\x55');
  });
  spoilt([&] { fs::copy_file(other, file, fs::copy_options::overwrite_existing); });
  spoilt([&] {
    fs::remove(file);
    REQUIRE(mkfifo(file.c_str(), 0600) == 0);
  });
  spoilt([&] {
    fs::rename(file, folder.path / "elsewhere");
    fs::create_symlink("elsewhere", file);
  });
  // A folder that cannot be made is a warning too.
  const Folder under{};
  fs::create_directories(under.path);
  std::ofstream(under.path / "file") << "x";
  std::string said;
  Folder below;
  below.path = under.path / "file" / "cache";
  hal::Instance barred = with_cache(below, &said);
  device = {};
  hal::Device again = barred.open("rngd:0/pe0").value();
  expect_sum(again, again.load({"hal.graph", four}).value());
  CHECK(said.find("cannot be made") != std::string::npos);
}

TEST_CASE("cache: the folder keeps its bound, what was used last stays, and threads and instances share it") {
  const Folder folder;
  std::uint64_t one = 0;
  {
    hal::Instance instance = with_cache(folder);
    hal::Device device = instance.open("rngd:0/pe0").value();
    device.load({"hal.graph", hal::add_graph(4)}).value();
    one = fs::file_size(folder.files()[0]);
  }
  const fs::path oldest = folder.files()[0];
  fs::last_write_time(oldest, fs::file_time_type::clock::now() - 1h);
  std::ofstream(folder.path / "notes.txt") << "not ours";
  {
    hal::Instance instance = with_cache(folder, nullptr, one * 5 / 2);
    hal::Device device = instance.open("rngd:0/pe0").value();
    device.load({"hal.graph", hal::add_graph(5)}).value();
    CHECK(fs::exists(oldest));
    device.load({"hal.graph", hal::add_graph(6)}).value();
    CHECK_FALSE(fs::exists(oldest));
    CHECK(fs::exists(folder.path / "notes.txt"));
  }
  std::vector<std::jthread> threads;
  std::atomic<int> wrong{0};
  hal::Instance first = with_cache(folder), second = with_cache(folder);
  hal::Device a = first.open("rngd:0/pe0").value(), b = second.open("rngd:0/pe0").value();
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t n = 16; n < 32; ++n) {
        const auto program = (t % 2 == 0 ? a : b).load({"hal.graph", hal::add_graph(n)});
        if (!program || program->entry(0).signature().params[0].dims[0] != n) { ++wrong; }
      }
    });
  }
  threads.clear();
  CHECK(wrong == 0);
  CHECK(number(a, "program.cache.rejected") + number(b, "program.cache.rejected") == 0);
}

TEST_CASE("cache: whoever looks at a folder sees our files only, and what is wrong with each") {
  const Folder folder;
  CHECK(hal::cache::files(folder.path.string()).error().code() == HAL_NOT_FOUND);
  {
    hal::Instance instance = with_cache(folder);
    hal::Device device = instance.open("rngd:0/pe0").value();
    device.load({"hal.graph", hal::add_graph(4)}).value();
  }
  const fs::path good = folder.files()[0];
  const auto named = [&](char digit) { return folder.path / (std::string(64, digit) + ".halprog"); };
  fs::copy_file(good, named('a'));
  std::ofstream(named('b')) << "short";
  REQUIRE(mkfifo(named('c').c_str(), 0600) == 0);
  fs::create_symlink(good, named('d'));
  fs::create_symlink(folder.path / "nothing", named('e'));
  std::ofstream(folder.path / "notes.halprog") << "not ours";
  std::ofstream(folder.path / (std::string(63, 'a') + "g.halprog")) << "nor this";
  std::ofstream(folder.path / ".new-1-0") << "half";
  fs::last_write_time(folder.path / ".new-1-0", fs::file_time_type::clock::now() - 2h);
  std::ofstream(folder.path / ".new-1-1") << "being written";
  std::ofstream(folder.path / ".new-1-2") << "of a clock that is ahead";
  const timespec far[2] = {{13'500'000'000, 0}, {13'500'000'000, 0}};  // the year 2397: system_clock ends before
  REQUIRE(utimensat(AT_FDCWD, (folder.path / ".new-1-2").c_str(), far, 0) == 0);

  const auto files = hal::cache::files(folder.path.string()).value();
  REQUIRE(files.size() == 9);
  CHECK(files.front().is_abandoned());  // the oldest
  int whole = 0, abandoned = 0;
  for (const hal::cache::File& file : files) {
    abandoned += file.is_abandoned() ? 1 : 0;
    CHECK(file.used <= fs::file_time_type::clock::now());
    if (file.key.empty()) { continue; }
    const auto found = hal::cache::verify(file, 1U << 20U);
    if (found) {
      ++whole;
      CHECK(file.path == good);
      CHECK(found->entries == std::vector<std::string>{"add"});
      CHECK(std::string(hal::cache::verify(file, 100).error().what()).find("bound is 100") != std::string::npos);
      continue;
    }
    const std::string why(found.error().what());
    const char* expected = file.key[0] == 'b'          ? "its header alone"
                           : file.key[0] == 'c'        ? "no regular file"
                           : fs::is_symlink(file.path) ? "it is a link"
                                                       : "holds another program";
    CHECK(why.find(expected) != std::string::npos);
  }
  CHECK(whole == 1);
  CHECK(abandoned == 1);
}
