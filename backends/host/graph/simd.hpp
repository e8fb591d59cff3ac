// SPDX-License-Identifier: Apache-2.0
// Compiles a function once for each instruction set and picks at load time. Not under sanitizers: the picking runs
// before they are ready.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define HAL_HOST_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#else
#define HAL_HOST_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
#if !defined(HAL_HOST_CLONES)
#define HAL_HOST_CLONES
#endif
