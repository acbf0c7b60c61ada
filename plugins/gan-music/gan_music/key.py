"""Musical keys: parsing names, and estimating a key from the durations of the pitch classes (Krumhansl and Kessler
1982)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
"""Probe-tone profiles from the tonic upwards (Krumhansl 1990, table 2.1)."""


def _profiles() -> np.ndarray[Any, Any]:
    rows = [np.roll(profile, root) for profile in (MAJOR, MINOR) for root in range(12)]
    centred = np.stack(rows) - np.mean(rows, axis=1, keepdims=True)
    unit: np.ndarray[Any, Any] = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit


_PROFILES = _profiles()


def key_correlations(chroma: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``(…, 12)`` sounding time by pitch class -> ``(…, 24)`` Pearson correlations, 12 major keys and 12 minor ones."""
    centred = chroma - chroma.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    correlations: np.ndarray[Any, Any] = unit @ _PROFILES.T
    return correlations


def estimate_key(chroma: np.ndarray[Any, Any]) -> tuple[int, bool, float]:
    """``(12,)`` sounding time by pitch class -> (tonic 0 … 11, whether minor, correlation)."""
    correlations = key_correlations(np.asarray(chroma, float))
    best = int(correlations.argmax())
    return best % 12, best >= 12, float(correlations[best])


def shift_to(root: int, target: int) -> int:
    """The smallest shift in semitones, -6 … 5, from one tonic to another."""
    return (target - root + 6) % 12 - 6


def parse_key(text: str) -> tuple[int, bool]:
    """``"F#m"``, ``"Bb minor"``, ``"C"`` -> (tonic, whether minor). Raises `ValueError`."""
    match = re.fullmatch(r"\s*([A-Ga-g])([#b♯♭]?)\s*(m|min|minor|maj|major|)\s*", text)
    if not match:
        raise ValueError(f"'{text}' is not a key; write C, F#, Bb minor, Am …")
    letter = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[match[1].upper()]
    accidental = {"#": 1, "♯": 1, "b": -1, "♭": -1, "": 0}[match[2]]
    return (letter + accidental) % 12, match[3] in ("m", "min", "minor")


def key_name(root: int, minor: bool) -> str:
    """``(9, True)`` -> ``"A minor"``."""
    return f"{NOTE_NAMES[root]} {'minor' if minor else 'major'}"
