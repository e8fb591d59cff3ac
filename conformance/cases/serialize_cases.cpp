// SPDX-License-Identifier: Apache-2.0
// Programs that outlive their process: serialised, and in the folder of a cache.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "conformance/cases/graphs.hpp"

namespace hal::conformance {
namespace {

// x + add: programs with one signature that are told apart by what they compute.
GraphBytes adding(double add) {
  GraphBuilder b("adding");
  b.output("y", b.map({b.input("x", DType::f32, {16})}, graph::arg(0) + add));
  return finish(b);
}

hal_image program_image(const std::vector<std::byte>& bytes) {
  return {"hal.program", bytes.data(), bytes.size(), nullptr, nullptr, 0};
}

void expect_adding(Case& t, hal_device* device, hal_program* program, const GraphBytes& graph, const char* what) {
  EXPECT_EQ(hal_program_entry_count(program), 1U);
  EXPECT_EQ(hal_program_signature(program, 0)->param_count, 2U);
  auto queue = t.queue_on(device);
  const Tensors inputs = random_inputs(t, graph);
  Tensors found{std::vector<std::byte>(inputs[0].size())};
  Owned<hal_buffer> x, y;
  EXPECT_OK(hal_buffer_create(device, inputs[0].size(), x.out()));
  EXPECT_OK(hal_buffer_create(device, inputs[0].size(), y.out()));
  const std::array args{arg(whole(x)), arg(whole(y))};
  t.wait(t.submit(queue, {copy(whole(x), hal_host(inputs[0].data(), inputs[0].size())), run_graph(program, 0, args),
                          copy(hal_host(found[0].data(), found[0].size()), whole(y))}));
  compare(what, graph, inputs, found, ulps(1));
}

// A folder of its own, gone at the end; a case that fails leaves it.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / ("halyard-conformance-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  // Name -> contents.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> all;
    for (const auto& each : std::filesystem::directory_iterator(path_)) {
      std::ifstream file(each.path(), std::ios::binary);
      all[each.path().filename().string()] = {std::istreambuf_iterator<char>(file), {}};
    }
    return all;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

HAL_CASE(EXE_024, "a serialised program is the program") {
  for (const double add : {1.0, 2.0}) {
    const GraphBytes graph = adding(add);
    auto source = load_graph(t, graph);
    void* made = nullptr;
    std::uint64_t size = 0;
    hal_error* error = hal_program_serialize(source, &made, &size);
    if (hal_error_describe(error).code == HAL_UNSUPPORTED) {  // a driver may have no form that outlives the process
      EXPECT_CODE(error, HAL_UNSUPPORTED);
      EXPECT(made == nullptr);
      return;
    }
    EXPECT_OK(error);
    const auto* first = static_cast<const std::byte*>(made);
    std::vector<std::byte> bytes(first, first + size);
    hal_free_bytes(made);
    source.reset();
    const hal_image image = program_image(bytes);
    EXPECT(hal_device_check(t.device(), &image).support != HAL_NO);
    Owned<hal_program> again;
    EXPECT_OK(hal_program_load(t.device(), &image, again.out()));
    expect_adding(t, t.device(), again, graph, "loaded from its serialised form");

    for (int i = 0; i < 40; ++i) {
      std::vector<std::byte> bad = bytes;
      if (i < 20) {
        bad[t.random().below(bad.size())] ^= static_cast<std::byte>(1U << t.random().below(8));
      } else {
        bad.resize(t.random().below(bad.size() - 1) + 1);
      }
      const hal_image damaged = program_image(bad);
      hal_program* none = nullptr;
      EXPECT_CODE(hal_program_load(t.device(), &damaged, &none), HAL_INVALID_IMAGE, HAL_INCOMPATIBLE);
      EXPECT(none == nullptr);
    }
  }
}

HAL_CASE(EXE_024, "a cache changes no answer, whole or damaged") {
  const Folder folder;
  const std::string name = folder.path().string();
  t.give_up_device();
  const auto number = [](hal_device* device, const char* what) {
    std::uint64_t value = 0;
    EXPECT_OK(hal_device_number(device, what, &value));
    return value;
  };
  bool is_cached = false;  // not every driver has a form that is worth a file
  std::map<std::string, std::string> before;
  for (int round = 0; round < 3; ++round) {  // fills the cache, reads it, finds it damaged
    auto instance = t.own_instance(0, name.c_str());
    auto device = t.open_in(instance);
    for (const double add : {1.0, 2.0}) {
      const GraphBytes graph = adding(add);
      const hal_image image = graph_image(graph);
      Owned<hal_program> program;
      EXPECT_OK(hal_program_load(device, &image, program.out()));
      expect_adding(t, device, program, graph, "loaded through a cache");
    }
    const auto after = folder.files();
    if (round == 0) { is_cached = number(device, "program.cache.misses") != 0; }
    EXPECT_EQ(after.size(), is_cached ? 2U : 0U);
    EXPECT_EQ(number(device, "program.cache.written"), is_cached && round != 1 ? 2U : 0U);
    EXPECT_EQ(number(device, "program.cache.hits"), is_cached && round == 1 ? 2U : 0U);
    if (round == 1) { EXPECT(after == before); }
    if (round == 2) {
      for (const auto& [file, damaged] : before) { EXPECT(after.contains(file) && after.at(file) != damaged); }
    }
    if (round == 1) {
      for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
        std::filesystem::resize_file(file.path(), file.file_size() - 1);
      }
    }
    before = folder.files();
  }
}

}  // namespace hal::conformance
