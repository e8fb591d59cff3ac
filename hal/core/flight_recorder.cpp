// SPDX-License-Identifier: Apache-2.0
#include "core/flight_recorder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/program.hpp"

namespace hal::core {

namespace {

constexpr std::size_t kTextBytes = 24;

std::uint64_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

template <class T>
std::uint64_t load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// The first `length` bytes, at most 8, as one word. In registers: bytes that are stored one by one and then loaded as a
// word stall for longer than a submission may take.
std::uint64_t word_of(const char* text, std::size_t length) {
  if (length >= 8) { return load<std::uint64_t>(text); }
  if (length >= 4) { return load<std::uint32_t>(text) | load<std::uint32_t>(text + length - 4) << (8 * (length - 4)); }
  if (length == 0) { return 0; }
  const std::size_t middle = length / 2, last = length - 1;
  return load<std::uint8_t>(text) | load<std::uint8_t>(text + middle) << (8 * middle) |
         load<std::uint8_t>(text + last) << (8 * last);
}

std::string slice_text(std::uint64_t buffer, std::uint64_t offset, std::uint64_t length) {
  return buffer != 0 ? fmt::format("{} bytes at {} of buffer {:#x}", length, offset, buffer)
                     : fmt::format("{} bytes of host memory at {:#x}", length, offset);
}

}  // namespace

struct FlightRecorder::Copy {
  std::uint64_t first = 0, last = 0;
  std::uint32_t op = 0;
  hal_site site{};
  std::array<std::uint64_t, 3> label_words{};
  std::array<std::uint64_t, std::tuple_size_v<decltype(Entry::data)>> data{};

  static std::string text(const std::uint64_t* words) {
    const char* bytes = reinterpret_cast<const char*>(words);
    return {bytes, ::strnlen(bytes, kTextBytes)};
  }
  // "copy 'weights'"
  std::string name() const {
    const std::string label = text(label_words.data());
    return label.empty() ? op_name(op) : fmt::format("{} '{}'", op_name(op), label);
  }
  std::string arguments() const;
  std::string run_arguments() const;
};

const char* op_name(std::uint32_t op) {
  constexpr std::array<const char*, HAL_OP_COUNT> kNames{"barrier", "fill",      "copy",    "run", "prepare",
                                                         "execute", "call",      "put",     "get", "send",
                                                         "recv",    "timestamp", "circuit", "free"};
  return op < kNames.size() ? kNames[op] : "?";
}

void FlightRecorder::end_labelled(Entry& entry, std::uint64_t last, const char* label) {
  const std::size_t length = ::strnlen(label, kTextBytes);
  for (std::size_t i = 0; i < entry.label.size(); ++i) {
    const std::size_t at = std::min(8 * i, length);
    entry.label[i].store(word_of(label + at, std::min<std::size_t>(length - at, 8)), std::memory_order_relaxed);
  }
  entry.last.store(last, std::memory_order_release);
}

void FlightRecorder::put_arguments(Entry& entry, const hal_command& command) {
  std::size_t at = 0;
  const auto put = [&](std::uint64_t word) { entry.data[at++].store(word, std::memory_order_relaxed); };
  const auto slice = [&](const hal_slice& given) {
    put(address(given.buffer));
    put(given.offset);
    put(given.length);
  };
  switch (command.op) {
    case HAL_OP_FILL:
    case HAL_OP_COPY:
      put_words<kMoveWords>(entry.data.data(), &command.as);
      break;
    case HAL_OP_RUN:
      put_run(entry, command, cast(command.as.run.program)->launches[command.as.run.entry]);
      break;
    case HAL_OP_PREPARE:
      for (const std::uint64_t word : cast(command.as.run.program)->launches[command.as.run.entry].name) { put(word); }
      break;
    case HAL_OP_PUT:
    case HAL_OP_GET:
      slice(command.as.transfer.local);
      put(command.as.transfer.remote.address);
      put(command.as.transfer.remote.key);
      put(address(command.as.transfer.peer));
      break;
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      slice(command.as.message.local);
      put(command.as.message.tag);
      put(address(command.as.message.peer));
      break;
    case HAL_OP_TIMESTAMP:
      slice(command.as.timestamp.to);
      break;
    case HAL_OP_CALL:
      put(reinterpret_cast<std::uintptr_t>(command.as.call.function));
      put(address(command.as.call.user));
      break;
    case HAL_OP_CIRCUIT: {
      std::array<std::uint64_t, 3> name{};
      std::memcpy(name.data(), command.as.circuit.permutation, ::strnlen(command.as.circuit.permutation, kTextBytes));
      for (const std::uint64_t word : name) { put(word); }
      break;
    }
    case HAL_OP_FREE:
      put(address(command.as.free.buffer));
      break;
    default:
      break;
  }
}

// False if it is empty, or was written meanwhile.
bool FlightRecorder::read(const Entry& entry, Copy& out) {
  out.last = entry.last.load(std::memory_order_acquire);
  if (out.last == 0) { return false; }
  const auto words = [](const auto& from) {
    std::array<std::uint64_t, std::tuple_size_v<std::remove_cvref_t<decltype(from)>>> copy;
    std::transform(from.begin(), from.end(), copy.begin(),
                   [](const Word& word) { return word.load(std::memory_order_acquire); });
    return copy;
  };
  const auto site = words(entry.site);
  std::memcpy(&out.site, site.data(), sizeof out.site);
  hal_command command;
  const auto head = words(entry.head);
  std::memcpy(&command, head.data(), sizeof head);
  out.first = out.last - command.by_slot;
  out.op = command.op;
  out.label_words = command.label != nullptr ? words(entry.label) : decltype(out.label_words){};
  out.data = words(entry.data);
  return entry.last.load(std::memory_order_acquire) == out.last;
}

std::string FlightRecorder::Copy::run_arguments() const {
  std::string out = fmt::format("entry '{}'", text(data.data()));
  if (op == HAL_OP_PREPARE) { return out; }
  hal_command command;
  std::memcpy(reinterpret_cast<char*>(&command) + kGridAt, data.data() + kGrid, kGridWords * sizeof(std::uint64_t));
  if (command.as.run.has_grid != 0) {
    const hal_grid& grid = command.as.run.grid;
    out += fmt::format(", grid {} x {} x {} of {} x {} x {}", grid.groups[0], grid.groups[1], grid.groups[2],
                       grid.group_size[0], grid.group_size[1], grid.group_size[2]);
  }
  const auto count = static_cast<std::uint32_t>(data[kCount]);
  for (std::uint32_t i = 0; i < std::min(count, kShownArgs); ++i) {
    hal_arg arg;
    std::memcpy(&arg, data.data() + kArgs + kArgWords * i, sizeof arg);
    const hal_slice& slice = arg.value.slice;
    out += arg.kind == HAL_ARG_SCALAR
               ? fmt::format(", scalar of {} bytes {:#x}", arg.size, load<std::uint64_t>(arg.value.scalar))
               : fmt::format(", {}", slice_text(address(slice.buffer), slice.offset, slice.length));
  }
  if (count > kShownArgs) { out += fmt::format(", and {} more", count - kShownArgs); }
  return out;
}

std::string FlightRecorder::Copy::arguments() const {
  switch (op) {
    case HAL_OP_FILL:
      return fmt::format("{} with {:#x} ({} bytes)", slice_text(data[0], data[1], data[2]), data[3], data[4]);
    case HAL_OP_COPY:
      return fmt::format("{} to {}", slice_text(data[3], data[4], data[5]), slice_text(data[0], data[1], data[2]));
    case HAL_OP_RUN:
    case HAL_OP_PREPARE:
      return run_arguments();
    case HAL_OP_PUT:
    case HAL_OP_GET:
      return fmt::format("{}, peer {:#x} at {:#x}, key {:#x}", slice_text(data[0], data[1], data[2]), data[5], data[3],
                         data[4]);
    case HAL_OP_SEND:
    case HAL_OP_RECV:
      return fmt::format("{}, peer {:#x}, tag {}", slice_text(data[0], data[1], data[2]), data[4], data[3]);
    case HAL_OP_TIMESTAMP:
      return slice_text(data[0], data[1], data[2]);
    case HAL_OP_CALL:
      return fmt::format("function {:#x} with {:#x}", data[0], data[1]);
    case HAL_OP_CIRCUIT:
      return fmt::format("permutation '{}'", text(data.data()));
    case HAL_OP_FREE:
      return fmt::format("buffer {:#x}", data[0]);
    default:
      return {};
  }
}

bool FlightRecorder::find(std::uint64_t number, std::string& what, hal_site& site) const {
  Copy copy;
  for (const Entry& entry : entries_) {
    if (entry.last.load(std::memory_order_relaxed) < number || !read(entry, copy)) { continue; }
    if (number < copy.first || number > copy.last) { continue; }
    site = copy.site;
    what = fmt::format("command {} ({}{})", number, copy.first == copy.last ? "" : "in a batch that starts with ",
                       copy.name());
    return true;
  }
  return false;
}

std::string FlightRecorder::history(std::uint32_t most, std::uint64_t until, std::uint64_t completed,
                                    std::uint64_t handed, const char* indent) const {
  std::vector<Copy> found;
  Copy copy;
  for (const Entry& entry : entries_) {
    if (read(entry, copy) && copy.first <= until) { found.push_back(copy); }
  }
  std::sort(found.begin(), found.end(), [](const Copy& a, const Copy& b) { return a.first < b.first; });
  if (found.size() > most) { found.erase(found.begin(), found.end() - static_cast<std::ptrdiff_t>(most)); }
  std::string out;
  for (const Copy& one : found) {
    const char* state = one.last <= completed ? "done" : one.first <= handed ? "on the device" : "held back";
    out += indent;
    out += one.first == one.last ? fmt::format("{}", one.first) : fmt::format("{} to {}", one.first, one.last);
    out += fmt::format(" {}: {}", state, one.name());
    if (const std::string with = one.arguments(); !with.empty()) { out += " " + with; }
    if (one.first != one.last) { out += fmt::format(", and {} more commands", one.last - one.first); }
    if (one.site.file != nullptr) { out += fmt::format(", {}:{}", one.site.file, one.site.line); }
    out += "\n";
  }
  return out;
}

}  // namespace hal::core
