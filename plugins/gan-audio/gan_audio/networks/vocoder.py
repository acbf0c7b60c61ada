"""What vocoders share: the game of a generator that turns mel spectrograms into sound, and its use."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from gan.adversarial import Scored, adversarial_turns
from gan.contracts import Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Phase, Turn
from torch import Tensor, nn

from gan_audio.networks.spectral import VocoderMel
from gan_audio.spectra import MEL_FLOOR


class Vocoder(nn.Module, ABC):
    """A `gan.contracts.ConditionalOnInput` whose input is a mel spectrogram. Subclasses set the three networks."""

    name: ClassVar[str]
    """Of the architecture, for messages."""
    generation_batch = 1
    generator: nn.Module
    """``(N, bands, frames)`` -> ``(N, 1, frames · hop)``."""
    discriminator: nn.Module
    mel: VocoderMel
    warm_up: int
    """Real samples of a first phase without discriminators; 0: none."""
    quieter: float
    """Decibels by which a training sound is made quieter at most, drawn for each."""

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """An update of the discriminators, then one of the generator on the same sounds; before it the phase `warm_up`,
        as in Parallel WaveGAN (Yamamoto, Song, Kim 2020, arXiv:1910.11480)."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=self._reals,
            fake=self._fakes,
            critic=self.discriminator,
            terms={
                "generator": {
                    "features": self._feature_matching,
                    "mel": lambda scored: self._mel_distance(scored.real, scored.fake),
                }
            },
        )
        adversarial = Phase("adversarial", turns)
        if not self.warm_up:
            return [adversarial]
        return [Phase("warm-up", [Turn("generator", self._mel_alone)], samples=self.warm_up), adversarial]

    @abstractmethod
    def _feature_matching(self, scored: Scored) -> Tensor:
        """The weighted distance of the discriminators' features."""

    @abstractmethod
    def _mel_distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """The weighted distance of the log-mel spectrograms of waveforms ``(N, 1, samples)``."""

    def _mel_alone(self, batch: Batch) -> dict[str, Tensor]:
        return {"mel": self._mel_distance(self._reals(batch), self._fakes(batch))}

    def _factors(self, batch: Batch) -> Tensor:
        """``(N, 1, 1)``: the levels of this iteration's sounds, alike in all of its turns."""
        if "levels" not in batch.shared:
            batch.shared["levels"] = 10 ** (-self.quieter / 20 * batch.rng.rand(1, 1))
        factors: Tensor = batch.shared["levels"]
        return factors

    def _reals(self, batch: Batch) -> Tensor:
        waves = batch["sound"].float() / 32_768
        return waves * self._factors(batch) if self.quieter else waves

    def _fakes(self, batch: Batch) -> Tensor:
        mel = batch["mel"]
        if self.quieter:
            mel = (mel + self._factors(batch).log()).clamp_min(math.log(MEL_FLOOR))
        waves: Tensor = self.generator(mel)
        return waves

    def given_fields(self, options: object = None) -> tuple[str, ...]:
        """``("mel",)``."""
        return ("mel",)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """The sounds of the given mel spectrograms, of any length, and these."""
        if request.given is None or "mel" not in request.given:
            raise UsageError(f"{self.name} makes sounds from mel spectrograms: a file must be given")
        mel = request.given["mel"]
        waves: Tensor = self.generator(mel)
        return {"sound": (waves.float().clamp(-1, 1) * 32_767).round().to(torch.int16), "mel": mel}
