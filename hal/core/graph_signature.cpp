// SPDX-License-Identifier: Apache-2.0
#include "core/signature.hpp"

namespace hal::core {

Result<Signatures> graph_signatures(const hal_image&) { return Error(HAL_UNSUPPORTED, "later"); }

}  // namespace hal::core
