"""Estimate of the memory that a training needs: weights, gradients, optimizers, averages and activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan.contracts import FieldSpec
from gan.draws import StepDraws
from gan.game import Batch, Phase, Player
from gan.recipe import Training
from gan.runtime.device import Device

PROBE = 2
"""Batch size for measuring activations; two, since batch statistics need more than one sample."""


def estimate(
    architecture: nn.Module,
    players: Mapping[str, Player],
    phases: Sequence[Phase],
    fields: Mapping[str, FieldSpec],
    training: Training,
    device: Device,
) -> dict[str, int]:
    """Bytes by purpose. Activations are the tensors that a turn saves for its backward pass, measured on a batch of two
    and scaled to the recipe's batch size."""
    moments = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 1}
    size = {n: sum(p.numel() * p.element_size() for _, p in pl.named_parameters()) for n, pl in players.items()}
    averaged = sum(size[n] for n, pl in players.items() if pl.average) if training.ema_half_life else 0
    return {
        "weights": sum(t.numel() * t.element_size() for t in architecture.state_dict().values()),
        "gradients": sum(size.values()) if device.device.type == "cpu" else max(size.values(), default=0),
        "optimisers": sum(size[name] * moments[player.optimizer.name] for name, player in players.items()),
        "averages": averaged,
        "activations": _activations(architecture, phases, fields, device) * training.batch // PROBE,
    }


def _activations(
    architecture: nn.Module, phases: Sequence[Phase], fields: Mapping[str, FieldSpec], device: Device
) -> int:
    buffers = {name: buffer.clone() for name, buffer in architecture.named_buffers()}
    weights = {parameter.untyped_storage().data_ptr() for parameter in architecture.parameters()}
    most = 0
    real = _random_samples(fields)
    for phase in phases:
        shared: dict[str, Any] = {}
        for turn in phase.turns:
            kept: dict[int, int] = {}

            def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in weights:
                    kept[storage.data_ptr()] = storage.nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                rng = StepDraws(0, PROBE, 0, PROBE, device.device)
                turn.objective(Batch(real, rng, 0, 0.0, shared))
            most = max(most, sum(kept.values()))
    with torch.no_grad():
        for name, buffer in architecture.named_buffers():
            buffer.copy_(buffers[name])
    return most


def _random_samples(fields: Mapping[str, FieldSpec]) -> dict[str, Tensor]:
    """Random samples in the shapes and ranges of the fields."""
    generator = torch.Generator().manual_seed(0)
    samples = {}
    for name, spec in fields.items():
        dtype = getattr(torch, spec.dtype)
        values = torch.rand((PROBE, *spec.shape), generator=generator)
        scaled = spec.low + values * (spec.high - spec.low)
        samples[name] = scaled.to(dtype) if dtype.is_floating_point else scaled.round().to(dtype)
    return samples
