"""Preparing a network for sampling: batch statistics of the weights that samples are generated with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gan.contracts import Settles
from gan.draws import StepDraws, derive
from gan.runtime.device import seed_torch

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
