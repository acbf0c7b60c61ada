"""LPIPS: a perceptual distance of images, and feature vectors for it.

Zhang, Isola, Efros, Shechtman, Wang, 2018, arXiv:1801.03924:

    d(x, y) = sum over layers l of the mean over places of  w_l . (f_l(x) - f_l(y))^2                       (equation 1)

where f_l is the output of layer l of a trained network (the trunk), normalized to length 1 at each place, and w_l holds
the learned channel weights, version 0.1 of the published ones. Without these weights (w = 1, or another trunk) the
distance is not LPIPS and has another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from gan.contracts import Features, Modality
from gan.errors import BadData, UsageError
from gan.weights import find_weights
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_image.extractors.base import npz_state, pth_state, rgb
from gan_image.extractors.squeezenet import MEAN_BGR, Fire, SqueezeNet, SqueezeNetExtractor, published_state
from gan_image.modality import pictures

if TYPE_CHECKING:
    from gan.contracts import Samples

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's mean and standard deviation of red, green and blue in -1 … 1."""
EPS = 1e-10
HEADS = ("lpips_v0.1_linear_heads.npz", "8e228560fd43dd86552fc3444d3c5d0c3dc97961769a746c4d1ab22c40bf091b")
"""Name and sha256 of a file with the channel weights of all trunks."""


class Trunk(nn.Module):
    """The layers of a published network up to the last one that LPIPS uses."""

    looked_at: tuple[int, ...]
    """Indices of the layers whose outputs are compared."""
    file: str
    sha256: str
    """Hash of the file of weights, in torchvision's layout."""
    heads: str
    heads_sha256: str
    """Hash of the published file with the channel weights."""
    smallest: int
    """Minimum side in pixels; below it a layer would be empty."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.features = nn.ModuleList(layers)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """``(N, 3, H, W)`` RGB in -1 … 1 -> ``(N, C, h, w)`` of each compared layer."""
        shift, scale = (pictures.new_tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
        x = (pictures - shift) / scale
        seen = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.looked_at:
                seen.append(x)
        return seen

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load the weights of torchvision's network, without its classifier."""
        self.load_state_dict({name: state[name] for name in self.state_dict()})


class AlexNet(Trunk):
    """Krizhevsky 2014, "One weird trick", arXiv:1404.5997; the five convolutions."""

    looked_at = (1, 4, 7, 9, 11)
    file = "alexnet-owt-7be5be79.pth"
    sha256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
    heads = "alex.pth"
    heads_sha256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
    smallest = 31

    def __init__(self) -> None:
        def convolution(before: int, after: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, kernel, stride, padding), nn.ReLU()]

        super().__init__(
            [
                *convolution(3, 64, 11, 4, 2),
                nn.MaxPool2d(3, 2),
                *convolution(64, 192, 5, 1, 2),
                nn.MaxPool2d(3, 2),
                *convolution(192, 384, 3, 1, 1),
                *convolution(384, 256, 3, 1, 1),
                *convolution(256, 256, 3, 1, 1),
            ]
        )


class VGG16(Trunk):
    """Simonyan and Zisserman 2015, arXiv:1409.1556, configuration D; the last convolution of each of five stages."""

    looked_at = (3, 8, 15, 22, 29)
    file = "vgg16-397923af.pth"
    sha256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
    heads = "vgg.pth"
    heads_sha256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
    smallest = 16

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        before = 3
        for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
            if stage:
                layers.append(nn.MaxPool2d(2, 2))
            for _ in range(depth):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
        super().__init__(layers)


class SqueezeNet11(Trunk):
    """Iandola et al. 2016, arXiv:1602.07360, release 1.1; seven layers."""

    looked_at = (1, 4, 7, 9, 10, 11, 12)
    file = "squeezenet1_1-b8a52dc0.pth"
    sha256 = "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"
    heads = "squeeze.pth"
    heads_sha256 = "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76"
    smallest = 17

    def __init__(self) -> None:
        def halved() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        super().__init__(
            [
                nn.Conv2d(3, 64, 3, 2),
                nn.ReLU(),
                halved(),
                *(Fire(64, 16, 64), Fire(128, 16, 64), halved()),
                *(Fire(128, 32, 128), Fire(256, 32, 128), halved()),
                *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
            ]
        )

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load the weights; torchvision names the expansions by their kernel sizes."""
        names = {"expand1x1": "expand1", "expand3x3": "expand3"}
        super().load_published(
            {".".join(names.get(part, part) for part in name.split(".")): value for name, value in state.items()}
        )


LPIPSTrunk = AlexNet | VGG16 | SqueezeNet11
"""The trunks that LPIPS has published weights for."""


class SqueezeNet10(Trunk):
    """SqueezeNet 1.0, with the weights of the Caffe model (BGR minus means); there are no LPIPS weights for it."""

    looked_at = tuple(range(9))
    file, sha256 = SqueezeNetExtractor.file, SqueezeNetExtractor.sha256
    heads = heads_sha256 = ""
    smallest = 21

    def __init__(self) -> None:
        super().__init__([])
        self.network = SqueezeNet()

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """The outputs of the first convolution and the eight fire modules."""
        mean = pictures.new_tensor(MEAN_BGR).view(1, 3, 1, 1)
        return self.network.layers(((pictures + 1) * 127.5).flip(1) - mean)

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load the Caffe model's arrays."""
        self.network.load_state_dict(published_state(state))


def network_distance(first: Sequence[Tensor], second: Sequence[Tensor], weights: Sequence[Tensor] | None) -> Tensor:
    """The distance ``(N,)`` of two lists of outputs ``(N, C, h, w)``; `weights` has ``(C,)`` per layer, None: 1."""
    total = torch.zeros(len(first[0]), device=first[0].device)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        difference = (_unit(one) - _unit(other)).square()
        if weights is not None:
            difference = difference * weights[number].view(1, -1, 1, 1)
        total = total + difference.sum(1).mean((1, 2))
    return total


def _unit(layer: Tensor) -> Tensor:
    squares = layer.square().sum(1, keepdim=True).clamp_min(EPS**2)  # 0 has no derivative of its root
    return layer / (squares.sqrt() + EPS)


class NetworkDistance:
    """The distance under a trunk and channel weights: two arrays ``(N, C, H, W)`` uint8 -> ``(N,)``."""

    batch = 16

    def __init__(self, trunk: Trunk, weights: Sequence[Tensor] | None) -> None:
        self.trunk = trunk.requires_grad_(False).eval()
        self.weights = weights
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Move the computation to `device`."""
        self.device = device
        self.trunk.to(device)
        self.weights = None if self.weights is None else [weight.to(device) for weight in self.weights]

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Images are not resized. Raises `BadData` if they are too small for the trunk."""
        found = [np.zeros(0)]
        with torch.inference_mode():
            for start in range(0, len(first), self.batch):
                one, other = (self._seen(images[start : start + self.batch]) for images in (first, second))
                found.append(network_distance(one, other, self.weights).double().cpu().numpy())
        return np.concatenate(found)

    def vectors(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` -> ``(N, d)`` whose squared Euclidean distances are those of `__call__`."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(images), self.batch):
                found.append(self._joined(self._seen(images[start : start + self.batch])).cpu().numpy())
        return np.concatenate(found)

    def smooth_vectors(self, images: Tensor) -> Tensor:
        """`vectors` of images ``(N, C, H, W)`` 0 … 255 with gradients."""
        return self._joined(self.trunk(rgb(images.to(self.device).float()) / 127.5 - 1))

    def _joined(self, layers: Sequence[Tensor]) -> Tensor:
        rows = []
        for number, layer in enumerate(layers):
            weight = layer.new_ones(layer.shape[1]) if self.weights is None else self.weights[number]
            root = (weight / (layer.shape[2] * layer.shape[3])).sqrt()
            rows.append((_unit(layer) * root.view(1, -1, 1, 1)).flatten(1))
        return torch.cat(rows, 1)

    def _seen(self, images: NDArray[np.uint8]) -> list[Tensor]:
        if min(images.shape[2:]) < self.trunk.smallest:
            raise BadData(
                f"images of {images.shape[3]} x {images.shape[2]} pixels are smaller than the "
                f"{self.trunk.smallest} that the network needs"
            )
        values = torch.from_numpy(np.array(images)).to(self.device)
        return list(self.trunk(rgb(values.float()) / 127.5 - 1))


def lpips(trunk: type[LPIPSTrunk], folder: Path | None = None) -> NetworkDistance:
    """Load LPIPS 0.1 with one of the published trunks; its two files are in `folder` or in ``GAN_WEIGHTS``.

    Raises `UsageError` that names the missing file.
    """
    network = trunk()
    network.load_published(pth_state(find_weights(trunk.file, trunk.sha256, folder)))
    try:
        heads = pth_state(find_weights(trunk.heads, trunk.heads_sha256, folder))
        prefix = ""
    except UsageError:
        heads = npz_state(find_weights(*HEADS, folder))
        prefix = trunk.heads.removesuffix(".pth") + "__"
    weights = [heads[f"{prefix}lin{number}.model.1.weight"].flatten() for number in range(len(trunk.looked_at))]
    return NetworkDistance(network, weights)


class LPIPSExtractor:
    """Feature vectors whose squared Euclidean distance is LPIPS, for metrics such as the perceptual path length.

    The vectors are long: about ten thousand values for an image of 64 pixels, half a million for one of 256.
    """

    version = "1"
    preprocessing = f"RGB, not resized, -1 … 1, minus {SHIFT}, divided by {SCALE}"
    trunk: type[LPIPSTrunk] = AlexNet

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        folder = weights.parent if weights is not None and weights.is_file() else weights
        self.distance = lpips(self.trunk, folder)
        self.distance.to(torch.device(device))
        self.sha256 = self.trunk.sha256

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, d)``, where d is the total size of all compared layers."""
        return Features(self.distance.vectors(pictures(samples)))

    def features(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        """The same with gradients; see `gan.contracts.DifferentiableExtractor`."""
        return self.distance.smooth_vectors(samples["image" if "image" in samples else "target"]), None


class LPIPSVGGExtractor(LPIPSExtractor):
    """`LPIPSExtractor` with VGG-16."""

    trunk = VGG16


class LPIPSSqueezeExtractor(LPIPSExtractor):
    """`LPIPSExtractor` with SqueezeNet 1.1."""

    trunk = SqueezeNet11


class SqueezeNetDistanceExtractor(LPIPSExtractor):
    """The distance of LPIPS's formula on SqueezeNet 1.0, without learned channel weights: not LPIPS."""

    preprocessing = "RGB, not resized, BGR minus the means of ImageNet"

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        trunk = SqueezeNet10()
        trunk.load_published(npz_state(find_weights(SqueezeNet10.file, SqueezeNet10.sha256, weights)))
        self.distance = NetworkDistance(trunk, None)
        self.distance.to(torch.device(device))
        self.sha256 = SqueezeNet10.sha256
