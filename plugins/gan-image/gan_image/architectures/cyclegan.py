"""CycleGAN: unpaired image-to-image translation between two domains, in both directions.

Zhu, Park, Isola, Efros, 2017, arXiv:1703.10593. There are two generators and two discriminators; an image that is
translated there and back should equal the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from gan.adversarial import loss_at, penalized, probe_scores
from gan.contracts import FieldSpec, Loss, Penalty, Request, Tiles
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from gan_image.architectures.pixels import initialise, to_network, to_pixels
from gan_image.architectures.translation import (
    ImagePool,
    Normalisation,
    ResnetGenerator,
    Upsampling,
    jitter,
    patch_discriminator,
    translation_shape,
    translation_tiles,
)


class CycleGANConfig(BaseModel):
    """Sizes of the networks and weights of the loss terms; the defaults are the paper's for 256 pixels."""

    model_config = ConfigDict(extra="forbid")

    generator_width: int = Field(64, ge=1, description="channels of a generator next to the image")
    blocks: int = Field(9, ge=1, description="residual blocks of a generator: 9 for 256 pixels, 6 for 128")
    norm: Normalisation = Field(
        "instance",
        description="normalization of the generators: instance (the paper's), which discards an image's mean colours, "
        "or batch, which keeps them and needs larger batches",
    )
    upsample: Upsampling = Field(
        "transposed",
        description="how a generator doubles the sides: transposed convolutions (the paper's), or nearest: repeated "
        "pixels and a convolution, which leaves no chessboard",
    )
    discriminator_width: int = Field(64, ge=1, description="channels after a discriminator's first layer")
    layers: int = Field(3, ge=0, le=5, description="strided layers of a discriminator; 3 give patches of 70 pixels")
    adversarial_weight: float = Field(
        2.0,
        ge=0,
        description="weight of the adversarial loss of the generators; 2 with least-squares is the paper's loss",
    )
    cycle_weight: float = Field(10.0, ge=0, description="weight of the cycle consistency loss (mean absolute error)")
    identity_weight: float = Field(
        5.0, ge=0, description="weight of the identity loss: the mean absolute change of an image of the target domain"
    )
    pool: int = Field(50, ge=0, description="size of the pool of past images for a discriminator; 0: no pool")
    jitter: float = Field(
        30 / 256, ge=0, le=1, description="fraction by which images are enlarged before a random crop"
    )
    flip: bool = Field(True, description="whether images are mirrored at random")


class CycleGANOptions(BaseModel):
    """Options of generation."""

    model_config = ConfigDict(extra="forbid")

    direction: Literal["ab", "ba"] = Field("ab", description="ab: source to target; ba: target to source")
    reconstruct: bool = Field(
        False, description="whether the translation is also translated back, as the field `reconstruction`"
    )


class CycleGAN(nn.Module):
    """The CycleGAN networks and training phases; a `gan.contracts.ConditionalOnInput`."""

    Config = CycleGANConfig
    Options = CycleGANOptions
    preview_options = {"reconstruct": True}
    generation_batch = 4

    def __init__(self, config: CycleGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = translation_shape(fields, "cyclegan")
        self.config = config
        sizes = (channels, config.generator_width, config.blocks, config.norm)
        make = partial(ResnetGenerator, *sizes, upsample=config.upsample)
        judge = partial(patch_discriminator, channels, config.discriminator_width, config.layers, "instance")
        self.to_target, self.to_source = make(), make()
        self.judge_target, self.judge_source = judge(), judge()
        initialise(self)
        self.target_pool = ImagePool(config.pool, (channels, side, side))
        self.source_pool = ImagePool(config.pool, (channels, side, side))

    def players(self) -> dict[str, Player]:
        """The generators are one player, the discriminators the other; Adam(2e-4; 0.5, 0.999) for each, with a learning
        rate that decays linearly to 0 over the second half."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999), schedule="linear", decay_start=0.5)
        return {
            "generator": Player([self.to_target, self.to_source], adam, average=True),
            "discriminator": Player([self.judge_target, self.judge_source], adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the generators' update, then the discriminators' on images from the pools."""
        turns = [
            Turn("generator", partial(self._update_generators, loss)),
            Turn("discriminator", partial(self._update_discriminators, loss)),
            *(
                Turn("discriminator", partial(self._regularise, name, penalty), every=penalty.every)
                for name, penalty in penalties.items()
            ),
        ]
        return [Phase("adversarial", turns)]

    def _reals(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Augmented source and target images, which all turns of an iteration share."""
        if "source" not in batch.shared:
            for name in ("source", "target"):
                (batch.shared[name],) = jitter(
                    [to_network(batch[name])], batch.rng, self.config.jitter, self.config.flip
                )
        return batch.shared["source"], batch.shared["target"]

    def _update_generators(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        source, target = self._reals(batch)
        fake_target, same_target = self._both(self.to_target, source, target)
        fake_source, same_source = self._both(self.to_source, target, source)
        batch.shared["fake_target"], batch.shared["fake_source"] = fake_target.detach(), fake_source.detach()
        config = self.config
        terms = {}
        for name, judge, real, fake in (
            ("to_target", self.judge_target, target, fake_target),
            ("to_source", self.judge_source, source, fake_source),
        ):
            fake_scores = judge(fake)
            real_scores = judge(real).detach() if loss.needs_real else fake_scores.detach()
            terms[name] = config.adversarial_weight * loss_at(loss, batch).generator(real_scores, fake_scores).mean()
        terms["cycle_source"] = config.cycle_weight * l1_loss(self.to_source(fake_target), source)
        terms["cycle_target"] = config.cycle_weight * l1_loss(self.to_target(fake_source), target)
        if same_target is not None and same_source is not None:
            terms["identity_target"] = config.identity_weight * l1_loss(same_target, target)
            terms["identity_source"] = config.identity_weight * l1_loss(same_source, source)
        return terms

    def _both(self, network: nn.Module, real: Tensor, same: Tensor) -> tuple[Tensor, Tensor | None]:
        """The translations of `real` and, for the identity loss, of images `same` of the target domain, in one batch:
        batch normalization, unlike instance normalization, mixes the statistics of both."""
        if not self.config.identity_weight:
            return network(real), None
        translated, unchanged = network(torch.cat([real, same])).chunk(2)
        return translated, unchanged

    def _update_discriminators(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        source, target = self._reals(batch)
        terms = {}
        for name, judge, pool, real, fake in (
            ("target", self.judge_target, self.target_pool, target, batch.shared["fake_target"]),
            ("source", self.judge_source, self.source_pool, source, batch.shared["fake_source"]),
        ):
            real_scores, fake_scores = judge(torch.cat([real, pool.show(fake, batch.rng)])).chunk(2)
            probe_scores(batch, real_scores, fake_scores)
            terms[name] = loss.discriminator(real_scores, fake_scores).mean()
        return terms

    def _regularise(self, name: str, penalty: Penalty, batch: Batch) -> dict[str, Tensor]:
        source, target = self._reals(batch)
        of_target = penalized(batch, name, penalty, self.judge_target, target, batch.shared["fake_target"])
        of_source = penalized(batch, name, penalty, self.judge_source, source, batch.shared["fake_source"])
        return {name: of_target + of_source}

    def given_fields(self, options: CycleGANOptions | None = None) -> tuple[str, ...]:
        """The input field: source, or target for direction ba."""
        return ("target",) if options is not None and options.direction == "ba" else ("source",)

    def tiles(self, options: CycleGANOptions | None = None) -> Tiles:
        """An image is translated whole, or in tiles where it is large; sides are multiples of 4."""
        return translation_tiles(4, 16 + 8 * self.config.blocks, self.config.generator_width)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Translate the given images."""
        assert request.given is not None
        (name,) = self.given_fields(request.options)
        given = request.given[name]
        there, back, output = (
            (self.to_target, self.to_source, "target")
            if name == "source"
            else (self.to_source, self.to_target, "source")
        )
        translated = there(to_network(given))
        found = {name: given, output: to_pixels(translated)}
        if request.options is not None and request.options.reconstruct:
            found["reconstruction"] = to_pixels(back(translated))
        return found
