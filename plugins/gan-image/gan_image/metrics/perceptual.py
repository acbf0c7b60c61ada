"""Perceptual distances of translations to their paired targets: LPIPS and a feature distance."""

from __future__ import annotations

import numpy as np
from gan.weights import find_weights
from numpy.typing import NDArray

from gan_image.extractors.base import npz_state
from gan_image.extractors.lpips import VGG16, AlexNet, LPIPSTrunk, NetworkDistance, SqueezeNet10, SqueezeNet11, lpips
from gan_image.metrics.pairs import PairedMetric, Pictures


class _PerceptualDistance(PairedMetric):
    """The network distance of a translation and its target."""

    better = "lower"
    distance: NetworkDistance

    def between(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Pictures:
        """The network's distance."""
        return self.distance(first, second)


class LPIPS(_PerceptualDistance):
    """LPIPS 0.1 on AlexNet, which its authors recommend as a metric."""

    name = "LPIPS"
    trunk: type[LPIPSTrunk] = AlexNet

    def __init__(self) -> None:
        self.distance = lpips(self.trunk)
        self.settings = {"trunk": self.trunk.sha256, "heads": "0.1"}


class LPIPSVGG(LPIPS):
    """LPIPS 0.1 on VGG-16."""

    name, trunk = "LPIPS[vgg]", VGG16


class LPIPSSqueeze(LPIPS):
    """LPIPS 0.1 on SqueezeNet 1.1."""

    name, trunk = "LPIPS[squeeze]", SqueezeNet11


class FeatureDistance(_PerceptualDistance):
    """The formula of LPIPS on SqueezeNet 1.0 with weights 1; not comparable with LPIPS."""

    name = "feature distance[squeezenet]"

    def __init__(self) -> None:
        network = SqueezeNet10()
        network.load_published(npz_state(find_weights(network.file, network.sha256)))
        self.distance = NetworkDistance(network, None)
        self.settings = {"trunk": network.sha256, "heads": "none"}
