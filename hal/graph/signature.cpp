// SPDX-License-Identifier: Apache-2.0
#include "graph/signature.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace hal::graph {

Signature::Signature(const View& view) : name_(view.name()) {
  const std::size_t count = view.parameter_count();
  names_.reserve(count);  // params_ point into these strings
  params_.reserve(count);
  const std::vector<std::int64_t> sizes = signature_sizes(view);
  for (const std::int64_t size : sizes) {
    std::string name = print_size(size, view.sizes());
    // Long expressions are cut, and a symbol may be named like one.
    if (std::ranges::find(symbol_names_, name) != symbol_names_.end()) {
      name += fmt::format(" #{}", size_entry(size));
    }
    symbol_names_.push_back(std::move(name));
  }
  for (const std::string& name : symbol_names_) { symbols_.push_back(name.c_str()); }
  for (std::size_t i = 0; i < count; ++i) {
    const Tensor& tensor = view.tensor(i);
    hal_param param{};
    param.name = names_.emplace_back(tensor.name).c_str();
    param.kind = HAL_PARAM_TENSOR;
    param.direction = tensor.role == Role::input ? HAL_IN : HAL_OUT;
    param.dtype = static_cast<hal_dtype>(tensor.dtype);
    param.rank = tensor.rank;
    std::ranges::transform(tensor.shape(), param.dims, [](std::int64_t size) { return is_symbolic(size) ? -1 : size; });
    for (std::size_t d = 0; d < tensor.rank; ++d) {
      const auto symbol = std::ranges::find(sizes, tensor.dims[d]);
      // More than fit the field are refused by whoever counts them.
      if (symbol != sizes.end()) { param.symbols[d] = static_cast<std::uint8_t>(symbol - sizes.begin()); }
    }
    param.bytes = tensor.bytes;
    params_.push_back(param);
  }
  signature_.name = name_.c_str();
  signature_.kind = HAL_GRAPH;
  signature_.param_count = static_cast<std::uint32_t>(count);
  signature_.params = params_.data();
  signature_.symbols = symbols_.data();
  signature_.symbol_count = static_cast<std::uint32_t>(symbols_.size());
}

std::vector<std::int64_t> signature_sizes(const View& view) {
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; i < view.sizes().size(); ++i) {
    if (view.sizes()[i].op == SizeOp::symbol) { sizes.push_back(symbolic_size(i)); }
  }
  for (const Tensor& output : view.outputs()) {
    for (const std::int64_t size : output.shape()) {
      if (is_symbolic(size) && std::ranges::find(sizes, size) == sizes.end()) { sizes.push_back(size); }
    }
  }
  return sizes;
}

namespace {

// `axis 0 of argument 3 ("twice")`: the first output in whose shape the size stands.
std::string place_of(const View& view, std::int64_t size) {
  for (std::size_t i = view.inputs().size(); i < view.parameter_count(); ++i) {
    const ShapeView shape = view.tensor(i).shape();
    const auto axis = std::ranges::find(shape, size);
    if (axis == shape.end()) { continue; }
    return fmt::format("axis {} of argument {} (\"{}\")", axis - shape.begin(), i, view.tensor(i).name);
  }
  return "an axis of an argument";
}

// "n = 3, m = 4"
std::string given_text(const View& view, std::span<const std::int64_t> symbols) {
  const std::vector<std::string> names = view.symbols();
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    out += fmt::format("{}{} = {}", i == 0 ? "" : ", ", names[i], symbols[i]);
  }
  return out;
}

}  // namespace

Result<View> bind_signature(const View& view, std::span<const std::int64_t> extents) {
  const std::vector<std::int64_t> sizes = signature_sizes(view);
  const auto fail = [](const std::string& what) { return Error(HAL_INVALID_ARGUMENT, what, "hal.graph", "", 0); };
  if (extents.size() != sizes.size()) {
    return fail(fmt::format("graph \"{}\" takes {} extents, {} were given", view.name(), sizes.size(), extents.size()));
  }
  const auto symbols = extents.first(view.symbols().size());
  HAL_TRY(const std::vector<std::int64_t> values, evaluate_sizes(view.sizes(), symbols));
  for (std::size_t i = symbols.size(); i < sizes.size(); ++i) {
    const std::int64_t found = extents[i], wanted = values[size_entry(sizes[i])];
    if (found == wanted) { continue; }
    return fail(fmt::format("graph \"{}\": {} is {}, and {} is {} with {}", view.name(), place_of(view, sizes[i]),
                            found, print_size(sizes[i], view.sizes()), wanted, given_text(view, symbols)));
  }
  return view.bind(symbols);
}

}  // namespace hal::graph
