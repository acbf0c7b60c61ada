"""Jukebox: music as codes of a VQ-VAE, made by a transformer and refined by upsamplers, level by level.

Dhariwal, Jun, Payne, Kim, Radford, Sutskever: Jukebox: a generative model for music, 2020, arXiv:2005.00341. One run
has all of it as phases: the autoencoder, the prior over the codes of the coarsest level, and an upsampler for each
finer level. In the later phases the autoencoder rests with its averaged weights, so that a prior learns the codes that
sampling will see.

Sounds of any length are made in windows: each transformer sees at most `context` codes, the second half of which it
makes from the first. The waveform is decoded as the codes come.

Different from the authors' code: attention is dense (see `gan_audio.networks.prior`); labels are one class instead of
an artist and several genres.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Objective, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan_audio.architectures.vqvae import Autoencoder, Level, Upsampling, VQVAEConfig, to_int16
from gan_audio.networks.prior import Known, Prior, entropy

CYCLE = 8
"""Layers after which the dilations of an upsampler's network begin again."""


class JukeboxConfig(VQVAEConfig):
    """Sizes of the autoencoder, as in `vqvae`, and of the transformers; lengths of the phases."""

    crop: int = Field(0, ge=0, description="samples of a sound that the autoencoder is trained on; 0: all")
    context: int = Field(
        0, ge=0, description="codes that a transformer sees; 0: those of a sample at the coarsest level"
    )
    layers: int = Field(8, ge=1, description="blocks of each transformer")
    heads: int = Field(4, ge=1, description="attention heads of a block; must divide the width")
    prior_width: int = Field(256, ge=8, description="width of each transformer")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the transformers")
    conditioner_width: int = Field(64, ge=4, description="channels of the network that reads the codes above")
    conditioner_depth: int = Field(8, ge=1, description="residual layers of that network")
    longest: float = Field(600.0, gt=0, description="seconds of a recording that timing tells apart")
    autoencoder_samples: int = Field(10_000, ge=1, description="real samples of the first phase")
    upsampler_samples: int = Field(10_000, ge=1, description="real samples of the phase of each upsampler")


class JukeboxOptions(BaseModel):
    """Options of one call of `generate`."""

    model_config = ConfigDict(extra="forbid")

    seconds: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="Length of the sound, with the clip that it continues; none: that of a training sample, after it.",
    )
    temperature: float = Field(
        0.99, ge=0.01, le=10, description="Divides the logits: below 1 more predictable, above 1 more varied."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Sample from the likeliest codes whose probabilities add up to this; 1: from all."
    )


class Jukebox(nn.Module):
    """The autoencoder, a prior and upsamplers; `gan.contracts.Streams`, and with classes `ConditionalOnInput`."""

    Config = JukeboxConfig
    Options = JukeboxOptions
    generation_batch = 8
    mixes_classes = True
    optional_input = ("sound",)

    def __init__(self, config: JukeboxConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        sound = fields["sound"]
        self.config, self.rate = config, int(getattr(sound, "rate", 0))
        self.samples: int = sound.shape[1]
        if not self.rate:
            raise UsageError("jukebox needs sounds whose rate is known, as the modality audio has them")
        self.autoencoder = Autoencoder(config, sound)
        hops = self.autoencoder.hops
        self.context = config.context or self.samples // hops[-1]
        ratio = math.lcm(2, *(2**down for down in config.downs[1:]))
        if self.context * hops[-1] > self.samples or self.context % ratio or config.crop % hops[-1]:
            raise UsageError(
                f"model.context is {self.context} codes of {hops[-1]:,} samples, and model.crop {config.crop:,} "
                f"samples; they must fit a sample of {self.samples:,} samples, and be multiples of {ratio} and "
                f"{hops[-1]:,}"
            )
        if config.prior_width % config.heads:
            raise UsageError(f"model.heads {config.heads} does not divide model.prior_width {config.prior_width}")
        label = fields.get("label")
        self.classes = 0 if label is None else int(label.high) + 1
        self.timed = "elapsed" in fields
        self.step = self.samples // fields["elapsed"].shape[0] if self.timed else 0
        self.priors = nn.ModuleList(self._prior(level) for level in range(len(hops)))

    def _prior(self, level: int) -> Prior:
        config, hops = self.config, self.autoencoder.hops
        is_top = level == len(hops) - 1
        above = None
        if not is_top:
            width, depth = config.conditioner_width, config.conditioner_depth
            above = nn.Sequential(
                _Embedding(config.codes, width),
                Upsampling(
                    width, config.prior_width, width, depth, config.downs[level + 1], cycle=CYCLE, reverse=False
                ),
            )
        return Prior(
            config.codes, self.context, config.prior_width, config.layers, config.heads, config.dropout,
            classes=self.classes, seconds=hops[level] / self.rate,
            longest=config.longest if self.timed and is_top else 0.0, above=above,
        )  # fmt: skip

    # ------------------------------------------------------------------ training

    def players(self) -> dict[str, Player]:
        """The autoencoder, and transformers with AdamW(3e-4; 0.9, 0.999), decay 0.01 and gradients clipped at 1."""
        adam = Optimizer(name="adamw", lr=3e-4, betas=(0.9, 0.999), weight_decay=0.01, clip_norm=1.0)
        players = {"autoencoder": self.autoencoder.player()}
        for level in reversed(range(len(self.priors))):
            players[self._name(level)] = Player(self.priors[level], adam, average=True)
        return players

    def _name(self, level: int) -> str:
        return "prior" if level == len(self.priors) - 1 else f"upsampler{level}"

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """The autoencoder, the prior (whose length is ``training.samples``), and the upsamplers from coarse to fine."""
        config = self.config
        phases = [Phase("autoencoder", [self.autoencoder.turn(config.crop)], samples=config.autoencoder_samples)]
        for level in reversed(range(len(self.priors))):
            is_top = level == len(self.priors) - 1
            phases.append(
                Phase(
                    self._name(level),
                    [Turn(self._name(level), self._objective(level))],
                    samples=None if is_top else config.upsampler_samples,
                    adopt=("autoencoder",) if is_top else (),
                )
            )
        return phases

    def _objective(self, level: int) -> Objective:
        def objective(batch: Batch) -> dict[str, Tensor]:
            prior = self.priors[level]
            assert isinstance(prior, Prior)
            codes, known = self._window(batch.fields, level)
            nats = prior.nll(codes, known).mean()
            return {"nll": nats, "_bits": nats.detach() / math.log(2)}

        return objective

    @torch.no_grad()
    def _window(self, fields: Mapping[str, Tensor], level: int) -> tuple[Tensor, Known]:
        """The codes of the first window of each sound, ``(N, context)``, and what is known of it."""
        hops = self.autoencoder.hops
        sounds = fields["sound"][..., : self.context * hops[level]].float() / 32_768
        codes = self.autoencoder.encode(sounds, level)
        known = Known(fields.get("label") if self.classes else None)
        if level + 1 < len(hops):
            known = replace(known, above=self.autoencoder.encode(sounds, level + 1))
        elif self.timed:
            known = replace(known, begin=fields["elapsed"][:, 0], duration=fields["duration"])
        return codes, known

    @torch.no_grad()
    def code_bits(self, samples: Mapping[str, Tensor]) -> list[tuple[str, float, float]]:
        """For each transformer, its name, the mean bits that it needs for a code of `samples`, and the entropy of the
        codes alone (the bits of the best model without context)."""
        found = []
        count = len(samples["sound"])
        for level in reversed(range(len(self.priors))):
            prior = self.priors[level]
            assert isinstance(prior, Prior)
            nats, all_codes = 0.0, []
            for start in range(0, count, self.generation_batch):
                part = {name: values[start : start + self.generation_batch] for name, values in samples.items()}
                codes, known = self._window(part, level)
                nats += float(prior.nll(codes, known).sum())
                all_codes.append(codes)
            bits = nats / count / math.log(2)
            found.append((self._name(level), bits, entropy(torch.cat(all_codes), self.config.codes)))
        return found

    # ------------------------------------------------------------------ use

    def given_fields(self, options: object = None) -> tuple[str, ...]:
        """``("label",)`` if there are classes."""
        return ("label",) if self.classes else ()

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Sounds of the asked length, from nothing or from the clips in ``given["sound"]``."""
        parts = list(self._parts(count, rng, request))
        return {
            name: torch.cat([part[name] for part in parts], -1) if first.ndim > 1 else first
            for name, first in parts[0].items()
        }

    def stream(self, rng: Draws, request: Request) -> Iterator[dict[str, Tensor]]:
        """The parts of one sound, as its codes come."""
        yield from self._parts(1, rng, request)

    def _parts(self, count: int, rng: Draws, request: Request) -> Iterator[dict[str, Tensor]]:
        options = request.options if isinstance(request.options, JukeboxOptions) else JukeboxOptions()
        given = dict(request.given or {})
        hop = self.autoencoder.hops[-1]
        clip = given["sound"].float() / 32_768 if "sound" in given else None
        if clip is not None and clip.shape[2] < hop:
            raise UsageError(f"the clip must have {hop / self.rate:.3g} s at least, the length of a code")
        primed = 0 if clip is None else clip.shape[2] // hop * hop
        wanted = primed + self.samples if options.seconds is None else round(options.seconds * self.rate)
        if wanted < max(primed + 1, self.samples):
            least = max(primed + 1, self.samples) / self.rate
            raise UsageError(f"--seconds {options.seconds:g}: the shortest sound has {least:.3g} s here")
        duration = torch.full((count,), wanted / self.rate, device=rng.device)
        known = Known(given.get("label"), duration=duration)
        codes: _Codes | None = None
        total = -(-wanted // hop) * hop
        for level in reversed(range(len(self.priors))):
            size = total // self.autoencoder.hops[level]
            before = torch.zeros(count, 0, dtype=torch.int64, device=rng.device)
            if clip is not None:
                before = self.autoencoder.encode(clip[..., :primed], level)
            codes = _Codes(self._sampled(level, size, before, codes, known, rng, options), size)
        assert codes is not None
        done = 0
        for waves in self._decoded(codes):
            part = to_int16(waves)[..., : wanted - done]
            made = {"sound": part}
            if self.timed:
                made |= self._times(done, part.shape[2], duration)
            done += part.shape[2]
            if part.shape[2]:
                yield made

    def _sampled(
        self, level: int, total: int, before: Tensor, above: _Codes | None, known: Known, rng: Draws,
        options: JukeboxOptions,
    ) -> Iterator[Tensor]:  # fmt: skip
        """Yield the codes of a level ``(N, k)``, from `before` to `total`, window by window."""
        prior = self.priors[level]
        assert isinstance(prior, Prior)
        hops = self.autoencoder.hops
        ratio = hops[level + 1] // hops[level] if above is not None else 1
        codes, done = before, before.shape[1]
        if done:
            yield before
        while done < total:
            start = -(-max(0, done - self.context // 2) // ratio) * ratio if done else 0
            new = min(start + self.context, total) - done
            now = replace(known, begin=torch.full((len(codes),), start * prior.seconds, device=codes.device))
            if above is not None:
                now = replace(now, above=above.get(start // ratio, -(-(done + new) // ratio)))
            made = prior.sample(
                codes[:, codes.shape[1] - (done - start) :], rng.rand(new), now, options.temperature, options.top_p
            )
            codes = torch.cat([codes, made], 1)[:, -self.context :]
            done += new
            yield made

    def _decoded(self, codes: _Codes) -> Iterator[Tensor]:
        """Yield waveforms of the finest level's codes as soon as those beside them are known."""
        level = self.autoencoder.levels[0]
        assert isinstance(level, Level)
        done = 0
        while done < codes.total:
            known = codes.more()
            end = codes.total if known == codes.total else known - level.reach
            if end > done:
                first = max(0, done - level.reach)
                part = codes.get(first, min(codes.total, end + level.reach))
                yield self.autoencoder.decode_part(part, 0, done - first, end - first)
                done = end

    def _times(self, done: int, length: int, duration: Tensor) -> dict[str, Tensor]:
        """The fields of time of the samples `done` to ``done + length`` of sounds of `duration` seconds."""
        steps = torch.arange(-(-done // self.step), -(-(done + length) // self.step), device=duration.device)
        return {"elapsed": (steps * (self.step / self.rate)).expand(len(duration), -1), "duration": duration}


class _Embedding(nn.Module):
    """Codes ``(N, T)`` as vectors ``(N, width, T)``."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(codes, width)

    def forward(self, codes: Tensor) -> Tensor:
        vectors: Tensor = self.table(codes).transpose(1, 2)
        return vectors


class _Codes:
    """The codes of a level while they are made: `blocks` yields ``(N, k)``, `total` codes in all."""

    def __init__(self, blocks: Iterator[Tensor], total: int) -> None:
        self.total = total
        self._blocks = blocks
        self._known: list[Tensor] = []
        self._count = 0

    def more(self) -> int:
        """Make the next block, if there is one, and return how many codes are known."""
        block = next(self._blocks, None)
        if block is not None:
            self._known.append(block)
            self._count += block.shape[1]
        return self._count

    def get(self, start: int, end: int) -> Tensor:
        """The codes `start` to `end`, which are made if necessary."""
        while self._count < end:
            self.more()
        self._known = [torch.cat(self._known, 1)]
        return self._known[0][:, start:end]
