"""A plugin for the benchmark: DCGAN whose discriminator has no normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gan.contracts import ArchitectureEntry, FieldSpec
from gan.hookspecs import hookimpl
from gan_image.architectures.dcgan import DCGAN, DCGANConfig
from torch import nn


class Unnormalised(DCGAN):
    """`DCGAN` without batch normalisation in the discriminator."""

    def __init__(self, config: DCGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__(config, fields)
        layers = [layer for layer in self.discriminator if not isinstance(layer, nn.BatchNorm2d)]
        self.discriminator = nn.Sequential(*layers)


@hookimpl
def gan_architectures() -> Iterator[ArchitectureEntry]:
    """The changed DCGAN."""
    yield ArchitectureEntry(
        name="dcgan-unnormalised",
        summary="DCGAN without normalisation in the discriminator",
        target="unnormalised:Unnormalised",
        modality="image",
        paper="Radford et al., DCGAN, 2016, arXiv:1511.06434",
    )
