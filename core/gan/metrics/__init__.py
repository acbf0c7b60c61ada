"""Metrics on features, for any kind of data: numpy and scipy in float64, large products in blocks on the device.

from gan.metrics import Moments, frechet_distance

distance = frechet_distance(Moments.of(generated_batches), Moments.of(real_batches))
"""

from __future__ import annotations

from gan.metrics.diversity import Diversity, mean_distance, vendi_score
from gan.metrics.frechet import FrechetDistance, PlainFrechetDistance, frechet_distance, trace_of_root
from gan.metrics.kernel import KernelDistance, cubic_kernel, kernel_distance, squared_mmd
from gan.metrics.moments import Moments
from gan.metrics.neighbours import (
    DensityCoverage,
    Memorisation,
    NearestNeighbourTest,
    PrecisionRecall,
    nearest_rows,
    neighbour_distances,
    precision_recall_density_coverage,
)
from gan.metrics.scores import InceptionScore, inception_score

__all__ = [
    "DensityCoverage",
    "Diversity",
    "FrechetDistance",
    "PlainFrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "Memorisation",
    "Moments",
    "NearestNeighbourTest",
    "PrecisionRecall",
    "cubic_kernel",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "mean_distance",
    "nearest_rows",
    "neighbour_distances",
    "precision_recall_density_coverage",
    "squared_mmd",
    "trace_of_root",
    "vendi_score",
]
