"""Generate samples with a trained model: an architecture with its weights, and its modality.

The file is long because `Model` is one class: everything that a user can ask of a run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.contracts import (
    Between,
    ConditionalOnInput,
    FieldSpec,
    Given,
    GivenInPart,
    InTiles,
    LatentSpace,
    Modality,
    Request,
    Sample,
    Samples,
    Streams,
)
from gan.data.foreign import read_given
from gan.draws import Way, derive, sample_draws
from gan.errors import BadData, GanError, UsageError
from gan.generation.complete_files import complete_files
from gan.generation.conditions import Conditions, Shares, chosen_classes, read_shares
from gan.generation.folding import prepared
from gan.generation.tiles import in_strips
from gan.latents import slerp
from gan.provenance.folder import Listing
from gan.provenance.labels import Labels, input_hash
from gan.runtime.device import seed_torch
from gan.runtime.memory import available_memory, in_words
from gan.runtime.signals import check_stop
from gan.source import SourceFile, list_source

GENERATION_BATCH = 16
"""Batch size of generation, if the architecture has no `generation_batch` of its own."""


class Model:
    """Generates samples and writes them as files.

    A sample is a function of (weights, seed, index, request). It depends neither on the number of samples that are
    generated with it nor on the random state of the device, except for rounding, as sums in batches of different sizes
    may be ordered differently. With `frozen`, the weights do not change any more, and samples come from a copy that is
    prepared for it (`gan.generation.folding`).
    """

    def __init__(
        self,
        architecture: Any,
        modality: Modality,
        name: str,
        device: torch.device,
        trained: int = 0,
        conditions: Conditions | None = None,
        *,
        frozen: bool = False,
        labels: Labels | None = None,
        draws: Way = "generators",
    ) -> None:
        self.architecture = architecture
        self.draws: Way = draws
        """How the random numbers of samples are made."""
        self._sampler = prepared(architecture) if frozen else architecture
        self.modality = modality
        self.name = name
        """Plugin and architecture, for messages: ``"music/musegan"``."""
        self.device = device
        self.trained = trained
        """Number of real samples that the weights were trained on when they were loaded."""
        self.note = ""
        """What a user should know of the weights: that they are not the newest, and why."""
        self.conditions = conditions or Conditions()
        """Values of the conditions in the training data."""
        self.labels = labels or Labels({"model": name})
        """How written files are labelled."""
        self.placed: list[Path] = []
        """Every file that was written, also those beside a sample's own (the sound of a score)."""

    def _request(self, options: Any, rows: Mapping[str, Tensor] | None) -> Request:
        mark = self.labels.mark
        return Request(options, rows, mark=mark if mark is not None and mark.in_sampling else None)

    def generate(
        self,
        count: int,
        seed: int = 0,
        *,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        given: Samples | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Samples:
        """Generate samples `first` … ``first + count - 1`` of `seed`: field name -> numpy array ``(count, *shape)``.

        `options` are settings of the architecture's `Options`. `given` holds the input fields of `ConditionalOnInput`,
        ``count`` rows each. `conditions` are values for all samples; unspecified conditions are sampled from the
        training data. Raises `UsageError` for what the architecture cannot do.
        """
        request_options = self._options(options or {})
        given = self._with_conditions(given, request_options, conditions, seed, first, count)
        self._check_given(given, count, request_options)

        def make(start: int, size: int, rows: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
            rng = sample_draws(self.draws, seed, first + start, size, self.device)
            made: Mapping[str, Tensor] = self._sampler.generate(size, rng, self._request(request_options, rows))
            return made

        return self._in_batches(make, count, seed, first, given)

    def follow(
        self,
        given: Samples,
        seed: int = 0,
        *,
        index: int = 0,
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Samples:
        """Generate sample `index` of `seed` from consecutive rows of `given`, one sample for each row, as one work.

        Where there is a latent space, the latents are at equal steps on the great circle between two random ones. The
        conditions of all rows are equal.
        """
        net, count = self.architecture, len(next(iter(given.values())))
        request_options = self._options(options or {})
        same = self._with_conditions({}, request_options, conditions, seed, index, 1) or {}
        given = {**{name: np.repeat(value, count) for name, value in same.items()}, **given}
        if not isinstance(net, LatentSpace):
            return self.generate(count, seed, first=index, options=options, given=given)
        self._check_given(given, count, request_options)
        with torch.no_grad():
            rng = sample_draws(self.draws, seed, index, 1, self.device)
            begin, end = net.latents(1, rng), net.latents(1, rng)
        return self._between(begin, end, count, derive(seed, "follow", index), request_options, given)

    def _between(
        self, begin: Tensor, end: Tensor, count: int, seed: int, options: Any, given: Samples | None = None
    ) -> Samples:
        """`count` samples at equal steps from one latent to another."""
        steps = torch.linspace(0, 1, count, device=self.device)

        def make(start: int, size: int, rows: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
            at = steps[start : start + size]
            path = self.architecture.between if isinstance(self.architecture, Between) else slerp
            latents = path(begin.repeat_interleave(size, 0), end.repeat_interleave(size, 0), at)
            made: Mapping[str, Tensor] = self._sampler.decode(latents, self._request(options, rows))
            return made

        return self._in_batches(make, count, seed, 0, given)

    def _in_batches(
        self,
        make: Callable[[int, int, Mapping[str, Tensor] | None], Mapping[str, Tensor]],
        count: int,
        seed: int,
        first: int,
        given: Samples | None,
    ) -> Samples:
        """Join what ``make(start, size, rows of given)`` returns for at most `generation_batch` samples at a time, with
        the conditions of `given`."""
        most = getattr(self.architecture, "generation_batch", GENERATION_BATCH)
        fields = self.modality.fields
        needed = count * sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in fields.values())
        if needed > 1 << 28 and 2 * needed > (free := available_memory()):  # the batches, then all joined
            raise UsageError(
                f"{count:,} samples need {in_words(2 * needed)}, and {in_words(free)} of memory are free; make fewer "
                "at a time, with --count and --first"
            )
        batches: list[dict[str, Tensor]] = []
        with torch.no_grad(), torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for start in range(0, count, most):
                check_stop()
                size = min(most, count - start)
                seed_torch(derive(seed, "generate", first + start), self.device)
                made = make(start, size, None if given is None else self._rows(given, start, size))
                check_samples(made, fields, size, self.name)
                batches.append(dict(made))
        if not batches:
            return {name: np.empty((0, *spec.shape), spec.dtype) for name, spec in fields.items()}
        joined = {name: torch.cat([batch[name] for batch in batches]).contiguous().cpu().numpy() for name in batches[0]}
        conditions = {name: v for name, v in (given or {}).items() if name in fields and fields[name].condition}
        return chosen_classes(conditions, fields) | joined

    def translate(
        self,
        item: Any,
        seed: int = 0,
        *,
        options: Mapping[str, Any] | None = None,
        input_options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Samples:
        """Translate, accompany or continue an input; return the generated fields as arrays ``(rows, *shape)``.

        `item` is a path, or another input of the modality's `read_given` (a picture). `input_options` are settings of
        the modality's `GivenOptions`. Raises `BadData` when the input cannot be read.
        """
        given = self.given(options, input_options)
        if isinstance(item, str | Path):
            files: list[Any] = list_source(Path(item), self.modality.suffixes).files
        else:
            files = [item]
        rows = [row for file in files for row in read_given(self.modality, file, given)]
        if not rows:
            raise BadData("holds nothing to translate", str(item))
        if given.any_size:
            if len(rows) > 1:
                raise BadData("holds several inputs, which may differ in size; translate one at a time", str(item))
            strips = list(self._strips(rows[0], given, seed, 0, options, conditions))
            return {name: np.concatenate([strip[name] for strip in strips], -2)[None] for name in strips[0]}
        inputs = stacked(rows, given.fields)
        samples = self.generate(len(rows), seed, options=options, given=inputs, conditions=conditions)
        return {name: samples[name] for name in self._generated(samples, given)}

    def render(
        self,
        file: SourceFile,
        stem: Path,
        given: Given,
        seed: int = 0,
        *,
        index: int = 0,
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
        output_options: Any = None,
        listing: Listing | None = None,
    ) -> tuple[list[Path], Samples]:
        """Translate, accompany or continue a whole file; return the written files and the samples that they hold.

        `given` is the result of `given()` for these options, `output_options` an instance of the modality's `Options`.
        `listing` collects the files of several calls for one manifest (`Labels.listing`); none: that of this one.
        """
        if listing is None:
            with self.labels.listing(stem.parent) as listing:
                return self.render(
                    file, stem, given, seed, index=index, options=options, conditions=conditions,
                    output_options=output_options, listing=listing,
                )  # fmt: skip
        rows = read_given(self.modality, file, given)
        facts = {"seed": seed, "index": index, "inputs": [input_hash(file)]}
        if given.any_size:
            return self._render_in_strips(
                file, rows[0], stem, given, seed, index, options, conditions, output_options, facts, listing
            ), {}
        samples = self.follow(stacked(rows, given.fields), seed, index=index, options=options, conditions=conditions)
        made = self._generated(samples, given)
        each = [{name: samples[name][row] for name in made} for row in range(len(rows))]
        with self.labels.marking(self.modality), self._files(stem, facts, listing) as (aside, placed):
            paths = [placed(path) for path in self.modality.write_like(each, aside, file, given, output_options)]
        return paths, samples

    def _strips(
        self,
        row: Sample,
        given: Given,
        seed: int,
        index: int,
        options: Mapping[str, Any] | None,
        conditions: Mapping[str, Any] | None,
    ) -> Iterator[Sample]:
        """The fields made from an input of any size, in strips from its first row to its last."""
        net, request_options = self._sampler, self._options(options or {})
        same = self._with_conditions({}, request_options, conditions, seed, index, 1) or {}
        specs = self.modality.fields
        fields = [name for name, spec in specs.items() if name not in given.fields and not spec.condition]

        def make(window: Sample) -> Samples:
            check_stop()
            rows = self._rows({**same, **{name: values[None] for name, values in window.items()}}, 0, 1)
            rng = sample_draws(self.draws, seed, index, 1, self.device)
            with torch.no_grad():
                made = net.generate(1, rng, self._request(request_options, rows))
            lacking = [
                name for name in fields if name not in made or made[name].dtype != getattr(torch, specs[name].dtype)
            ]
            if lacking:
                raise GanError(f"{self.name} returned no '{lacking[0]}' of {specs[lacking[0]].dtype} for a tile")
            return {name: made[name][0].cpu().numpy() for name in fields}

        assert isinstance(net, InTiles)
        return in_strips(make, {name: row[name] for name in given.fields}, net.tiles(request_options))

    def _render_in_strips(
        self,
        file: SourceFile,
        row: Sample,
        stem: Path,
        given: Given,
        seed: int,
        index: int,
        options: Mapping[str, Any] | None,
        conditions: Mapping[str, Any] | None,
        output_options: Any,
        facts: Mapping[str, Any],
        listing: Listing,
    ) -> list[Path]:
        """`render` for an input of any size: written while it is made, in the memory of a tile."""
        factor = self._sampler.tiles(self._options(options or {})).factor
        height, width = (length * factor for length in row[given.fields[0]].shape[-2:])
        strips = self._strips(row, given, seed, index, options, conditions)
        with self.labels.marking(self.modality), self._files(stem, facts, listing) as (aside, placed):
            written = self.modality.write_in_strips(strips, (height, width), aside, file, given, output_options)
            return [placed(path) for path in written]

    def _generated(self, samples: Samples, given: Given) -> list[str]:
        """The fields that are written to files: those that were generated, whole or in part, without extra fields."""
        known = {name for name, spec in self.modality.fields.items() if not spec.condition}
        again = {*given.places, *self.optional_input}
        return [name for name in samples if name in known and (name not in given.fields or name in again)]

    def write(
        self,
        samples: Samples,
        folder: Path,
        *,
        prefix: str = "sample",
        first: int = 0,
        options: Any = None,
        seed: int | Sequence[int] | None = None,
        inputs: Sequence[str] = (),
    ) -> list[Path]:
        """Write every sample as a file ``prefix-0000.suffix`` in `folder` and return the paths.

        Every file says that it was generated, and the signed manifest of the folder lists it (`gan.provenance`).
        `seed` is what the samples were generated with (two seeds: an interpolation), `inputs` the SHA-256 of the file
        that each was made from; both are only stated.
        """
        paths: list[Path] = []
        with self.labels.listing(folder) as listing, self.labels.marking(self.modality):
            for number in range(len(next(iter(samples.values())))):
                sample = {name: values[number] for name, values in samples.items()}
                facts: dict[str, Any] = {} if seed is None else {"seed": seed if isinstance(seed, int) else list(seed)}
                facts |= {"index": first + number} | ({"inputs": [inputs[number]]} if inputs else {})
                with self._files(folder / f"{prefix}-{first + number:04d}", facts, listing) as (stem, placed):
                    paths.append(placed(self.modality.write(sample, stem, options)))
        return paths

    def write_stream(
        self,
        folder: Path,
        count: int,
        seed: int = 0,
        *,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        given: Samples | None = None,
        conditions: Mapping[str, Any] | None = None,
        output_options: Any = None,
        inputs: Sequence[str] = (),
    ) -> tuple[list[Path], Samples]:
        """Generate samples part by part (`gan.contracts.Streams`) and write each while it is made.

        `given` holds an input, ``count`` rows, and `inputs` the SHA-256 of its files, as for `generate` and `write`.
        Return the files and the first parts of the samples. Raises `UsageError` where samples are made whole only.
        """
        net = self._sampler
        if not isinstance(net, Streams):
            raise UsageError(f"{self.name} makes samples whole, not part by part; leave out --stream")
        request_options = self._options(options or {})
        given = self._with_conditions(given, request_options, conditions, seed, first, count)
        self._check_given(given, count, request_options)
        paths: list[Path] = []
        beginnings: list[Sample] = []

        def parts(index: int, rows: Mapping[str, Tensor] | None) -> Iterator[Sample]:
            rng = sample_draws(self.draws, seed, first + index, 1, self.device)
            seed_torch(derive(seed, "generate", first + index), self.device)
            for number, part in enumerate(net.stream(rng, self._request(request_options, rows))):
                check_stop()
                check_samples(part, self.modality.fields, 1, self.name, part=True)
                sample = {name: values[0].cpu().numpy() for name, values in part.items()}
                if not number:
                    beginnings.append(sample)
                yield sample

        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.no_grad(), torch.random.fork_rng(devices=devices), self.labels.listing(folder) as listing,
            self.labels.marking(self.modality),
        ):  # fmt: skip
            for index in range(count):
                rows = None if given is None else self._rows(given, index, 1)
                facts = {"seed": seed, "index": first + index} | ({"inputs": [inputs[index]]} if inputs else {})
                with self._files(folder / f"sample-{first + index:04d}", facts, listing) as (stem, placed):
                    paths.append(placed(self.modality.write_stream(parts(index, rows), stem, output_options)))
        shortest = {
            name: min(sample[name].shape[spec.longer_axis] for sample in beginnings)
            for name, spec in self.modality.fields.items()
            if spec.longer and name in beginnings[0]
        }
        samples = {
            name: np.stack(
                [
                    sample[name].take(range(shortest[name]), self.modality.fields[name].longer_axis)
                    if name in shortest
                    else sample[name]
                    for sample in beginnings
                ]
            )
            for name in beginnings[0]
        }
        return paths, samples

    def write_preview(self, samples: Samples, folder: Path) -> Path:
        """Write the picture ``preview.png`` of `samples` to `folder`."""
        with (
            self.labels.listing(folder) as listing,
            self._files(folder / "preview", {}, listing, marked=False) as (stem, placed),
        ):
            path = stem.with_suffix(".png")
            self.modality.preview(samples).save(path)
            return placed(path)

    @contextlib.contextmanager
    def _files(
        self, stem: Path, facts: Mapping[str, Any], listing: Listing, *, marked: bool = True
    ) -> Iterator[tuple[Path, Callable[[Path], Path]]]:
        """`complete_files`, with every file labelled before it is moved to its place."""

        def label(aside: Path, place: Path) -> None:
            self.labels.label(aside, place, facts, listing, marked=marked)
            self.placed.append(place)

        with complete_files(stem, label) as (aside, placed):
            yield aside, placed

    def given(self, options: Mapping[str, Any] | None = None, input_options: Mapping[str, Any] | None = None) -> Given:
        """Return the fields of the input for these options, with settings of the modality's `GivenOptions`.

        Raises `UsageError` where the architecture takes no input.
        """
        from gan.recipe import validated

        request_options = self._options(options or {})
        fields = self.input_fields(request_options) or self.optional_input
        if not fields and "given" in getattr(type(request_options), "model_fields", ()):
            raise UsageError(
                f"{self.name} takes no input with these options; where it can take one, choose it with --given"
            )
        if not fields:
            raise UsageError(
                f"{self.name} makes samples from a seed alone and takes no input; leave it out, or use a run "
                "whose architecture works on an input"
            )
        net, model = self.architecture, self.modality.GivenOptions
        places = net.given_places(request_options) if isinstance(net, GivenInPart) else {}
        if model is None and input_options:
            raise UsageError(f"the input of {self.name} has no option '{next(iter(input_options))}', nor any other")
        chosen = None if model is None else validated(model, input_options or {}, "")
        return Given(fields, {name: tuple(which) for name, which in places.items()}, chosen, isinstance(net, InTiles))

    def _options(self, options: Mapping[str, Any]) -> Any:
        from gan.recipe import validated

        model = getattr(self.architecture, "Options", None)
        if model is None:
            if options:
                raise UsageError(f"{self.name} has no option '{next(iter(options))}', nor any other")
            return None
        return validated(model, options, "")

    def given_fields(self, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """The fields that must be given for these options, including conditions; empty where there are none."""
        return self._given_fields(self._options(options or {}))

    def _given_fields(self, options: Any) -> tuple[str, ...]:
        if isinstance(self.architecture, ConditionalOnInput):
            return self.architecture.given_fields(options)
        return ()

    def input_fields(self, options: Any = None) -> tuple[str, ...]:
        """The fields that an input must hold, for an instance of the architecture's `Options`; without conditions."""
        fields = self.modality.fields
        return tuple(name for name in self._given_fields(options) if not fields[name].condition)

    @property
    def optional_input(self) -> tuple[str, ...]:
        """The fields that an input may hold, where the architecture also works without one."""
        return tuple(getattr(self.architecture, "optional_input", ()))

    def condition_fields(self, options: Any = None) -> dict[str, FieldSpec]:
        """The conditions that the architecture takes, by name."""
        fields = self.modality.fields
        return {name: fields[name] for name in self._given_fields(options) if fields[name].condition}

    def read_conditions(self, conditions: Mapping[str, Any], options: Any = None) -> dict[str, float | Shares]:
        """Convert values of conditions, as a user writes them, to numbers, and mixtures of classes to their shares.

        Raises `UsageError` for conditions that the run does not have and for values that its data do not have.
        """
        known = self.condition_fields(options)
        values: dict[str, float | Shares] = {}
        for name, value in conditions.items():
            if name not in known:
                setting = self.modality.conditions.get(name)
                remedy = f"; train one with --set {setting}" if setting else ""
                others = f" (it has {', '.join(known)})" if known else ""
                raise UsageError(f"this run was trained without the condition {name}{others}{remedy}")
            try:
                shares = read_shares(str(value), known[name])
                values[name] = self.modality.read_condition(name, str(value)) if shares is None else shares
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None
            if shares is not None and not getattr(self.architecture, "mixes_classes", False):
                raise UsageError(f"{name} {value}: {self.name} cannot mix classes; name one")
            self.conditions.check(name, values[name], known[name])
        return values

    def _with_conditions(
        self,
        given: Samples | None,
        options: Any,
        conditions: Mapping[str, Any] | None,
        seed: int,
        first: int,
        count: int,
    ) -> Samples | None:
        """Add the missing conditions to `given`: the specified ones, and others sampled from the training data."""
        values = self.read_conditions(conditions or {}, options)
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
        optional = [name for name in self.optional_input if name in (given or {})]
        if given is not None and not needs and not optional:
            raise UsageError(f"{self.name} takes no input")
        for name in (*needs, *optional):
            if given is not None and len(given[name]) != count:
                raise UsageError(f"{self.name}: field '{name}' of the input must have {count} rows")

    def _rows(self, given: Samples, start: int, size: int) -> dict[str, Tensor]:
        """The `size` rows from `start` on, as tensors."""
        return {
            name: torch.from_numpy(np.ascontiguousarray(values[start : start + size])).to(self.device)
            for name, values in given.items()
        }


def stacked(rows: Sequence[Sample], fields: Sequence[str]) -> Samples:
    """Stack samples into arrays with a leading axis, by field."""
    return {name: np.stack([row[name] for row in rows]) for name in fields}


def check_samples(
    made: Mapping[str, Tensor], fields: Mapping[str, FieldSpec], count: int, who: str, *, part: bool = False
) -> None:
    """Check the shapes and types of generated samples against the fields of the modality. Raises `GanError`.

    A `part` of a sample may have any length along the `longer_axis`.
    """
    for name, spec in fields.items():
        if spec.condition:
            continue
        if part and spec.longer:
            spec = replace(spec, shape=tuple(1 if a == spec.longer_axis else n for a, n in enumerate(spec.shape)))
        if name not in made:
            raise GanError(f"{who} returned no field '{name}'; the modality wants {', '.join(fields)}")
        reason = spec.mismatch(made[name], count)
        if reason:
            raise GanError(f"{who} returned a '{name}' that {reason}")
