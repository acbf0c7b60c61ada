"""Perceptual losses for training: features of a pretrained network from a file, or edges, which need none."""

from __future__ import annotations

from typing import Literal

import torch
from gan.weights import find_weights, restoring
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss

from gan_image.architectures.pixels import edges
from gan_image.extractors.base import npz_state, pth_state
from gan_image.extractors.lpips import SqueezeNet10, network_distance

Network = Literal["vgg19", "vgg19-last", "squeezenet", "edges"]
VGG19 = ("vgg19-dcbb9e9d.pth", "dcbb9e9d")
"""torchvision's file, and the beginning of its sha256, which its publisher put into its name."""
LAYERS = {"vgg19": {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}, "vgg19-last": {34: 1.0}}
"""Index in torchvision's `features` -> weight: conv1_2, 2_2, 3_4, 4_4 and 5_4 before their ReLU (Real-ESRGAN), or the
last one alone (ESRGAN)."""


class VGG19Features(nn.Module):
    """Simonyan and Zisserman 2015, arXiv:1409.1556, configuration E, up to its last convolution."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))):
            layers += [nn.MaxPool2d(2, 2)] if stage else []
            for _ in range(depth):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """``(N, 3, H, W)`` in -1 … 1 -> the features of the layers that ``vgg19`` of `LAYERS` names."""
        shift, scale = images.new_tensor((0.485, 0.456, 0.406)), images.new_tensor((0.229, 0.224, 0.225))
        x = ((images + 1) / 2 - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
        seen = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in LAYERS["vgg19"]:
                seen.append(x)
        return seen


class PerceptualLoss:
    """How different two batches of images look.

    ``vgg19`` is the loss of Real-ESRGAN: the mean absolute difference of features of VGG-19, weighted by `LAYERS`;
    ``vgg19-last`` is that of ESRGAN.
    ``squeezenet`` is the distance of LPIPS's formula on SqueezeNet 1.0, without learned weights. ``edges`` needs no
    file: half the mean absolute difference of the differences of neighbours, at the image's resolution, its half and
    its quarter. It is no module: pretrained weights come from their file, not from checkpoints.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.trunk: nn.Module | None = None
        if network == "edges" or restoring():
            return
        if network in LAYERS:
            state = pth_state(find_weights(*VGG19))
            self.trunk = VGG19Features()
            self.trunk.load_state_dict({name: state[name] for name in self.trunk.state_dict()})
        else:
            self.trunk = SqueezeNet10()
            self.trunk.load_published(npz_state(find_weights(SqueezeNet10.file, SqueezeNet10.sha256)))
        self.trunk.requires_grad_(False).eval()

    def __call__(self, made: Tensor, wanted: Tensor) -> Tensor:
        """A scalar for ``(N, 1 | 3, H, W)`` in -1 … 1; `wanted` gets no gradient."""
        if self.trunk is None:
            total = torch.zeros((), device=made.device)
            for factor in (1, 2, 4):
                one, other = (edges(avg_pool2d(images, factor)) for images in (made, wanted))
                total = total + sum(l1_loss(mine, theirs) for mine, theirs in zip(one, other, strict=True))
            return 0.5 * total
        trunk = self.trunk.to(made.device)
        with torch.no_grad():
            theirs = trunk(_coloured(wanted))
        mine = trunk(_coloured(made))
        if self.network == "squeezenet":
            return network_distance(mine, theirs, None).mean()
        weights = [LAYERS[self.network].get(layer, 0.0) for layer in LAYERS["vgg19"]]
        return torch.stack([w * l1_loss(*pair) for w, *pair in zip(weights, mine, theirs, strict=True) if w]).sum()


def _coloured(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
