"""The Inception-v3 network of 2015, on which FID, KID and IS are defined.

Szegedy et al.: Rethinking the Inception architecture for computer vision, 2016, as the graph of 5 December 2015 that
Heusel et al. 2017 used for FID. It differs from the network that libraries ship as "Inception v3": 1,008 outputs,
average pooling that does not count the padding, max pooling in the last block, and TensorFlow 1's bilinear resizing,
which samples pixel i of 299 at i · side / 299 without antialiasing.

For speed every batch normalization is folded into the convolution before it; features are equal up to rounding.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gan_image.extractors.base import NetworkExtractor, pth_state, rgb

SIDE = 299
EPS = 1e-3
"""Epsilon of the batch normalizations."""

Kernel = int | tuple[int, int]


class Conv(nn.Conv2d):
    """A convolution with folded batch normalization, and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, same: bool = True) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(inputs, outputs, (height, width), stride, padding=((height // 2, width // 2) if same else 0))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, h, w) -> (n, outputs, h', w')``."""
        return torch.relu_(super().forward(x))


def average(x: Tensor) -> Tensor:
    """3x3 average pooling that does not count the padding."""
    return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class BlockA(nn.Module):
    """35 x 35, figure 5: 1x1, 5x5, two 3x3, pool."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1 = Conv(inputs, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, 35, 35) -> (n, 224 + pooled, 35, 35)``."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        parts = [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), twice, self.branch_pool(average(x))]
        return torch.cat(parts, 1)


class ReductionB(nn.Module):
    """35 x 35 -> 17 x 17, figure 10."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, 2, same=False)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2, same=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, 35, 35) -> (n, 480 + inputs, 17, 17)``."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, nn.functional.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17, figure 6 with n = 7: 7x7 convolutions as pairs of 1x7 and 7x1."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(768, 192, 1)
        self.branch7x7_1 = Conv(768, inner, 1)
        self.branch7x7_2 = Conv(inner, inner, (1, 7))
        self.branch7x7_3 = Conv(inner, 192, (7, 1))
        self.branch7x7dbl_1 = Conv(768, inner, 1)
        self.branch7x7dbl_2 = Conv(inner, inner, (7, 1))
        self.branch7x7dbl_3 = Conv(inner, inner, (1, 7))
        self.branch7x7dbl_4 = Conv(inner, inner, (7, 1))
        self.branch7x7dbl_5 = Conv(inner, 192, (1, 7))
        self.branch_pool = Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 768, 17, 17) -> (n, 768, 17, 17)``."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(average(x))], 1)


class ReductionD(nn.Module):
    """17 x 17 -> 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(768, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, 2, same=False)
        self.branch7x7x3_1 = Conv(768, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, 3, 2, same=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 768, 17, 17) -> (n, 1280, 8, 8)``."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, nn.functional.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8, figure 7: parallel 1x3 and 3x1 convolutions. The last block of the network uses max pooling."""

    def __init__(self, inputs: int, last: bool) -> None:
        super().__init__()
        self.last = last
        self.branch1x1 = Conv(inputs, 320, 1)
        self.branch3x3_1 = Conv(inputs, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1))
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, 8, 8) -> (n, 2048, 8, 8)``."""
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = nn.functional.max_pool2d(x, 3, 1, 1) if self.last else average(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class InceptionV3(nn.Module):
    """``(n, 3, 299, 299)`` in -1 … 1 -> 2,048 pooled features, and 1,008 logits without their bias.

    The bias is omitted, as in the Inception Score of GAN papers since StyleGAN.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2, same=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, same=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = ReductionB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = BlockC(128), BlockC(160), BlockC(160), BlockC(192)
        self.Mixed_7a = ReductionD()
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, last=False), BlockE(2048, last=True)
        self.fc = nn.Linear(2048, 1008, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, 2048)`` and logits ``(n, 1008)``."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (n, 64, 147, 147)
        x = nn.functional.max_pool2d(x, 3, 2)  # (n, 64, 73, 73)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # (n, 192, 71, 71)
        x = nn.functional.max_pool2d(x, 3, 2)  # (n, 192, 35, 35)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # (n, 288, 35, 35)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # (n, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (n, 2048, 8, 8)
        features = x.mean((2, 3))
        return features, self.fc(features)

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load weights ``X.conv.weight``, ``X.bn.*`` and fold in the normalization in float64."""
        folded = {"fc.weight": state["fc.weight"]}
        for name in state:
            if not name.endswith(".conv.weight"):
                continue
            layer = name.removesuffix(".conv.weight")
            gain, bias, mean, variance = (
                state[f"{layer}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gain / torch.sqrt(variance + EPS)
            folded[f"{layer}.weight"] = (state[name].double() * scale.view(-1, 1, 1, 1)).float()
            folded[f"{layer}.bias"] = (bias - mean * scale).float()
        self.load_state_dict(folded)


def resized_as_tensorflow_1(batch: Tensor, side: int = SIDE) -> Tensor:
    """Bilinear resizing as in TensorFlow 1: output pixel i is at input position i · input / side; no antialiasing."""
    height, width = batch.shape[-2:]
    if (height, width) == (side, side):
        return batch
    return _along(_along(batch, side, 3), side, 2)


def _along(batch: Tensor, side: int, axis: int) -> Tensor:
    size = batch.shape[axis]
    place = torch.arange(side, device=batch.device, dtype=torch.float32) * torch.tensor(size / side)
    low = place.long()
    share = (place - low).view(-1, 1) if axis == 2 else place - low
    first = batch.index_select(axis, low)
    second = batch.index_select(axis, (low + 1).clamp_max(size - 1))
    return torch.lerp(first, second, share.expand_as(first))


class InceptionExtractor(NetworkExtractor):
    """2,048 pooled features, and the probabilities of 1,008 classes."""

    preprocessing = "RGB, TensorFlow 1 bilinear to 299 x 299, (x - 128) / 128"
    file = "pt_inception-2015-12-05-6726825d.pth"
    sha256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    batch = 32

    def build(self, file: Path) -> nn.Module:
        """Load the published weights; the file has tensors only and is read without unpickling objects."""
        network = InceptionV3()
        network.load_published(pth_state(file))
        return network

    def prepare(self, batch: Tensor) -> Tensor:
        """``(n, 3, 299, 299)``."""
        return (resized_as_tensorflow_1(rgb(batch)) - 128) / 128
