// SPDX-License-Identifier: Apache-2.0
// The matrix of layers and element types.
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "graph/case_maker.hpp"
#include "graph/cases.hpp"
#include "hal/nn.hpp"

namespace hal::graph {
namespace {

constexpr std::array kAll{DType::f64, DType::f32, DType::f16, DType::bf16, DType::f8e4m3, DType::f8e5m2,
                          DType::i64, DType::i32, DType::i8,  DType::i4,   DType::u8,     DType::boolean};

// Operands are whole numbers from -2 to 4, or 0 and 1.
struct Layer {
  const char* name;
  Shape x;
  std::function<Value(Maker&, DType, Value)> make;
  DType exact = DType::f64;  // of the same layer in what holds all
};

Value table(Maker& m, DType type, Shape shape, std::uint32_t step = 1) {
  std::vector<double> values(static_cast<std::size_t>(element_count(shape).value_or(0)));
  for (std::size_t i = 0; i < values.size(); ++i) { values[i] = static_cast<double>(i * step % 2); }
  return m.input(type, std::move(shape), values);
}

Value ones(Maker& m, DType type, std::int64_t count) {
  return m.input(type, {count}, std::vector<double>(static_cast<std::size_t>(count), 1));
}

// A layer of one operand and options alone.
template <class Call>
Layer plain(const char* name, Shape x, Call call) {
  return {name, std::move(x), [call](Maker& m, DType, Value v) { return call(m.b, v); }, DType::f64};
}

void add_pointwise(std::vector<Layer>& all) {
  using B = GraphBuilder;
  all.push_back(plain("relu", {3, 5}, [](B& b, Value x) { return nn::relu(b, x); }));
  all.push_back(plain("sigmoid", {3, 5}, [](B& b, Value x) { return nn::sigmoid(b, x); }));
  all.push_back(plain("tanh", {3, 5}, [](B& b, Value x) { return nn::tanh(b, x); }));
  all.push_back(plain("silu", {3, 5}, [](B& b, Value x) { return nn::silu(b, x); }));
  all.push_back(plain("gelu", {3, 5}, [](B& b, Value x) { return nn::gelu(b, x); }));
  all.push_back(plain("gelu_tanh", {3, 5}, [](B& b, Value x) { return nn::gelu_tanh(b, x); }));
  all.push_back(
      {"bias_add", {3, 5}, [](Maker& m, DType t, Value x) { return nn::bias_add(m.b, x, table(m, t, {5})); }});
  all.push_back({"dense", {2, 3, 4}, [](Maker& m, DType t, Value x) {
                   const Value weights = table(m, t, {4, 3});
                   return nn::dense(m.b, x, weights, table(m, t, {3}));
                 }});
  all.push_back({"embedding", {4, 3}, [](Maker& m, DType, Value x) {
                   return nn::embedding(m.b, x, m.input(DType::i32, {5}, {3, 0, 1, 3, 2}));
                 }});
  all.push_back({"one_hot", {2}, [](Maker& m, DType t, Value) {
                   return nn::one_hot(m.b, m.input(DType::i32, {4}, {2, 0, 5, -1}), 3, t);
                 }});
}

void add_norms(std::vector<Layer>& all) {
  using B = GraphBuilder;
  all.push_back(plain("softmax", {3, 5}, [](B& b, Value x) { return nn::softmax(b, x); }));
  all.push_back(plain("log_softmax", {3, 5}, [](B& b, Value x) { return nn::log_softmax(b, x, 0); }));
  all.push_back({"layer_norm", {3, 6}, [](Maker& m, DType t, Value x) {
                   const Value scale = ones(m, t, 6);
                   return nn::layer_norm(m.b, x, {.scale = scale, .shift = table(m, t, {6})});
                 }});
  all.push_back(plain("rms_norm", {3, 6}, [](B& b, Value x) { return nn::rms_norm(b, x); }));
  all.push_back({"batch_norm", {3, 4}, [](Maker& m, DType t, Value x) {
                   const Value mean = table(m, t, {4});
                   return nn::batch_norm(m.b, x, mean, ones(m, t, 4));
                 }});
  all.push_back(plain("group_norm", {2, 3, 4}, [](B& b, Value x) { return nn::group_norm(b, x, 2); }));
}

void add_windows(std::vector<Layer>& all) {
  using B = GraphBuilder;
  all.push_back({"conv1d", {2, 7, 2}, [](Maker& m, DType t, Value x) {
                   return nn::conv(m.b, x, table(m, t, {3, 2, 2}), {.strides = {2}, .pad_low = {1}});
                 }});
  all.push_back({"conv2d.groups", {1, 4, 4, 4}, [](Maker& m, DType t, Value x) {
                   return nn::conv(m.b, x, table(m, t, {2, 2, 2, 2}), {.dilation = {2, 1}, .groups = 2});
                 }});
  all.push_back({"conv3d", {1, 3, 3, 2, 1}, [](Maker& m, DType t, Value x) {
                   return nn::conv(m.b, x, table(m, t, {2, 2, 2, 1, 1}));
                 }});
  all.push_back({"conv_transpose", {1, 3, 2}, [](Maker& m, DType t, Value x) {
                   return nn::conv_transpose(m.b, x, table(m, t, {2, 2, 1}), {.strides = {2}});
                 }});
  all.push_back(plain("max_pool", {1, 5, 4, 2}, [](B& b, Value x) {
    return nn::max_pool(b, x, {.window = {2, 3}, .strides = {2, 1}, .pad_low = {1, 0}, .pad_high = {0, 2}});
  }));
  all.push_back(plain("average_pool", {1, 5, 4, 2}, [](B& b, Value x) {
    return nn::average_pool(b, x, {.window = {2, 3}, .strides = {2, 1}, .pad_low = {1, 0}, .pad_high = {0, 2}});
  }));
}

void add_sequences(std::vector<Layer>& all) {
  using B = GraphBuilder;
  all.push_back({"attention", {1, 4, 3, 4}, [](Maker& m, DType t, Value q) {
                   const Value k = table(m, t, {1, 2, 5, 4}), v = table(m, t, {1, 2, 5, 3}, 3);
                   return nn::attention(m.b, q, k, v, {.causal = nn::Causal::from_end});
                 }});
  all.push_back({"attention.mask", {1, 1, 3, 4}, [](Maker& m, DType t, Value q) {
                   return nn::attention(m.b, q, q, q, {.mask = table(m, t == DType::f64 ? t : DType::f32, {3, 3})});
                 }});
  all.push_back(plain("rotary", {2, 3, 4}, [](B& b, Value x) { return nn::rotary(b, x); }));
  all.push_back(plain("argmax", {3, 5, 2}, [](B& b, Value x) { return nn::argmax(b, x, 1); }));
  all.push_back(plain("argmin", {3, 5, 2}, [](B& b, Value x) { return nn::argmin(b, x); }));
  all.push_back({"top_k", {3, 9}, [](Maker& m, DType, Value x) {
                   const nn::TopK top = nn::top_k(m.b, x, 3);
                   m.b.output("indices", top.indices);
                   return top.values;
                 }});
  all.push_back(plain("cumulative_sum", {2, 5}, [](B& b, Value x) { return nn::cumulative_sum(b, x); }));
}

void add_resampling(std::vector<Layer>& all) {
  using B = GraphBuilder;
  all.push_back(plain("resize_nearest", {1, 3, 4, 2}, [](B& b, Value x) { return nn::resize_nearest(b, x, {5, 2}); }));
  all.push_back(plain("resize_linear", {1, 3, 4, 2}, [](B& b, Value x) { return nn::resize_linear(b, x, {5, 2}); }));
  for (const auto& [name, mode] : {std::pair{"pad.constant", nn::PadMode::constant},
                                   {"pad.edge", nn::PadMode::edge},
                                   {"pad.reflect", nn::PadMode::reflect},
                                   {"pad.wrap", nn::PadMode::wrap}}) {
    all.push_back(plain(name, {3, 4}, [how = mode](B& b, Value x) { return nn::pad(b, x, {2, 1}, {0, 3}, how, 1); }));
  }
  for (const DType to : {DType::i8, DType::u8, DType::i4}) {
    static constexpr std::array kNames{"quantise.i8", "quantise.u8", "quantise.i4"};
    const char* name = kNames[to == DType::i8 ? 0 : to == DType::u8 ? 1 : 2];
    all.push_back({name, {3, 4}, [to](Maker& m, DType, Value x) {
                     const Value scale = m.input(DType::f32, {4}, {0.5, 1, 2, 4});
                     return nn::quantise(m.b, x, {.scale = scale, .zero_point = m.input(DType::i32, {4}, {0, 1, 2, 3})},
                                         to);
                   }});
  }
  all.push_back(
      {"dequantise",
       {3, 4},
       [](Maker& m, DType, Value x) { return nn::dequantise(m.b, x, {.scale = m.input(DType::f32, {}, {0.5})}); },
       DType::i32});
}

// Whole numbers, small enough for i4 and the narrowest float; some are equal.
std::vector<double> numbers(DType type, std::int64_t count) {
  std::vector<double> values(static_cast<std::size_t>(count));
  const bool sign = type != DType::u8 && type != DType::boolean;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto drawn = static_cast<double>(i * 7 % 5);
    values[i] = type == DType::boolean ? static_cast<double>(i * 7 % 5 % 2) : sign ? drawn - 2 : drawn;
  }
  return values;
}

}  // namespace

LayerCases layer_cases() {
  std::vector<Layer> layers;
  add_pointwise(layers);
  add_norms(layers);
  add_windows(layers);
  add_sequences(layers);
  add_resampling(layers);
  LayerCases out;
  for (const DType type : kAll) {
    for (const Layer& layer : layers) {
      const std::vector<double> values = numbers(type, element_count(layer.x).value_or(0));
      std::vector<Case> made;
      const auto add = [&](DType in) -> Result<void> {
        Maker m(made, fmt::format("{}.{}", dtype_name(in), layer.name));
        const Value x = m.input(in, layer.x, values);
        m.b.output("out", layer.make(m, in, x));
        HAL_CHECK(m.b.finish());
        m.finish();
        return {};
      };
      if (const Result<void> built = add(type); !built) {
        out.refused.push_back({std::string(dtype_name(type)), layer.name, std::string(built.error().what())});
        continue;
      }
      add(layer.exact).value();
      out.cases.push_back(std::move(made[0]));
      out.exact.push_back(std::move(made[1]));
    }
  }
  return out;
}

}  // namespace hal::graph
