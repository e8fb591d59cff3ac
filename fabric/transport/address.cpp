// SPDX-License-Identifier: Apache-2.0
#include "fabric/transport/address.hpp"

#include <netinet/in.h>

#include <cstring>

namespace hal::fabric {
namespace {

constexpr std::string_view kMagic = "halyard-port/1";

void put(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) { out += static_cast<char>((value >> (8 * i)) & 0xff); }
}

}  // namespace

std::string PortAddress::encode() const {
  std::string out(kMagic);
  put(out, rank, 4);
  put(out, cookie, 8);
  put(out, liveness_port, 2);
  put(out, provider.size(), 2);
  put(out, endpoint.size(), 2);
  return out + provider + endpoint;
}

Result<PortAddress> PortAddress::decode(std::string_view bytes) {
  constexpr std::size_t kFixed = kMagic.size() + 18;
  if (!bytes.starts_with(kMagic)) {
    return fail(HAL_INVALID_ARGUMENT, "these {} bytes are no fabric address: offset 0 does not say {}", bytes.size(),
                kMagic);
  }
  if (bytes.size() < kFixed) {
    return fail(HAL_INVALID_ARGUMENT, "a fabric address has at least {} bytes, found {}", kFixed, bytes.size());
  }
  std::size_t at = kMagic.size();
  const auto number = [&](std::size_t count) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      value |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
    }
    at += count;
    return value;
  };
  PortAddress out;
  out.rank = static_cast<std::uint32_t>(number(4));
  out.cookie = number(8);
  out.liveness_port = static_cast<std::uint16_t>(number(2));
  const std::size_t provider = number(2);
  const std::size_t endpoint = number(2);
  if (bytes.size() != kFixed + provider + endpoint) {
    return fail(HAL_INVALID_ARGUMENT, "the fabric address has {} bytes, its lengths at offset {} add up to {}",
                bytes.size(), kFixed - 4, kFixed + provider + endpoint);
  }
  out.provider = bytes.substr(kFixed, provider);
  out.endpoint = bytes.substr(kFixed + provider);
  sockaddr_in name{};
  if (endpoint != sizeof name) {
    return fail(HAL_INVALID_ARGUMENT, "the fabric address at offset {} is no IPv4 socket name", kFixed + provider);
  }
  std::memcpy(&name, out.endpoint.data(), sizeof name);
  if (name.sin_family != AF_INET || ntohl(name.sin_addr.s_addr) >> 24 != 127) {
    return fail(HAL_INVALID_ARGUMENT, "the fabric address at offset {} is not on the loopback interface",
                kFixed + provider);
  }
  return out;
}

}  // namespace hal::fabric
