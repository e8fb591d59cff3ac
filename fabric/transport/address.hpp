// SPDX-License-Identifier: Apache-2.0
// What one port tells another so that it can be reached: a plain value that may travel by any means.
#pragma once

#include "fabric/status.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace hal::fabric {

struct PortAddress {
  std::uint32_t rank = 0;
  std::uint64_t cookie = 0;         // of this opening of the port; answers from another are not its
  std::uint16_t liveness_port = 0;  // UDP, on 127.0.0.1
  std::string provider;             // "tcp;ofi_rxm"
  std::string endpoint;             // libfabric's name of the endpoint: here a sockaddr_in

  std::string encode() const;
  // Bytes may come from anywhere. Errors: INVALID_ARGUMENT with the offset.
  static Result<PortAddress> decode(std::string_view bytes);
};

}  // namespace hal::fabric
