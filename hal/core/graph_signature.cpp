// SPDX-License-Identifier: Apache-2.0
// The signature that a hal.graph carries itself: its inputs, then its outputs.
#include <span>

#include "core/signature.hpp"
#include "graph/view.hpp"

namespace hal::core {

Result<Signatures> graph_signatures(const hal_image& image) {
  HAL_TRY(const graph::View view, graph::View::verify({static_cast<const std::byte*>(image.bytes), image.size}));
  Signatures out;
  out.add(std::string(view.name()), HAL_GRAPH);
  for (std::size_t i = 0; i < view.parameter_count(); ++i) {
    const graph::Tensor& tensor = view.tensor(i);
    hal_param& param = out.add_param(std::string(tensor.name));
    param.kind = HAL_PARAM_TENSOR;
    param.direction = i < view.inputs().size() ? HAL_IN : HAL_OUT;
    param.dtype = static_cast<hal_dtype>(tensor.dtype);
    param.rank = tensor.rank;
    for (std::size_t axis = 0; axis < tensor.rank; ++axis) { param.dims[axis] = tensor.dims[axis]; }
    param.bytes = tensor.bytes;
  }
  return out;
}

}  // namespace hal::core
