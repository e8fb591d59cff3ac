// SPDX-License-Identifier: Apache-2.0
#include "digits/network.hpp"

#include <fmt/format.h>

#include "digits/data.hpp"
#include "graph/rules.hpp"
#include "hal/graph.hpp"
#include "hal/nn.hpp"

namespace digits {
namespace {

using hal::DType;
using hal::GraphBuilder;
using hal::graph::Shape;
using hal::graph::Value;

hal::Result<Array> load(const std::string& folder, const char* name, const Shape& shape) {
  HAL_TRY(Array array, load_npy(fmt::format("{}/{}.npy", folder, name)));
  if (array.dtype == DType::f32 && array.shape == shape) { return array; }
  return hal::Error(HAL_INVALID_IMAGE,
                    fmt::format("{}/{}.npy: is {} {}, expected f32 {}", folder, name, hal::dtype_name(array.dtype),
                                hal::graph::print_shape(array.shape), hal::graph::print_shape(shape)));
}

Value constant(GraphBuilder& b, const Array& array, DType type, std::string name) {
  Value value = b.constant(array.dtype, array.shape, array.bytes);
  if (type != array.dtype) { value = b.convert(value, type); }
  b.name(value, std::move(name));
  return value;
}

}  // namespace

hal::Result<Weights> load_weights(const std::string& folder) {
  Weights w;
  HAL_TRY(w.conv_filters, load(folder, "conv_filters", {3, 3, 1, 8}));
  HAL_TRY(w.conv_bias, load(folder, "conv_bias", {8}));
  HAL_TRY(w.hidden_weights, load(folder, "hidden_weights", {128, 32}));
  HAL_TRY(w.hidden_bias, load(folder, "hidden_bias", {32}));
  HAL_TRY(w.out_weights, load(folder, "out_weights", {32, 10}));
  HAL_TRY(w.out_bias, load(folder, "out_bias", {10}));
  return w;
}

hal::Result<std::vector<std::byte>> build_network(const Weights& w, std::int64_t n, DType type) {
  namespace nn = hal::nn;
  using hal::graph::arg;
  if (n < 1 || (type != DType::f32 && type != DType::bf16)) {
    return hal::Error(
        HAL_INVALID_ARGUMENT,
        fmt::format("digits: a batch of {} in {}, expected 1 or more in f32 or bf16", n, hal::dtype_name(type)));
  }
  GraphBuilder b("digits");
  const Value pixels = b.input("pixels", type, {n, 8, 8, 1});
  const Value scaled = b.map({pixels}, arg(0) * (1.0 / 16));
  const nn::Conv2d same{.strides = {1, 1}, .pad_low = {1, 1}, .pad_high = {1, 1}, .dilation = {1, 1}};
  Value x = nn::conv2d(b, scaled, constant(b, w.conv_filters, type, "conv_filters"), same);
  b.name(x, "conv");
  x = nn::relu(b, nn::bias_add(b, x, constant(b, w.conv_bias, type, "conv_bias")));
  x = b.reshape(nn::max_pool2d(b, x), {n, 128});
  b.name(x, "pooled");
  x = nn::dense(b, x, constant(b, w.hidden_weights, type, "hidden_weights"),
                constant(b, w.hidden_bias, type, "hidden_bias"));
  x = nn::relu(b, x);
  b.name(x, "hidden");
  x = nn::dense(b, x, constant(b, w.out_weights, type, "out_weights"), constant(b, w.out_bias, type, "out_bias"));
  b.name(x, "logits");
  const Value probabilities = nn::softmax(b, type == DType::f32 ? x : b.convert(x, DType::f32));
  b.output("label", nn::argmax(b, x));
  b.output("probabilities", probabilities);
  return b.finish();
}

}  // namespace digits
