// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "conformance/cases/case.hpp"

namespace hal::conformance {
namespace {

// Every position has its own value, and so has every salt.
std::uint8_t position_value(std::uint64_t position, std::uint64_t salt) {
  return static_cast<std::uint8_t>((position * 2654435761U + salt * 40503U) >> 7U);
}

Bytes pattern_bytes(std::uint64_t size, std::uint64_t salt) {
  Bytes bytes(size);
  for (std::uint64_t i = 0; i < size; ++i) { bytes[i] = position_value(i, salt); }
  return bytes;
}

void expect_same(const Bytes& found, const Bytes& expected, const std::string& what) {
  count_check();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (found[i] != expected[i]) {
      fail_case(HAL_HERE, what + ": byte " + std::to_string(i) + " of " + std::to_string(expected.size()) +
                              ": expected " + std::to_string(expected[i]) + ", found " + std::to_string(found[i]));
    }
  }
}

// The value that a queue stands at when all of its work is done.
std::uint64_t settled(Case& t, hal_queue* queue) { return t.submit(queue, {barrier()}).value; }

}  // namespace

HAL_CASE(MEM_001, "buffers of every size are whole") {
  auto queue = t.queue();
  std::vector<std::uint64_t> sizes = {1, 2, 3};
  for (std::uint64_t power = 4; power <= (1U << 20U); power *= 16) {
    sizes.insert(sizes.end(), {power - 1, power, power + 1});
  }
  for (const std::uint64_t size : sizes) {
    auto buffer = t.buffer(size);
    EXPECT_EQ(hal_buffer_describe(buffer).bytes, size);
    EXPECT(hal_buffer_describe(buffer).device == t.device());
    t.wait(t.submit(queue, {fill(slice(buffer, 0, 1), 0x11), fill(slice(buffer, size - 1, 1), 0x77)}));
    EXPECT_EQ(t.read(queue, buffer, 0, 1)[0], size == 1 ? 0x77 : 0x11);
    EXPECT_EQ(t.read(queue, buffer, size - 1, 1)[0], 0x77);
  }
}

HAL_CASE(MEM_002, "zero-size allocation is refused") {
  hal_buffer* buffer = nullptr;
  EXPECT_CODE(hal_buffer_create(t.device(), 0, &buffer), HAL_INVALID_ARGUMENT);
  EXPECT(buffer == nullptr);
  auto queue = t.queue();
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), nullptr, pool.out()));
  EXPECT_CODE(hal_queue_alloc(queue, pool, 0, nullptr, &buffer, nullptr), HAL_INVALID_ARGUMENT);
  EXPECT(buffer == nullptr);
}

HAL_CASE(MEM_005, "sizes near the end of the number range are refused") {
  for (const std::uint64_t size : {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 63, UINT64_MAX - 64, UINT64_MAX - 4095,
                                   std::uint64_t{1} << 63U, (std::uint64_t{1} << 63U) - 1}) {
    hal_buffer* buffer = nullptr;
    EXPECT_CODE(hal_buffer_create(t.device(), size, &buffer), HAL_INVALID_ARGUMENT, HAL_OUT_OF_DEVICE_MEMORY);
    EXPECT(buffer == nullptr);
  }
}

HAL_CASE(MEM_006, "running out of memory is an answer and the device goes on") {
  auto queue = t.queue();
  const std::uint64_t memory = hal_device_describe(t.device()).memory_bytes;
  EXPECT(memory > 0);
  for (int round = 0; round < 5; ++round) {
    for (const std::uint64_t size : {memory * 4, std::uint64_t{1} << 60U}) {
      hal_buffer* none = nullptr;
      hal_error* error = hal_buffer_create(t.device(), size, &none);
      EXPECT_EQ(hal_error_describe(error).code, HAL_OUT_OF_DEVICE_MEMORY);
      const std::string text = text_of(error);
      EXPECT(text.find_first_of("0123456789") != std::string::npos);
      EXPECT(none == nullptr);
    }
    auto buffer = t.filled(queue, 4096, static_cast<std::uint8_t>(round + 1));
    t.expect_all(t.read(queue, buffer), 0, 4096, static_cast<std::uint8_t>(round + 1), "after running out");
  }
}

HAL_CASE(MEM_007, "live buffers do not overlap") {
  auto queue = t.queue();
  std::vector<Owned<hal_buffer>> buffers;
  for (std::uint64_t i = 0; i < 48; ++i) {
    buffers.push_back(t.buffer(1 + i * 37 % 1000));
    t.submit(queue, {fill(whole(buffers.back()), i + 1)});
  }
  for (std::uint64_t i = 0; i < buffers.size(); ++i) {
    const hal_buffer_info a = hal_buffer_describe(buffers[i]);
    const Bytes bytes = t.read(queue, buffers[i]);
    t.expect_all(bytes, 0, bytes.size(), static_cast<std::uint8_t>(i + 1), "contents of its own");
    for (std::uint64_t k = 0; k < i; ++k) {
      const hal_buffer_info b = hal_buffer_describe(buffers[k]);
      if (a.address != 0 && b.address != 0) {
        EXPECT(a.address + a.bytes <= b.address || b.address + b.bytes <= a.address);
      }
    }
  }
}

HAL_CASE(MEM_010, "a released buffer lives until its work is done") {
  auto queue = t.queue();
  auto other = t.queue();
  auto gate = t.timeline();
  constexpr std::uint64_t kSize = 20000;
  auto source = t.filled(queue, kSize, 0x5C);
  auto target = t.filled(queue, kSize, 0);
  const hal_point point = t.submit(queue, {copy(whole(target), whole(source))}, {{{gate, 1}}});
  source.reset();
  // Memory that was given back too early would be handed out here and overwritten.
  std::vector<Owned<hal_buffer>> usurpers;
  for (int i = 0; i < 4; ++i) { usurpers.push_back(t.filled(other, kSize, 0xFF)); }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(t.read(queue, target), 0, kSize, 0x5C, "copied from a released buffer");
}

HAL_CASE(MEM_013, "host address and device see the same bytes") {
  auto queue = t.queue();
  auto shown = t.buffer(256);
  auto mirror = t.buffer(256);
  auto* host = static_cast<std::uint8_t*>(hal_buffer_describe(shown).host);
  EXPECT(host != nullptr);
  for (std::uint8_t round = 1; round < 40; ++round) {
    std::memset(host, round, 256);
    t.wait(t.submit(queue, {copy(whole(mirror), whole(shown)), fill(slice(shown, 0, 128), 0x80U + round)}));
    t.expect_all(Bytes(host, host + 256), 0, 128, static_cast<std::uint8_t>(0x80 + round), "device write");
    t.expect_all(Bytes(host, host + 256), 128, 128, round, "host write left alone");
    t.expect_all(t.read(queue, mirror), 0, 256, round, "host write seen by the device");
  }
}

HAL_CASE(MEM_018, "fill writes exactly its range") {
  auto queue = t.queue();
  constexpr std::uint64_t kSize = 96;
  constexpr std::uint64_t kPattern = 0x8877665544332211U;
  auto buffer = t.buffer(kSize);
  Bytes found(kSize);
  for (const std::uint64_t unit : {1U, 2U, 4U, 8U}) {
    for (std::uint64_t offset = 0; offset <= 9; ++offset) {
      for (const std::uint64_t count : {1U, 2U, 3U, 7U}) {
        const std::uint64_t length = unit * count;
        t.wait(t.submit(queue, {fill(whole(buffer), 0xA5), fill(slice(buffer, offset, length), kPattern, unit),
                                copy(hal_host(found.data(), kSize), whole(buffer))}));
        Bytes expected(kSize, 0xA5);
        for (std::uint64_t i = 0; i < length; ++i) {
          expected[offset + i] = static_cast<std::uint8_t>(kPattern >> (8 * (i % unit)));
        }
        expect_same(found, expected,
                    "pattern of " + std::to_string(unit) + " at " + std::to_string(offset) + ", " +
                        std::to_string(length) + " bytes");
      }
    }
  }
}

HAL_CASE(MEM_018, "a large fill is whole") {
  auto queue = t.queue();
  constexpr std::uint64_t kSize = (1U << 20U) + 24;
  auto buffer = t.filled(queue, kSize, 0x5A);
  t.wait(t.submit(queue, {fill(slice(buffer, 12, kSize - 24), 0x01020304, 4)}));
  Bytes expected(kSize, 0x5A);
  for (std::uint64_t i = 12; i < kSize - 12; ++i) { expected[i] = static_cast<std::uint8_t>(4 - (i - 12) % 4); }
  expect_same(t.read(queue, buffer), expected, "large fill");
}

HAL_CASE(MEM_019, "copy moves exactly its range") {
  auto queue = t.queue();
  constexpr std::uint64_t kSize = 512;
  const Bytes source = pattern_bytes(kSize, 1);
  auto from = t.upload(queue, source);
  auto to = t.buffer(kSize);
  for (int round = 0; round < 60; ++round) {
    const std::uint64_t length = round < 20 ? static_cast<std::uint64_t>(round) + 1 : 1 + t.random().below(kSize - 40);
    const std::uint64_t a = t.random().below(kSize - length), b = 16 + t.random().below(kSize - length - 16);
    Bytes expected(kSize, 0xC3);
    std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(a), length,
                expected.begin() + static_cast<std::ptrdiff_t>(b));
    const std::string what = std::to_string(length) + " bytes from " + std::to_string(a) + " to " + std::to_string(b);

    t.wait(t.submit(queue, {fill(whole(to), 0xC3), copy(slice(to, b, length), slice(from, a, length))}));
    expect_same(t.read(queue, to), expected, "within the device, " + what);
    t.wait(t.submit(queue, {fill(whole(to), 0xC3), copy(slice(to, b, length), hal_host(source.data() + a, length))}));
    expect_same(t.read(queue, to), expected, "host to device, " + what);
    Bytes host(kSize, 0xC3);
    t.wait(t.submit(queue, {copy(hal_host(host.data() + b, length), slice(from, a, length))}));
    expect_same(host, expected, "device to host, " + what);
  }
}

HAL_CASE(MEM_019, "large copies are whole") {
  auto queue = t.queue();
  for (const std::uint64_t size : {std::uint64_t{65536}, std::uint64_t{65537}, std::uint64_t{3000001}}) {
    const Bytes source = pattern_bytes(size, size);
    auto first = t.buffer(size);
    auto second = t.filled(queue, size, 0);
    Bytes back(size, 0);
    t.wait(t.submit(queue, {copy(whole(first), hal_host(source.data(), size)), copy(whole(second), whole(first)),
                            copy(hal_host(back.data(), size), whole(second))}));
    expect_same(back, source, "there and back");
  }
}

HAL_CASE(MEM_020, "zero-length work still waits and signals") {
  auto queue = t.queue();
  auto gate = t.timeline();
  auto done = t.timeline(0, "done");
  auto buffer = t.filled(queue, 16, 0x99);
  const hal_point point =
      t.submit(queue, {fill(slice(buffer, 3, 0), 1), copy(slice(buffer, 0, 0), slice(buffer, 16, 0))},
               {{{gate, 1}}, {{done, 5}}});
  EXPECT(!t.reached(point));
  EXPECT(!t.reached({done, 1}));
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait({done, 5});
  t.wait(point);
  t.expect_all(t.read(queue, buffer), 0, 16, 0x99, "after zero-length work");
}

HAL_CASE(MEM_024, "memory allocated in queue order is usable in queue order") {
  auto queue = t.queue();
  auto gate = t.timeline();
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), nullptr, pool.out()));
  constexpr std::uint64_t kSize = 8192;
  std::vector<Bytes> results;
  for (int i = 0; i < 8; ++i) { results.emplace_back(kSize, std::uint8_t{0}); }
  t.submit(queue, {barrier()}, {{{gate, 1}}});
  hal_point last{};
  for (std::uint64_t i = 0; i < results.size(); ++i) {
    Owned<hal_buffer> buffer;
    EXPECT_OK(hal_queue_alloc(queue, pool, kSize, nullptr, buffer.out(), nullptr));
    // Each is freed before the next is made: memory may come back, but only behind the copy that reads it.
    last = t.submit(queue, {fill(whole(buffer), i + 1), copy(hal_host(results[i].data(), kSize), whole(buffer)),
                            free_buffer(buffer)});
  }
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(last);
  for (std::uint64_t i = 0; i < results.size(); ++i) {
    t.expect_all(results[i], 0, kSize, static_cast<std::uint8_t>(i + 1), "allocation of its own");
  }
}

HAL_CASE(MEM_026, "overlapping copies are refused and touching ones are not") {
  auto queue = t.queue();
  const Bytes source = pattern_bytes(64, 3);
  auto buffer = t.upload(queue, source);
  const std::uint64_t before = settled(t, queue);
  for (const auto& [to, from, length] :
       {std::array<std::uint64_t, 3>{0, 0, 64}, {8, 0, 16}, {0, 8, 16}, {15, 0, 16}, {0, 15, 16}}) {
    EXPECT_CODE(t.try_submit(queue, {copy(slice(buffer, to, length), slice(buffer, from, length))}),
                HAL_INVALID_ARGUMENT);
  }
  EXPECT_EQ(settled(t, queue), before + 1);
  expect_same(t.read(queue, buffer), source, "after refused copies");
  t.wait(t.submit(queue, {copy(slice(buffer, 32, 32), slice(buffer, 0, 32))}));
  Bytes expected = source;
  std::copy_n(source.begin(), 32, expected.begin() + 32);
  expect_same(t.read(queue, buffer), expected, "touching ranges");
}

HAL_CASE(MEM_027, "slices past the end are out of range") {
  auto queue = t.queue();
  auto small = t.filled(queue, 64, 0x10);
  auto large = t.filled(queue, 128, 0x20);
  const std::uint64_t before = settled(t, queue);
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{0, 65},
                                       {64, 1},
                                       {1, 64},
                                       {65, 0},
                                       {UINT64_MAX, 2},
                                       {1, UINT64_MAX},
                                       {UINT64_MAX - 3, 8}}) {
    EXPECT_CODE(t.try_submit(queue, {fill(slice(small, offset, length), 1)}), HAL_OUT_OF_RANGE);
    EXPECT_CODE(t.try_submit(queue, {copy(slice(large, 0, length), slice(small, offset, length))}), HAL_OUT_OF_RANGE);
    EXPECT_CODE(t.try_submit(queue, {copy(slice(small, offset, length), slice(large, 0, length))}), HAL_OUT_OF_RANGE);
  }
  EXPECT_EQ(settled(t, queue), before + 1);
  t.expect_all(t.read(queue, small), 0, 64, 0x10, "after refusals");
}

HAL_CASE(MEM_028, "lengths and patterns that do not fit are refused") {
  auto queue = t.queue();
  auto a = t.filled(queue, 64, 0x10);
  auto b = t.filled(queue, 64, 0x20);
  const std::uint64_t before = settled(t, queue);
  EXPECT_CODE(t.try_submit(queue, {copy(slice(a, 0, 8), slice(b, 0, 9))}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {copy(slice(a, 0, 9), slice(b, 0, 8))}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {fill(slice(a, 0, 7), 1, 2)}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {fill(slice(a, 0, 6), 1, 4)}), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(t.try_submit(queue, {fill(slice(a, 0, 12), 1, 8)}), HAL_INVALID_ARGUMENT);
  for (const std::uint64_t unit : {0U, 3U, 5U, 6U, 7U, 16U}) {
    EXPECT_CODE(t.try_submit(queue, {fill(slice(a, 0, 48), 1, unit)}), HAL_INVALID_ARGUMENT);
  }
  EXPECT_EQ(settled(t, queue), before + 1);
  t.expect_all(t.read(queue, a), 0, 64, 0x10, "after refusals");
}

HAL_CASE(MEM_030, "a pool keeps its limit and its books") {
  auto queue = t.queue();
  Owned<hal_pool> pool;
  constexpr std::uint64_t kBlock = 1U << 20U;
  const hal_pool_desc desc{sizeof(hal_pool_desc), 0, 4 * kBlock, 0, 0, nullptr};
  EXPECT_OK(hal_pool_create(t.device(), &desc, pool.out()));
  std::vector<Owned<hal_buffer>> buffers;
  std::uint64_t refused = 0;
  for (int i = 0; i < 6; ++i) {
    hal_buffer* made = nullptr;
    hal_error* error = hal_queue_alloc(queue, pool, kBlock, nullptr, &made, nullptr);
    if (error == nullptr) {
      buffers.emplace_back(made);
    } else {
      EXPECT_CODE(error, HAL_OUT_OF_DEVICE_MEMORY);
      ++refused;
    }
    const hal_pool_stats stats = hal_pool_describe(pool);
    EXPECT(stats.used_bytes + stats.cached_bytes <= 4 * kBlock);
  }
  EXPECT_EQ(buffers.size(), std::size_t{4});
  EXPECT_EQ(refused, std::uint64_t{2});
  EXPECT_EQ(hal_pool_describe(pool).used_bytes, 4 * kBlock);
  EXPECT(hal_pool_describe(pool).peak_bytes >= 4 * kBlock);
  std::vector<hal_command> frees;
  for (const auto& buffer : buffers) { frees.push_back(free_buffer(buffer)); }
  t.wait(t.submit(queue, frees));
  buffers.clear();
  EXPECT_EQ(hal_pool_describe(pool).used_bytes, std::uint64_t{0});
  Owned<hal_buffer> again;
  EXPECT_OK(hal_queue_alloc(queue, pool, kBlock, nullptr, again.out(), nullptr));
  EXPECT(hal_pool_describe(pool).hits >= 1);
  t.wait(t.submit(queue, {fill(whole(again), 1), free_buffer(again)}));
  again.reset();
  hal_pool_trim(pool, 0);
  EXPECT_EQ(hal_pool_describe(pool).cached_bytes, std::uint64_t{0});
}

HAL_CASE(MEM_031, "a budget bounds all pools together") {
  auto queue = t.queue();
  constexpr std::uint64_t kBudget = 4U << 20U;
  EXPECT_OK(hal_device_set_budget(t.device(), kBudget));
  Owned<hal_pool> first, second;
  EXPECT_OK(hal_pool_create(t.device(), nullptr, first.out()));
  EXPECT_OK(hal_pool_create(t.device(), nullptr, second.out()));
  {
    Owned<hal_buffer> cached;
    EXPECT_OK(hal_queue_alloc(queue, first, 3U << 20U, nullptr, cached.out(), nullptr));
    t.wait(t.submit(queue, {free_buffer(cached)}));
  }
  Owned<hal_buffer> large;
  EXPECT_OK(hal_queue_alloc(queue, second, 3U << 20U, nullptr, large.out(), nullptr));  // the first one's cache goes
  const hal_pool_stats stats = hal_device_memory(t.device());
  EXPECT(stats.used_bytes + stats.cached_bytes <= kBudget);
  EXPECT_EQ(stats.limit_bytes, kBudget);
  hal_buffer* none = nullptr;
  hal_error* error = hal_buffer_create(t.device(), 2U << 20U, &none);
  EXPECT_EQ(hal_error_describe(error).code, HAL_OUT_OF_DEVICE_MEMORY);
  const std::string text = text_of(error);
  EXPECT(text.find(std::to_string(2U << 20U)) != std::string::npos);
  EXPECT(text.find(std::to_string(kBudget)) != std::string::npos);
  EXPECT_OK(hal_device_set_budget(t.device(), 0));
  auto buffer = t.filled(queue, 2U << 20U, 0x31);
  t.expect_all(t.read(queue, buffer), 0, 2U << 20U, 0x31, "once the budget is lifted");
}

HAL_CASE(MEM_032, "memory that another queue's work holds is waited for") {
  auto queue = t.queue();
  auto other = t.queue();
  auto gate = t.timeline();
  constexpr std::uint64_t kSize = 4096;
  const hal_pool_desc desc{sizeof(hal_pool_desc), 0, kSize, 0, 0, "one block"};
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), &desc, pool.out()));
  Bytes first(kSize, 0), second(kSize, 0);
  Owned<hal_buffer> a, b;
  EXPECT_OK(hal_queue_alloc(queue, pool, kSize, nullptr, a.out(), nullptr));
  t.submit(queue, {fill(whole(a), 0x61), copy(hal_host(first.data(), kSize), whole(a)), free_buffer(a)}, {{{gate, 1}}});
  EXPECT_OK(hal_queue_alloc(other, pool, kSize, nullptr, b.out(), nullptr));
  const hal_point point = t.submit(other, {fill(whole(b), 0x62), copy(hal_host(second.data(), kSize), whole(b))});
  EXPECT(!t.reached(point));
  EXPECT_EQ(hal_pool_describe(pool).waits, std::uint64_t{1});
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(first, 0, kSize, 0x61, "the first queue's bytes");
  t.expect_all(second, 0, kSize, 0x62, "the second queue's bytes");
}

HAL_CASE(MEM_033, "a first piece is cut and joined") {
  auto queue = t.queue();
  constexpr std::uint64_t kPiece = 1U << 20U;
  const hal_pool_desc desc{sizeof(hal_pool_desc), 0, kPiece, 0, kPiece, nullptr};
  Owned<hal_pool> pool;
  EXPECT_OK(hal_pool_create(t.device(), &desc, pool.out()));
  EXPECT_EQ(hal_pool_describe(pool).largest_free_bytes, kPiece);
  constexpr std::array<std::uint64_t, 7> kSizes{1, 77, 4096, 4097, 100'000, 65, 30'000};
  std::vector<Owned<hal_buffer>> buffers;
  for (const std::uint64_t size : kSizes) {
    buffers.emplace_back();
    EXPECT_OK(hal_queue_alloc(queue, pool, size, nullptr, buffers.back().out(), nullptr));
    t.submit(queue, {fill(whole(buffers.back()), buffers.size())});
  }
  std::vector<hal_command> frees;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    t.expect_all(t.read(queue, buffers[i]), 0, kSizes[i], static_cast<std::uint8_t>(i + 1), "bytes of its own");
    frees.push_back(free_buffer(buffers[i]));
  }
  t.wait(t.submit(queue, frees));
  EXPECT_EQ(hal_pool_describe(pool).largest_free_bytes, kPiece);
}

HAL_CASE(MEM_034, "virtual memory shows what is mapped") {
  auto queue = t.queue();
  auto gate = t.timeline();
  std::uint64_t unit = 0;
  EXPECT_OK(hal_device_number(t.device(), "virtual.granularity", &unit));
  EXPECT(unit > 0);
  Owned<hal_buffer> range;
  Owned<hal_physical> memory;
  hal_buffer* none = nullptr;
  EXPECT_CODE(hal_virtual_create(t.device(), unit + 1, &none), HAL_INVALID_ARGUMENT);
  EXPECT_OK(hal_virtual_create(t.device(), 3 * unit, range.out()));
  EXPECT_OK(hal_physical_create(t.device(), unit, memory.out()));
  EXPECT_CODE(t.try_submit(queue, {fill(slice(range, 0, 8), 1)}), HAL_INVALID_ARGUMENT);
  EXPECT_OK(hal_virtual_map(range, 0, memory, 0, unit, HAL_ACCESS_READ_WRITE));
  EXPECT_OK(hal_virtual_map(range, unit, memory, 0, unit, HAL_ACCESS_READ));
  EXPECT_CODE(hal_virtual_map(range, unit, memory, 0, unit, HAL_ACCESS_READ), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(hal_virtual_map(range, 2 * unit, memory, unit, unit, HAL_ACCESS_READ), HAL_OUT_OF_RANGE);
  t.wait(t.submit(queue, {fill(slice(range, 0, unit), 0x3A)}));
  t.expect_all(t.read(queue, range, unit, unit), 0, unit, 0x3A, "the second place");
  EXPECT_CODE(t.try_submit(queue, {fill(slice(range, unit - 4, 8), 1)}), HAL_INVALID_ARGUMENT);  // read-only from there
  EXPECT_CODE(t.try_submit(queue, {fill(slice(range, 2 * unit - 4, 8), 1)}), HAL_INVALID_ARGUMENT);
  EXPECT_OK(hal_virtual_protect(range, 0, unit, HAL_ACCESS_READ));
  EXPECT_CODE(t.try_submit(queue, {fill(slice(range, 0, 8), 1)}), HAL_INVALID_ARGUMENT);
  EXPECT_OK(hal_virtual_protect(range, 0, unit, HAL_ACCESS_READ_WRITE));
  Bytes out(unit, 0);
  const hal_point point = t.submit(queue, {copy(hal_host(out.data(), unit), slice(range, unit, unit))}, {{{gate, 1}}});
  EXPECT_OK(hal_virtual_unmap(range, 0, 3 * unit));
  EXPECT_CODE(t.try_submit(queue, {fill(slice(range, 0, 8), 1)}), HAL_INVALID_ARGUMENT);
  memory.reset();
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(out, 0, unit, 0x3A, "read after the unmap");
}

HAL_CASE(MEM_035, "imported memory is the buffer") {
  auto queue = t.queue();
  auto gate = t.timeline();
  Bytes mine(1024, 0x10), out(512, 0);
  std::atomic<int> told{0};
  hal_buffer* made = nullptr;
  EXPECT_CODE(hal_buffer_import_host(t.device(), nullptr, 8, nullptr, nullptr, &made), HAL_INVALID_ARGUMENT);
  EXPECT_CODE(hal_buffer_import_host(t.device(), mine.data(), 0, nullptr, nullptr, &made), HAL_INVALID_ARGUMENT);
  const auto note = [](void* user) { static_cast<std::atomic<int>*>(user)->fetch_add(1); };
  EXPECT_OK(hal_buffer_import_host(t.device(), mine.data() + 256, 512, note, &told, &made));
  Owned<hal_buffer> buffer(made);
  t.wait(t.submit(queue, {fill(slice(buffer, 0, 256), 0x77)}));
  t.expect_all(mine, 0, 256, 0x10, "before it");
  t.expect_all(mine, 256, 256, 0x77, "filled");
  t.expect_all(mine, 512, 512, 0x10, "behind the fill");
  EXPECT_CODE(t.try_submit(queue, {free_buffer(buffer)}), HAL_INVALID_ARGUMENT);
  const hal_point point = t.submit(queue, {copy(hal_host(out.data(), 512), whole(buffer))}, {{{gate, 1}}});
  buffer.reset();
  EXPECT_EQ(told.load(), 0);
  EXPECT_OK(hal_timeline_signal(gate, 1));
  t.wait(point);
  t.expect_all(out, 0, 256, 0x77, "read after the release");
  for (int i = 0; i < 1000 && told.load() == 0; ++i) { t.wait(t.submit(queue, {barrier()})); }
  while (told.load() == 0) { std::this_thread::yield(); }  // the runner's limit ends a device that never tells
  EXPECT_EQ(told.load(), 1);
}

HAL_CASE(MEM_036, "a descriptor carries memory") {
  auto queue = t.queue();
  std::uint64_t unit = 0;
  EXPECT_OK(hal_device_number(t.device(), "virtual.granularity", &unit));
  Owned<hal_physical> memory, imported;
  Owned<hal_buffer> here, there;
  EXPECT_OK(hal_physical_create(t.device(), unit, memory.out()));
  int fd = -1;
  EXPECT_OK(hal_physical_export_fd(memory, &fd));
  EXPECT_OK(hal_physical_import_fd(t.device(), fd, unit, imported.out()));
  close(fd);
  hal_physical* none = nullptr;
  EXPECT_CODE(hal_physical_import_fd(t.device(), fd, unit, &none), HAL_INVALID_ARGUMENT);
  EXPECT_OK(hal_virtual_create(t.device(), unit, here.out()));
  EXPECT_OK(hal_virtual_create(t.device(), unit, there.out()));
  EXPECT_OK(hal_virtual_map(here, 0, memory, 0, unit, HAL_ACCESS_READ_WRITE));
  EXPECT_OK(hal_virtual_map(there, 0, imported, 0, unit, HAL_ACCESS_READ));
  t.wait(t.submit(queue, {fill(whole(here), 0x4D)}));
  t.expect_all(t.read(queue, there), 0, unit, 0x4D, "through the descriptor");
}

}  // namespace hal::conformance
