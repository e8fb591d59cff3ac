// SPDX-License-Identifier: Apache-2.0
// One include for Catch2 2.13 (Debian 12) and 3.x.
#pragma once
#if defined(HALYARD_CATCH2_V3)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
using Catch::Detail::Approx;
#endif
