// SPDX-License-Identifier: Apache-2.0
// What ranks and their rendezvous say to each other: length, type, then numbers and strings in little-endian order.
// Both ends run on one machine (loopback) from one build, but neither trusts what it reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hal::fabric {

enum class MessageType : std::uint8_t {
  // rank to rendezvous
  hello = 1,    // cookie, rank, role
  put = 2,      // key, value
  get = 3,      // request, key
  barrier = 4,  // request, name
  event = 5,    // value
  bye = 6,
  // rendezvous to rank
  welcome = 16,     // size
  refused = 17,     // text
  value = 18,       // request, value
  released = 19,    // request
  broken = 20,      // request, text
  event_from = 21,  // rank, value
  rank_lost = 22,   // rank, text
  rank_left = 23,   // rank
};

inline constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 20;

class MessageWriter {
 public:
  explicit MessageWriter(MessageType type);
  MessageWriter& number(std::uint64_t value);
  MessageWriter& text(std::string_view value);
  // The whole frame. Longer than kMaxMessageBytes is the caller's mistake; check before.
  std::string take();

 private:
  std::string frame_;
};

class MessageReader {
 public:
  MessageReader(MessageType type, std::string payload) : type_(type), payload_(std::move(payload)) {}
  MessageType type() const noexcept { return type_; }
  // After the first value that is not there, good() is false and every value is zero or empty.
  std::uint64_t number();
  std::string text();
  bool good() const noexcept { return good_; }
  bool done() const noexcept { return good_ && at_ == payload_.size(); }

 private:
  MessageType type_;
  std::string payload_;
  std::size_t at_ = 0;
  bool good_ = true;
};

// Cuts a stream of bytes into messages.
class MessageStream {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole message, if there is one.
  std::optional<MessageReader> next();
  // A frame longer than kMaxMessageBytes was announced: the stream cannot be read any further.
  bool damaged() const noexcept { return damaged_; }

 private:
  std::string buffer_;
  bool damaged_ = false;
};

}  // namespace hal::fabric
