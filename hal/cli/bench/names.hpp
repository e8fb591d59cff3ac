// SPDX-License-Identifier: Apache-2.0
// Names of rows that more than one program must agree on: the tool, the peers beside it, and peers from outside.
#pragma once

namespace hal::cli::bench {

inline constexpr const char* kEmptyDispatch = "empty dispatch";
inline constexpr const char* kThreadedHot = "threaded dispatch, hot";
inline constexpr const char* kThreadedCold = "threaded dispatch, after 2 ms idle";
inline constexpr const char* kPipelined = "pipelined launch";
inline constexpr const char* kReplay = "replay, per command";
inline constexpr const char* kRecording = "recording, per command";
inline constexpr const char* kWarmBuffer = "warm buffer of 1 MiB, alloc and free";

}  // namespace hal::cli::bench
