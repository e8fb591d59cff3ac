// SPDX-License-Identifier: Apache-2.0
// Answers whose reasons stay where they are until the device closes.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>

#include "hal/hal.h"

namespace hal::kit {

inline hal_verdict yes(const char* literal) { return {HAL_YES, literal}; }
inline hal_verdict no(const char* literal) { return {HAL_NO, literal}; }
inline hal_verdict emulated(const char* literal) { return {HAL_EMULATED, literal}; }
inline hal_verdict unknown_feature() { return no("unknown feature"); }

// Keeps reasons that are made at run time. Equal texts are stored once, and a caller who feeds it ever new images
// cannot fill memory: past kMost reasons the answer is a general one.
class Verdicts {
 public:
  static constexpr std::size_t kMost = 4096;

  hal_verdict keep(hal_support support, std::string_view text) noexcept {
    try {
      std::string why(text);
      const std::lock_guard lock(mutex_);
      if (const auto known = reasons_.find(why); known != reasons_.end()) { return {support, known->c_str()}; }
      if (reasons_.size() >= kMost) {
        return {support, "the device has given too many different reasons to keep another"};
      }
      return {support, reasons_.insert(std::move(why)).first->c_str()};
    } catch (const std::bad_alloc&) { return {support, "host memory ran out while the reason was kept"}; }
  }
  hal_verdict no(std::string_view why) noexcept { return keep(HAL_NO, why); }

 private:
  std::mutex mutex_;
  std::unordered_set<std::string> reasons_;  // nodes never move, so c_str() stays
};

}  // namespace hal::kit
