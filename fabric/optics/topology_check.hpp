// SPDX-License-Identifier: Apache-2.0
// Name look-ups that the file reader and single faults from a setting share.
#pragma once

#include "fabric/optics/topology.hpp"

#include <string_view>

namespace hal::fabric {

// A whole number below `limit`, and nothing else.
bool parse_part(std::string_view text, unsigned limit, unsigned& out) noexcept;

Result<Fault> resolve_fault(const Topology& topology, std::string_view what, std::string_view where, Picoseconds at);

}  // namespace hal::fabric
