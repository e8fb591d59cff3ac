// SPDX-License-Identifier: Apache-2.0
// What others send: a stream of rendezvous messages, read in pieces, and the address of a port.
#include "fabric/bootstrap/message.hpp"
#include "fabric/transport/address.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hal::fabric;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto address = PortAddress::decode(bytes); address && address->encode() != bytes) { std::abort(); }
  MessageStream stream;
  for (std::size_t at = 0; at < size;) {
    const std::size_t piece = std::min<std::size_t>(1 + data[at] % 16, size - at);
    stream.append(bytes.substr(at, piece));
    at += piece;
    while (auto message = stream.next()) {
      (void)message->number();
      (void)message->text();
      if (message->done() && !message->good()) { std::abort(); }
    }
    if (stream.damaged()) { break; }
  }
  return 0;
}
