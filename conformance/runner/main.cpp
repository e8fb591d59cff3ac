// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/runner.hpp"

int main(int argc, char** argv) { return hal::conformance::command(argc, argv, {"/proc/self/exe"}); }
