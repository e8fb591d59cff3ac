// SPDX-License-Identifier: Apache-2.0
// Hostile programs: parse, and run what is accepted on memory of exactly the promised size.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "emulator/execute.hpp"
#include "image/program.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rngd;
  std::vector<std::byte> file(reinterpret_cast<const std::byte*>(data),
                              reinterpret_cast<const std::byte*>(data) + size);
  if (size >= sizeof(image::Header)) {  // a fuzzer cannot guess these two
    image::Header header;
    std::memcpy(&header, file.data(), sizeof header);
    header.file_bytes = size;
    header.hash = image::hash(std::span(file).subspan(sizeof header));
    std::memcpy(file.data(), &header, sizeof header);
  }
  const auto program = image::parse(file, true);
  if (!program) { return 0; }
  std::uint64_t bytes = program->sram_bytes + program->scratch_bytes, work = 0;
  for (const image::Tensor& tensor : program->tensors) { bytes += tensor.bytes; }
  for (const image::Op& op : program->ops) {
    const emulator::Work cost = emulator::work_of(*program, op);
    work += cost.tensor_macs + cost.vector_lanes;
    if (work > 1u << 20) { return 0; }
  }
  if (bytes > 1u << 20) { return 0; }
  std::vector<std::vector<std::byte>> buffers;
  std::vector<std::byte*> bindings;
  for (const std::uint32_t index : program->bindings) {
    buffers.emplace_back(program->tensors[index].bytes);
    bindings.push_back(buffers.back().data());
  }
  std::vector<std::byte> sram(program->sram_bytes), scratch(program->scratch_bytes);
  emulator::execute(*program, {bindings, program->constants.data(), sram.data(), scratch.data()});
  return 0;
}
