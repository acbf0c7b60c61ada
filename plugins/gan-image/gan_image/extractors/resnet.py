"""ResNets of 6n + 2 layers trained on CIFAR-10: features for small colour images.

He, Zhang, Ren and Sun: Deep residual learning for image recognition, 2016, section 4.2, shortcuts of option A
(identity with zero padding of channels). The test accuracy on CIFAR-10 is about 92 % with 20 layers (n = 3) and 93 %
with 56 (n = 9).
"""

from __future__ import annotations

from pathlib import Path

import torch
from gan.errors import BadData, UsageError
from gan.weights import file_sha256
from torch import Tensor, nn

from gan_image.extractors.base import NetworkExtractor, npz_state, resized, rgb

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; halves the side if it doubles the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 2 if outputs > inputs else 1
        self.extra = (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, s, s) -> (n, outputs, s / stride, s / stride)``."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.stride == 2:
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return torch.relu(x + y)


class ResNet(nn.Module):
    """``(n, 3, 32, 32)`` normalised -> 64 pooled features, and 10 logits; `blocks` at each of three resolutions."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        more = range(blocks - 1)
        self.layer1 = nn.Sequential(Block(16, 16), *(Block(16, 16) for _ in more))
        self.layer2 = nn.Sequential(Block(16, 32), *(Block(32, 32) for _ in more))
        self.layer3 = nn.Sequential(Block(32, 64), *(Block(64, 64) for _ in more))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, 64)`` and logits ``(n, 10)``."""
        x = torch.relu(self.bn1(self.conv1(x)))
        features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return features, self.linear(features)


class ResNet20Extractor(NetworkExtractor):
    """64 pooled features, and the probabilities of CIFAR-10's classes."""

    preprocessing = f"RGB, bilinear to 32 x 32, (x / 255 - {MEAN}) / {STD}"
    file = "cifar10_resnet20.npz"
    sha256 = "7db2ed048755c815689e055b0e68e2d53db7f9f6e0f9b3bc9b6f837ab168774e"
    batch = 128

    def build(self, file: Path) -> nn.Module:
        """Build the network; files lack the batch counters, which are unused."""
        state = npz_state(file)
        network = ResNet(len({name.split(".")[1] for name in state if name.startswith("layer1.")}))
        try:
            missing, surplus = network.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise BadData(f"holds no ResNet of this family: {str(error).splitlines()[-1].strip()}", file) from None
        wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + surplus
        if wrong:
            raise BadData(f"holds no ResNet of this family: {', '.join(wrong[:3])}", file)
        return network

    def prepare(self, batch: Tensor) -> Tensor:
        """``(n, 3, 32, 32)``, normalised."""
        mean, std = (torch.tensor(values, device=batch.device).view(1, 3, 1, 1) for values in (MEAN, STD))
        return (resized(rgb(batch), 32) / 255 - mean) / std


class CifarResNetExtractor(ResNet20Extractor):
    """The same of any depth, from a file that the user names; its SHA-256 stands in the receipts."""

    sha256 = ""

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        if weights is None or not weights.expanduser().is_file():
            raise UsageError("name the file with the weights: fid[cifar-resnet=FILE.npz]")
        self.label = f"cifar-resnet:{weights.stem}"
        self.sha256 = file_sha256(weights.expanduser())
        super().__init__(weights, device)
