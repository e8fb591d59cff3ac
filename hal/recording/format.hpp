// SPDX-License-Identifier: Apache-2.0
// A recording: what a program asked of the library, in one order that every thread of it agrees with.
//
// A file is a header and a list of records, each with its kind and size, little-endian, closed by a checksum. The layer
// `record` writes it; replay() runs it. Ids are the recording's own, from 1; host memory is named by the address it
// had.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hal/result.hpp"

namespace hal::recording {

enum class Kind : std::uint32_t {
  device = 1,  // id, text: URI, text2: name
  queue,       // id, other: device, value: its timeline's id, text: label
  timeline,    // id, value: where it starts, text: label
  buffer,      // id, other: device, value: bytes, text: label
  program,     // id, other: device, text: format, text2: manifest, bytes
  list,        // id, other: device, commands: a recorded list, whose slices may name slots
  submit,      // id: number of the submission, other: queue, waits, signals, commands, text: call site
  placed,      // id: of a submission, value: the number of its last command
  refused,     // id: of a submission that the library did not take
  signal,      // id: timeline, value: given by the host
  observed,    // id: timeline, value, other: 1 if it was lost. The host learned it
  returned,    // id: of a host call
  bytes,       // where, bytes: what the host had written there
  expect,    // id: submission, other: command in it, where, value: checksum, bytes: contents, or none if they are many
  failed,    // id: timeline failed by the host, or of a queue that was cancelled
  gone,      // id: an object that the program released
  limit,     // text: something happened that a replay cannot do
  labelled,  // id: an object, text: the label that it has from now on
  last = labelled,
};

enum class In : std::uint8_t { host = 0, buffer = 1, slot = 2 };

struct Slice {
  In in = In::host;
  std::uint32_t id = 0;  // buffer, or number of a slot
  std::uint64_t offset = 0, length = 0;
};

struct PointRecord {
  std::uint32_t timeline = 0;  // 0: the point that is always reached
  std::uint64_t value = 0;
};

struct Arg {
  std::uint32_t kind = 0;  // hal_arg_kind
  Slice slice;
  std::vector<std::byte> scalar;
};

struct Command {
  std::uint32_t op = 0;
  std::string label;
  std::vector<Slice> slices;  // fill: to; copy: to, from; timestamp: to; free: buffer; execute: slots. In a list
                              // a fill may have one more, where a slot gives its pattern, and a run one for its
                              // grid
  std::vector<std::uint64_t> numbers;  // fill: pattern, its bytes; run: program, entry, has_grid, 3 groups, 3 sizes,
                                       // shared; prepare: program, entry; execute: list; call: its id
  std::vector<Arg> args;
};

struct Record {
  Kind kind = Kind::limit;
  std::uint32_t id = 0, other = 0;
  std::uint64_t value = 0;
  std::string text, text2;
  std::vector<std::byte> bytes;
  std::vector<PointRecord> waits, signals;
  std::vector<Command> commands;
  Slice where;
};

inline constexpr char kMagic[8] = {'H', 'A', 'L', 'Y', 'R', 'E', 'C', '\n'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 32;  // magic, version, 0, bytes of the body, checksum of the body

// FNV-1a, over 8 bytes at a time where there are 8.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325U;
};
std::uint64_t checksum(std::span<const std::byte> bytes);

// Appends a record with its kind and size.
void append(std::vector<std::byte>& out, const Record& record);
std::vector<std::byte> header(std::uint64_t body_bytes, std::uint64_t body_checksum);

// Reads and verifies: every id was defined before it is used, is of the right kind and not gone; every slice lies in
// its buffer; every command has the parts that its op needs. Errors: INVALID_IMAGE with the offset and the field,
// INCOMPATIBLE for another version.
Result<std::vector<Record>> read(std::span<const std::byte> file);

}  // namespace hal::recording
