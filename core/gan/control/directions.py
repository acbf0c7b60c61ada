"""Directions in a latent space: found by SeFa, GANSpace, labels or scores, kept with the run, and used in edits.

A direction is stored such that a strength of 1 is one standard deviation of the latents along it. Methods:

* SeFa (Shen and Zhou 2021, arXiv:2007.06600): eigenvectors of the layers that the latents enter; without samples
* GANSpace (Härkönen et al. 2020, arXiv:2004.02546): principal components of many latents, or of the first layer's
  activations, mapped back to latents by least squares
* scores (after InterFaceGAN, Shen et al. 2020, arXiv:2005.09635): the mean latent of samples with a higher score minus
  that of those with a lower one, that is the covariance of latents and score. `separated` removes from a direction what
  changes another score
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from gan.contracts import LinearMaps
from gan.draws import derive
from gan.errors import BadData, UnknownName, UsageError
from gan.storage.durable import write_bytes
from gan.storage.regular import Broken, read_regular
from gan.storage.serialization import read_tensors

if TYPE_CHECKING:
    from gan.control.model import LatentModel

FORMAT = "gan-direction-1"
SAMPLES = 2000
"""Latents that directions are measured on."""
LARGEST = 1 << 28
"""Most bytes of a file of a direction."""


@dataclass
class Direction:
    """A direction with its name and how it was found."""

    name: str
    vector: Tensor
    """``(d,)``, on the flattened latent of a sample, or on the style of any layer; one standard deviation long."""
    method: str
    explained: float | None = None
    """Share of the variance, 0 … 1: of the modulation (SeFa), of the latents (GANSpace), of the score (R²)."""
    score: str = ""
    """The score that it changes."""
    effect: float | None = None
    """Change of the score for a strength of 1, by the linear model."""
    kept: tuple[str, ...] = ()
    """The directions whose scores it leaves alone."""
    layers: str = ""
    """The parts or layers that it was found for and changes; empty: all."""
    about: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Plain values, without the vector."""
        return {name: value for name, value in asdict(self).items() if name != "vector"}


# ---------------------------------------------------------------------------------------------------- methods


def flat(model: LatentModel, latents: Tensor) -> Tensor:
    """``(N, d)`` float64: the styles of the first layer, or the flattened latents."""
    return (latents[:, 0] if model.space_name == "w" else latents.flatten(1)).double()


def some_latents(model: LatentModel, count: int, seed: int) -> Tensor:
    """``(count, d)``: latents that directions are measured on."""
    return flat(model, model.latents(count, derive(seed, "directions")))


def sefa(maps: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """``(count, d)`` unit vectors and ``(count,)`` shares of the squared change, the largest first.

    `maps` are matrices ``(outputs, d)``. Each output's weights are scaled to length 1; the directions are those that
    change the outputs most: eigenvectors of AᵀA (equation 6 of the paper). Of two signs, that whose largest component
    is positive is chosen.
    """
    rows = torch.cat([matrix.double() for matrix in maps])
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    order = values.argsort(descending=True)[:count]
    return _signed(vectors.T[order]), values[order] / values.sum()


def principal(latents: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``(count, d)`` unit vectors and ``(count,)`` shares of the variance of latents ``(N, d)``."""
    centred = latents - latents.mean(0)
    _, deviations, vectors = torch.linalg.svd(centred, full_matrices=False)
    variances = deviations.square()
    return _signed(vectors[:count]), variances[:count] / variances.sum()


def ganspace(latents: Tensor, maps: Sequence[Tensor] | None, count: int) -> tuple[Tensor, Tensor]:
    """Principal directions: of styles themselves (`maps` None), else of the activations ``latents @ mapᵀ``.

    The latter are mapped to latents by least squares: the mean change of the latents along a component.
    """
    if maps is None:
        return principal(latents, count)
    activations = latents @ torch.cat([matrix.double() for matrix in maps]).T
    components, shares = principal(activations, count)
    coordinates = (activations - activations.mean(0)) @ components.T
    found = torch.linalg.lstsq(coordinates, latents - latents.mean(0)).solution
    return _signed(found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)), shares


def _signed(vectors: Tensor) -> Tensor:
    largest = vectors.abs().argmax(1, keepdim=True)
    return vectors * vectors.gather(1, largest).sign()


def by_score(latents: Tensor, scores: Tensor) -> tuple[Tensor, float, float]:
    """(direction ``(d,)``, change of the score along it, R² of the linear model).

    Of all moves of the latents that change the linear prediction of a score ``(N,)`` by one amount, the covariance of
    latents and score is the most probable one: that of the smallest Mahalanobis length. It is one standard deviation
    long. Raises `UsageError` for a score that does not vary.
    """
    centred, target = latents - latents.mean(0), scores.double() - scores.double().mean()
    if float(target.std()) < 1e-12:
        raise UsageError("the score is the same for all samples; no direction changes it")
    weights = _predictor(latents, scores)
    covariance = centred.T @ centred / len(latents)
    vector = covariance @ weights
    deviation = float((weights @ covariance @ weights).sqrt())
    predicted = centred @ weights
    share = 1 - float((target - predicted).square().mean() / target.square().mean())
    return vector / max(deviation, 1e-12), deviation, share


def _predictor(latents: Tensor, scores: Tensor) -> Tensor:
    """``(d,)``: ridge regression of a score on latents."""
    centred, target = latents - latents.mean(0), scores.double() - scores.double().mean()
    gram = centred.T @ centred
    ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution: Tensor = torch.linalg.solve(gram + ridge, centred.T @ target)
    return solution


def separated(latents: Tensor, vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """`vector` without what it shares with `others`, so that the linear predictions of their scores do not change.

    InterFaceGAN's projection ``n1 - (n1·n2) n2`` for any number of others, where latents are scaled such that their
    covariance is 1. The result is one standard deviation long. Raises `UsageError` if nothing is left.
    """
    centred = latents - latents.mean(0)
    covariance = centred.T @ centred / len(latents)
    values, axes = torch.linalg.eigh(covariance)
    scale = values.clamp_min(values.max() * 1e-9).sqrt()

    def white(x: Tensor) -> Tensor:
        scaled: Tensor = (axes.T @ x.double()) / scale
        return scaled

    basis, _ = torch.linalg.qr(torch.stack([white(other) for other in others], 1))
    start = white(vector)
    left = start - basis @ (basis.T @ start)
    if float(left.norm()) < 1e-6 * float(start.norm()):
        raise UsageError("the direction changes nothing but what is to be kept")
    vector_left: Tensor = axes @ (scale * left / left.norm())
    return vector_left


def deviation_along(latents: Tensor, vector: Tensor) -> float:
    """The standard deviation of latents ``(N, d)`` along a unit vector."""
    return float((latents @ vector).std(correction=0))


# ---------------------------------------------------------------------------------------------------- in a run


class Directions(Mapping[str, Tensor]):
    """The directions that a run keeps, by name, as tensors that broadcast to its latents."""

    def __init__(self, model: LatentModel) -> None:
        self._model = model
        self._folder = None if model.folder is None else model.folder.directions

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __getitem__(self, name: str) -> Tensor:
        found = self.direction(name)
        vector = found.vector.to(self._model.device, torch.float32)
        shape = self._model.shape
        whole = vector.expand(shape) if self._model.space_name == "w" else vector.view(shape)
        return whole * self._model.mask(found.layers) if found.layers else whole

    def names(self) -> list[str]:
        """The names, in the order of `gan edit RUN`: numbers in them count as numbers."""
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted((path.stem for path in self._folder.glob("*.safetensors")), key=_natural)

    def path(self, name: str) -> Path:
        """The file of a direction. Raises `UsageError` for a name that cannot be one."""
        if not re.fullmatch(r"\w[\w .+-]*", name) or self._folder is None:
            raise UsageError(f"'{name}' cannot be the name of a direction: letters, digits, '-', '_', '.' and spaces")
        return self._folder / f"{name}.safetensors"

    def direction(self, name: str) -> Direction:
        """The direction of a name, or of a number in the list of names, from 1.

        Raises `UnknownName`, `BadData` for a damaged file, `UsageError` for one of another latent space.
        """
        names = self.names()
        if name not in names and name.isdecimal() and 1 <= int(name) <= len(names):
            name = names[int(name) - 1]
        if name not in names:
            if not names:
                raise UsageError(f"the run has no directions yet; {self.hint}")
            raise UnknownName("direction", name, names)
        path = self.path(name)
        try:
            content = read_regular(path, None, limit=LARGEST)
            vector = read_tensors(content, path.name)["direction"]
            about = json.loads(_metadata(path)["about"])
            if about.pop("format") != FORMAT:
                raise ValueError("another format")
            found = Direction(**{**about, "vector": vector, "kept": tuple(about["kept"])})
        except (Broken, KeyError, TypeError, ValueError) as error:
            raise BadData(f"no direction: {error}", str(path)) from error
        wanted = self._model.shape[-1] if self._model.space_name == "w" else torch.Size(self._model.shape).numel()
        if vector.shape != (wanted,) or not torch.isfinite(vector).all():
            raise UsageError(f"{path}: the direction has {vector.numel()} numbers, and latents have {wanted}")
        return found

    def all(self) -> list[Direction]:
        """All directions in order."""
        return [self.direction(name) for name in self.names()]

    def save(self, found: Direction) -> Path:
        """Keep a direction under its name; one of this name is replaced."""
        path = self.path(found.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"about": json.dumps({"format": FORMAT, **found.described()}, sort_keys=True)}  # in one order
        tensors = {"direction": found.vector.detach().float().cpu().contiguous()}
        write_bytes(path, safetensors.torch.save(tensors, about))
        return path

    @property
    def hint(self) -> str:
        """How to find some in this latent space."""
        run = "RUN" if self._model.folder is None else self._model.folder.path
        method = "sefa" if isinstance(self._model.architecture, LinearMaps) else "score all"
        return f"find some with: gan edit {run} --find {method}"


def _metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _natural(name: str) -> list[Any]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def find(
    model: LatentModel,
    method: str,
    what: str = "",
    *,
    count: int = 10,
    layers: str = "",
    keep: Sequence[str] = (),
    samples: int = SAMPLES,
    seed: int = 0,
    name: str = "",
    extractor: str = "",
    options: Mapping[str, Any] | None = None,
) -> list[Direction]:
    """Find directions and keep them with the run.

    `method` is ``sefa``, ``ganspace``, ``labels`` (`what`: a folder with a subfolder of examples for each label) or
    ``score`` (`what`: names of `gan.control.scores`, separated by commas). `layers` are those whose maps SeFa reads
    and that the directions change. `keep` are stored directions, or names of the same search, whose scores must not
    change; ``each`` keeps all others of the search. Raises `UsageError` for what this latent space does not allow.
    """
    model.space(options)
    mask = model.mask(layers) if layers else None
    latents = some_latents(model, samples, seed)
    found: list[Direction] = []
    if method in ("sefa", "ganspace"):
        if what:
            raise UsageError(f"{method} finds directions by itself; leave '{what}' out")
        maps = _maps(model, mask) if method == "sefa" or model.space_name == "z" else None
        unit, shares = sefa(maps or (), count) if method == "sefa" else ganspace(latents, maps, count)
        for number, (vector, share) in enumerate(zip(unit, shares, strict=True), 1):
            scaled = vector * deviation_along(latents, vector)
            found.append(Direction(f"{name or method}-{number}", scaled, method, explained=float(share), layers=layers))
    elif method in ("labels", "score"):
        from gan.control.scores import label_scores, named_scores

        drawn = model.draw(samples, derive(seed, "directions"), options=options)
        if method == "labels":
            scores = label_scores(model, Path(what), drawn, extractor, options)
        else:
            scores = named_scores(model, [part.strip() for part in what.split(",")], drawn, options)
        latents = flat(model, drawn.values)
        if name and len(scores) > 1:
            raise UsageError(f"--name {name} is for one direction, and {len(scores)} were found: {', '.join(scores)}")
        for score, values in scores.items():
            vector, effect, share = by_score(latents, torch.from_numpy(values).to(latents.device))
            found.append(Direction(name or score, vector, method, share, score, effect, layers=layers))
    else:
        raise UnknownName("way to find directions", method, ["sefa", "ganspace", "labels", "score"])
    if keep:
        found = _kept(model, latents, found, keep)
    stored = Directions(model)
    for direction in found:
        stored.save(direction)
    return found


def _kept(model: LatentModel, latents: Tensor, found: list[Direction], keep: Sequence[str]) -> list[Direction]:
    known = {direction.name: direction.vector for direction in found}
    result = []
    for direction in found:
        names = [other for other in known if other != direction.name] if "each" in keep else []
        names += [other for other in keep if other not in ("each", direction.name)]
        if not names:
            result.append(direction)
            continue
        others = [known[n] if n in known else Directions(model).direction(n).vector.to(latents.device) for n in names]
        vector = separated(latents, direction.vector, others)
        before = direction.effect
        if before is not None:  # the linear model: the score's gradient along the new direction
            centred = latents - latents.mean(0)
            inverse = torch.linalg.pinv(centred.T @ centred / len(latents))
            before = before * float(direction.vector.double() @ inverse @ vector)
        result.append(Direction(**{**vars(direction), "vector": vector, "kept": tuple(names), "effect": before}))
    return result


def _maps(model: LatentModel, mask: Tensor | None) -> Sequence[Tensor]:
    maps = model.linear_maps()
    if mask is None:
        return maps
    if model.space_name == "w":
        chosen = mask.flatten(1).any(1).tolist()
        return [matrix for matrix, taken in zip(maps, chosen, strict=True) if taken]
    return [matrix * mask.flatten().to(matrix) for matrix in maps]
