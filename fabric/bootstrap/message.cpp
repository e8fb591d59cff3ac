// SPDX-License-Identifier: Apache-2.0
#include "fabric/bootstrap/message.hpp"

#include <utility>

namespace hal::fabric {
namespace {

constexpr std::size_t kHeader = 5;  // four bytes of payload length, one of type

std::uint64_t load(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

void store(std::uint64_t value, std::size_t bytes, char* to) {
  for (std::size_t i = 0; i < bytes; ++i) { to[i] = static_cast<char>((value >> (8 * i)) & 0xff); }
}

}  // namespace

MessageWriter::MessageWriter(MessageType type) : frame_(kHeader, '\0') { frame_[4] = static_cast<char>(type); }

MessageWriter& MessageWriter::number(std::uint64_t value) {
  char bytes[8];
  store(value, sizeof bytes, bytes);
  frame_.append(bytes, sizeof bytes);
  return *this;
}

MessageWriter& MessageWriter::text(std::string_view value) {
  number(value.size());
  frame_.append(value);
  return *this;
}

std::string MessageWriter::take() {
  store(frame_.size() - kHeader, 4, frame_.data());
  return std::move(frame_);
}

std::uint64_t MessageReader::number() {
  if (!good_ || payload_.size() - at_ < 8) {
    good_ = false;
    return 0;
  }
  at_ += 8;
  return load(std::string_view(payload_).substr(at_ - 8, 8));
}

std::string MessageReader::text() {
  const std::uint64_t size = number();
  if (!good_ || payload_.size() - at_ < size) {
    good_ = false;
    return {};
  }
  at_ += size;
  return payload_.substr(at_ - size, size);
}

std::optional<MessageReader> MessageStream::next() {
  if (damaged_ || buffer_.size() < kHeader) { return std::nullopt; }
  const std::size_t size = load(std::string_view(buffer_).substr(0, 4));
  if (size > kMaxMessageBytes) {
    damaged_ = true;
    return std::nullopt;
  }
  if (buffer_.size() < kHeader + size) { return std::nullopt; }
  MessageReader message(static_cast<MessageType>(buffer_[4]), buffer_.substr(kHeader, size));
  buffer_.erase(0, kHeader + size);
  return message;
}

}  // namespace hal::fabric
