// SPDX-License-Identifier: Apache-2.0
// Work that waits for a timeline which only that work would signal, when nobody else owns the timeline any more.
#pragma once

namespace hal::core {

class Timeline;

// Of a timeline whose last owner has let go: whether all work that is to signal it waits, through any number of queues
// and timelines, for timelines like it that nothing else moves. Once that is so it stays so. Takes locks of queues and
// timelines, one at a time. Throws std::bad_alloc.
bool is_stuck(Timeline& released);

}  // namespace hal::core
