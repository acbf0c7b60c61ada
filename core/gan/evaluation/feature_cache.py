"""Features of real samples, kept in the cache: extracting them costs far more than reading them.

A set of features is one folder, ``features/KEY``, of arrays and a sealed ``features.json``. Its key holds the SHA-256
of the samples, the extractor's name, version, SHA-256 and preprocessing, the modality, the device and the version of
PyTorch. Those that were not used for longest are removed when all together take more than `LARGEST` bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan.contracts import Features
from gan.errors import DiskError
from gan.storage.durable import cache_folder, discard, filled_aside
from gan.storage.regular import Broken
from gan.storage.seal import broken_files, remember, seal, sealed_about, sealed_text, stamp

ABOUT = "features.json"
LARGEST = 4 << 30
"""Bytes of all features in the cache."""
WORTH = 0.5
"""Features that were extracted in fewer seconds are not kept."""
_log = logging.getLogger(__name__)


class FeatureCache:
    """Features of one set of samples in the cache, by extractor."""

    def __init__(self, samples_sha256: str, modality: Mapping[str, Any], device: str) -> None:
        self._about = {
            "samples": samples_sha256,
            "modality": modality,
            "device": device,
            "torch": torch.__version__,
        }

    def folder(self, extractor: Mapping[str, str]) -> Path:
        """The folder of the features of an extractor, given by `NamedExtractor.identity`."""
        text = json.dumps({**self._about, "extractor": dict(extractor)}, sort_keys=True, default=str)
        return cache_folder() / "features" / hashlib.sha256(text.encode()).hexdigest()

    def features(self, extractor: Mapping[str, str], extract: Callable[[], Features]) -> Features:
        """The features of an extractor from the cache, or those of `extract`, which are kept if that took long."""
        found = self._find(extractor)
        if found is None:
            began = time.monotonic()
            found = extract()
            if time.monotonic() - began > WORTH:
                self._keep(extractor, found)
        return found

    def _find(self, extractor: Mapping[str, str]) -> Features | None:
        """The features, or None. Damaged ones are removed, with a warning, so that they are made anew."""
        folder = self.folder(extractor)
        if not (folder / ABOUT).is_file():
            return None
        try:
            sealed = sealed_about(folder / ABOUT)
            broken = broken_files(folder, sealed, _memory(folder))
            if broken:
                raise Broken("; ".join(f"{name} {reason}" for name, reason in broken.items()))
            found = {name: np.load(folder / name, allow_pickle=False) for name in sealed}
            features = Features(found["vectors.npy"], found.get("probabilities.npy"))
        except (OSError, ValueError, KeyError, Broken) as error:
            _log.warning("warning: the features in %s were damaged (%s) and are made anew", folder, error)
            discard(folder)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / ABOUT)
        return features

    def _keep(self, extractor: Mapping[str, str], features: Features) -> None:
        """Write features to the cache; a cache that cannot be written costs time only."""
        folder = self.folder(extractor)
        with contextlib.suppress(OSError, DiskError):
            with filled_aside(folder, ABOUT) as aside:
                np.save(aside / "vectors.npy", features.vectors, allow_pickle=False)
                if features.probabilities is not None:
                    np.save(aside / "probabilities.npy", features.probabilities, allow_pickle=False)
                sealed = seal(aside)
                (aside / ABOUT).write_text(
                    sealed_text(
                        json.dumps({**self._about, "extractor": dict(extractor), "arrays": sealed}, default=str)
                    )
                )
            remember(_memory(folder), {name: stamp(folder / name) for name in sealed})
            _prune(folder.parent, folder)


def _memory(folder: Path) -> Path:
    return folder.parent / "known" / f"verified-{folder.name}.json"


def _prune(parent: Path, newest: Path) -> None:
    """Remove what was not used for longest until `LARGEST` is kept; `newest` stays."""
    found = []
    for about in parent.glob(f"*/{ABOUT}"):
        with contextlib.suppress(OSError):  # another process removes it
            found.append(
                (about.stat().st_mtime, sum(path.stat().st_size for path in about.parent.iterdir()), about.parent)
            )
    total = sum(size for _, size, _ in found)
    for _, size, folder in sorted(found):
        if total <= LARGEST:
            break
        if folder != newest:
            discard(folder)
            with contextlib.suppress(OSError):
                _memory(folder).unlink()
            total -= size
