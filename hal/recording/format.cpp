// SPDX-License-Identifier: Apache-2.0
#include "recording/format.hpp"

#include <fmt/format.h>

#include <cstring>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>

namespace hal::recording {
namespace {

constexpr std::size_t kMostHostBytes = std::size_t{1} << 36U;

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  template <class T>
    requires std::is_integral_v<T> || std::is_enum_v<T>
  void operator()(const T& value) {
    raw(&value, sizeof value);
  }
  void operator()(const std::string& text) { list(text.data(), text.size()); }
  void operator()(const std::vector<std::byte>& bytes) { list(bytes.data(), bytes.size()); }
  template <class T>
  void operator()(const std::vector<T>& values) {
    (*this)(static_cast<std::uint32_t>(values.size()));
    for (const T& value : values) { fields(*this, value); }
  }

 private:
  void raw(const void* data, std::size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    out_.insert(out_.end(), first, first + bytes);
  }
  void list(const void* data, std::size_t bytes) {
    (*this)(std::uint64_t{bytes});
    raw(data, bytes);
  }
  std::vector<std::byte>& out_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::uint64_t at) : bytes_(bytes), at_(at) {}

  template <class T>
    requires std::is_integral_v<T> || std::is_enum_v<T>
  void operator()(T& value) {
    raw(&value, sizeof value);
  }
  void operator()(std::string& text) {
    const std::uint64_t size = length(1);
    text.resize(size);
    raw(text.data(), size);
  }
  void operator()(std::vector<std::byte>& out) {
    const std::uint64_t size = length(1);
    out.resize(size);
    raw(out.data(), size);
  }
  template <class T>
  void operator()(std::vector<T>& values) {
    std::uint32_t count = 0;
    (*this)(count);
    if (count > bytes_.size()) {  // each takes at least a byte
      fail(fmt::format("a list of {} entries", count));
      return;
    }
    for (std::uint32_t i = 0; i < count && problem_.empty(); ++i) { fields(*this, values.emplace_back()); }
  }

  const std::string& problem() const { return problem_; }
  std::size_t left() const { return bytes_.size(); }

 private:
  void fail(const std::string& what) {
    if (problem_.empty()) {
      problem_ =
          fmt::format("at byte {}: {} does not fit in the record, which has {} more bytes", at_, what, bytes_.size());
    }
    bytes_ = {};
  }
  void raw(void* to, std::size_t size) {
    if (size > bytes_.size()) {
      fail(fmt::format("a field of {} bytes", size));
      return;
    }
    if (size != 0) { std::memcpy(to, bytes_.data(), size); }
    bytes_ = bytes_.subspan(size);
    at_ += size;
  }
  std::uint64_t length(std::size_t each) {
    std::uint64_t size = 0;
    (*this)(size);
    if (size > bytes_.size() / each) {
      fail(fmt::format("a text of {} bytes", size));
      return 0;
    }
    return size;
  }

  std::span<const std::byte> bytes_;
  std::uint64_t at_;
  std::string problem_;
};

template <class Io, class T>
void fields(Io& io, T& value) {
  using Plain = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Plain, Slice>) {
    io(value.in);
    io(value.id);
    io(value.offset);
    io(value.length);
  } else if constexpr (std::is_same_v<Plain, PointRecord>) {
    io(value.timeline);
    io(value.value);
  } else if constexpr (std::is_same_v<Plain, Arg>) {
    io(value.kind);
    fields(io, value.slice);
    io(value.scalar);
  } else if constexpr (std::is_same_v<Plain, Command>) {
    io(value.op);
    io(value.label);
    io(value.slices);
    io(value.numbers);
    io(value.args);
  } else if constexpr (std::is_same_v<Plain, Record>) {
    io(value.id);
    io(value.other);
    io(value.value);
    io(value.text);
    io(value.text2);
    io(value.bytes);
    io(value.waits);
    io(value.signals);
    io(value.commands);
    fields(io, value.where);
  } else {
    io(value);
  }
}

// What a command of each op must carry.
struct Shape {
  std::size_t slices, numbers;
  bool args;
};
constexpr Shape kAny{SIZE_MAX, 0, false};

bool shape_of(std::uint32_t op, Shape& out) {
  switch (op) {
    case HAL_OP_BARRIER:
      out = {0, 0, false};
      return true;
    case HAL_OP_FILL:
      out = {1, 2, false};
      return true;
    case HAL_OP_COPY:
      out = {2, 0, false};
      return true;
    case HAL_OP_RUN:
      out = {0, 10, true};
      return true;
    case HAL_OP_PREPARE:
      out = {0, 2, true};
      return true;
    case HAL_OP_EXECUTE:
      out = {SIZE_MAX, 1, false};
      return true;
    case HAL_OP_CALL:
      out = {0, 1, false};
      return true;
    case HAL_OP_TIMESTAMP:
    case HAL_OP_FREE:
      out = {1, 0, false};
      return true;
    default:
      out = kAny;
      return false;
  }
}

// Follows the objects of a recording, in order.
class Verifier {
 public:
  // A submission that was refused may hold anything: it is kept for its place in the order only.
  void refuse(std::uint32_t id) { refused_.insert(id); }

  std::string check(const Record& record) {
    switch (record.kind) {
      case Kind::device:
        return add(record.id, Kind::device);
      case Kind::queue:
        if (std::string why = is(record.other, Kind::device, "'device'"); !why.empty()) { return why; }
        if (std::string why = add(static_cast<std::uint32_t>(record.value), Kind::timeline); !why.empty()) {
          return why;
        }
        return add(record.id, Kind::queue);
      case Kind::timeline:
        return add(record.id, Kind::timeline);
      case Kind::buffer:
        if (record.value == 0) { return "a buffer has no bytes"; }
        sizes_[record.id] = record.value;
        return of_device(record, Kind::buffer);
      case Kind::program:
        return of_device(record, Kind::program);
      case Kind::list:
        if (std::string why = all(record.commands, true); !why.empty()) { return why; }
        return of_device(record, Kind::list);
      case Kind::submit:
        if (refused_.contains(record.id)) { return add(record.id, Kind::submit); }
        if (std::string why = is(record.other, Kind::queue, "'queue'"); !why.empty()) { return why; }
        for (const std::vector<PointRecord>* points : {&record.waits, &record.signals}) {
          for (const PointRecord& point : *points) {
            if (point.timeline == 0) { continue; }
            if (std::string why = is(point.timeline, Kind::timeline, "a point's timeline"); !why.empty()) {
              return why;
            }
          }
        }
        if (std::string why = all(record.commands, false); !why.empty()) { return why; }
        return add(record.id, Kind::submit);
      case Kind::placed:
      case Kind::refused:
        return is(record.id, Kind::submit, "'submission'");
      case Kind::signal:
      case Kind::observed:
      case Kind::failed:
        return is(record.id, Kind::timeline, "'timeline'");
      case Kind::returned:
        return is(record.id, Kind::returned, "'call'");
      case Kind::bytes:
        if (record.where.length != record.bytes.size()) { return "the bytes are not as many as 'where' says"; }
        return slice(record.where, false);
      case Kind::expect: {
        if (std::string why = is(record.id, Kind::submit, "'submission'"); !why.empty()) { return why; }
        if (!record.bytes.empty() && record.where.length != record.bytes.size()) {
          return "the contents are not as many bytes as 'where' says";
        }
        return slice(record.where, false);
      }
      case Kind::gone:
        return objects_.erase(record.id) != 0 ? "" : fmt::format("object {} goes, and there is none", record.id);
      case Kind::limit:
        return {};
      case Kind::labelled:
        return objects_.contains(record.id) ? "" : fmt::format("object {} gets a label, and there is none", record.id);
    }
    return fmt::format("kind {} is none that this version knows", static_cast<std::uint32_t>(record.kind));
  }

 private:
  std::string add(std::uint32_t id, Kind kind) {
    if (id == 0) { return "id 0 is nobody's"; }
    if (!objects_.emplace(id, kind).second) { return fmt::format("id {} is in use already", id); }
    return {};
  }
  std::string is(std::uint32_t id, Kind kind, const char* what) const {
    const auto found = objects_.find(id);
    if (found == objects_.end()) { return fmt::format("{} is {}, and there is no such object", what, id); }
    if (found->second != kind) {
      return fmt::format("{} is {}, which is an object of kind {}, not {}", what, id,
                         static_cast<std::uint32_t>(found->second), static_cast<std::uint32_t>(kind));
    }
    return {};
  }
  std::string of_device(const Record& record, Kind kind) {
    std::string why = is(record.other, Kind::device, "'device'");
    return why.empty() ? add(record.id, kind) : why;
  }
  std::string slice(const Slice& one, bool slots) {
    if (one.in == In::slot) { return slots ? "" : "a slice names a slot outside a recorded list"; }
    if (one.offset + one.length < one.offset) { return "a slice wraps"; }
    if (one.in == In::host) {
      host_bytes_ += one.length;
      if (host_bytes_ > kMostHostBytes) {
        return fmt::format("host memory of more than {} bytes is named", kMostHostBytes);
      }
      return one.offset == 0 && one.length != 0 ? "a host slice has no address" : "";
    }
    if (one.in != In::buffer) { return fmt::format("a slice is in {}", static_cast<unsigned>(one.in)); }
    if (std::string why = is(one.id, Kind::buffer, "a slice's buffer"); !why.empty()) { return why; }
    const std::uint64_t size = sizes_.at(one.id);
    if (one.offset > size || one.length > size - one.offset) {
      return fmt::format("a slice is bytes {} to {} of buffer {}, which has {}", one.offset, one.offset + one.length,
                         one.id, size);
    }
    return {};
  }
  std::string all(const std::vector<Command>& commands, bool in_list) {
    for (std::size_t i = 0; i < commands.size(); ++i) {
      if (std::string why = command(commands[i], in_list); !why.empty()) {
        return fmt::format("command {}: {}", i, why);
      }
    }
    return {};
  }
  std::string command(const Command& one, bool in_list) {
    Shape shape = kAny;
    if (!shape_of(one.op, shape)) { return fmt::format("op {} is none that is recorded", one.op); }
    const bool by_slot =
        in_list && (one.op == HAL_OP_FILL || one.op == HAL_OP_RUN) && one.slices.size() == shape.slices + 1;
    if (by_slot && one.slices.back().in != In::slot) {
      return fmt::format("the value of an op {} is in {}; it must be in a slot", one.op,
                         static_cast<unsigned>(one.slices.back().in));
    }
    if ((shape.slices != SIZE_MAX && one.slices.size() - (by_slot ? 1 : 0) != shape.slices) ||
        one.numbers.size() != shape.numbers || (!shape.args && !one.args.empty())) {
      return fmt::format("op {} has {} slices, {} numbers and {} arguments, which is not its shape", one.op,
                         one.slices.size(), one.numbers.size(), one.args.size());
    }
    for (const Slice& part : one.slices) {
      if (std::string why = slice(part, in_list); !why.empty()) { return why; }
    }
    for (const Arg& arg : one.args) {
      if (arg.scalar.size() > 16) { return fmt::format("a scalar has {} bytes; the most are 16", arg.scalar.size()); }
      if (arg.kind < HAL_ARG_BUFFER || arg.kind > HAL_ARG_SLOT) {
        return fmt::format("an argument is of kind {}", arg.kind);
      }
      if (std::string why = arg.kind == HAL_ARG_SCALAR ? std::string() : slice(arg.slice, in_list); !why.empty()) {
        return why;
      }
    }
    const auto id = [&](std::size_t i) {
      return one.numbers[i] <= UINT32_MAX ? static_cast<std::uint32_t>(one.numbers[i]) : 0U;
    };
    switch (one.op) {
      case HAL_OP_RUN:
      case HAL_OP_PREPARE:
        return is(id(0), Kind::program, "'program'");
      case HAL_OP_EXECUTE:
        return in_list ? "a list executes a list" : is(id(0), Kind::list, "'list'");
      case HAL_OP_CALL:
        return in_list ? "a list calls the host" : add(id(0), Kind::returned);
      case HAL_OP_FREE:
        return in_list || one.slices[0].in != In::buffer ? "'buffer' is none" : "";
      default:
        return {};
    }
  }

  std::unordered_map<std::uint32_t, Kind> objects_;
  std::unordered_set<std::uint32_t> refused_;
  std::unordered_map<std::uint32_t, std::uint64_t> sizes_;
  std::size_t host_bytes_ = 0;
};

Error damaged(std::uint64_t at, const std::string& what) {
  return Error(HAL_INVALID_IMAGE, fmt::format("the recording is damaged at byte {}: {}", at, what));
}

}  // namespace

void Checksum::add(std::span<const std::byte> bytes) {
  constexpr std::uint64_t kPrime = 0x100000001b3U;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    value_ = (value_ ^ word) * kPrime;
    value_ ^= value_ >> 29U;
    bytes = bytes.subspan(8);
  }
  for (const std::byte one : bytes) { value_ = (value_ ^ static_cast<std::uint64_t>(one)) * kPrime; }
}

std::uint64_t checksum(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.value();
}

void append(std::vector<std::byte>& out, const Record& record) {
  const std::size_t start = out.size();
  Writer io(out);
  io(record.kind);
  io(std::uint32_t{0});
  fields(io, record);
  while ((out.size() - start) % 8 != 0) { out.push_back(std::byte{0}); }  // the checksum then does not depend on cuts
  const auto size = static_cast<std::uint32_t>((out.size() - start) / 8);
  std::memcpy(out.data() + start + 4, &size, 4);
}

std::vector<std::byte> header(std::uint64_t body_bytes, std::uint64_t body_checksum) {
  std::vector<std::byte> out;
  Writer io(out);
  for (const char one : kMagic) { io(one); }
  io(kVersion);
  io(std::uint32_t{0});
  io(body_bytes);
  io(body_checksum);
  return out;
}

Result<std::vector<Record>> read(std::span<const std::byte> file) {
  if (file.size() < kHeaderBytes || std::memcmp(file.data(), kMagic, sizeof kMagic) != 0) {
    return Error(HAL_INVALID_IMAGE, "this is no recording: it does not begin as the layer record writes one");
  }
  std::uint32_t version = 0;
  std::uint64_t size = 0, sum = 0;
  std::memcpy(&version, file.data() + 8, 4);
  std::memcpy(&size, file.data() + 16, 8);
  std::memcpy(&sum, file.data() + 24, 8);
  if (version != kVersion) {
    return Error(HAL_INCOMPATIBLE,
                 fmt::format("the recording is of version {}; this library reads {}", version, kVersion));
  }
  const std::span<const std::byte> body = file.subspan(kHeaderBytes);
  if (size != body.size()) {
    return damaged(16, size == 0 ? "it was not closed: the program that made it has not released its instance"
                                 : fmt::format("its header promises {} bytes, and {} follow", size, body.size()));
  }
  if (checksum(body) != sum) { return damaged(24, "the checksum does not fit the contents"); }
  std::vector<Record> out;
  std::vector<std::uint64_t> places;
  for (std::size_t at = 0; at < body.size();) {
    std::uint32_t kind = 0, words = 0;
    if (body.size() - at < 8) { return damaged(kHeaderBytes + at, "a record is cut short"); }
    std::memcpy(&kind, body.data() + at, 4);
    std::memcpy(&words, body.data() + at + 4, 4);
    const std::uint64_t bytes = std::uint64_t{words} * 8;
    if (bytes < 8 || bytes > body.size() - at) {
      return damaged(kHeaderBytes + at, fmt::format("a record of {} bytes, and {} are left", bytes, body.size() - at));
    }
    if (kind == 0 || kind > static_cast<std::uint32_t>(Kind::last)) {
      return damaged(kHeaderBytes + at, fmt::format("a record of kind {}, which this version does not know", kind));
    }
    Record& record = out.emplace_back();
    record.kind = static_cast<Kind>(kind);
    Reader io(body.subspan(at + 8, bytes - 8), kHeaderBytes + at + 8);
    fields(io, record);
    if (!io.problem().empty()) { return Error(HAL_INVALID_IMAGE, "the recording is damaged " + io.problem()); }
    if (io.left() >= 8) { return damaged(kHeaderBytes + at, fmt::format("{} bytes behind the last field", io.left())); }
    places.push_back(kHeaderBytes + at);
    at += bytes;
  }
  Verifier verifier;
  for (const Record& record : out) {
    if (record.kind == Kind::refused) { verifier.refuse(record.id); }
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (std::string why = verifier.check(out[i]); !why.empty()) { return damaged(places[i], why); }
  }
  return out;
}

}  // namespace hal::recording
