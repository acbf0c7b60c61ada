"""RMSprop whose step can be left out by a tensor, as those of torch's fused optimizers can."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class MaskedRMSprop(torch.optim.RMSprop):
    """RMSprop without momentum that changes nothing where `found_inf` is 1, without reading it on the host.

    The state has the form of `torch.optim.RMSprop`, so that checkpoints fit both.
    """

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; `found_inf` is used once."""
        assert closure is None
        found, self.found_inf = self.found_inf, None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            bad = torch.zeros((), device=parameters[0].device) if found is None else found
            keep = 1 - bad
            states = [self._state_of(parameter) for parameter in parameters]
            gradients = [torch.where(bad > 0, 0.0, parameter.grad) for parameter in parameters]
            means = [state["square_avg"] for state in states]
            share = (1 - group["alpha"]) * keep
            squares = torch._foreach_mul(gradients, gradients)
            torch._foreach_mul_(squares, share)
            torch._foreach_mul_(means, 1 - share)
            torch._foreach_add_(means, squares)
            scales = torch._foreach_sqrt(means)
            torch._foreach_add_(scales, group["eps"])
            torch._foreach_div_(gradients, scales)
            torch._foreach_mul_(gradients, -group["lr"] * keep)
            torch._foreach_add_(parameters, gradients)
            for state in states:
                state["step"] += keep

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["square_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        if state["step"].device != parameter.device:  # of a checkpoint that was written on a CPU
            state["step"] = state["step"].to(parameter.device)
        return state
