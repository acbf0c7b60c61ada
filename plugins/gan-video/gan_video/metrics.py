"""Metrics of clips: motion, content, and statistics as features for distances between sets of clips.

The Fréchet video distance is defined on an I3D network (`gan_video.i3d`) whose weights do not come with this plugin. A
distance on the features here is named after them, ``FID[clip-statistics]``, never FVD.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import Features, MetricValue, Modality
from gan.errors import BadData
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gan.contracts import Samples

GRID = 8
"""Side of the grid of cells that frames are averaged over."""
FROZEN = 0.1
"""A clip is frozen if its motion is below this share of the median motion of the real clips."""


def motion(clips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """``(N,)``: mean absolute difference of successive frames of ``(N, frames, …)`` uint8, in levels 0 … 255."""
    found = np.empty(len(clips))
    for index, clip in enumerate(clips):
        found[index] = np.abs(np.diff(clip.astype(np.int16), axis=0)).mean()
    return found


def cells(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(N, frames, channels, GRID, GRID)``: mean levels of cells, 0 … 1. Sides below `GRID` are refused."""
    count, length, channels, height, width = clips.shape
    if min(height, width) < GRID:
        raise BadData(f"frames of {width} x {height} pixels; clip statistics need {GRID} x {GRID}")
    rows = np.linspace(0, height, GRID + 1).round().astype(int)
    columns = np.linspace(0, width, GRID + 1).round().astype(int)
    areas = np.outer(np.diff(rows), np.diff(columns))
    found = np.empty((count, length, channels, GRID, GRID), np.float32)
    for index, clip in enumerate(clips):
        sums = np.add.reduceat(np.add.reduceat(clip.astype(np.float64), rows[:-1], -2), columns[:-1], -1)
        found[index] = sums / areas / 255
    return found


class Motion:
    """Motion, kept content and frozen clips.

    ``motion`` is the mean absolute difference of successive frames in levels. ``content kept`` is 1 minus the mean
    distance of the colour histogram of a clip's frames from that of its first frame (total variation, 0 … 1).
    ``frozen`` is the share of clips with less than a tenth of the median motion of the real clips.
    """

    version = "1"
    settings = {"frozen": FROZEN, "bins": 8}

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Three values; each is best if it is close to that of the real clips, ``frozen`` if it is low."""
        ours, theirs = motion(generated["video"]), motion(real["video"])
        limit = FROZEN * float(np.median(theirs))
        return [
            MetricValue("motion", float(ours.mean()), real=float(theirs.mean()), error=_error(ours)),
            MetricValue("content kept", float(kept(generated["video"]).mean()), float(kept(real["video"]).mean())),
            MetricValue("frozen", float((ours < limit).mean()), real=float((theirs < limit).mean()), direction="lower"),
        ]


def kept(clips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """``(N,)``: 1 minus the mean total variation between the histograms of the first and of the later frames."""
    found = np.empty(len(clips))
    for index, clip in enumerate(clips):
        histograms = np.stack([
            np.concatenate([np.bincount(channel.ravel() >> 5, minlength=8) / channel.size for channel in frame])
            for frame in clip
        ]) / clip.shape[1]  # fmt: skip
        found[index] = 1 - 0.5 * np.abs(histograms[1:] - histograms[0]).sum(1).mean()
    return found


def _error(values: NDArray[Any]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


class ClipStatistics:
    """Features of clips by formula: the mean frame, the change from the first to the second half, and the mean absolute
    change of successive frames, each at 8x8 cells."""

    version = "1"
    sha256 = ""
    preprocessing = f"mean levels of {GRID}x{GRID} cells, 0 … 1"

    def __init__(self, weights: object = None, device: str = "cpu") -> None:
        pass

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, 3 · channels · 64)`` float32."""
        levels = cells(samples["video"])
        half = levels.shape[1] // 2
        parts = [
            levels.mean(1),
            levels[:, half:].mean(1) - levels[:, :half].mean(1),
            np.abs(np.diff(levels, axis=1)).mean(1),
        ]
        return Features(np.concatenate([part.reshape(len(levels), -1) for part in parts], 1).astype(np.float32))


class FrameStatistics:
    """Features of a single frame of each clip, the middle one, by formula: mean levels of 8x8 cells. A distance on them
    compares what frames look like, whatever moves."""

    version = "1"
    sha256 = ""
    preprocessing = f"the middle frame, mean levels of {GRID}x{GRID} cells, 0 … 1"

    def __init__(self, weights: object = None, device: str = "cpu") -> None:
        pass

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, channels · 64)`` float32."""
        clips = samples["video"]
        middle = clips.shape[1] // 2
        levels = cells(clips[:, middle : middle + 1])
        return Features(levels.reshape(len(levels), -1))
