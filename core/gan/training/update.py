"""The update step of one player: loss, backward pass, gradient clipping, optimizer step and the check for NaN.

These functions never wait for the device, except on the CPU. The training loop that calls them is in
`gan.training.trainer`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gan.errors import GanError
from gan.game import Batch, Turn
from gan.runtime.device import Device, out_of_memory
from gan.training.optimizers import Prepared
from gan.training.player_state import PlayerState
from gan.training.stats import Stats


def compute_loss(turn: Turn, batch: Batch, device: Device, stats: Stats, where: str) -> Tensor:
    """The sum of the objective's terms, which is minimised. Terms that begin with ``_`` are only reported."""
    try:
        with device.autocast():
            terms = turn.objective(batch)
    except (GanError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise GanError(f"{where}: the objective failed: {type(error).__name__}: {error}") from error
    total = sum((value for name, value in terms.items() if not name.startswith("_")), start=torch.zeros(()))
    if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad:
        raise GanError(
            f"{where}: the objective gave no differentiable scalar; its terms must depend on the player's parameters"
        )
    for name, value in terms.items():
        stats.report(f"{turn.player}/{name}", value)
    return total


def backward(state: PlayerState, loss: Tensor, weight: float) -> Tensor:
    """Add the gradients of `weight` times the loss to the player's parameters only; returns the detached loss."""
    scaled = loss * weight if weight != 1 else loss
    if state.scaler is not None:
        scaled = state.scaler.scale(scaled)
    scaled.backward(inputs=state.parameters)  # type: ignore[no-untyped-call]
    return loss.detach()


def clear_gradients(state: PlayerState) -> None:
    """Free the gradients of the player's parameters."""
    for parameter in state.parameters:
        parameter.grad = None


def fill_gradients_with_nan(state: PlayerState, device: Device) -> None:
    """After an out-of-memory error: gradients that make all processes skip this update."""
    clear_gradients(state)
    for parameter in state.parameters:
        parameter.grad = torch.full_like(parameter, torch.nan)
    if state.scaler is not None:
        state.scaler.scale(torch.zeros((), device=device.device))  # a scaler must have scaled before it steps


def clip_and_step(
    state: PlayerState, losses: list[Tensor], device: Device, stats: Stats, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Clip the gradients and step the optimizer; skip the step if a loss or a gradient is not finite.

    Where `allowed`, a boolean scalar on the device, is false, the player does not change and nothing counts as skipped.
    Returns whether the update was skipped and whether a loss or gradient was not finite, as 1 or 0 in float32 tensors
    on the device.
    """
    gradients = [gradient for parameter in state.parameters if (gradient := parameter.grad) is not None]
    if state.scaler is not None:
        state.scaler.unscale_(state.optimizer)
    norm = _norm(state, gradients)
    probe = norm.mul(0)  # 0, or NaN where the norm or a loss is not finite
    if device.world_size == 1:  # losses differ between processes, averaged gradients do not: all must decide alike
        for loss in losses:
            probe = probe.add(loss, alpha=0)
    bad = probe.ne(0).to(torch.float32)
    stats.report(f"{state.name}/_gradient_norm", torch.nan_to_num(norm, nan=0.0, posinf=0.0, neginf=0.0))
    if state.settings.clip_norm > 0:
        torch._foreach_mul_(gradients, (state.settings.clip_norm / (norm + 1e-6)).clamp(max=1.0))
    still = bad if allowed is None else torch.maximum(bad, (~allowed).to(torch.float32))
    if not device.synchronous:
        # these optimizers change nothing where found_inf is 1, without waiting for the device
        assert isinstance(state.optimizer, Prepared)
        state.optimizer.found_inf = still
        state.optimizer.step()
        if state.scaler is not None:
            state.scaler.update()
    elif state.scaler is not None:
        if allowed is None or allowed.item():
            state.scaler.step(state.optimizer)
        state.scaler.update()
    elif not still.item():
        state.optimizer.step()
    skipped = bad
    if allowed is None:
        state.skips.add_(bad).mul_(bad)
    else:  # an update that was not to happen neither ends nor prolongs a series of skipped ones
        skipped = bad * allowed
        state.skips.copy_(torch.where(allowed, (state.skips + bad) * bad, state.skips))
    torch.maximum(state.most_skips, state.skips, out=state.most_skips)
    return skipped, bad


SMALL = 1 << 20
"""Up to so many numbers in all, the gradients of a player are copied into one tensor for their norm."""


@torch.no_grad()
def _norm(state: PlayerState, gradients: list[Tensor]) -> Tensor:
    """The global norm of a player's gradients, without work for each tensor in Python.

    Where it only is reported, that of many small tensors is computed from one copy of them, which rounds differently.
    """
    if not state.uniform:
        return torch.nn.utils.get_total_norm(gradients)
    if state.size <= SMALL and not state.settings.clip_norm:
        flat: Tensor = torch._C._nn.flatten_dense_tensors(gradients)
    else:
        flat = torch.stack(torch._foreach_norm(gradients))  # what get_total_norm computes
    norm: Tensor = torch.linalg.vector_norm(flat)
    return norm
