"""I3D trained on Kinetics-400, the network of the Fréchet video distance (FVD), from a file of weights.

Carreira and Zisserman, "Quo vadis, action recognition?", 2017, arXiv:1705.07750, figure 3: Inception-v1 whose filters
have an axis of time. Unterthiner et al., "Towards accurate generative models of video: a new metric and challenges",
2018, arXiv:1812.01717: the distance is that of its 400 logits for clips of 16 frames at 224 pixels.

Layers have the names of the usual PyTorch conversion of the authors' weights, ``rgb_imagenet.pt``, and the file is
one of safetensors: pickled files of others are not read. The plugin brings no weights and knows no place to fetch them
from: the file is named, and its SHA-256 stands in the receipts. To convert it once::

    import torch; from safetensors.torch import save_file
    save_file(torch.load("rgb_imagenet.pt", weights_only=True), "rgb_imagenet.safetensors")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from gan.contracts import Features, Modality
from gan.errors import BadData, UsageError
from gan.weights import file_sha256
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, interpolate, max_pool3d, pad

if TYPE_CHECKING:
    from gan.contracts import Samples

SIDE = 224
"""Side of the frames that the network sees, in pixels."""
SHORTEST = 9
"""Fewest frames of a clip: three halvings of time, rounded up, leave the two that the last pooling takes."""
BATCH = 4
"""Clips that are seen at a time."""

BLOCKS = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels of each Inception block: before it, then of 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after the pooling."""


def same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Zeros around ``(N, C, T, H, W)`` as TensorFlow's SAME adds them: what is odd comes at the end."""
    missing = [
        max((-(-length // step) - 1) * step + size - length, 0)
        for length, size, step in zip(x.shape[2:], kernel, stride)
    ]
    return pad(x, [part for total in reversed(missing) for part in (total // 2, total - total // 2)])


def pooled(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """The maximum, with padding; activations are not negative, so that zeros change nothing."""
    return max_pool3d(same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """Convolution, batch normalization, ReLU."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(before, after, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(after, eps=1e-3)
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, T, H, W)`` -> ``(N, after, ⌈T / stride⌉, …)``."""
        return torch.relu(self.bn(self.conv3d(same(x, self.kernel, self.stride))))


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, before: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int) -> None:
        super().__init__()
        self.b0 = Unit(before, b0)
        self.b1a, self.b1b = Unit(before, b1a), Unit(b1a, b1b, 3)
        self.b2a, self.b2b = Unit(before, b2a), Unit(b2a, b2b, 3)
        self.b3b = Unit(before, b3b)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, …)`` -> ``(N, b0 + b1b + b2b + b3b, …)``."""
        around = pooled(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(around)], 1)


class Logits(nn.Module):
    """The last layer, a 1x1x1 convolution with bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, 400, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 1024, T, 1, 1)`` -> ``(N, 400)``: the mean over time."""
        logits: Tensor = self.conv3d(x)
        return logits.mean((2, 3, 4))


class I3D(nn.Module):
    """Clips ``(N, 3, T ≥ 9, 224, 224)`` in -1 … 1 -> 400 logits of Kinetics."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, widths in BLOCKS.items():
            self.add_module(name, Inception(*widths))
        self.logits = Logits()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, T, 224, 224)`` -> ``(N, 400)``."""
        x = pooled(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = pooled(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in BLOCKS:
            if name == "Mixed_4b":
                x = pooled(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = pooled(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        found: Tensor = self.logits(avg_pool3d(x, (2, 7, 7), 1))
        return found


class I3DExtractor:
    """400 logits of a clip, with the weights of a file that the user names. Distances on it are called FVD, with the
    file's name."""

    version = "1"
    preprocessing = f"RGB, grey repeated, bilinear to {SIDE} x {SIDE} without antialiasing, x / 127.5 - 1"
    value_names: Mapping[str, str] = {"FID": "FVD", "FD": "FVD"}

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        if weights is None or not weights.expanduser().is_file():
            raise UsageError("name the file with the weights: fid[i3d=rgb_imagenet.safetensors]")
        file = weights.expanduser()
        self.label, self.sha256 = f"i3d:{file.stem}", file_sha256(file)
        self.device = torch.device(device)
        self.network = loaded(file).requires_grad_(False).eval().to(self.device)

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, 400)`` float32, and the probabilities of the classes."""
        clips = samples["video"]
        if clips.shape[1] < SHORTEST:
            raise BadData(f"clips of {clips.shape[1]} frames; I3D needs {SHORTEST}, and its distance is defined on 16")
        parts = []
        with torch.inference_mode():
            for start in range(0, len(clips), BATCH):
                seen = torch.from_numpy(np.array(clips[start : start + BATCH])).to(self.device)
                parts.append(self.network(prepared(seen)).float().cpu())
        logits = torch.cat(parts)
        return Features(logits.numpy(), logits.softmax(1).numpy())


def prepared(clips: Tensor) -> Tensor:
    """``(N, T, 1 | 3, H, W)`` 0 … 255 -> ``(N, 3, T, 224, 224)`` in -1 … 1."""
    frames = interpolate(clips.flatten(0, 1).float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
    return (frames / 127.5 - 1).expand(-1, 3, -1, -1).reshape(*clips.shape[:2], 3, SIDE, SIDE).transpose(1, 2)


def loaded(file: Path) -> I3D:
    """The network with the weights of a file. Raises `BadData` where they do not fit."""
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadData(f"is no file of safetensors: {str(error).splitlines()[0]}", file) from None
    network = I3D()
    try:
        missing, surplus = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise BadData(f"holds no I3D of 400 classes: {str(error).splitlines()[-1].strip()}", file) from None
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + list(surplus)
    if wrong:
        raise BadData(f"holds no I3D of 400 classes: {', '.join(wrong[:3])}", file)
    return network
