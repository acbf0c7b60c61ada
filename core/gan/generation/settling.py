"""Preparing a network for sampling: batch statistics of the weights that samples are generated with."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gan.contracts import Settles
from gan.draws import StepDraws, derive
from gan.errors import DiskError
from gan.runtime.device import seed_torch
from gan.storage.durable import cache_folder, write_bytes

PASSES = 16
ROWS = 64
"""Batches and rows of a batch that standing statistics are averaged over."""


@torch.no_grad()
def settle(architecture: nn.Module, device: torch.device) -> None:
    """Replace the running statistics of the generator's BatchNorm layers by means over `PASSES` batches.

    The running statistics of a training belong to weights that moved while they were collected, and not to averaged
    weights. Here the layers normalize with the statistics of each batch, as in training, and collect their mean over
    all batches (standing statistics; Brock et al. 2019, appendix C.1). Layers that `settle` does not use keep theirs.
    Nothing happens if the architecture does not implement `Settles` or has no such layer. The random numbers are the
    same in every call, so that samples remain a function of the weights.
    """
    if not isinstance(architecture, Settles):
        return
    layers = [m for m in architecture.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not layers:
        return
    modes = [(module, module.training) for module in architecture.modules()]
    momenta = [(layer, layer.momentum) for layer in layers]
    seed = derive(0, "settle")
    rng = StepDraws(seed, ROWS, 0, ROWS, device)
    try:
        architecture.eval()
        for layer in layers:
            layer.training = True
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            seed_torch(seed, device)
            for done in range(PASSES):
                for layer in layers:
                    layer.momentum = 1 / (done + 1)  # a mean of equal weights, without what was there before
                architecture.settle(rng)
    finally:
        for layer, momentum in momenta:
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode


def settle_once(architecture: nn.Module, device: torch.device, identity: str) -> None:
    """`settle`, with the statistics kept in the cache: they cost a thousand samples, and loading a run has to be quick.

    `identity` stands for the weights and for whatever else the statistics depend on. A file of the cache that is
    damaged (its CRC differs) or does not fit is made anew.
    """
    norms = {f"{name}.": m for name, m in architecture.named_modules() if isinstance(m, _NormBase)}
    if not isinstance(architecture, Settles) or not norms:
        return
    buffers = {prefix + name: b for prefix, m in norms.items() for name, b in m.named_buffers(recurse=False)}
    kind = f"{identity}/{device.type}/{torch.__version__}/{PASSES}/{ROWS}"
    path = cache_folder() / "settled" / f"{hashlib.sha256(kind.encode()).hexdigest()}.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            known = {name: torch.from_numpy(file[name]) for name in buffers}
        if all(known[name].shape == b.shape and known[name].dtype == b.dtype for name, b in buffers.items()):
            for name, b in buffers.items():
                b.copy_(known[name])
            return
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    settle(architecture, device)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{name: b.cpu().numpy() for name, b in buffers.items()})
    with contextlib.suppress(OSError, DiskError):  # a cache that cannot be written costs time only
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue())


@contextmanager
def settled(architecture: nn.Module, device: torch.device) -> Iterator[None]:
    """A context in which the architecture is settled; its buffers have their own values again afterwards."""
    if not isinstance(architecture, Settles):
        yield
        return
    before = [(buffer, buffer.clone()) for buffer in architecture.buffers()]
    try:
        settle(architecture, device)
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
