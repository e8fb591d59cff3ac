// SPDX-License-Identifier: Apache-2.0
// libfabric, opened when the first endpoint is, and never at load time. Everything else of its API is inline calls
// through the objects that these functions return.
#pragma once

#include "fabric/status.hpp"

#include <rdma/fabric.h>

#include <cstdint>
#include <string>

namespace hal::fabric {

struct FabricLibrary {
  // By the ABI version that the header of this build describes; a newer libfabric keeps serving them.
  decltype(&::fi_getinfo) getinfo = nullptr;
  decltype(&::fi_freeinfo) freeinfo = nullptr;
  decltype(&::fi_dupinfo) dupinfo = nullptr;
  decltype(&::fi_fabric) fabric = nullptr;
  decltype(&::fi_strerror) strerror = nullptr;
  decltype(&::fi_version) version = nullptr;

  // A failed call: `status` is what it returned, negative.
  std::unexpected<Failure> fail(hal_code code, std::int64_t status, const std::string& what) const;
};

// Opens it once per process; a failure is final. Errors: UNAVAILABLE  no library, or one without these functions.
Result<const FabricLibrary*> fabric_library();

}  // namespace hal::fabric
