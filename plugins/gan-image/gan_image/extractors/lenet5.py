"""LeNet-5 trained on MNIST: features for handwritten digits.

LeCun, Bottou, Bengio and Haffner: Gradient-based learning applied to document recognition, 1998, figure 2, in a
modern form (ReLU, max pooling, full connections). Its test accuracy on MNIST is 99.07 %.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gan_image.extractors.base import NetworkExtractor, grey, npz_state, resized


class LeNet5(nn.Module):
    """``(n, 1, 32, 32)`` in 0 … 1 -> 120 features after C5, and 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.f7 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, 120)`` and logits ``(n, 10)``."""
        x = nn.functional.max_pool2d(torch.relu(self.c1(x)), 2)  # (n, 6, 14, 14)
        x = nn.functional.max_pool2d(torch.relu(self.c3(x)), 2)  # (n, 16, 5, 5)
        features = torch.relu(self.c5(x)).flatten(1)  # (n, 120)
        return features, self.f7(torch.relu(self.f6(features)))


class LeNet5Extractor(NetworkExtractor):
    """120 features after C5, and the probabilities of ten digits; bright strokes on black, as in MNIST."""

    preprocessing = "grey, bilinear to 32 x 32, scaled to 0 … 1"
    file = "mnist_lenet5.npz"
    sha256 = "5129599525573c2826fadae820c258556e29662b2744569c715b9fa49695480c"
    batch = 256

    def build(self, file: Path) -> nn.Module:
        """Build the network; names in the file have a prefix."""
        network = LeNet5()
        network.load_state_dict({name.partition(".")[2]: tensor for name, tensor in npz_state(file).items()})
        return network

    def prepare(self, batch: Tensor) -> Tensor:
        """``(n, 1, 32, 32)`` 0 … 1."""
        return resized(grey(batch), 32) / 255
