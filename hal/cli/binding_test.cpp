// SPDX-License-Identifier: Apache-2.0
#include "cli/binding.hpp"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <halyard_catch.hpp>

#include "cli/files.hpp"

using namespace hal::cli;

namespace {

// entry(out y [n, m], out z [m], in x [n])
struct Entry {
  std::array<hal_param, 3> params{};
  std::array<const char*, 2> symbols{"n", "m"};
  hal::Signature signature{};

  Entry() {
    const auto declare = [](const char* name, hal_direction direction, std::initializer_list<std::uint8_t> of) {
      hal_param param{};
      param.name = name;
      param.kind = HAL_PARAM_TENSOR;
      param.direction = direction;
      param.dtype = HAL_I32;
      for (const std::uint8_t symbol : of) {
        param.dims[param.rank] = -1;
        param.symbols[param.rank++] = symbol;
      }
      return param;
    };
    params = {declare("y", HAL_OUT, {0, 1}), declare("z", HAL_OUT, {1}), declare("x", HAL_IN, {0})};
    signature.name = "entry";
    signature.kind = HAL_GRAPH;
    signature.param_count = 3;
    signature.params = params.data();
    signature.symbols = symbols.data();
    signature.symbol_count = 2;
  }
};

struct NpyFile {
  const std::string path = "/tmp/halyard-binding-" + std::to_string(::getpid()) + ".npy";
  explicit NpyFile(std::int64_t count) {
    const digits::Array array{hal::DType::i32, {count}, std::vector<std::byte>(static_cast<std::size_t>(count) * 4)};
    REQUIRE(write_file(path, to_npy(array).value()));
  }
  NpyFile(const NpyFile&) = delete;
  NpyFile& operator=(const NpyFile&) = delete;
  ~NpyFile() { (void)std::remove(path.c_str()); }
};

}  // namespace

TEST_CASE("binding: files and shapes say how large a result before them is", "[cli]") {
  const hal::Instance instance = hal::Instance::create().value();
  const hal::Device device = instance.open("host:0").value();
  const Entry entry;
  const NpyFile x(3);
  BindingOptions options;
  options.inputs = {"x=" + x.path};
  options.shapes = {"z=5"};
  options.outputs = {"y=y.npy", "z=z.npy"};
  const auto binding = Binding::make(device, entry.signature, options);
  REQUIRE(binding);
  CHECK(binding->summary() == std::vector<std::string>{"y i32[3, 5] -> y.npy", "z i32[5] -> z.npy"});
  CHECK(binding->args().size() == 3);
}

TEST_CASE("binding: a size that nothing says is asked for", "[cli]") {
  const hal::Instance instance = hal::Instance::create().value();
  const hal::Device device = instance.open("host:0").value();
  const Entry entry;
  const NpyFile x(3);
  BindingOptions options;
  options.inputs = {"x=" + x.path};
  const auto binding = Binding::make(device, entry.signature, options);
  REQUIRE(!binding);
  CHECK(binding.error().text().find("nothing says what 'm' of 'y' is: give --shape y=SIZES") != std::string::npos);
}
