// SPDX-License-Identifier: Apache-2.0
#include "image/program.hpp"

#include <cstring>
#include <functional>
#include <halyard_catch.hpp>

#include "image/sample_images.hpp"

using namespace rngd::image;

namespace {

void seal(std::vector<std::byte>& file) {
  Header header;
  std::memcpy(&header, file.data(), sizeof header);
  header.file_bytes = file.size();
  header.hash = hash(std::span(file).subspan(sizeof header));
  std::memcpy(file.data(), &header, sizeof header);
}

template <class T>
void put(std::vector<std::byte>& file, std::uint64_t offset, T value) {
  std::memcpy(file.data() + offset, &value, sizeof value);
}

Header header_of(const std::vector<std::byte>& file) {
  Header header;
  std::memcpy(&header, file.data(), sizeof header);
  return header;
}

std::uint64_t section(const std::vector<std::byte>& file, SectionKind kind) {
  return header_of(file).sections[static_cast<std::uint32_t>(kind) - 1].offset;
}

std::string reason(std::vector<std::byte> file) {
  seal(file);
  const auto program = parse(file);
  return program ? "accepted" : program.error().text;
}

}  // namespace

TEST_CASE("an image that the builder wrote is read back", "[rngd][image]") {
  const auto program = parse(dense_image(5));
  REQUIRE(program);
  CHECK(program->ops.size() == 2);
  CHECK(program->input_count == 1);
  CHECK(program->bindings.size() == 2);
  CHECK(program->tensors[0].name == "x");
  CHECK(program->tensors[0].elements == 20);
  CHECK(program->ops[1].map.size() == 5);
  REQUIRE(parse(every_op_image()));
}

TEST_CASE("every truncation is refused", "[rngd][image]") {
  const auto file = every_op_image();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const auto program = parse(std::span(file).first(size));
    REQUIRE_FALSE(program);
    REQUIRE(program.error().text.find("byte 0x") != std::string::npos);
  }
}

TEST_CASE("a changed byte is either caught by the hash or, with the hash repaired, verified like any other file",
          "[rngd][image]") {
  const auto file = every_op_image();
  std::size_t refused = 0;
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const unsigned flip : {0x01u, 0x80u, 0xFFu}) {
      auto changed = file;
      changed[at] ^= static_cast<std::byte>(flip);
      if (at >= sizeof(Header)) { REQUIRE_FALSE(parse(changed)); }
      seal(changed);
      const auto program = parse(changed);  // sanitizers watch
      if (!program) {
        ++refused;
        REQUIRE(program.error().offset <= file.size());
      }
    }
  }
  CHECK(refused > file.size());
}

TEST_CASE("refusals name field and byte", "[rngd][image]") {
  const auto file = dense_image(5);
  const auto with = [&](std::uint64_t offset, auto wrong) {
    auto changed = file;
    put(changed, offset, wrong);
    return reason(changed);
  };
  const std::uint64_t tensor = section(file, SectionKind::tensors), op = section(file, SectionKind::ops);
  const std::uint64_t attributes = section(file, SectionKind::attributes),
                      bindings = section(file, SectionKind::bindings);
  CHECK(with(0, 'X') == "header.magic: not \"RNGDIMG1\" (byte 0x0)");
  CHECK(with(offsetof(Header, pe_count), 3u) == "header.pe_count: 3, must be 1, 2 or 4 (byte 0x14)");
  CHECK(with(offsetof(Header, sram_bytes), kSramBytesPerPe + 1).find("header.sram_bytes: 33554433 does not fit") == 0);
  CHECK(with(tensor + 1, std::uint8_t{9}).find("tensor[0].rank: 9 exceeds 8") == 0);
  CHECK(with(tensor, std::uint8_t{3}).find("tensor[0].dtype: 3, supported are") == 0);
  CHECK(with(tensor + offsetof(TensorRecord, dims), std::int64_t{-1}).find("tensor[0].dims[0]: -1") == 0);
  CHECK(with(tensor + offsetof(TensorRecord, dims), std::int64_t{1} << 62).find("tensor[0].dims[0]") == 0);
  CHECK(with(op, std::uint8_t{11}).find("op[0].code: 11 is unknown") == 0);
  CHECK(with(op + offsetof(OpRecord, output), 0u).find("op[0].output: tensor 0") == 0);
  CHECK(with(bindings, 7u).find("binding[0]: tensor 7 of 5") == 0);
  // The first operation's attributes: two inputs (8 bytes), then ContractAttributes.
  CHECK(with(attributes, 4u).find("op[0].inputs[0]: tensor 4 does not exist or is not written yet") == 0);
  CHECK(with(attributes + 8 + offsetof(ContractAttributes, a), std::uint8_t{32})
            .find("op[0] (contract).label: 32 exceeds 31") == 0);
  CHECK(with(attributes + 8 + offsetof(ContractAttributes, unit), std::uint8_t{1})
            .find("op[0] (contract).unit: 1 cannot multiply f32") == 0);
}

TEST_CASE("an old IR version is refused unless the caller wants it", "[rngd][image]") {
  Builder b(1);
  const auto x = b.input(Dtype::f32, std::array<std::int64_t, 1>{4});
  const auto y = b.output(Dtype::f32, std::array<std::int64_t, 1>{4});
  b.map(std::array{x}, y, Dtype::f32, std::array{in(0)});
  const auto old = b.finish(0);
  const auto refused = parse(old);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == Reason::version);
  CHECK(parse(old, true));
}

TEST_CASE("views must stay inside their input", "[rngd][image]") {
  const auto build = [](std::int64_t offset, std::int64_t stride) {
    Builder b(1);
    const auto x = b.input(Dtype::f32, std::array<std::int64_t, 1>{8});
    const auto y = b.output(Dtype::f32, std::array<std::int64_t, 1>{4});
    ViewAttributes view{};
    view.offset = offset;
    view.strides[0] = stride;
    b.view(x, y, view);
    return b.finish();
  };
  CHECK(reason(build(7, -2)) == "accepted");
  CHECK(reason(build(0, 0)) == "accepted");
  CHECK(reason(build(5, -2)).find("op[0] (view).strides: reach outside the 8 elements") == 0);
  CHECK(reason(build(2, 2)).find("op[0] (view)") == 0);
  CHECK(reason(build(0, INT64_MAX)).find("op[0] (view)") == 0);
  CHECK(reason(build(INT64_MIN, INT64_MIN)).find("op[0] (view)") == 0);
}
