// SPDX-License-Identifier: Apache-2.0
// What the interpreter's tests run kernels on: a few buffers with addresses of their own and no driver around them.
#pragma once

#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "vm/executor.hpp"
#include "vm/module.hpp"

namespace hal::emulated_cuda {

class TestDevice : public MemoryResolver {
 public:
  std::uint64_t allocate(std::uint64_t bytes) {
    blocks_.push_back({next_, bytes, std::make_unique<std::byte[]>(bytes + 1)});
    next_ += (bytes + 4096) / 4096 * 4096 + 4096;  // never adjacent
    return blocks_.back().begin;
  }
  template <class T>
  std::uint64_t upload(const std::vector<T>& values) {
    const std::uint64_t address = allocate(values.size() * sizeof(T));
    std::memcpy(blocks_.back().bytes.get(), values.data(), values.size() * sizeof(T));
    return address;
  }
  template <class T>
  std::vector<T> download(std::uint64_t address, std::size_t count) const {
    MemoryRange range;
    if (!find(address, range) || range.length < count * sizeof(T)) { throw std::runtime_error("no such buffer"); }
    std::vector<T> values(count);
    std::memcpy(values.data(), range.bytes, count * sizeof(T));
    return values;
  }
  bool find(std::uint64_t address, MemoryRange& range) const override {
    for (const Block& b : blocks_) {
      if (address - b.begin < b.length) {
        range = {b.begin, b.length, b.bytes.get()};
        return true;
      }
    }
    return false;
  }

  LoadedModule load(const std::string& text) {
    auto result = load_module(text, [this](const Symbol& s) {
      std::vector<std::uint8_t> bytes(s.bytes);
      std::copy(s.initial.begin(), s.initial.end(), bytes.begin());
      return upload(bytes);
    });
    if (auto* error = std::get_if<LoadError>(&result)) {
      throw std::runtime_error("line " + std::to_string(error->line) + ": " + error->message);
    }
    return std::get<LoadedModule>(std::move(result));
  }

  // Packs arguments at the offsets of the parameters.
  template <class... A>
  Fault launch(const Program& program, LaunchShape shape, A... arguments) {
    std::vector<std::byte> block(program.parameter_bytes);
    std::size_t n = 0;
    const auto put = [&](const auto& value) {
      const ParameterInfo& p = program.parameters.at(n++);
      if (p.size != sizeof(value)) { throw std::runtime_error("argument size"); }
      std::memcpy(block.data() + p.offset, &value, sizeof(value));
    };
    (put(arguments), ...);
    return run_grid(program, shape, block.data(), *this);
  }

 private:
  struct Block {
    std::uint64_t begin = 0, length = 0;
    std::unique_ptr<std::byte[]> bytes;
  };
  std::uint64_t next_ = 0x7000'0000'0000ull;
  std::vector<Block> blocks_;
};

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) { throw std::runtime_error("cannot open " + path); }
  return {std::istreambuf_iterator<char>(in), {}};
}

inline const Program& kernel_named(const LoadedModule& module, std::string_view name) {
  for (const Program& p : module.kernels) {
    if (p.name == name) { return p; }
  }
  throw std::runtime_error("no such kernel");
}

}  // namespace hal::emulated_cuda
