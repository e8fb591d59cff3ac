// SPDX-License-Identifier: Apache-2.0
// The fabric libraries report failures by value and know no function of libhal; here they become errors.
#pragma once

#include "fabric/status.hpp"
#include "hal/result.hpp"

namespace hal::cli {

inline Error to_error(const fabric::Failure& failure, std::source_location at = std::source_location::current()) {
  return {failure.code, failure.what, "fabric", failure.vendor_name.c_str(), failure.vendor_code, nullptr, at};
}

}  // namespace hal::cli
