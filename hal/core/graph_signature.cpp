// SPDX-License-Identifier: Apache-2.0
// The signature that a hal.graph carries itself.
#include "graph/signature.hpp"

#include <span>
#include <string>

#include "core/signature.hpp"
#include "graph/view.hpp"

namespace hal::core {

Result<Signatures> graph_signatures(const hal_image& image) {
  HAL_TRY(const graph::View view,
          graph::View::verify_dynamic({static_cast<const std::byte*>(image.bytes), image.size}));
  const graph::Signature read(view);
  const hal_signature& entry = read.describe();
  Signatures out;
  if (entry.symbol_count > kMostSymbols) {
    return Error(HAL_UNSUPPORTED, "graph '" + std::string(entry.name) + "' has " + std::to_string(entry.symbol_count) +
                                      " symbols and sizes made of them in the shapes of its outputs; the most is " +
                                      std::to_string(kMostSymbols));
  }
  out.add(entry.name, entry.kind);
  // In the driver's order, whichever parameter has them first.
  for (const char* symbol : std::span(entry.symbols, entry.symbol_count)) { (void)out.symbol(symbol); }
  for (const hal_param& given : std::span(entry.params, entry.param_count)) {
    hal_param& param = out.add_param(given.name);
    const char* kept = param.name;
    param = given;
    param.name = kept;
    for (std::uint32_t axis = 0; axis < param.rank; ++axis) {
      if (param.dims[axis] < 0) { param.symbols[axis] = out.symbol(entry.symbols[given.symbols[axis]]); }
    }
  }
  return out;
}

}  // namespace hal::core
