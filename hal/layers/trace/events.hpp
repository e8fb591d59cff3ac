// SPDX-License-Identifier: Apache-2.0
// What the trace remembers: 64 bytes an event, written by one thread each, with no lock but for a chunk every 512
// events.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace hal::layers::trace {

enum class EventKind : std::uint8_t {
  submitted,  // row, number (last), bytes, place; `op` of the first command, `count` commands
  label,      // text: of the submission before it
  wait,       // row and number (value) that the submission before it waits for
  signal,     // row and number (value) that `bytes` (a number) of `op`-less row `line` gives
  completed,  // row has come to number
  begin,      // a range of the application; `text_pointer`
  end,
  memory,  // `row` is a device: bytes in use
  // By a device's clock, which row `line` stands for; `bytes` is what it showed, in ns. The tick is the host's: of
  // device_begin before the stamp was handed over, of device_end after it was seen.
  device_begin,  // row begins with command number
  device_end,    // row has ended command number
  pair,          // looked at between the tick and the tick `number`
};

struct Event {
  std::uint64_t tick;
  std::uint64_t number;
  std::uint64_t bytes;
  std::uint32_t row;
  std::uint32_t line;
  const char* file;  // a literal, as hal_site says; of begin the label
  std::uint16_t count;
  EventKind kind;
  std::uint8_t op;
  char text[20];
};
static_assert(sizeof(Event) == 64);

// The cheapest clock there is. `seconds_per_tick` comes from two looks at both clocks, when the trace begins and ends.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  std::uint64_t now;
  asm volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
#else
#error "ticks() needs this processor's counter"
#endif
}

// The events of one thread.
struct ThreadBuffer {
  std::uint32_t thread = 0;
  Event* next = nullptr;
  Event* end = nullptr;
  std::vector<Event*> chunks;  // where each begins; all but the last are full
};

}  // namespace hal::layers::trace
