// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace hal::cli {

// As it is printed: indented, with a newline. Names come from drivers, files and the command line; bytes of theirs that
// are no UTF-8 are replaced, as nobody could read the rest otherwise.
inline std::string json_text(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace hal::cli
