"""Projection: latents whose sample is like a given one (GAN inversion), and a short tuning of the generator to it.

The latents of several starts are optimized by Adam, with noise that fades and a learning rate that rises and falls, as
in StyleGAN2's projector (Karras et al. 2020, arXiv:1912.04958, appendix D): first one style w for all layers, then the
styles of each layer (W+; Abdal et al. 2019, arXiv:1904.03189). An architecture without styles has its own latents
instead. The generator may then be tuned around them (Roich et al. 2021, arXiv:2106.05744).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, binary_cross_entropy

from gan.contracts import CriticFeatures, Given, Request
from gan.control.features import differentiable, extractor_of, perceptual
from gan.control.model import LatentModel, Latents, as_path
from gan.data.foreign import read_given
from gan.draws import SeededDraws, derive
from gan.errors import BadData, UsageError
from gan.generation.model import stacked
from gan.runtime.signals import check_stop
from gan.source import list_source

if TYPE_CHECKING:
    from gan.contracts import FieldSpec, Sample, Samples
    from gan.metrics.extractors import NamedExtractor

Array: TypeAlias = np.ndarray[Any, Any]
SPACES = ("w", "w+", "z")
STARTS = 4
"""Latents that are optimized at once; the best one is kept."""
TRIED = 256
"""Random latents among which the starts are the nearest ones."""
MEASURED = 1000
"""Latents of which the mean and the deviation are taken."""
RATE = 0.1
"""Adam's learning rate at its highest, for latents of deviation 1."""
TUNING_RATE = 3e-4
PULL = 1e-3
"""Weight of the squared distance of latents from their mean, in deviations."""
GRADIENTS, SEEN = 0.1, 0.1
"""Weights of differences of neighbours, and of the discriminator's features, beside 1 for the numbers themselves."""
STEPS_SHOWN = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
"""Shares of the steps after which the way is recorded."""
GENERATOR = "generator"


@dataclass
class Projection:
    """Latents of a sample of the user's own, and how near theirs is."""

    latents: Latents
    """One sample's; they decode to `sample`."""
    sample: Samples
    target: Samples
    way: list[Samples]
    """Samples of the best latents on the way, from the start on."""
    likeness: dict[str, dict[str, float]]
    """Stage (``w``, ``w+``, ``z``, ``tuned``) -> how near its sample is: ``psnr`` in dB and ``distance`` for numbers,
    ``found`` and ``right`` for notes and voxels: the share of the target's that the sample has, and of the sample's
    that the target has."""
    stages: dict[str, Samples] = field(default_factory=dict)
    """The sample of each stage."""
    compared: str = ""
    """What the distance compares."""
    tuned: LatentModel | None = None
    """The model with the tuned generator, if it was tuned; `sample` is its sample then."""


class Comparison:
    """The differentiable distance of samples from one target, one for each sample."""

    def __init__(self, model: LatentModel, target: Samples, extractor: NamedExtractor | None) -> None:
        self.model = model
        self.fields = {name: spec for name, spec in model.modality.fields.items() if not spec.condition}
        self.target = {n: torch.from_numpy(np.array(target[n])).to(model.device).float() for n in self.fields}
        self.extractor = differentiable(extractor)
        self.title = "numbers and differences of neighbours"
        with torch.no_grad():
            self.vectors = None if self.extractor is None else self.extractor.features(self.target)[0]
            self.seen: list[Tensor] = []
            if extractor is not None and self.extractor is not None:
                self.title = f"{extractor.name} and numbers"
            elif isinstance(model.architecture, CriticFeatures):
                self.title += ", features of the discriminator"
                self.seen = [f.float() for f in model.architecture.critic_features(self.target)]

    def __call__(self, samples: Mapping[str, Tensor]) -> Tensor:
        """``(N,)``."""
        total = torch.stack([self._numbers(samples[name].float(), name) for name in self.fields]).sum(0)
        if self.extractor is not None and self.vectors is not None:
            return total + (self.extractor.features(samples)[0] - self.vectors).square().flatten(1).sum(1)
        if self.seen:
            found = self.model.architecture.critic_features(samples)
            terms = [
                (one.float() - other).square().flatten(1).mean(1) / other.square().mean().clamp_min(1e-8)
                for one, other in zip(found, self.seen, strict=True)
            ]
            total = total + SEEN * torch.stack(terms).mean(0)
        return total

    def _numbers(self, made: Tensor, name: str) -> Tensor:
        spec, target = self.fields[name], self.target[name].expand_as(made)
        if spec.dtype == "bool":
            share = float(self.target[name].mean().clamp(1e-4, 1 - 1e-4))
            unit = -share * math.log(share) - (1 - share) * math.log(1 - share)  # the entropy: 1 for what knows nothing
            return binary_cross_entropy(made.clamp(1e-6, 1 - 1e-6), target, reduction="none").flatten(1).mean(1) / unit
        half = (spec.high - spec.low) / 2
        difference = (made - target) / half
        total = difference.square().flatten(1).mean(1)
        if self.extractor is not None:
            return total
        for axis in range(2, made.ndim):
            total = total + GRADIENTS * _differences(difference, axis)
        return total


def _differences(difference: Tensor, axis: int) -> Tensor:
    """``(N,)``: the mean absolute difference of neighbours along an axis, at three scales."""
    line = difference.movedim(axis, -1).flatten(1, -2)
    found = []
    for _ in range(3):
        if line.shape[2] < 2:
            break
        found.append((line[..., 1:] - line[..., :-1]).abs().mean((1, 2)))
        line = avg_pool1d(line, 2) if line.shape[2] >= 4 else line[..., :0]
    return torch.stack(found).mean(0) if found else difference.new_zeros(len(difference))


def read_target(model: LatentModel, item: Any, index: int = 0) -> Samples:
    """The one sample to project, with a leading axis: sample `index` of a path, a picture, or a sample itself.

    Raises `BadData` where there is none.
    """
    fields = tuple(name for name, spec in model.modality.fields.items() if not spec.condition)
    if isinstance(item, Mapping):
        sample = {name: np.asarray(item[name]) for name in fields}
    else:
        path = as_path(item)
        if path is not None and not path.exists():
            raise BadData("there is no such file", str(path))
        files: list[Any] = [item] if path is None else list_source(path, model.modality.suffixes).files
        rows: list[Sample] = []
        for file in files:
            rows += read_given(model.modality, file, Given(fields))
            if len(rows) > index:
                break
        if len(rows) <= index:
            raise BadData(f"holds {len(rows)} samples; there is no number {index}", str(path or "the input"))
        sample = rows[index]
    for name in fields:
        reason = model.modality.fields[name].mismatch(sample[name])
        if reason:
            raise BadData(f"'{name}' {reason}", "the sample")
    return {name: sample[name][None] for name in fields}


def project(
    model: LatentModel,
    item: Any,
    *,
    steps: int = 400,
    space: str = "",
    tune: int = 0,
    distance: str = "",
    seed: int = 0,
    index: int = 0,
    options: Mapping[str, Any] | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> Projection:
    """Find latents whose sample is like `item` (`read_target`).

    `steps` are Adam's in each stage. `space` is ``w`` (one style), ``w+`` (one for each layer, after w; the default) or
    ``z`` for latents without styles. `tune` are steps of the generator's tuning afterwards; 0: none. `distance` names
    an extractor that gradients pass; by default the modality's perceptual one where its weights are at hand, else
    numbers, differences of neighbours and the discriminator's features are compared. The result is a function of the
    weights, the sample and these settings. Raises `UsageError` for what the latent space does not allow.
    """
    net = model.space(options)
    space = space or ("w+" if model.space_name == "w" else "z")
    if space not in SPACES or (space == "z") != (model.space_name == "z"):
        allowed = "w and w+" if model.space_name == "w" else "z, its own latents, only"
        raise UsageError(f"--space {space}: {model.name} is projected into {allowed}")
    extractor = extractor_of(model, distance) if distance else perceptual(model)
    if distance and differentiable(extractor) is None:
        raise UsageError(f"--distance {distance}: gradients do not pass this extractor")
    target = read_target(model, item, index)
    chosen = model._options(options or {})
    given = model._with_conditions(None, chosen, conditions, seed, 0, 1) or {}
    compare = Comparison(model, target, extractor)
    search = _Search(model, compare, given, chosen, seed, steps)
    result = Projection(Latents(torch.empty(0)), {}, target, [], {}, compared=compare.title)
    drawn = model.draw(MEASURED, derive(seed, "projection"), options=options, conditions=conditions)
    start = search.starts(drawn.values, TRIED)
    result.way.append(search.decoded(start[:1]))
    found = search.descend(start, result.way, drawn.values, shared=model.space_name == "w")
    stages = {"w" if model.space_name == "w" else "z": found}
    if space == "w+":
        stages["w+"] = search.descend(found, result.way, drawn.values, shared=False, gentle=True)
    for name, latents in stages.items():
        result.latents = Latents(latents, given)
        result.sample = result.stages[name] = search.decoded(latents)
        result.likeness[name] = likeness(model, result.sample, target, compare)
    del net
    if tune:
        result.tuned = tuned_model(model, result.latents, compare, chosen, tune)
        result.sample = result.stages["tuned"] = result.tuned.decode(result.latents, options=options)
        result.likeness["tuned"] = likeness(model, result.sample, target, compare)
    result.way.append(result.sample)
    return result


class _Search:
    """The optimization of latents for one target."""

    def __init__(
        self, model: LatentModel, compare: Comparison, given: Samples, options: Any, seed: int, steps: int
    ) -> None:
        self.model, self.compare, self.given, self.options = model, compare, given, options
        self.seed, self.steps = seed, steps

    def _rows(self, count: int) -> Mapping[str, Tensor] | None:
        repeated = {name: np.repeat(value, count, 0) for name, value in self.given.items()}
        return self.model._rows(repeated, 0, count) or None

    def losses(self, latents: Tensor) -> Tensor:
        """``(N,)``: the distance of each sample from the target."""
        return self.compare(self.model.smooth(latents, self._rows(len(latents)), self.options))

    def decoded(self, latents: Tensor) -> Samples:
        """The samples of latents."""
        given = {name: np.repeat(value, len(latents), 0) for name, value in self.given.items()}
        return self.model.decode(Latents(latents.detach(), given), options=_plain(self.options))

    def starts(self, drawn: Tensor, tried: int) -> Tensor:
        """``(STARTS, …)``: the mean of the styles, and those of random latents that are nearest to the target."""
        with torch.no_grad():
            candidates = drawn[:tried]
            if self.model.space_name == "w":
                candidates = torch.cat([drawn.mean(0, keepdim=True), candidates])
            most = getattr(self.model.architecture, "generation_batch", 16)
            losses = torch.cat([self.losses(part) for part in torch.split(candidates, most)])
        return candidates[losses.argsort(stable=True)[:STARTS]].clone()

    def descend(
        self, start: Tensor, way: list[Samples], drawn: Tensor, *, shared: bool, gentle: bool = False
    ) -> Tensor:
        """``(1, …)``: the best latents that Adam finds from `start`; with `shared`, one style for all layers.

        With `gentle` the latents do not jump first, since they are near already.
        """
        mean, deviation = drawn.mean(0), (drawn - drawn.mean(0)).square().mean().sqrt()
        variable = (start[:, :1] if shared else start).clone().requires_grad_()
        optimizer = torch.optim.Adam([variable], betas=(0.9, 0.999))
        best, lowest = start[:1], torch.inf
        shown = {max(1, round(share * self.steps)) for share in STEPS_SHOWN}
        draws = SeededDraws([derive(self.seed, "projection", i) for i in range(len(start))], self.model.device)
        for step in range(self.steps + 1):
            check_stop()
            done = step / self.steps
            fall, rise = min(1.0, (1 - done) / 0.25), min(1.0, done / 0.05 if done else 0.02)
            optimizer.param_groups[0]["lr"] = (
                RATE * float(deviation) * (0.2 if gentle else 1.0) * rise * (0.5 - 0.5 * math.cos(math.pi * fall))
            )
            latents = variable.expand_as(start)
            noise = 0.0 if gentle else 0.05 * float(deviation) * max(0.0, 1 - done / 0.75) ** 2
            moved = latents + noise * draws.randn(*variable.shape[1:]) if noise else latents
            losses = self.losses(moved)
            pull = PULL * ((latents - mean) / deviation).square().flatten(1).mean(1)
            clean = losses if not noise or step % 10 else self.losses(latents.detach())
            if not noise or step % 10 == 0:
                clean = clean.detach()
                index = int(clean.argmin())
                if float(clean[index]) < lowest:
                    lowest, best = float(clean[index]), latents[index : index + 1].detach().clone()
            if step in shown:
                way.append(self.decoded(best))
            if step == self.steps:
                break
            optimizer.zero_grad()
            (losses + pull).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return best


def _plain(options: Any) -> dict[str, Any] | None:
    return None if options is None else options.model_dump()


def likeness(model: LatentModel, sample: Samples, target: Samples, compare: Comparison) -> dict[str, float]:
    """How near a sample is to its target; see `Projection.likeness`."""
    found: dict[str, float] = {}
    both = in_target = in_sample = 0.0
    for name, spec in compare.fields.items():
        made, wanted = sample[name], target[name]
        if spec.dtype == "bool":
            both += float((made & wanted).sum())
            in_target, in_sample = in_target + float(wanted.sum()), in_sample + float(made.sum())
            found["found"], found["right"] = both / max(1.0, in_target), both / max(1.0, in_sample)
        else:
            found["psnr"] = psnr(made, wanted, spec)
    with torch.no_grad():
        tensors = {n: torch.from_numpy(np.array(sample[n])).to(model.device).float() for n in compare.fields}
        found["distance"] = float(compare(tensors)[0])
    return found


def psnr(made: Array, wanted: Array, spec: FieldSpec) -> float:
    """The peak signal-to-noise ratio in dB, of a peak that is the range of the field; at most 99."""
    error = float(np.square(made.astype(np.float64) - wanted).mean())
    return min(99.0, 10 * math.log10((spec.high - spec.low) ** 2 / error)) if error else 99.0


def tuned_model(
    model: LatentModel, latents: Latents, compare: Callable[..., Tensor], options: Any, steps: int
) -> LatentModel:
    """A copy of the model whose generator is tuned such that the sample of `latents` is like the target."""
    architecture = copy.deepcopy(model.architecture)
    players = architecture.players()
    if GENERATOR not in players:
        raise UsageError(f"{model.name} has no player '{GENERATOR}' to tune")
    tuned = [parameter for _, parameter in players[GENERATOR].named_parameters()]
    kept = {id(parameter) for parameter in tuned}
    for parameter in architecture.parameters():
        parameter.requires_grad_(id(parameter) in kept)
    optimizer = torch.optim.Adam(tuned, lr=TUNING_RATE)
    given = model._rows(latents.given, 0, len(latents)) or None
    for _ in range(steps):
        check_stop()
        loss = compare(architecture.decode_smooth(latents.values, Request(options, given))).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = type(model)(
        architecture.requires_grad_(False).eval(),
        model.modality,
        model.name,
        model.device,
        model.trained,
        model.conditions,
        frozen=True,
        draws=model.draws,
    )
    found.plugins, found.plugin, found.kind = model.plugins, model.plugin, model.kind
    return found


def save_projection(model: LatentModel, projection: Projection, folder: Path) -> list[Path]:
    """Write the latents, the sample, a picture of the way and, of a tuned generator, a run; return the paths."""
    from gan.control.latent_files import write_latents
    from gan.control.tuned_run import save_tuned
    from gan.reporting.films import pictures_of, save_sheet

    paths = [write_latents(folder / "latents.safetensors", projection.latents, model)]
    paths += model.write(projection.sample, folder, prefix="projected")
    conditions = {name: value for name, value in projection.way[0].items() if name not in projection.target}
    tiles = stacked(
        [{n: v[0] for n, v in {**conditions, **each}.items()} for each in [projection.target, *projection.way]],
        list(projection.way[0]),
    )
    paths.append(save_sheet(pictures_of(model.modality, tiles), len(projection.way) + 1, folder / "way.png"))
    if projection.tuned is not None:
        paths.append(save_tuned(model, projection.tuned, folder / "tuned"))
    return paths
