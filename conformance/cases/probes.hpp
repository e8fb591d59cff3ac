// SPDX-License-Identifier: Apache-2.0
// One probe for each well-known feature: that an absent one refuses cleanly, that a present one works.
#pragma once

#include "conformance/cases/case.hpp"

namespace hal::conformance {

inline constexpr const char* kFeatures[] = {"kernel",       "graph",     "graph.dynamic",  "fabric",      "timestamp",
                                            "host-visible", "constants", "virtual-memory", "import.host", "share.fd"};

// Expects the entry points of a feature that the device denies to answer UNSUPPORTED and to change nothing.
void probe_absent(Case& t, const std::string& feature);
// Expects an operation that needs the feature to succeed.
void probe_present(Case& t, const std::string& feature);

}  // namespace hal::conformance
