// SPDX-License-Identifier: Apache-2.0
// Normalisations, as they are applied (inference). Means and variances are f32, from differences to the mean and not
// from sums of squares; one rounding to the type of x.
#pragma once

#include "hal/nn/types.hpp"

namespace hal::nn {

/// (x - mean) / sqrt(variance + epsilon) over the last `axes` dimensions; scale and shift have their shape
/// (arXiv:1607.06450).
/// Errors  axes is not 1 to the rank of x
Value layer_norm(GraphBuilder& b, Value x, const Affine& affine = {}, std::uint32_t axes = 1, double epsilon = 1e-5,
                 Site site = Site::current());

/// x / sqrt(mean of x^2 + epsilon) over the last `axes` dimensions (arXiv:1910.07467)
Value rms_norm(GraphBuilder& b, Value x, const Affine& affine = {}, std::uint32_t axes = 1, double epsilon = 1e-6,
               Site site = Site::current());

/// (x - mean) / sqrt(variance + epsilon) with given statistics; x [..., c], the rest [c] (arXiv:1502.03167). One map.
Value batch_norm(GraphBuilder& b, Value x, Value mean, Value variance, const Affine& affine = {}, double epsilon = 1e-5,
                 Site site = Site::current());

/// x [n, ..., c]: the channels in `groups` equal groups, each normalised with everything between n and c; scale and
/// shift [c] (arXiv:1803.08494). One group a channel is instance normalisation.
/// Errors  x has less than two dimensions; c is symbolic, or groups does not divide it; scale or shift is of another
///         shape
Value group_norm(GraphBuilder& b, Value x, std::int64_t groups, const Affine& affine = {}, double epsilon = 1e-5,
                 Site site = Site::current());

}  // namespace hal::nn
