"""Latents as files: safetensors with the latents and conditions of samples, which any other program can read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch

from gan.control.model import Latents
from gan.errors import BadData
from gan.storage.durable import write_bytes
from gan.storage.regular import Broken, read_regular
from gan.storage.serialization import read_tensors

if TYPE_CHECKING:
    from gan.control.model import LatentModel

FORMAT = "gan-latents-1"
GIVEN = "given."
"""Prefix of the names of conditions."""
LARGEST = 1 << 30
"""Most bytes of a file of latents."""


def write_latents(path: Path, latents: Latents, model: LatentModel) -> Path:
    """Write ``latents`` ``(N, …)`` and ``given.NAME`` for each condition; the same latents give the same bytes."""
    tensors = {"latents": latents.values.detach().float().cpu().contiguous()}
    tensors |= {f"{GIVEN}{name}": torch.from_numpy(np.array(value)) for name, value in latents.given.items()}
    about = {"about": json.dumps({"format": FORMAT, "model": model.name, "space": model.space_name})}  # in one order
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, safetensors.torch.save(tensors, about))
    return path


def read_latents(path: Path, model: LatentModel) -> Latents:
    """Read latents of a model's space. Raises `BadData` for another file, `UsageError` for those of another space."""
    try:
        tensors = read_tensors(read_regular(path, None, limit=LARGEST), path.name)
    except Broken as error:
        raise BadData(f"no file of latents: {error}", str(path)) from error
    if "latents" not in tensors or tensors["latents"].ndim < 2 or not len(tensors["latents"]):
        raise BadData("no file of latents: it holds no tensor 'latents' with an axis for samples", str(path))
    values = model.checked(tensors["latents"])
    known = model.condition_fields()
    given = {n.removeprefix(GIVEN): t.numpy() for n, t in tensors.items() if n.startswith(GIVEN)}
    for name, value in given.items():
        shares = name in known and value.ndim == 2 and value.shape[1] == len(known[name].names)
        if name not in known or len(value) != len(values) or not (value.ndim == 1 or shares):
            raise BadData(f"its condition '{name}' is not one of {model.name}'s {len(values)} samples", str(path))
    if not torch.isfinite(values).all():
        raise BadData("its latents are not finite numbers", str(path))
    return Latents(values, given)
