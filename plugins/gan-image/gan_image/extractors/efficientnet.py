"""EfficientNet-Lite0 trained on ImageNet: features for photographs from a file of 19 MB.

Tan, Le: EfficientNet: Rethinking model scaling for convolutional neural networks, 2019, arXiv:1905.11946, table 1; the
variant Lite0 has no squeeze-and-excitation and ReLU6 for swish. Distances on it are no FID, whose network is another.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import pad, relu6

from gan_image.extractors.base import NetworkExtractor, pth_state, resized, rgb

STAGES = ((3, 1, 16, 1, 1), (3, 2, 24, 6, 2), (5, 2, 40, 6, 2), (3, 3, 80, 6, 2), (5, 3, 112, 6, 1), (5, 4, 192, 6, 2),
          (3, 1, 320, 6, 1))  # fmt: skip
"""Kernel, blocks, channels, expansion and stride of each stage."""


class Same(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does: what is odd comes below and to the right."""

    def forward(self, input: Tensor) -> Tensor:
        """``(n, c, s, s) -> (n, c', ⌈s / stride⌉, …)``."""
        total = [
            max((-(-side // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - side, 0)
            for side in input.shape[:1:-1]  # width, then height
        ]
        return super().forward(pad(input, [part for side in total for part in (side // 2, side - side // 2)]))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """An inverted bottleneck: 1x1 to `expansion` times the channels, a depthwise convolution, 1x1 back; added where the
    shape allows. Layers have the names of the published file."""

    def __init__(self, before: int, after: int, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = before * expansion
        if expansion > 1:
            self._expand_conv = Same(before, width, 1, bias=False)
            self._bn0 = _norm(width)
        self._depthwise_conv = Same(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _norm(width)
        self._project_conv = Same(width, after, 1, bias=False)
        self._bn2 = _norm(after)
        self.expands, self.adds = expansion > 1, stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """``(n, before, s, s) -> (n, after, ⌈s / stride⌉, …)``."""
        wide = relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y: Tensor = self._bn2(self._project_conv(relu6(self._bn1(self._depthwise_conv(wide)))))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """``(n, 3, 224, 224)`` -> 1,280 pooled features and 1,000 logits."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, before = list[nn.Module](), 32
        for kernel, count, after, expansion, stride in STAGES:
            for number in range(count):
                blocks.append(Block(before, after, kernel, expansion, 1 if number else stride))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = Same(320, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, 1280)`` and logits ``(n, 1000)``."""
        x = relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        features = relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return features, self._fc(features)


class EfficientNetLite0Extractor(NetworkExtractor):
    """1,280 pooled features, and the probabilities of ImageNet's 1,000 classes."""

    value_names = {"FID": "FD"}
    """A Fréchet distance on this network is never called FID."""
    preprocessing = "RGB, bilinear to 224 x 224, (x - 127) / 128"
    file = "efficientnet-lite0-57934424.pth"
    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    batch = 32

    def build(self, file: Path) -> nn.Module:
        """Build the network with the published weights."""
        network = EfficientNetLite0()
        network.load_state_dict(pth_state(file))
        return network

    def prepare(self, batch: Tensor) -> Tensor:
        """``(n, 3, 224, 224)``."""
        return (resized(rgb(batch), 224) - 127) / 128
