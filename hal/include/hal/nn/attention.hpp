// SPDX-License-Identifier: Apache-2.0
// Attention and positions.
#pragma once

#include "hal/nn/types.hpp"

namespace hal::nn {

/// Which keys query i of s may see, of t keys.
enum class Causal : std::uint8_t {
  no,
  from_start,  // keys 0 to i: the first query stands at the first key
  from_end,    // keys 0 to i + t - s: the last query stands at the last key, as with a cache of earlier keys
};

struct Attention {
  std::optional<double> scale{};  // of the scores; missing: 1 / sqrt(d)
  Causal causal = Causal::no;
  /// Broadcast to [b, heads, s, t]. bool: true may be seen. Floating: added to the scaled scores.
  std::optional<Value> mask{};
};

/// softmax(q k^T scale + mask) v (arXiv:1706.03762) with q [b, heads, s, d], k [b, kv_heads, t, d] and
/// v [b, kv_heads, t, e]: [b, heads, s, e]. Query head h reads head h / (heads / kv_heads): one head for all is
/// multi-query (arXiv:1911.02150), some are grouped-query attention (arXiv:2305.13245). Scores and softmax are f32; the
/// probabilities are rounded to the type of v for the second product. A query that sees no key gives zeros.
/// Errors  shapes disagree; kv_heads does not divide heads, or one of them is symbolic and they are neither the same
/// size nor is kv_heads 1; the mask does not broadcast, or is neither bool nor floating
Value attention(GraphBuilder& b, Value q, Value k, Value v, const Attention& options = {}, Site site = Site::current());

/// Which elements turn together.
enum class RotaryPairs : std::uint8_t {
  halves,       // i and i + dims/2 (GPT-NeoX, Llama's published weights for transformers)
  interleaved,  // 2i and 2i + 1 (the paper, GPT-J)
};

struct Rotary {
  RotaryPairs pairs = RotaryPairs::halves;
  double base = 10000;
  std::int64_t dims = 0;    // how many of the d elements turn, from the first; 0: all
  std::int64_t offset = 0;  // position of the first row, if no positions are given
  /// i32, [s] or anything that broadcasts with x without its last dimension and has no more dimensions; each 0 to
  /// max_position - 1
  std::optional<Value> positions{};
  std::int64_t max_position = 0;  // with positions, or a symbolic s: rows of the tables, counted from `offset`
};

/// Rotary position embedding (arXiv:2104.09864) of x [..., s, d]: pair i at position p turns by p base^(-2i/dims).
/// Sines and cosines are f32 constants made here.
/// Errors  x has less than two dimensions; dims is odd, or more than d; with interleaved pairs x has more than 7;
///         positions without max_position, not i32, or of a shape that does not fit; a symbolic s without positions and
///         max_position, or a symbolic d; tables of more than 2^28 elements. A run with more rows than max_position is
///         refused when it is bound
Value rotary(GraphBuilder& b, Value x, const Rotary& options = {}, Site site = Site::current());

}  // namespace hal::nn
