# SPDX-License-Identifier: Apache-2.0
"""Trains the small network of this sample with numpy alone and writes weights/*.npy.

    pixels [n, 8, 8, 1] / 16 -> conv 3x3 to 8 channels, padded -> ReLU -> max pool 2x2
        -> dense 128 to 32 -> ReLU -> dense 32 to 10 -> softmax

The split is the file's own order, never shuffled: the first 1,347 images train, the last 450 test. Epochs, rate and
decay were chosen on 250 images held out of the training part, without the test images; README.md says how often those
were looked at. Training images are also shown moved by one pixel. The seed is fixed; the same numpy gives the same weights.
"""

import pathlib

import numpy as np

TRAIN = 1347
EPOCHS = 200
BATCH = 64
RATE = 3e-3
DECAY = 3e-3

here = pathlib.Path(__file__).resolve().parent
data = here.parent / "data"


def patches_of(x):
    """[n, 8, 8] as [n, 8, 8, 9]: the padded 3x3 neighbourhood of each pixel."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    return np.stack([padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=-1)


def forward(p, x):
    patches = patches_of(x)
    conv = patches @ p["conv_filters"].reshape(9, 8) + p["conv_bias"]
    relu = np.maximum(conv, 0)
    windows = relu.reshape(-1, 4, 2, 4, 2, 8).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 4, 4, 8, 4)
    pooled = windows.max(-1)
    hidden = pooled.reshape(-1, 128) @ p["hidden_weights"] + p["hidden_bias"]
    logits = np.maximum(hidden, 0) @ p["out_weights"] + p["out_bias"]
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return patches, conv, windows, pooled, hidden, e / e.sum(-1, keepdims=True)


def gradients(p, x, labels):
    patches, conv, windows, pooled, hidden, probabilities = forward(p, x)
    n = len(x)
    d_logits = probabilities.copy()
    d_logits[np.arange(n), labels] -= 1
    d_logits /= n
    d_hidden = (d_logits @ p["out_weights"].T) * (hidden > 0)
    d_pooled = (d_hidden @ p["hidden_weights"].T).reshape(-1, 4, 4, 8)
    first = windows.argmax(-1)[..., None] == np.arange(4)
    d_windows = first * d_pooled[..., None]
    d_relu = d_windows.reshape(-1, 4, 4, 8, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(-1, 8, 8, 8)
    d_conv = d_relu * (conv > 0)
    return {
        "conv_filters": np.einsum("nyxk,nyxo->ko", patches, d_conv).reshape(3, 3, 1, 8),
        "conv_bias": d_conv.sum((0, 1, 2)),
        "hidden_weights": pooled.reshape(-1, 128).T @ d_hidden + DECAY * p["hidden_weights"],
        "hidden_bias": d_hidden.sum(0),
        "out_weights": np.maximum(hidden, 0).T @ d_logits + DECAY * p["out_weights"],
        "out_bias": d_logits.sum(0),
    }


def moved(rng, x):
    """Half of the images shifted by -1, 0 or 1 pixels both ways, blank pixels coming in."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.empty_like(x)
    for i, (dy, dx) in enumerate(rng.integers(0, 3, (len(x), 2))):
        out[i] = padded[i, dy : dy + 8, dx : dx + 8]
    return np.where(rng.random((len(x), 1, 1)) < 0.5, out, x)


def accuracy(p, x, labels):
    return float((forward(p, x)[-1].argmax(-1) == labels).mean())


def main():
    images = np.load(data / "digits_images.npy").astype(np.float64) / 16
    labels = np.load(data / "digits_labels.npy").astype(np.int64)
    rng = np.random.default_rng(20240607)
    p = {
        "conv_filters": rng.normal(0, np.sqrt(2 / 9), (3, 3, 1, 8)),
        "conv_bias": np.zeros(8),
        "hidden_weights": rng.normal(0, np.sqrt(2 / 128), (128, 32)),
        "hidden_bias": np.zeros(32),
        "out_weights": rng.normal(0, np.sqrt(2 / 32), (32, 10)),
        "out_bias": np.zeros(10),
    }
    m = {k: np.zeros_like(v) for k, v in p.items()}
    s = {k: np.zeros_like(v) for k, v in p.items()}
    step = 0
    for epoch in range(EPOCHS):
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        order = rng.permutation(TRAIN)
        for at in range(0, TRAIN, BATCH):
            pick = order[at : at + BATCH]
            step += 1
            for k, g in gradients(p, moved(rng, images[pick]), labels[pick]).items():
                m[k] = 0.9 * m[k] + 0.1 * g
                s[k] = 0.999 * s[k] + 0.001 * g * g
                p[k] -= rate * (m[k] / (1 - 0.9**step)) / (np.sqrt(s[k] / (1 - 0.999**step)) + 1e-8)

    p = {k: v.astype(np.float32) for k, v in p.items()}
    for k, v in p.items():
        np.save(here / "weights" / f"{k}.npy", v)
    print(f"train {accuracy(p, images[:TRAIN], labels[:TRAIN]):.4f} of {TRAIN}")
    print(f"test  {accuracy(p, images[TRAIN:], labels[TRAIN:]):.4f} of {len(images) - TRAIN}")
    print(f"all   {accuracy(p, images, labels):.4f} of {len(images)}")


if __name__ == "__main__":
    main()
