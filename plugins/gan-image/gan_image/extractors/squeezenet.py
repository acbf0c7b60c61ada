"""SqueezeNet 1.0 trained on ImageNet: features for photographs, with 1.2 million weights.

Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size, 2016, table 1. The
weights are those of the Caffe model, whose input is BGR minus the channel means.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gan_image.extractors.base import NetworkExtractor, npz_state, resized, rgb

MEAN_BGR = (104.0, 117.0, 123.0)
FIRES = {2: (96, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128),
         6: (256, 48, 192), 7: (384, 48, 192), 8: (384, 64, 256), 9: (512, 64, 256)}  # fmt: skip
"""Number of a fire module -> its input channels, squeezed channels, and channels of each expansion."""
POOLED = (4, 8)
"""Fire modules that are followed by pooling."""


class Fire(nn.Module):
    """A 1x1 convolution that squeezes channels, and parallel 1x1 and 3x3 convolutions that expand them."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, s, s) -> (n, 2 · expanded, s, s)``."""
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1(x), self.expand3(x)], 1))


class SqueezeNet(nn.Module):
    """``(n, 3, 227, 227)`` BGR minus the means -> 512 pooled features of fire9, and 1,000 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.fires = nn.ModuleDict({str(number): Fire(*channels) for number, channels in FIRES.items()})
        self.conv_final = nn.Conv2d(512, 1000, 1, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, 512)`` and logits ``(n, 1000)``."""
        x = self.layers(x)[-1]
        return x.mean((2, 3)), torch.relu(self.conv_final(x)).mean((2, 3))

    def layers(self, x: Tensor) -> list[Tensor]:
        """The outputs of the first convolution and of each fire module."""
        found = [torch.relu(self.conv1(x))]
        for number in FIRES:
            before = _halved(found[-1]) if number - 1 in (1, *POOLED) else found[-1]
            found.append(self.fires[str(number)](before))
        return found


def _halved(x: Tensor) -> Tensor:
    return nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)


def published_state(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The Caffe model's arrays renamed for `SqueezeNet`; Caffe names a fire module's layers by their kernels."""
    parts = {"conv1x1_1": "squeeze", "conv1x1_2": "expand1", "conv3x3_2": "expand3"}
    state = {}
    for name, tensor in arrays.items():
        if name.startswith("fire"):
            module, _, rest = name.partition("/")
            layer, _, kind = rest.partition(".")
            name = f"fires.{module.removeprefix('fire')}.{parts[layer]}.{kind}"
        state[name] = tensor
    return state


class SqueezeNetExtractor(NetworkExtractor):
    """512 pooled features of fire9, and the probabilities of ImageNet's 1,000 classes."""

    preprocessing = f"BGR, bilinear to 227 x 227, minus {MEAN_BGR}"
    file = "squeezenet1_0_imagenet.npz"
    sha256 = "daa6da2dd9beb71bd431e790f956f47af3ad1a5c58a5365d834421d07f1dee09"
    batch = 32

    def build(self, file: Path) -> nn.Module:
        """Build the network with the published weights."""
        network = SqueezeNet()
        network.load_state_dict(published_state(npz_state(file)))
        return network

    def prepare(self, batch: Tensor) -> Tensor:
        """``(n, 3, 227, 227)`` BGR."""
        mean = torch.tensor(MEAN_BGR, device=batch.device).view(1, 3, 1, 1)
        return resized(rgb(batch), 227).flip(1) - mean
