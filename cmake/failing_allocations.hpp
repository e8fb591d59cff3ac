// SPDX-License-Identifier: Apache-2.0
// Makes allocations of the project's own libraries fail on purpose; see failing_allocations.cpp.
#pragma once

#include <cstdint>

namespace hal::test {

// From now on the allocation after the next `n` fails, once. Those of the test program itself and of other people's
// libraries never do.
void fail_after(std::uint64_t n);
// From now on every `n`-th does; the first after `offset` more. The environment may say so for a whole process:
// HALYARD_FAIL_EVERY is "n" or "n:offset".
void fail_every(std::uint64_t n, std::uint64_t offset = 0);
void fail_no_more();  // but as the environment says

// For allocators of the program: whether this call is the one to fail.
bool fails_here();

// How many have failed since fail_after() or fail_every().
std::uint64_t failures();
// Blocks from operator new, called by those libraries directly, that are not deleted. What the C++ run time and libfmt
// ask for on their behalf (long strings, say) is not among them, and neither is malloc. Always 0 under sanitizers.
std::int64_t live_allocations();
// The most bytes in such blocks since watch_bytes(), beyond those that there were then. Always 0 under sanitizers.
void watch_bytes();
std::uint64_t most_bytes();

}  // namespace hal::test
