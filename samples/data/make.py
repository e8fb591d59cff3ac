# SPDX-License-Identifier: Apache-2.0
"""Writes digits_images.npy and digits_labels.npy from scikit-learn's copy of the data (pip install scikit-learn)."""

import pathlib

import numpy as np
from sklearn.datasets import load_digits

here = pathlib.Path(__file__).resolve().parent
digits = load_digits()
np.save(here / "digits_images.npy", digits.images.astype(np.uint8))
np.save(here / "digits_labels.npy", digits.target.astype(np.uint8))
