// SPDX-License-Identifier: Apache-2.0
#include "graph/byte_product.hpp"

#include <halyard_catch.hpp>
#include <random>
#include <vector>

using namespace hal::host;

TEST_CASE("byte product: every sum is exact, whatever the sizes and the strides are") {
  if (!has_byte_product()) { return; }
  std::mt19937 random(5);
  // Odd ones, whole tiles, more than one pass along k.
  const std::int64_t lengths[] = {1, 2, 5, 6, 7, 16, 17, 33, 100};
  for (const std::int64_t m : lengths) {
    for (const std::int64_t n : lengths) {
      for (const std::int64_t k : {1, 2, 3, 31, 1024, 1025, 2100}) {
        const bool by_columns_a = random() % 2 == 0, by_columns_b = random() % 2 == 0, largest = random() % 4 == 0;
        const std::int64_t more = static_cast<std::int64_t>(random() % 3);  // behind each line
        const auto made = [&](std::int64_t rows, std::int64_t columns, bool by_columns, ByteStrides& strides) {
          strides = by_columns ? ByteStrides{1, rows + more} : ByteStrides{columns + more, 1};
          std::vector<std::int8_t> out(static_cast<std::size_t>((rows + more) * (columns + more)));
          for (std::int8_t& one : out) {
            one = static_cast<std::int8_t>(largest ? -128 : static_cast<int>(random() % 256) - 128);
          }
          return out;
        };
        ByteStrides of_a{}, of_b{};
        const std::vector<std::int8_t> a = made(m, k, by_columns_a, of_a), b = made(k, n, by_columns_b, of_b);
        const ByteSizes sizes{m, n, k};
        std::vector<std::int16_t> left(static_cast<std::size_t>(sizes.left_bytes() / 2), 77);
        std::vector<std::int16_t> right(static_cast<std::size_t>(sizes.right_bytes() / 2), 77);
        // In two parts, as two threads do it.
        for (const auto& [first, end] : {std::pair<std::int64_t, std::int64_t>{0, m / 2}, {m / 2, m}}) {
          pack_left(a.data(), of_a, sizes, first, end, left.data());
        }
        const std::int64_t half = sizes.panels() / 2;
        pack_right(b.data(), of_b, sizes, half, sizes.panels(), right.data());
        pack_right(b.data(), of_b, sizes, 0, half, right.data());
        constexpr std::int32_t kUntouched = 0x5a5a5a5a;
        const std::int64_t c_row = n + more;
        std::vector<std::int32_t> c(static_cast<std::size_t>(m * c_row), kUntouched);
        multiply_bytes(left.data(), right.data(), c.data(), c_row, sizes, 0, m / 2);
        multiply_bytes(left.data(), right.data(), c.data(), c_row, sizes, m / 2, m);
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < c_row; ++j) {
            std::int32_t sum = 0;
            for (std::int64_t p = 0; j < n && p < k; ++p) {
              sum += a[static_cast<std::size_t>(i * of_a.row + p * of_a.column)] *
                     b[static_cast<std::size_t>(p * of_b.row + j * of_b.column)];
            }
            wrong += c[static_cast<std::size_t>(i * c_row + j)] != (j < n ? sum : kUntouched);
          }
        }
        INFO(m << " x " << n << " x " << k);
        REQUIRE(wrong == 0);
      }
    }
  }
}

TEST_CASE("byte product: sums of more than 32 bits wrap") {
  if (!has_byte_product()) { return; }
  const ByteSizes sizes{1, 1, 140'000};
  const std::vector<std::int8_t> ones(140'000, -128);
  std::vector<std::int16_t> left(static_cast<std::size_t>(sizes.left_bytes() / 2));
  std::vector<std::int16_t> right(static_cast<std::size_t>(sizes.right_bytes() / 2));
  pack_left(ones.data(), {140'000, 1}, sizes, 0, 1, left.data());
  pack_right(ones.data(), {1, 1}, sizes, 0, sizes.panels(), right.data());
  std::int32_t c = 0;
  multiply_bytes(left.data(), right.data(), &c, 1, sizes, 0, 1);
  CHECK(c == static_cast<std::int32_t>(static_cast<std::uint32_t>(140'000ULL * 128 * 128)));
}
