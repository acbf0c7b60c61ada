"""pix2pix: image-to-image translation learned from pairs. Isola, Zhu, Zhou, Efros, 2017, arXiv:1611.07004.

A U-Net translates the source; the discriminator scores patches of source and target together. The only noise is
dropout, which is therefore also active in generation, where batch normalization uses the statistics of each image.

Beyond the paper: a latent vector, by which one source has several translations; of several candidates the nearest to
the target is trained (Li, Malik 2018, "Implicit maximum likelihood estimation", arXiv:1809.09087, here for each pair by
itself). And feature matching (Wang et al. 2018, "pix2pixHD", arXiv:1711.11585, equation 4).
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
from gan.recipe import Number, Schedule, ends
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from gan_image.architectures.pixels import initialise, to_network, to_pixels
from gan_image.architectures.translation import (
    UnetGenerator,
    Upsampling,
    jitter,
    patch_discriminator,
    translation_shape,
    translation_tiles,
)


class Pix2PixConfig(BaseModel):
    """Sizes of the networks and weights of the loss terms; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid")

    generator_width: int = Field(64, ge=1, description="channels of the U-Net's outermost level")
    discriminator_width: int = Field(64, ge=1, description="channels after the discriminator's first layer")
    layers: int = Field(3, ge=0, le=5, description="strided layers of the discriminator; 3 give patches of 70 pixels")
    norm: Literal["batch", "instance"] = Field("batch", description="normalization of both networks")
    discriminator_norm: Literal["batch", "instance", "none"] | None = Field(
        None,
        description="normalization of the discriminator, if it differs from `norm`; gradient penalties need none",
    )
    upsample: Upsampling = Field(
        "transposed",
        description="how the decoder doubles the sides: transposed convolutions (the paper's), or nearest: repeated "
        "pixels and a convolution, which leaves no chessboard",
    )
    latent: int = Field(0, ge=0, description="size of a latent vector that varies the translation; 0: none")
    candidates: int = Field(
        1,
        ge=1,
        description="latent vectors drawn for a pair in training, of which the one whose translation is nearest to the "
        "target in L1 is trained",
    )
    zero_latents: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the pairs that are trained with the latent vector zero, the one of `deterministic`",
    )
    statistics: Literal["picture", "running"] = Field(
        "picture",
        description="statistics of batch normalization in generation: each image's own (the paper's choice, for "
        "training.batch 1) or the running averages (for larger batches)",
    )
    adversarial_weight: float = Field(1.0, ge=0, description="weight of the adversarial loss of the generator")
    l1_weight: float = Field(100.0, ge=0, description="weight of the mean absolute difference from the target")
    feature_weight: float = Field(
        0.0,
        ge=0,
        description="weight of feature matching: the mean absolute difference of the discriminator's activations",
    )
    chroma_weight: Number = Field(
        0.0,
        description="weight of the mean absolute difference of chroma (largest minus smallest channel of a pixel): "
        "where a source leaves its colour open, the mean absolute difference of colours alone is smallest for a grey. "
        "A schedule from 0 lets hues be found first, since a wrong one of the right chroma is not left again",
    )
    jitter: float = Field(30 / 256, ge=0, le=1, description="fraction by which pairs are enlarged before a random crop")
    flip: bool = Field(True, description="whether pairs are mirrored at random")

    @field_validator("chroma_weight")
    @classmethod
    def _not_negative(cls, value: float | Schedule) -> float | Schedule:
        if min(ends(value)) < 0:
            raise ValueError("must not be negative")
        return value


class Pix2PixOptions(BaseModel):
    """Options of generation."""

    model_config = ConfigDict(extra="forbid")

    deterministic: bool = Field(
        False, description="whether there is no noise: no dropout, and the latent vector zero where there is one"
    )


class Pix2Pix(nn.Module):
    """The pix2pix networks and training phases; a `gan.contracts.ConditionalOnInput`."""

    Config = Pix2PixConfig
    Options = Pix2PixOptions
    generation_batch = 4

    def __init__(self, config: Pix2PixConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, self.side = translation_shape(fields, "pix2pix")
        self.config = config
        self.generator = UnetGenerator(
            channels,
            self.side,
            config.generator_width,
            config.norm,
            by_picture=config.statistics == "picture",
            upsample=config.upsample,
            latent=config.latent,
        )
        self.discriminator = patch_discriminator(
            2 * channels, config.discriminator_width, config.layers, config.discriminator_norm or config.norm
        )
        initialise(self)

    def players(self) -> dict[str, Player]:
        """Adam(2e-4; 0.5, 0.999) for both."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the discriminator's update, then the generator's on the same translations."""
        turns = [
            Turn("discriminator", partial(self._update_discriminator, loss)),
            *(
                Turn("discriminator", partial(self._regularise, name, penalty), every=penalty.every)
                for name, penalty in penalties.items()
            ),
            Turn("generator", partial(self._update_generator, loss)),
        ]
        return [Phase("adversarial", turns)]

    def _triple(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Source, target and translation, which all turns of an iteration share."""
        if "fake" not in batch.shared:
            source, target = jitter(
                [to_network(batch["source"]), to_network(batch["target"])],
                batch.rng,
                self.config.jitter,
                self.config.flip,
            )
            batch.shared.update(source=source, target=target, fake=self._translated(source, target, batch.rng))
        return batch.shared["source"], batch.shared["target"], batch.shared["fake"]

    def _translated(self, source: Tensor, target: Tensor, rng: Draws) -> Tensor:
        """The translation; with several candidates that of the latent vector with the smallest L1."""
        if not self.config.latent:
            translated: Tensor = self.generator(source, rng)
            return translated
        count = self.config.candidates
        latents = rng.randn(count, self.config.latent) * (rng.rand(1, 1) >= self.config.zero_latents)
        passed = self.generator.encode(source)
        if count == 1:
            return self.generator.decode(passed, rng, latents[:, 0])
        with torch.no_grad():
            distances = [
                (self.generator.decode(passed, None, latents[:, index]) - target).abs().mean((1, 2, 3))
                for index in range(count)
            ]
        nearest = torch.stack(distances, 1).argmin(1)
        chosen = latents.gather(1, nearest[:, None, None].expand(-1, 1, latents.shape[2]))[:, 0]
        return self.generator.decode(passed, rng, chosen)

    def judge(self, source: Tensor, target: Tensor) -> Tensor:
        """``(N, 1, h, w)`` raw scores of the patches of a pair of images in -1 … 1."""
        scores: Tensor = self.discriminator(torch.cat([source, target], 1))
        return scores

    def _activations(self, pair: Tensor) -> list[Tensor]:
        """The activations after each LeakyReLU of the discriminator, and the scores."""
        found = []
        for layer in self.discriminator:
            pair = layer(pair)
            if isinstance(layer, nn.LeakyReLU):
                found.append(pair)
        return [*found, pair]

    def _update_discriminator(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        source, target, fake = self._triple(batch)
        real_scores, fake_scores = self.judge(source, target), self.judge(source, fake.detach())
        probe_scores(batch, real_scores, fake_scores)
        # halved as in the paper, to slow down the discriminator (section 3.3)
        return {"loss": 0.5 * loss.discriminator(real_scores, fake_scores).mean()}

    def _regularise(self, name: str, penalty: Penalty, batch: Batch) -> dict[str, Tensor]:
        source, target, fake = self._triple(batch)
        return {name: penalized(batch, name, penalty, partial(self.judge, source), target, fake.detach())}

    def _update_generator(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        source, target, fake = self._triple(batch)
        *fake_features, fake_scores = self._activations(torch.cat([source, fake], 1))
        with torch.no_grad():
            if loss.needs_real or self.config.feature_weight:
                *real_features, real_scores = self._activations(torch.cat([source, target], 1))
            else:
                real_features, real_scores = [], fake_scores.detach()
        terms = {
            "loss": self.config.adversarial_weight * loss_at(loss, batch).generator(real_scores, fake_scores).mean(),
            "l1": self.config.l1_weight * l1_loss(fake, target),
        }
        if any(ends(self.config.chroma_weight)):
            weight = batch.number("model.chroma_weight", self.config.chroma_weight)
            terms["chroma"] = weight * l1_loss(chroma(fake), chroma(target))
        if self.config.feature_weight:
            distances = [l1_loss(one, other) for one, other in zip(fake_features, real_features, strict=True)]
            terms["features"] = self.config.feature_weight * torch.stack(distances).mean()
        return terms

    def given_fields(self, options: Pix2PixOptions | None = None) -> tuple[str, ...]:
        """The input field, the source."""
        return ("source",)

    def tiles(self, options: Pix2PixOptions | None = None) -> Tiles:
        """An image is translated whole, or in tiles where it is large; sides are multiples of training's."""
        return translation_tiles(self.side, self.side // 2, self.config.generator_width)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Translate the given sources."""
        assert request.given is not None
        source = request.given["source"]
        noise = None if request.options is not None and request.options.deterministic else rng
        latents = noise.randn(self.config.latent) if noise is not None and self.config.latent else None
        return {"source": source, "target": to_pixels(self.generator(to_network(source), noise, latents))}


def chroma(images: Tensor) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, H, W)``: largest minus smallest channel of each pixel."""
    return images.amax(1) - images.amin(1)
