"""`gan generate` from latents: files of latents, style mixing, paths, loops, films and planes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import UsageError
from gan.generation.chosen import Flags

if TYPE_CHECKING:
    from gan.control.controlled import ControlledModel
    from gan.control.model import Latents
    from gan.control.paths import Path as LatentPath

MOST_SECONDS = 10**5
"""Most frames of a film."""


@dataclass
class Asked:
    """The flags of `gan generate` that work on latents."""

    interpolate: tuple[int, int] | None = None
    path: str | None = None
    loop: bool = False
    plane: tuple[int, int, int] | None = None
    pace: str | None = None
    film: Path | None = None
    rate: float = 24
    seconds: float | None = None
    styles: str | None = None
    latents: Path | None = None
    save: Path | None = None
    counted: bool = False
    """Whether --count was given."""

    def __bool__(self) -> bool:
        return bool(self._given())

    @property
    def first_flag(self) -> str:
        """One of the flags that were given, for messages."""
        names = {"save": "--save-latents"}
        return names.get(self._given()[0], f"--{self._given()[0]}")

    def _given(self) -> list[str]:
        unasked = ("rate", "counted")
        return [f.name for f in fields(self) if f.name not in unasked and getattr(self, f.name) not in (None, False)]

    def seeds(self) -> list[int] | None:
        """The seeds of the path, if one is asked for. Raises `UsageError`."""
        ways = [name for name in ("interpolate", "path", "plane", "latents") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise UsageError(f"--{ways[0]} and --{ways[1]} both say which samples are made; leave one out")
        if self.interpolate is not None:
            return list(self.interpolate)
        if self.path is None:
            return None
        parts = [part.strip() for part in self.path.split(",")]
        if len(parts) < 2 or not all(part.isdecimal() and int(part) < 1 << 63 for part in parts):
            raise UsageError(f"--path {self.path}: write two seeds or more, for example --path 1,2,3")
        return [int(part) for part in parts]


def seeds_of_parts(text: str) -> dict[str, int]:
    """Part -> seed of ``coarse=5,fine=7``. Raises `UsageError`."""
    found: dict[str, int] = {}
    for item in text.split(","):
        name, equals, seed = item.strip().partition("=")
        if not equals or not seed.isdecimal() or int(seed) >= 1 << 63:
            raise UsageError(f"--styles {item}: write PART=SEED, for example coarse=5,fine=7")
        found[name] = int(seed)
    return found


def controlled(
    model: ControlledModel,
    asked: Asked,
    run_flags: Flags,
    out: Path | None,
    samples_folder: Path,
    seed: int,
    first: int,
    count: int,
) -> tuple[list[Path], Path | None, list[Path]]:
    """Make what `asked` says; return the samples' files, their preview, and the film, sheet and file of latents.

    A film is written without single files unless `out` names a folder for them.
    """
    from gan.control.latent_files import read_latents, write_latents
    from gan.reporting.films import check_film, pictures_of, save_film, save_sheet

    model.space(run_flags.options)
    seeds = asked.seeds()
    if asked.film is not None:
        check_film(asked.film)
    how = run_flags.sampling
    if asked.latents is not None:
        keys = read_latents(asked.latents, model)
        walks, name = asked.loop or asked.film is not None, asked.latents.stem
    elif asked.plane is not None:
        keys, walks = _joined(model, asked.plane, how), False
        name = "plane-" + "-".join(map(str, asked.plane))
    elif seeds is not None:
        keys, walks = _joined(model, seeds, how), True
        name = f"seed-{seeds[0]}-to-{seeds[-1]}"
    else:
        keys, walks, name = model.draw(count, seed, first=first, **how), False, f"seed-{seed}"
    if not walks and (asked.loop or asked.film or asked.pace or asked.seconds):
        flag = next(f for f in ("loop", "film", "pace", "seconds") if getattr(asked, f))
        raise UsageError(f"--{flag} needs a path: --path 1,2,3, --interpolate 1 2 or --latents FILE")
    if first and (walks or asked.plane is not None):
        raise UsageError("a path goes from one latent to another; leave out --first")
    if asked.styles is not None:
        keys = model.mixed(keys, seeds_of_parts(asked.styles), **how)
    if walks:
        count = _frames(asked, count)
        path, latents = _walked(model, keys, asked, count, run_flags)
        samples = path.decode(latents, seed=seed, options=run_flags.options)
    elif asked.plane is not None:
        from gan.control.paths import plane

        side = math.isqrt(count) if asked.counted else 5
        if asked.counted and (side * side != count or side < 2):
            raise UsageError(f"--plane: --count {count} tiles are no square; write 25, 36, 49 …")
        latents = plane(model, keys, side)
    else:
        latents = keys
    if not walks:
        samples = model.decode(latents, seed=seed, first=first, options=run_flags.options)
    folder = out or samples_folder / name
    paths: list[Path] = []
    made: list[Path] = []
    preview: Path | None = None
    if asked.film is None or out is not None:
        paths = model.write(samples, folder, first=first, options=run_flags.output_options)
        if asked.plane is None:
            preview = model.write_preview(samples, folder)
    pictures = []
    if asked.film is not None or asked.plane is not None:
        pictures = pictures_of(model.modality, samples, run_flags.output_options)
    if asked.plane is not None:
        preview = save_sheet(pictures, math.isqrt(len(latents)), folder / "preview.png")
    if asked.film is not None:
        frames = pictures[:-1] if asked.loop else pictures  # the first frame follows when it repeats
        made.append(save_film(frames, asked.film, rate=asked.rate))
    if asked.save is not None:
        made.append(write_latents(asked.save, latents, model))
    return paths, preview, made


def _joined(model: ControlledModel, seeds: tuple[int, ...] | list[int], how: dict[str, Any]) -> Latents:
    from gan.control.paths import Path as LatentPath

    return LatentPath.through(model, [model.draw(1, seed, **how) for seed in seeds]).keys


def _frames(asked: Asked, count: int) -> int:
    if asked.seconds is not None:
        if asked.counted:
            raise UsageError("--seconds and --count both say how many samples are made; leave one out")
        count = max(2, round(asked.seconds * asked.rate)) + asked.loop
    elif asked.film is not None and not asked.counted:
        count = round(4 * asked.rate) + asked.loop
    if not 2 + asked.loop <= count <= MOST_SECONDS:
        raise UsageError(f"a path has at least {2 + asked.loop} samples and at most {MOST_SECONDS:,}, not {count:,}")
    return count


def _walked(
    model: ControlledModel, keys: Latents, asked: Asked, count: int, run_flags: Flags
) -> tuple[LatentPath, Latents]:
    from gan.control.paths import Path as LatentPath
    from gan.control.paths import distance_of

    ends = [keys.rows(slice(index, index + 1)) for index in range(len(keys))]
    if len(ends) < 2:
        raise UsageError("a path needs at least two latents")
    path = LatentPath.through(model, [*ends, ends[0]] if asked.loop else ends)
    pace = asked.pace or ("even" if asked.loop or asked.film is not None else "line")
    match = re.fullmatch(r"line|even(?:\[([^\]]+)\])?", pace)
    if match is None:
        raise UsageError(f"--pace {pace}: write line, even or even[EXTRACTOR]")
    if pace == "line":
        return path, path.at(path.equal(count))
    return path, path.at(path.even(count, distance_of(model, match[1] or "", run_flags.options)))
