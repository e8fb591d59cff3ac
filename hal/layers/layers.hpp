// SPDX-License-Identifier: Apache-2.0
// The layers that exist. Each takes its argument as text and says what is wrong with it; those that write a file get
// its name, which is not empty and nobody else's.
#pragma once

#include "core/layer.hpp"

namespace hal::layers {

Result<std::unique_ptr<core::Wrapper>> make_mask(std::string_view argument, core::Instance& instance);
Result<std::unique_ptr<core::Wrapper>> make_oom(std::string_view argument, core::Instance& instance);
Result<std::unique_ptr<core::Observer>> make_record(std::string_view argument, core::Instance& instance);
Result<std::unique_ptr<core::Observer>> make_validation(std::string_view argument, core::Instance& instance);

// An observer, and with `device` a wrapper too.
Result<void> make_trace(std::string_view path, bool device, core::Instance& instance, core::Layers& into);

}  // namespace hal::layers
