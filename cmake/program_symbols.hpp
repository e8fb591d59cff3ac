// SPDX-License-Identifier: Apache-2.0
// What the functions of this very program are: some of the project's libraries are linked into it, next to Catch2 and
// the test itself.
#pragma once

#include <cstdint>

namespace hal::test {

// language: the C++ standard library's and libfmt's templates; start: what makes static objects before main().
enum class Symbol { others, language, ours, start };

// Reads the program's symbol table. Until then, and if the program has none, everything in it is of others.
void read_program_symbols();
// `offset`: from where the program was loaded.
Symbol program_symbol(std::uint64_t offset);

}  // namespace hal::test
