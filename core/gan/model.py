"""A trained architecture and its modality, ready to make samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.contracts import Architecture, ConditionalOnInput, Field, LatentSpace, Modality, Request, Samples
from gan.device import seed_everything, seed_torch
from gan.draws import SeededDraws, derive
from gan.errors import BadData, GanError, UsageError
from gan.latents import slerp
from gan.source import list_source

GENERATION_BATCH = 16


class Model:
    """Makes samples and writes them as files.

    A sample is a function of (weights, seed, index, request): not of how many others are made with it, nor of the
    device's random state.
    """

    def __init__(
        self, architecture: Any, modality: Modality, name: str, device: torch.device, trained: int = 0
    ) -> None:
        self.architecture = architecture
        self.modality = modality
        self.name = name
        """For messages: ``"music/musegan"``."""
        self.device = device
        self.trained = trained
        """Real samples that its weights were trained on when they were loaded."""

    def generate(
        self,
        count: int,
        seed: int = 0,
        *,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        given: Samples | None = None,
    ) -> Samples:
        """Samples `first` … ``first + count - 1`` of `seed`: field name -> ``(count, *shape)`` numpy array.

        `options` are settings of the architecture's `Options`. `given` holds the given fields of `ConditionalOnInput`,
        ``count`` rows each. Raises `UsageError` for what the architecture cannot do.
        """
        request_options = self._options(options or {})
        self._check_given(given, count, request_options)
        size = getattr(self.architecture, "generation_batch", GENERATION_BATCH)
        parts: list[dict[str, Tensor]] = []
        accelerators = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=accelerators):
            for start in range(0, count, size):
                wanted = min(size, count - start)
                draws = SeededDraws.of(seed, first + start, size, self.device)
                seed_torch(derive(seed, "generate", first + start), self.device)
                rows = None if given is None else self._rows(given, start, size)
                made = self.architecture.generate(size, draws, Request(request_options, rows))
                check_samples(made, self.modality.fields, size, self.name)
                parts.append({name: tensor[:wanted] for name, tensor in made.items()})
        if not parts:
            return {name: np.empty((0, *spec.shape), spec.dtype) for name, spec in self.modality.fields.items()}
        return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}

    def interpolate(
        self, first_seed: int, second_seed: int, count: int = 8, *, options: Mapping[str, Any] | None = None
    ) -> Samples:
        """``(count, *shape)`` by field: from sample 0 of one seed to sample 0 of another, at equal steps of the great
        circle between their latents, both ends included. Raises `UsageError` where there is no latent space."""
        net = self.architecture
        request = Request(self._options(options or {}), None)
        if not isinstance(net, LatentSpace):
            raise UsageError(f"{self.name} has no latent space to interpolate in")
        if self._given_fields(request.options):
            raise UsageError(f"{self.name} makes samples from an input, not from latents alone")
        if count < 2:
            raise UsageError("an interpolation has at least two samples, its ends")
        size = getattr(net, "generation_batch", GENERATION_BATCH)
        made: list[dict[str, Tensor]] = []
        accelerators = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=accelerators):
            begin, end = (
                net.latents(1, SeededDraws.of(seed, 0, 1, self.device)).repeat_interleave(size, 0)
                for seed in (first_seed, second_seed)
            )
            places = torch.linspace(0, 1, count, device=self.device)
            for start in range(0, count, size):  # in whole batches, as `generate` makes them
                at = places[torch.arange(start, start + size).clamp(max=count - 1)]
                seed_torch(derive(first_seed, "generate", start), self.device)
                rows = slerp(begin, end, at)
                part = net.decode(rows, request)
                check_samples(part, self.modality.fields, size, self.name)
                made.append({name: tensor[: count - start] for name, tensor in part.items()})
        return {name: torch.cat([part[name] for part in made]).cpu().numpy() for name in made[0]}

    def translate(self, item: Any, seed: int = 0, *, options: Mapping[str, Any] | None = None) -> Samples:
        """The made fields of what is translated, accompanied or continued: ``(rows, *shape)``.

        `item` is a path, or what else the modality's `read_given` takes (a picture). Raises `BadData` when it cannot
        be read.
        """
        fields = self.given_fields(options)
        if not fields:
            raise UsageError(f"{self.name} takes no input")
        if isinstance(item, str | Path):
            files: list[Any] = list_source(Path(item), self.modality.suffixes).files
        else:
            files = [item]
        rows = [row for file in files for row in self.modality.read_given(file, fields)]
        if not rows:
            raise BadData("holds nothing to translate", str(item))
        given = {name: np.stack([row[name] for row in rows]) for name in fields}
        samples = self.generate(len(rows), seed, options=options, given=given)
        return {name: values for name, values in samples.items() if name not in fields}

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

    def _options(self, options: Mapping[str, Any]) -> Any:
        from gan.recipe import validated

        model = getattr(self.architecture, "Options", None)
        if model is None:
            if options:
                raise UsageError(f"{self.name} has no option '{next(iter(options))}'; it has none at all")
            return None
        return validated(model, options, "")

    def given_fields(self, options: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """The fields that must be given for these options; none where the architecture takes no input."""
        return self._given_fields(self._options(options or {}))

    def _given_fields(self, options: Any) -> tuple[str, ...]:
        if isinstance(self.architecture, ConditionalOnInput):
            return self.architecture.given_fields(options)
        return ()

    def _check_given(self, given: Samples | None, count: int, options: Any) -> None:
        needs = self._given_fields(options)
        if given is None and needs:
            wanted = ", ".join(needs)
            raise UsageError(f"{self.name} makes samples from an input: {wanted} must be given (--input FILE)")
        if given is not None and not needs:
            raise UsageError(f"{self.name} takes no input")
        for name in needs:
            if given is not None and (name not in given or len(given[name]) != count):
                raise UsageError(f"{self.name}: field '{name}' of the input must have {count} rows")

    def _rows(self, given: Samples, start: int, size: int) -> dict[str, Tensor]:
        """`size` rows from `start` on; the last one repeated where there are fewer."""
        rows = {}
        for name, values in given.items():
            index = np.minimum(np.arange(start, start + size), len(values) - 1)
            rows[name] = torch.from_numpy(np.ascontiguousarray(values[index])).to(self.device)
        return rows


def check_samples(made: Mapping[str, Tensor], fields: Mapping[str, Field], count: int, who: str) -> None:
    """Hold generated samples against the modality's fields, in this one place."""
    for name, spec in fields.items():
        if name not in made:
            raise GanError(f"{who} returned no field '{name}'; the modality wants {', '.join(fields)}")
        tensor = made[name]
        fits = _fits(tuple(tensor.shape), (count, *spec.shape), spec.longer_axis + 1 if spec.longer else None)
        if not fits or tensor.dtype != getattr(torch, spec.dtype):
            raise GanError(
                f"{who} returned '{name}' as {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}, "
                f"the modality wants {(count, *spec.shape)} {spec.dtype}"
            )


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...], longer: int | None) -> bool:
    """Whether shapes are equal but for the axis `longer`, which may be longer; None: equal."""
    if longer is not None and len(shape) == len(wanted) > longer:
        before, after = longer, longer + 1
        others = shape[:before] + shape[after:] == wanted[:before] + wanted[after:]
        return others and shape[longer] >= wanted[longer]
    return shape == wanted


def build(architecture_class: Any, config: Any, fields: Mapping[str, Field], seed: int, who: str) -> Any:
    """An architecture with weights drawn from `seed`, on the CPU, so that every device starts from the same."""
    with torch.random.fork_rng(devices=[]):
        seed_everything(derive(seed, "weights"))
        architecture = architecture_class(config, dict(fields))
    if not isinstance(architecture, torch.nn.Module) or not isinstance(architecture, Architecture):
        raise GanError(f"{who} is no torch.nn.Module with players, phases and generate")
    return architecture
