// SPDX-License-Identifier: Apache-2.0
// The network that train.py trained, as a portable graph: input "pixels" [n, 8, 8, 1] from 0 to 16; outputs "label" i32
// [n] and "probabilities" f32 [n, 10].
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "digits/npy.hpp"

namespace digits {

struct Weights {
  Array conv_filters;    // [3, 3, 1, 8]
  Array conv_bias;       // [8]
  Array hidden_weights;  // [128, 32]
  Array hidden_bias;     // [32]
  Array out_weights;     // [32, 10]
  Array out_bias;        // [10]
};

/// Reads the six files of samples/digits/weights.
/// Errors  as load_npy(), and INVALID_IMAGE if one has another type or shape
hal::Result<Weights> load_weights(const std::string& folder);

/// The graph "digits" for batches of n images, as hal.graph bytes. `type` is that of pixels, weights and activations:
/// f32 or bf16. Errors  INVALID_ARGUMENT  n is below 1, or another type
hal::Result<std::vector<std::byte>> build_network(const Weights& weights, std::int64_t n,
                                                  hal::DType type = hal::DType::f32);

}  // namespace digits
