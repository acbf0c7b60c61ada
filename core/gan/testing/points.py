"""Points in the plane: the smallest kind of data, for tests and for the tutorial.

A file is a table of two columns; each row is a sample. The two datasets are the standard mixtures of Gaussians for
tests of mode coverage.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gan.contracts import FieldSpec, MetricValue, Modality
from gan.errors import BadData
from gan.source import SourceFile

if TYPE_CHECKING:
    from PIL import Image

    from gan.contracts import Download, Sample, Samples

RADIUS = 2.0
SIGMA = 0.02
NEAR = 0.25
"""Distance from the centre of a Gaussian within which a sample counts as its own."""


class Points(Modality):
    """Points in the plane, from ``.csv`` files with one ``x,y`` in a line."""

    class Config(BaseModel):
        """Settings of the recipe's section `modality`."""

        model_config = ConfigDict(extra="forbid")

        extent: float = Field(6.0, gt=0, description="Largest absolute coordinate, in the data's unit of length.")

    class Options(BaseModel):
        """Options for writing files."""

        model_config = ConfigDict(extra="forbid")

        decimals: int = Field(6, ge=1, le=9, description="Digits after the decimal point in the file.")

    suffixes = (".csv",)
    metrics = ("ring-modes",)
    trade_offs = (*Modality.trade_offs, ("near", "modes"))

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """One field, ``points``: ``(2,)`` float32."""
        extent = self.config.extent
        return {"points": FieldSpec((2,), "float32", -extent, extent, "position")}

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """The rows of a table."""
        try:
            text = file.data().decode("utf-8")
        except UnicodeDecodeError:
            raise BadData("is not UTF-8 text", file.name) from None
        rows = 0
        for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
            if not row:
                continue
            try:
                point = np.array([float(cell) for cell in row], np.float32)
            except ValueError:
                raise BadData(f"line {number}: '{','.join(row)[:40]}' holds no numbers", file.name) from None
            if point.shape != (2,):
                raise BadData(f"line {number}: {len(row)} columns; a point has 2", file.name)
            if not np.abs(point).max() <= self.config.extent:  # NaN too
                raise BadData(f"line {number}: outside ±{self.config.extent:g} (modality.extent)", file.name)
            rows += 1
            yield {"points": point}
        if not rows:
            raise BadData("holds no points", file.name)

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """One point as a table of one row."""
        chosen = options if isinstance(options, Points.Options) else Points.Options()
        path = stem.with_name(stem.name + ".csv")
        x, y = sample["points"].tolist()
        path.write_text(f"{x:.{chosen.decimals}f},{y:.{chosen.decimals}f}\n", encoding="utf-8")
        return path

    def preview(self, samples: Samples) -> Image.Image:
        """A scatter plot, 256 pixels wide, y upwards."""
        from PIL import Image

        size = 256
        scaled = np.clip(samples["points"] / self.config.extent, -1, 1)
        columns = np.round((scaled[:, 0] + 1) / 2 * (size - 1)).astype(int)
        rows = np.round((1 - scaled[:, 1]) / 2 * (size - 1)).astype(int)
        picture = np.full((size, size), 255, np.uint8)
        picture[rows, columns] = 0
        return Image.fromarray(picture)


def ring_centres() -> np.ndarray:
    """``(8, 2)``: centres of the ring's Gaussians."""
    angles = np.arange(8) * (2 * np.pi / 8)
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)


class RingModes:
    """How many of the ring's Gaussians are hit, and the share of samples near one of them.

    A Gaussian is hit when one of the samples (usually 2,500) lies within 0.25 of its centre.
    """

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """``modes`` 0 … 8 and ``near`` 0 … 1, with the values of the real samples."""
        modes, near = self._count(generated["points"])
        real_modes, real_near = self._count(real["points"])
        return [
            MetricValue("modes", modes, real=real_modes, direction="higher"),
            MetricValue("near", near, real=real_near, direction="higher"),
        ]

    @staticmethod
    def _count(points: np.ndarray) -> tuple[float, float]:
        distances = np.linalg.norm(points[:, None] - ring_centres(), axis=2)  # (N, 8)
        hit = distances <= NEAR
        return float(hit.any(0).sum()), float(hit.any(1).mean())


def write_ring(folder: Path, download: Download) -> None:
    """8,192 points of 8 Gaussians, sigma 0.02, on a ring of radius 2."""
    _write(folder / "ring.csv", ring_centres(), SIGMA)


def write_grid(folder: Path, download: Download) -> None:
    """8,192 points of 25 Gaussians, sigma 0.05, on a 5x5 grid of spacing 2."""
    axis = np.arange(-4.0, 5.0, 2.0)
    _write(folder / "grid.csv", np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), 0.05)


def _write(path: Path, centres: np.ndarray, sigma: float, count: int = 8192) -> None:
    rng = np.random.default_rng(0)
    points = centres[rng.integers(len(centres), size=count)] + sigma * rng.standard_normal((count, 2))
    path.write_text("".join(f"{x:.6f},{y:.6f}\n" for x, y in points), encoding="utf-8")


def right(samples: Samples, modality: Modality) -> np.ndarray[Any, Any]:
    """The attribute ``right``: the first coordinate of each point."""
    return np.asarray(samples["points"][:, 0], np.float64)
