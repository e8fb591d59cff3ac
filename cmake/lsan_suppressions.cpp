// SPDX-License-Identifier: Apache-2.0
// For test programs only: what other people's libraries keep. Everything that we open of theirs is closed.
//   libfabric 1.17: a few kilobytes of fi_info copies of connections that were open when their endpoint closed.
//   hwloc 2.9: the object of 288 bytes at which it gave up reading a file; its topology is destroyed.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libfabric.so\nleak:hwloc_alloc_setup_object\n"; }
