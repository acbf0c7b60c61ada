"""musicnn, a tagger of music, as features: 200 numbers of each sound, for a Fréchet distance of music.

Pons, Serra: musicnn: pre-trained convolutional neural networks for music audio tagging, 2019, arXiv:1909.06654. The
weights (MTT_musicnn, trained on MagnaTagATune) are two files in the wheel of musicnn 0.1.0; the rest of that package,
and TensorFlow, are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from gan.contracts import Features
from gan.errors import BadData
from gan.weights import file_sha256, find_weights
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_audio.extractors.base import copy_into, mono_at
from gan_audio.extractors.files import tensorflow_variables
from gan_audio.spectra import magnitudes, mel_filters

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

RATE, BANDS, WINDOW, HOP = 16_000, 96, 512, 256
FRAMES = 187
"""Frames of a window: three seconds."""
TAGS = 50
EPSILON = 1e-3
"""Of batch normalisation, TensorFlow's."""
TIMBRES, TEMPORAL = ((7, 38), (7, 67)), (128, 64, 32)
"""Kernels of the first layer, in frames and bands: over timbres, and over time."""
FILE, INDEX = ".data-00000-of-00001", ".index"
SHA256 = {
    FILE: "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
    INDEX: "da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
}


class MusicNN(nn.Module):
    """Log-mel spectrograms ``(N, frames, 96)`` -> 200 features ``(N, 200)`` and the logits of 50 tags ``(N, 50)``."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = _norm(1, 2)
        shapes = [(204, kernel) for kernel in TIMBRES] + [(51, (length, 1)) for length in TEMPORAL]
        self.front = nn.ModuleList(nn.Conv2d(1, width, kernel) for width, kernel in shapes)
        self.front_norms = nn.ModuleList(_norm(width, 2) for width, _ in shapes)
        width = sum(channels for channels, _ in shapes)
        self.middle = nn.ModuleList(nn.Conv1d(before, 64, 7, padding=3) for before in (width, 64, 64))
        self.middle_norms = nn.ModuleList(_norm(64, 1) for _ in range(3))
        self.pooled_norm = _norm(2 * (width + 3 * 64), 1)
        self.dense = nn.Linear(2 * (width + 3 * 64), 200)
        self.dense_norm = _norm(200, 1)
        self.tags = nn.Linear(200, TAGS)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        x = self.input_norm(mel[:, None])
        found = []
        for layer, norm in zip(self.front, self.front_norms, strict=True):
            assert isinstance(layer, nn.Conv2d)
            length = layer.kernel_size[0]
            padded = pad(x, (0, 0, (length - 1) // 2, length // 2))
            found.append(norm(layer(padded).relu()).amax(3))
        maps = [torch.cat(found, 1)]
        for layer, norm in zip(self.middle, self.middle_norms, strict=True):
            y = norm(layer(maps[-1]).relu())
            maps.append(y + maps[-1] if len(maps) > 1 else y)
        everything = torch.cat(maps, 1)
        pooled = torch.stack([everything.amax(2), everything.mean(2)], 2).flatten(1)  # the two take turns
        features: Tensor = self.dense_norm(self.dense(self.pooled_norm(pooled)).relu())
        return features, self.tags(features)

    def load_tensorflow(self, variables: dict[str, NDArray[np.float32]]) -> None:
        """Copy TensorFlow's variables, whose layers are numbered in the order of their creation. Raises `KeyError` or
        `ValueError` if one is missing or has another shape."""
        convolutions: Sequence[nn.Module] = [*self.front, *self.middle]
        norms: Sequence[nn.Module] = [
            self.input_norm, *self.front_norms, *self.middle_norms, self.pooled_norm, self.dense_norm
        ]  # fmt: skip
        for number, layer in enumerate(convolutions):
            assert isinstance(layer, nn.Conv1d | nn.Conv2d)
            kernel = variables[f"{_numbered('conv2d', number)}/kernel"]  # (time, bands or inputs, 1, outputs)
            swapped = (
                kernel.transpose(3, 2, 0, 1) if isinstance(layer, nn.Conv2d) else kernel[:, :, 0].transpose(2, 1, 0)
            )
            copy_into(layer.weight, swapped)
            copy_into(layer.bias, variables[f"{_numbered('conv2d', number)}/bias"])
        for number, layer in enumerate((self.dense, self.tags)):
            copy_into(layer.weight, variables[f"{_numbered('dense', number)}/kernel"].T)
            copy_into(layer.bias, variables[f"{_numbered('dense', number)}/bias"])
        names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        for number, norm in enumerate(norms):
            for ours, theirs in names.items():
                copy_into(getattr(norm, ours), variables[f"{_numbered('batch_normalization', number)}/{theirs}"])


class MusicNNExtractor:
    """The 200 features before the tags, mean over windows of three seconds; shorter sounds are repeated."""

    version = "1"
    preprocessing = (
        f"channels averaged, {RATE} Hz, {BANDS} Slaney mel bands of power, windows of {WINDOW}, hops of {HOP} samples, "
        f"log10(1 + 10,000 x), windows of {FRAMES} frames"
    )
    value_names = {"FID": "FD"}
    sha256 = SHA256[FILE]

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        """`weights` is the folder ``musicnn/MTT_musicnn`` of the wheel, or its large file."""
        data = find_weights(FILE, SHA256[FILE], weights)
        index = data.with_name(INDEX)
        if not index.is_file() or file_sha256(index) != SHA256[INDEX]:
            raise BadData(f"musicnn needs the file {INDEX} of the same folder of its wheel beside it", data)
        self.device = torch.device(device)
        network = MusicNN()
        network.load_tensorflow(tensorflow_variables(index, data.read_bytes()))
        self.network = network.requires_grad_(False).eval().to(self.device)

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, 200)`` float32."""
        vectors = []
        for wave in mono_at(samples, modality, RATE):
            with torch.inference_mode():
                found, _ = self.network(torch.from_numpy(windows(wave)).to(self.device))
            vectors.append(found.mean(0).cpu().numpy())
        return Features(np.asarray(vectors, np.float32).reshape(len(vectors), -1))


def windows(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(samples,)`` at 16 kHz -> ``(windows, 187, 96)``: what the network sees."""
    power = np.square(magnitudes(wave, WINDOW, HOP)) @ mel_filters(RATE, WINDOW, BANDS).T
    logs = np.log10(1 + 10_000 * power).astype(np.float32)
    if len(logs) < FRAMES:
        logs = np.tile(logs, (-(-FRAMES // len(logs)), 1))
    count = len(logs) // FRAMES
    return logs[: count * FRAMES].reshape(count, FRAMES, BANDS)


def _norm(channels: int, axes: int) -> nn.Module:
    return (nn.BatchNorm2d if axes == 2 else nn.BatchNorm1d)(channels, eps=EPSILON)


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
