#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Regenerates graph.ptx and wide.ptx with any nvcc. The version line is lowered so that older drivers accept the text; the
# kernels use nothing newer, and the hint about unused bytes of a load, which is, goes. ptxas, where it stands beside nvcc,
# says whether that is true. Not part of the build.
set -e
cd "$(dirname "$0")"
for name in graph wide; do
  "${NVCC:-nvcc}" -O3 -std=c++17 -ptx -arch=compute_80 $name.cu -o $name.ptx
  sed -i -e 's/^\.version .*/.version 7.0/' -e '/^\t\.pragma "used_bytes_mask/d' \
    -e '/^\/\/ Compiler Build ID/d' -e '/^\/\/ Cuda compilation tools/d' $name.ptx
  if command -v "${PTXAS:-ptxas}" >/dev/null; then "${PTXAS:-ptxas}" -arch=sm_80 $name.ptx -o /dev/null; fi
done
