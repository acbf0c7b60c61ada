"""A trained architecture and its modality, ready to make samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.contracts import (
    ConditionalOnInput,
    FieldSpec,
    Given,
    GivenInPart,
    LatentSpace,
    Modality,
    Request,
    Sample,
    Samples,
)
from gan.draws import SeededDraws, derive
from gan.errors import BadData, GanError, UsageError
from gan.generation.conditions import Conditions
from gan.latents import slerp
from gan.runtime.device import seed_torch
from gan.source import SourceFile, list_source

GENERATION_BATCH = 16


class Model:
    """Makes samples and writes them as files.

    A sample is a function of (weights, seed, index, request): not of how many others are made with it, nor of the
    device's random state.
    """

    def __init__(
        self,
        architecture: Any,
        modality: Modality,
        name: str,
        device: torch.device,
        trained: int = 0,
        conditions: Conditions | None = None,
    ) -> None:
        self.architecture = architecture
        self.modality = modality
        self.name = name
        """For messages: ``"music/musegan"``."""
        self.device = device
        self.trained = trained
        """Real samples that its weights were trained on when they were loaded."""
        self.conditions = conditions or Conditions()
        """What values of their conditions the training data have."""

    def generate(
        self,
        count: int,
        seed: int = 0,
        *,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        given: Samples | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Samples:
        """Samples `first` … ``first + count - 1`` of `seed`: field name -> ``(count, *shape)`` numpy array.

        `options` are settings of the architecture's `Options`. `given` holds the given fields of `ConditionalOnInput`,
        ``count`` rows each; `asked` are values of conditions for all samples, and conditions of neither are drawn as
        the data have them. Raises `UsageError` for what the architecture cannot do.
        """
        request_options = self._options(options or {})
        given = self._with_conditions(given, request_options, asked, seed, first, count)
        self._check_given(given, count, request_options)
        size = getattr(self.architecture, "generation_batch", GENERATION_BATCH)
        parts: list[dict[str, Tensor]] = []
        accelerators = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=accelerators):
            for start in range(0, count, size):
                wanted = min(size, count - start)
                rng = SeededDraws.of(seed, first + start, size, self.device)
                seed_torch(derive(seed, "generate", first + start), self.device)
                rows = None if given is None else self._rows(given, start, size)
                made = self.architecture.generate(size, rng, Request(request_options, rows))
                check_samples(made, self.modality.fields, size, self.name)
                parts.append({name: tensor[:wanted] for name, tensor in made.items()})
        if not parts:
            return {name: np.empty((0, *spec.shape), spec.dtype) for name, spec in self.modality.fields.items()}
        return self._whole(parts, given)

    def interpolate(
        self,
        first_seed: int,
        second_seed: int,
        count: int = 8,
        *,
        options: Mapping[str, Any] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Samples:
        """``(count, *shape)`` by field: from sample 0 of one seed to sample 0 of another, at equal steps of the great
        circle between their latents, both ends included; conditions lie on the line between theirs. Raises `UsageError`
        where there is no latent space."""
        net = self.architecture
        request = Request(self._options(options or {}), None)
        if not isinstance(net, LatentSpace):
            raise UsageError(f"{self.name} has no latent space to interpolate in")
        if self.input_fields(request.options):
            raise UsageError(f"{self.name} makes samples from an input, not from latents alone")
        if count < 2:
            raise UsageError("an interpolation has at least two samples, its ends")
        with torch.no_grad():
            begin, end = (net.latents(1, SeededDraws.of(seed, 0, 1, self.device)) for seed in (first_seed, second_seed))
        ends = [
            self._with_conditions(None, request.options, asked, seed, 0, 1) or {} for seed in (first_seed, second_seed)
        ]
        share = np.linspace(0, 1, count)
        given = {
            name: (one + share * (ends[1][name] - one)).astype(self.modality.fields[name].dtype)
            for name, one in ends[0].items()
        }
        return self._between(begin, end, count, first_seed, request, given or None)

    def follow(
        self,
        given: Samples,
        seed: int = 0,
        *,
        index: int = 0,
        options: Mapping[str, Any] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Samples:
        """What is made from a row of `given` after the other, so that it belongs together: sample `index` of `seed`,
        with a sample for every row. Where there is a latent space, their latents lie at equal steps of the great circle
        between two that are drawn. Their conditions are the same."""
        net, count = self.architecture, len(next(iter(given.values())))
        request_options = self._options(options or {})
        same = self._with_conditions({}, request_options, asked, seed, index, 1) or {}
        given = {**{name: np.repeat(value, count) for name, value in same.items()}, **given}
        if not isinstance(net, LatentSpace):
            return self.generate(count, seed, first=index, options=options, given=given)
        self._check_given(given, count, request_options)
        with torch.no_grad():
            rng = SeededDraws.of(seed, index, 1, self.device)
            begin, end = net.latents(1, rng), net.latents(1, rng)
        return self._between(begin, end, count, derive(seed, "follow", index), Request(request_options, None), given)

    def _between(
        self, begin: Tensor, end: Tensor, count: int, seed: int, request: Request, given: Samples | None = None
    ) -> Samples:
        """`count` samples on the way from one latent to another, in whole batches, as `generate` makes them."""
        net = self.architecture
        size = getattr(net, "generation_batch", GENERATION_BATCH)
        made: list[dict[str, Tensor]] = []
        accelerators = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=accelerators):
            begin, end = (latent.repeat_interleave(size, 0) for latent in (begin, end))
            places = torch.linspace(0, 1, count, device=self.device)
            for start in range(0, count, size):
                at = places[torch.arange(start, start + size).clamp(max=count - 1)]
                seed_torch(derive(seed, "generate", start), self.device)
                rows = None if given is None else self._rows(given, start, size)
                part = net.decode(slerp(begin, end, at), Request(request.options, rows))
                check_samples(part, self.modality.fields, size, self.name)
                made.append({name: tensor[: count - start] for name, tensor in part.items()})
        return self._whole(made, given)

    def _whole(self, parts: Sequence[Mapping[str, Tensor]], given: Samples | None) -> Samples:
        """The parts joined, with the conditions that they were made for."""
        whole = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
        fields = self.modality.fields
        return {name: v for name, v in (given or {}).items() if name in fields and fields[name].condition} | whole

    def translate(
        self,
        item: Any,
        seed: int = 0,
        *,
        options: Mapping[str, Any] | None = None,
        choices: Mapping[str, Any] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Samples:
        """What was made of what is translated, accompanied or continued: ``(rows, *shape)`` by field.

        `item` is a path, or what else the modality's `read_given` takes (a picture); `choices` are settings of the
        modality's `GivenOptions`, `asked` values of conditions. Raises `BadData` when it cannot be read.
        """
        given = self.given(options, choices)
        if isinstance(item, str | Path):
            files: list[Any] = list_source(Path(item), self.modality.suffixes).files
        else:
            files = [item]
        rows = [row for file in files for row in self.modality.read_given(file, given)]
        if not rows:
            raise BadData("holds nothing to translate", str(item))
        samples = self.generate(len(rows), seed, options=options, given=stacked(rows, given.fields), asked=asked)
        return {name: samples[name] for name in self._made(samples, given)}

    def render(
        self,
        file: SourceFile,
        stem: Path,
        given: Given,
        seed: int = 0,
        *,
        index: int = 0,
        options: Mapping[str, Any] | None = None,
        asked: Mapping[str, Any] | None = None,
        writing: Any = None,
    ) -> tuple[list[Path], Samples]:
        """Work from the whole of `file`: the files written for it, and the samples that they hold.

        `given` is what `given()` says for these options, `writing` an instance of the modality's `Options`.
        """
        rows = list(self.modality.read_given(file, given))
        samples = self.follow(stacked(rows, given.fields), seed, index=index, options=options, asked=asked)
        made = self._made(samples, given)
        each = [{name: samples[name][row] for name in made} for row in range(len(rows))]
        stem.parent.mkdir(parents=True, exist_ok=True)
        return self.modality.write_like(each, stem, file, given, writing), samples

    def _made(self, samples: Samples, given: Given) -> list[str]:
        """The fields that were made, whole or in part; of further ones (`preview_options`) no file is made."""
        known = {name for name, spec in self.modality.fields.items() if not spec.condition}
        return [name for name in samples if name in known and (name not in given.fields or name in given.places)]

    def write(
        self, samples: Samples, folder: Path, *, prefix: str = "sample", first: int = 0, options: Any = None
    ) -> list[Path]:
        """Write every sample as a file ``prefix-0000.suffix`` in `folder`; their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        count = len(next(iter(samples.values())))
        return [
            self.modality.write(
                {name: values[index] for name, values in samples.items()},
                folder / f"{prefix}-{first + index:04d}",
                options,
            )
            for index in range(count)
        ]

    def given(self, options: Mapping[str, Any] | None = None, choices: Mapping[str, Any] | None = None) -> Given:
        """What must be given for these options of the architecture, with `choices` of the modality's `GivenOptions`.

        Raises `UsageError` where the architecture takes no input.
        """
        from gan.recipe import validated

        wanted = self._options(options or {})
        fields = self.input_fields(wanted)
        if not fields and "given" in getattr(type(wanted), "model_fields", ()):
            raise UsageError(f"{self.name} is given nothing as it is asked; where it can be, say what with --given")
        if not fields:
            raise UsageError(
                f"{self.name} makes samples from nothing but a seed and takes no input; leave it out, or use a run "
                "whose architecture works from one"
            )
        net, model = self.architecture, self.modality.GivenOptions
        places = net.given_places(wanted) if isinstance(net, GivenInPart) else {}
        if model is None and choices:
            raise UsageError(f"the input of {self.name} has no option '{next(iter(choices))}'; it has none at all")
        chosen = None if model is None else validated(model, choices or {}, "")
        return Given(fields, {name: tuple(which) for name, which in places.items()}, chosen)

    def _options(self, options: Mapping[str, Any]) -> Any:
        from gan.recipe import validated

        model = getattr(self.architecture, "Options", None)
        if model is None:
            if options:
                raise UsageError(f"{self.name} has no option '{next(iter(options))}'; it has none at all")
            return None
        return validated(model, options, "")

    def given_fields(self, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """The fields that must be given for these options, conditions among them; none where it takes nothing."""
        return self._given_fields(self._options(options or {}))

    def _given_fields(self, options: Any) -> tuple[str, ...]:
        if isinstance(self.architecture, ConditionalOnInput):
            return self.architecture.given_fields(options)
        return ()

    def input_fields(self, options: Any = None) -> tuple[str, ...]:
        """The fields that an input must hold for an instance of the architecture's `Options`: all that are given, but
        for conditions."""
        fields = self.modality.fields
        return tuple(name for name in self._given_fields(options) if not fields[name].condition)

    def condition_fields(self, options: Any = None) -> dict[str, FieldSpec]:
        """The conditions that it takes, by name."""
        fields = self.modality.fields
        return {name: fields[name] for name in self._given_fields(options) if fields[name].condition}

    def read_asked(self, asked: Mapping[str, Any], options: Any = None) -> dict[str, float]:
        """Values of conditions, as a user writes them, as numbers. Raises `UsageError` for conditions that the run does
        not have and for values that its data do not have."""
        taken = self.condition_fields(options)
        values = {}
        for name, value in asked.items():
            if name not in taken:
                setting = self.modality.conditions.get(name)
                remedy = f"; train one with --set {setting}" if setting else ""
                known = f" (it has {', '.join(taken)})" if taken else ""
                raise UsageError(f"this run was trained without the condition {name}{known}{remedy}")
            try:
                values[name] = self.modality.read_condition(name, str(value))
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None
            self.conditions.check(name, values[name], taken[name])
        return values

    def _with_conditions(
        self,
        given: Samples | None,
        options: Any,
        asked: Mapping[str, Any] | None,
        seed: int,
        first: int,
        count: int,
    ) -> Samples | None:
        """`given` with the conditions that it lacks: asked for, or drawn."""
        values = self.read_asked(asked or {}, options)
        missing = {name: spec for name, spec in self.condition_fields(options).items() if name not in (given or {})}
        if not missing:
            return given
        return {**self.conditions.draw(missing, values, seed, first, count), **(given or {})}

    def _check_given(self, given: Samples | None, count: int, options: Any) -> None:
        needs = self._given_fields(options)
        lacking = [name for name in self.input_fields(options) if name not in (given or {})]
        if lacking:
            wanted = ", ".join(lacking)
            raise UsageError(f"{self.name} makes samples from an input: {wanted} must be given (--input FILE)")
        if given is not None and not needs:
            raise UsageError(f"{self.name} takes no input")
        for name in needs:
            if given is not None and len(given[name]) != count:
                raise UsageError(f"{self.name}: field '{name}' of the input must have {count} rows")

    def _rows(self, given: Samples, start: int, size: int) -> dict[str, Tensor]:
        """`size` rows from `start` on; the last one repeated where there are fewer."""
        rows = {}
        for name, values in given.items():
            index = np.minimum(np.arange(start, start + size), len(values) - 1)
            rows[name] = torch.from_numpy(np.ascontiguousarray(values[index])).to(self.device)
        return rows


def stacked(rows: Sequence[Sample], fields: Sequence[str]) -> Samples:
    """Samples as arrays with a leading axis, by field."""
    return {name: np.stack([row[name] for row in rows]) for name in fields}


def check_samples(made: Mapping[str, Tensor], fields: Mapping[str, FieldSpec], count: int, who: str) -> None:
    """Check generated samples against the modality's fields. Raises `GanError`."""
    for name, spec in fields.items():
        if spec.condition:
            continue
        if name not in made:
            raise GanError(f"{who} returned no field '{name}'; the modality wants {', '.join(fields)}")
        reason = spec.mismatch(made[name], count)
        if reason:
            raise GanError(f"{who} returned a '{name}' that {reason}")
