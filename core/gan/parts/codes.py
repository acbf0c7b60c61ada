"""InfoGAN's codes: factors that nobody labelled, for any architecture with a latent space and a discriminator.

Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel, "InfoGAN: Interpretable representation learning by information
maximizing generative adversarial nets", 2016, arXiv:1606.03657. Some entries of the latent vector are codes: classes
drawn uniformly, one-hot, and numbers from U(-1, 1). A reader behind the discriminator's features estimates the codes of
generated samples, and both players increase a lower bound of the mutual information (equation 5),

    L = E[log Q(c | G(z, c))] + H(c)

in nats. For numbers Q is a Gaussian whose mean is read and whose deviation is 1. A recipe asks for it with a section
``codes``, and the codes become options of ``gan generate``.

Latents that are several vectors ``(N, vectors, size)``, such as one for each track, have the same code in each of them.

With an ``invariance`` the reader learns from real samples as well, that a sample and its augmented copy have the same
classes, and that all classes are as frequent (Ji, Henriques, Vedaldi, "Invariant information clustering", 2019,
arXiv:1807.06653; for InfoGAN, Ojha, Singh, Hsieh, Lee, "Elastic-InfoGAN", 2020, arXiv:1910.01112). Classes then stand
for what the augmentation leaves as it is, and not for the factor that varies most.

Different from the paper, whose noise is U(-1, 1): in the latent vector, codes are scaled to mean 0 and variance 1 like
the components of N(0, 1) beside them. Without, the classes of digits followed the noise, and the code their slant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel, Field, create_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan.adversarial import plus
from gan.contracts import Augmentation, CriticFeatures, FieldSpec, Loss, Penalty, Request, SmoothLatentSpace
from gan.draws import Draws, SeededDraws
from gan.errors import UsageError
from gan.game import Batch, Objective, Phase, Player
from gan.latents import class_shares
from gan.recipe import Codes, Schedule

WIDTH = 128
"""Width of the reader's hidden layer (appendix C.1 of the paper)."""
DISCRIMINATOR, GENERATOR = "discriminator", "generator"


def code_names(codes: Codes) -> list[str]:
    """The codes as options: ``code-1`` … for classes, then for numbers; ``code`` where there is one."""
    count = len(codes.categorical) + codes.continuous
    return ["code"] if count == 1 else [f"code_{number}" for number in range(1, count + 1)]


def scales(codes: Codes) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each entry of a code, ``(entries,)``."""
    shares = torch.tensor([1 / classes for classes in codes.categorical for _ in range(classes)])
    mean = torch.cat([shares, torch.zeros(codes.continuous)])
    return mean, torch.cat([(shares * (1 - shares)).sqrt(), torch.full((codes.continuous,), math.sqrt(1 / 3))])


def drawn(codes: Codes, rng: Draws) -> Tensor:
    """``(N, entries)``: random one-hot classes, then numbers from U(-1, 1)."""
    parts = [class_shares(rng.randint(classes), classes) for classes in codes.categorical]
    if codes.continuous:
        parts.append(2 * rng.rand(codes.continuous) - 1)
    return torch.cat(parts, 1)


def information(codes: Codes, read: Tensor, code: Tensor) -> list[Tensor]:
    """The bound L of each code in nats, mean over the samples; `read` is what the reader returns for `code`.

    It is at most H(c) for a class: log of their number. For a number it is at most ``log 2 - log(2π)/2 = -0.23``.
    """
    found, start = [], 0
    for classes in codes.categorical:
        chosen = code[:, start : start + classes].argmax(1)
        found.append(math.log(classes) - cross_entropy(read[:, start : start + classes].float(), chosen))
        start += classes
    for column in range(start, start + codes.continuous):
        squares = (read[:, column].float() - code[:, column]).square().mean()
        found.append(math.log(2) - 0.5 * math.log(2 * math.pi) - 0.5 * squares)
    return found


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """The mutual information in nats of the classes that two versions of the same samples are read as.

    Of logits ``(N, classes)`` each: of the mean of the products of both probabilities, made symmetric (Ji et al. 2019,
    equations 2 and 3). At most log of the number of classes. It depends on the batch, as batch statistics do.
    """
    joint = one.float().softmax(1).T @ other.float().softmax(1) / len(one)
    joint = (0.5 * (joint + joint.T)).clamp_min(1e-9)
    return (joint * (joint.log() - joint.sum(0).log() - joint.sum(1, keepdim=True).log())).sum()


def _rows(latents: Tensor) -> Tensor:
    """``(N, vectors, size)``: the vectors of latents, of which ``(N, …)`` of other shapes have one."""
    return latents if latents.ndim == 3 else latents.flatten(1)[:, None]


def with_codes(
    architecture_class: Any,
    codes: Codes,
    name: str,
    augmentation: Augmentation | None = None,
    augmented_fields: Sequence[str] = (),
) -> Any:
    """The architecture with codes in its latents, a reader of its own and the term of both players.

    `augmentation` is that of the codes, for `augmented_fields`. Raises `UsageError` where the architecture lacks
    `decode_smooth` or `critic_features`, or the strength of the augmentation is no number.
    """
    strength = getattr(augmentation, "strength", 1.0)
    if isinstance(strength, (Schedule, Tensor)):
        raise UsageError("codes.augmentation: its strength must be a number")
    lacking = [
        method
        for protocol, method in ((SmoothLatentSpace, "decode_smooth"), (CriticFeatures, "critic_features"))
        if not issubclass(architecture_class, protocol)
    ]
    if lacking:
        raise UsageError(f"codes: {name} has no {' and no '.join(lacking)}, which codes need; use another architecture")
    names, own_options = code_names(codes), getattr(architecture_class, "Options", None)
    fields: dict[str, Any] = {}
    for option, classes in zip(names, codes.categorical, strict=False):
        about = Field(None, ge=0, lt=classes, description=f"A code of InfoGAN: a class, 0 to {classes - 1}.")
        fields[option] = (int | None, about)
    for option in names[len(codes.categorical) :]:
        about = Field(None, ge=-3, le=3, description="A code of InfoGAN: a number, -1 to 1 in training.")
        fields[option] = (float | None, about)
    options = create_model("Options", __base__=own_options or BaseModel, **fields)

    class Coded(architecture_class):  # type: ignore[misc]
        Options = options

        def __init__(self, config: Any, specs: Mapping[str, FieldSpec]) -> None:
            super().__init__(config, specs)
            self.codes = codes
            self.code_size = sum(codes.categorical) + codes.continuous
            self.code_fields = {field: spec for field, spec in specs.items() if not spec.condition}
            mean, deviation = scales(codes)
            self.register_buffer("code_mean", mean, persistent=False)
            self.register_buffer("code_deviation", deviation, persistent=False)
            self.latent_axes = self.latents(1, SeededDraws([0], torch.device("cpu"))).ndim
            blank = {field: torch.zeros(1, *spec.shape) for field, spec in self.code_fields.items()}
            training = self.training
            with torch.no_grad():
                features = self.eval().critic_features(blank)[-1].flatten(1)
            self.train(training)
            self.code_reader = nn.Sequential(
                nn.Linear(features.shape[1], WIDTH), nn.LeakyReLU(0.1), nn.Linear(WIDTH, self.code_size)
            )

        def latents(self, count: int, rng: Draws, *more: Any) -> Tensor:
            """The architecture's latents, whose first entries are the codes."""
            return self._coded(super().latents(count, rng, *more), drawn(codes, rng))

        def _coded(self, latents: Tensor, code: Tensor) -> Tensor:
            rows = _rows(latents)
            if rows.shape[2] <= self.code_size:
                raise UsageError(
                    f"codes: {name} has latents of {rows.shape[2]} numbers, and the codes need {self.code_size}; "
                    "enlarge model.latent"
                )
            entries = ((code.to(rows) - self.code_mean) / self.code_deviation)[:, None].expand(-1, rows.shape[1], -1)
            return torch.cat([entries, rows[:, :, self.code_size :]], 2).view_as(latents)

        def codes_of(self, latents: Tensor) -> Tensor:
            """``(N, entries)``: the codes in latents, classes one-hot and numbers -1 … 1."""
            codes: Tensor = _rows(latents)[:, 0, : self.code_size] * self.code_deviation + self.code_mean
            return codes

        def read_codes(self, samples: Mapping[str, Tensor]) -> Tensor:
            """``(N, entries)``: logits of the classes and the numbers that samples of `decode_smooth` seem to have."""
            read: Tensor = self.code_reader(self.critic_features(samples)[-1].flatten(1))
            return read

        def with_chosen(self, latents: Tensor, request: Request) -> Tensor:
            """The latents with the codes that a request chooses, if any; styles as they are."""
            chosen = {name: getattr(request.options, name, None) for name in names}
            if all(value is None for value in chosen.values()) or latents.ndim != self.latent_axes:
                return latents
            code, start = self.codes_of(latents), 0
            for option, classes in zip(names, codes.categorical, strict=False):
                if chosen[option] is not None:
                    code[:, start : start + classes] = 0
                    code[:, start + int(chosen[option] or 0)] = 1
                start += classes
            for column, option in enumerate(names[len(codes.categorical) :], start):
                number = chosen[option]
                if number is not None:
                    code[:, column] = float(number)
            return self._coded(latents, code)

        def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
            """The samples of latents, with the codes of the request."""
            made: dict[str, Tensor] = super().decode(self.with_chosen(latents, request), request)
            return made

        def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
            """The same without rounding."""
            made: dict[str, Tensor] = super().decode_smooth(self.with_chosen(latents, request), request)
            return made

        def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
            """Samples, with the codes of the request."""
            if any(getattr(request.options, name, None) is not None for name in names):
                return self.decode(self.latents(count, rng), request)
            made: dict[str, Tensor] = super().generate(count, rng, request)
            return made

        def players(self) -> dict[str, Player]:
            """The discriminator also trains the reader."""
            players: dict[str, Player] = dict(super().players())
            if not {DISCRIMINATOR, GENERATOR} <= players.keys():
                raise UsageError(f"codes: {name} has no players '{GENERATOR}' and '{DISCRIMINATOR}'")
            before = players[DISCRIMINATOR]
            modules = [before.modules] if isinstance(before.modules, nn.Module) else list(before.modules)
            players[DISCRIMINATOR] = replace(before, modules=[*modules, self.code_reader])
            return players

        def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
            """The phases, in which both players also increase the information."""
            phases: list[Phase] = []
            for phase in super().phases(loss, penalties):
                turns = list(phase.turns)
                for player in (DISCRIMINATOR, GENERATOR):
                    index = next((i for i, turn in enumerate(turns) if turn.player == player and turn.every == 1), None)
                    if index is not None:
                        turns[index] = plus(turns[index], self._information(player))
                phases.append(replace(phase, turns=turns))
            return phases

        def _information(self, player: str) -> Objective:
            def objective(batch: Batch) -> dict[str, Tensor]:
                given = {n: v for n, v in batch.fields.items() if n in getattr(self, "given_fields", tuple)()}
                latents = self.latents(batch.count, batch.rng)
                with torch.set_grad_enabled(player == GENERATOR):
                    samples = self.decode_smooth(latents, Request(given=given or None))
                read = self.read_codes(samples)
                bounds = torch.stack(information(codes, read, self.codes_of(latents)))
                weight = batch.number("codes.weight", codes.weight)
                terms = {"codes": -weight * bounds.sum(), "_information": bounds.detach().sum()}
                if player == DISCRIMINATOR and codes.invariance:
                    agreed = self._agreement(batch)
                    terms |= {"invariance": -codes.invariance * agreed, "_agreement": agreed.detach()}
                return terms

            return objective

        def _agreement(self, batch: Batch) -> Tensor:
            """`agreement` of real samples and their augmented copies, summed over the codes of classes."""
            seen = {}
            for field, spec in self.code_fields.items():
                values = batch[field].float()
                copy = values
                if augmentation is not None and field in augmented_fields:  # augmentations change samples in -1 … 1
                    half = 0.5 * (spec.high - spec.low)
                    scaled = (values - spec.low) / half - 1
                    power = torch.full((), strength, device=values.device)
                    copy = (augmentation(scaled, batch.rng, power) + 1) * half + spec.low
                seen[field] = torch.cat([values, copy])
            read = torch.split(self.read_codes(seen)[:, : sum(codes.categorical)], list(codes.categorical), 1)
            return torch.stack([agreement(*logits.chunk(2)) for logits in read]).sum()

    Coded.__name__ = Coded.__qualname__ = f"{architecture_class.__name__}WithCodes"
    return Coded
