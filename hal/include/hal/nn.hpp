// SPDX-License-Identifier: Apache-2.0
// Layers of neural networks, lowered to the primitives of hal/graph.hpp: no device sees any of these names. Channels
// come last (NHWC), filters are [taps..., channels in, channels out]. Sums and exponentials are kept in f32 where a
// value of a narrower type would lose them; results have the type of x unless said otherwise. Mistakes go where
// GraphBuilder keeps its own: the first one is what finish() returns.
#pragma once

#include "hal/nn/attention.hpp"
#include "hal/nn/convolution.hpp"
#include "hal/nn/layers.hpp"
#include "hal/nn/normalisation.hpp"
#include "hal/nn/quantisation.hpp"
#include "hal/nn/resampling.hpp"
#include "hal/nn/selection.hpp"
