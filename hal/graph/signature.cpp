// SPDX-License-Identifier: Apache-2.0
#include "graph/signature.hpp"

#include <algorithm>

namespace hal::graph {

Signature::Signature(const View& view) : name_(view.name()) {
  const std::size_t count = view.parameter_count();
  names_.reserve(count);  // params_ point into these strings
  params_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Tensor& tensor = view.tensor(i);
    hal_param param{};
    param.name = names_.emplace_back(tensor.name).c_str();
    param.kind = HAL_PARAM_TENSOR;
    param.direction = tensor.role == Role::input ? HAL_IN : HAL_OUT;
    param.dtype = static_cast<hal_dtype>(tensor.dtype);
    param.rank = tensor.rank;
    std::ranges::copy(tensor.shape(), param.dims);
    param.bytes = tensor.bytes;
    params_.push_back(param);
  }
  signature_.name = name_.c_str();
  signature_.kind = HAL_GRAPH;
  signature_.param_count = static_cast<std::uint32_t>(count);
  signature_.params = params_.data();
}

}  // namespace hal::graph
