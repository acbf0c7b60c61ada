"""Metrics of pictures of shapes: an extractor of edges for Fréchet distances, and whether views of a shape agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gan.contracts import Features, MetricValue, Modality
from gan.errors import UsageError
from numpy.typing import NDArray

from gan_3d.views import DISTANCE, HALF, photograph

if TYPE_CHECKING:
    from gan.contracts import Architecture, Samples

Array = NDArray[Any]

SIDE, CELL, ORIENTATIONS = 32, 8, 8
"""Pixels of a picture whose edges are counted, of a cell, and directions of edges."""
AROUND = ((30.0, 20.0), (120.0, 20.0))
"""Cameras that look at a shape that is no picture: azimuths and elevations."""
SAMPLES, SEED, STEP = 32, 0, 20.0
"""Shapes whose views are compared, the seed of their latents, and degrees between two cameras."""
DIRECTIONS: dict[str, Literal["lower", "higher"]] = {
    "reprojection error": "lower",
    "agreement": "higher",
    "colour difference": "lower",
}
"""The values of `DepthConsistency`."""
HIDDEN, NEAR = 0.1, 0.05
"""Distances, in sides of the cube, from which a nearer surface hides a point, and up to which two views agree."""


class EdgeHistograms:
    """Histograms of the directions of edges in cells of 8 x 8 pixels, each normalised (Dalal and Triggs 2005,
    "Histograms of oriented gradients for human detection"), and the brightness of the cells, of a picture of 32 pixels;
    of a shape, those of two pictures of it. No network, no weights: fixed and at hand everywhere."""

    version = "1"
    sha256 = ""
    preprocessing = "grey, resized to 32 x 32 by antialiased bilinear interpolation; shapes: drawn from two sides"

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        pass

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """Features ``(N, d)``: 144 numbers for each picture."""
        if "picture" in samples:
            return Features(np.stack([_edges(picture) for picture in samples["picture"]]))
        count = len(next(iter(samples.values())))
        rows = []
        for row in range(count):
            sample = {name: values[row] for name, values in samples.items()}
            mesh = modality.mesh(sample)  # type: ignore[attr-defined]
            seen = [_edges(photograph(mesh, SIDE, azimuth, elevation)) for azimuth, elevation in AROUND]
            rows.append(np.concatenate(seen))
        return Features(np.stack(rows))


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The features of a picture ``(3, side, side)``."""
    from PIL import Image
    from skimage.feature import hog

    grey = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).convert("L")
    values = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32) / 255
    found = hog(values, ORIENTATIONS, (CELL, CELL), (1, 1), block_norm="L2-Hys", feature_vector=True)
    cells = SIDE // CELL
    light = values.reshape(cells, CELL, cells, CELL).mean((1, 3)).ravel()
    return np.concatenate([found, light]).astype(np.float32)


class DepthConsistency:
    """Whether pictures of a generated shape from two cameras show the same shape.

    Each place that the first camera sees is taken back into space by its depth, and looked at by a second camera that
    is 20° further around. The *reprojection error* is the mean distance, along the second camera's ray, between the
    place and the surface that this camera sees, in sides of the cube, of places that no nearer surface hides;
    *agreement* the share of all places that lie within 0.05 of that surface; the *colour difference* that of the two
    pictures at such places, 0 … 255. The details hold the same of pictures of different shapes. For architectures that
    render depths.
    """

    version = "1"
    settings = {"samples": SAMPLES, "seed": SEED, "step": STEP}

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Three values."""
        if not hasattr(architecture, "seen_by"):
            raise UsageError("depth-consistency is for architectures that render depths, such as eg3d")
        import torch
        from gan.contracts import Request
        from gan.draws import SeededDraws

        device = next(architecture.parameters()).device  # type: ignore[attr-defined]
        count = min(SAMPLES, len(generated["picture"]))
        rng = SeededDraws.of(SEED, 0, count, device)
        given = {
            name: torch.as_tensor(generated[name][:count]).to(device)
            for name in architecture.given_fields()  # type: ignore[attr-defined]
        }
        latents = architecture.latents(count, rng)  # type: ignore[attr-defined]
        here = architecture.seen_by(latents, Request(None, given), given["azimuth"], given["elevation"])
        there = architecture.seen_by(latents, Request(None, given), given["azimuth"] + STEP, given["elevation"])
        one, two = ({name: values.cpu().numpy() for name, values in seen.items()} for seen in (here, there))
        own = compared(one, two)
        others = compared(one, {name: np.roll(v, 1, 0) if name != "axes" else v for name, v in two.items()})
        return [
            MetricValue(name, own[name], direction=direction, details={"of other shapes": others[name], "count": count})
            for name, direction in DIRECTIONS.items()
        ]


def compared(one: dict[str, Array], two: dict[str, Array]) -> dict[str, float]:
    """The three numbers of `DepthConsistency` of N pairs of views: ``axes`` of cameras ``(N, 3, 3)``, ``depth`` along
    rays and ``opacity`` ``(N, r, r)``, ``picture`` ``(N, 3, side, side)``. Places count by the opacities of
    both rays."""
    side, wide = one["depth"].shape[2], one["picture"].shape[3]
    line = ((np.arange(side) + 0.5) / side * 2 - 1) * HALF
    down, across = np.meshgrid(line, line, indexing="ij")
    directions = np.stack([across, -down, -np.ones_like(down)], -1).reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    pixel = np.indices((side, side)).reshape(2, -1)
    sums = np.zeros(5)
    for row in range(len(one["depth"])):
        axes, other = one["axes"][row], two["axes"][row]
        points = DISTANCE * axes[2] + one["depth"][row].reshape(-1, 1) * (directions @ axes)
        seen = (points - DISTANCE * other[2]) @ other.T
        x, y = ((sign * seen[:, axis] / -seen[:, 2] / HALF + 1) / 2 for axis, sign in ((0, 1), (1, -1)))
        weight = one["opacity"][row].ravel() * ((x >= 0) & (x < 1) & (y >= 0) & (y < 1))
        x, y = np.clip(x, 0, 1 - 1e-6), np.clip(y, 0, 1 - 1e-6)
        at = (y * side).astype(int), (x * side).astype(int)
        apart = two["depth"][row][at] - np.linalg.norm(seen, axis=1)
        both = weight * two["opacity"][row][at] * (apart > -HIDDEN)
        agreed = both * (np.abs(apart) < NEAR)
        begin = (pixel * wide + wide // 2) // side
        first = one["picture"][row][:, begin[0], begin[1]].astype(float)
        shade = np.abs(first - two["picture"][row][:, (y * wide).astype(int), (x * wide).astype(int)]).mean(0)
        parts = (both * np.abs(apart), both, agreed, one["opacity"][row], agreed * shade)
        sums += [part.sum() for part in parts]
    error, both_sum, agreed_sum, whole, shade_sum = sums
    return {
        "reprojection error": float(error / max(both_sum, 1e-9)),
        "agreement": float(agreed_sum / max(whole, 1e-9)),
        "colour difference": float(shade_sum / agreed_sum) if agreed_sum > 0 else 255.0,
    }
