"""Optimizers whose step neither waits for the device nor prepares anything for each tensor.

They compute what those of `torch.optim` compute, and their states have the same form, so that checkpoints fit both.
What torch collects anew in every step (parameters, moments, step counts) is collected once here. A step changes nothing
where the tensor `found_inf` is 1, and reads the step size from a tensor on an accelerator, so that it can be captured
in a graph.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from gan.game import Optimizer
from gan.recipe import number_at

Settings = dict[str, Any]
"""A group of parameters of `torch.optim`."""


@dataclass
class _Group:
    """The parameters of one device and dtype that have gradients, and their states."""

    parameters: list[Tensor] = field(default_factory=list)
    first: list[Tensor] = field(default_factory=list)
    """Adam's first moments, or SGD's momentum."""
    second: list[Tensor] = field(default_factory=list)
    """The means of squared gradients."""
    steps: list[Tensor] = field(default_factory=list)
    """Step counts, each a view of `counts`."""
    counts: Tensor = field(default_factory=lambda: torch.zeros(0))

    def share_counts(self, states: list[dict[str, Any]]) -> None:
        """Make the step counts views of one tensor."""
        device = self.parameters[0].device
        counts = [state.get("step", torch.zeros(())).to(device, torch.float32) for state in states]
        self.counts = torch.stack(counts)
        self.steps = list(self.counts.unbind())
        for state, step in zip(states, self.steps, strict=True):
            state["step"] = step


def _without_compiler(name: str) -> Any:
    """A method of `torch.optim.Optimizer` without the wrapper that imports torch's compiler (1.6 CPU s) to say that it
    is not to be compiled; nothing compiles optimizers here."""
    method = getattr(torch.optim.Optimizer, name)
    return getattr(method, "__wrapped__", method)


class Prepared(torch.optim.Optimizer, ABC):
    """What the optimizers of this module share; a class of `torch.optim` follows it among the bases."""

    add_param_group = _without_compiler("add_param_group")
    state_dict = _without_compiler("state_dict")
    load_state_dict = _without_compiler("load_state_dict")
    zero_grad = _without_compiler("zero_grad")

    found_inf: Tensor | None = None
    """1 where the next step shall change nothing; used once."""
    _step_sizes: Tensor | None = None
    _filled = -1.0

    def hold_step_size(self, device: torch.device) -> None:
        """Keep the step size in a tensor on `device` from now on."""
        self._step_sizes, self._filled = torch.zeros((), device=device), -1.0

    def set_step_size(self, size: float) -> None:
        """Set the learning rate of all groups."""
        for group in self.param_groups:
            group["lr"] = size
        if self._step_sizes is not None and size != self._filled:
            self._step_sizes.fill_(size)
            self._filled = size

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        assert closure is None
        found, self.found_inf = self.found_inf, None
        for settings in self.param_groups:
            size = settings["lr"] if self._step_sizes is None else self._step_sizes
            present = settings["params"]
            gradients: list[Any] = [parameter.grad for parameter in present]
            if not all(map(operator.is_not, gradients, repeat(None))):
                present = [parameter for parameter in present if parameter.grad is not None]
                gradients = [parameter.grad for parameter in present]
            groups = self._groups(settings, present)
            for group in groups:
                own: list[Any] = gradients if len(groups) == 1 else [p.grad for p in group.parameters]
                self._change(group, own, settings, size, found)

    @abstractmethod
    def _change(self, group: _Group, gradients: list[Tensor], settings: Settings, size: Any, found: Any) -> None:
        """Change the parameters of a group by a step of `size`, a number or a tensor on the device; leave it
        out where the tensor `found` is there and above 0."""

    @abstractmethod
    def _prepare(self, group: _Group, settings: Settings) -> None:
        """Collect the states of a group's parameters in lists, which `_change` uses."""

    def _groups(self, settings: Settings, present: list[Tensor]) -> list[_Group]:
        """The parameters `present` by kind. They are collected again only if they are others or have new states."""
        known: dict[int, tuple[list[Tensor], Any, list[_Group]]] = self.__dict__.setdefault("_known", {})
        before = known.get(id(settings))
        if before is not None:
            parameters, state, groups = before
            same = len(present) == len(parameters) and all(map(operator.is_, present, parameters))
            if same and (not present or self.state.get(present[0]) is state):
                return groups
        by_kind: dict[tuple[torch.device, torch.dtype], _Group] = {}
        for parameter in present:
            by_kind.setdefault((parameter.device, parameter.dtype), _Group()).parameters.append(parameter)
        groups = list(by_kind.values())
        for group in groups:
            self._prepare(group, settings)
        known[id(settings)] = (present, self.state.get(present[0]) if present else None, groups)
        return groups

    def _moments(self, group: _Group, name: str) -> list[Tensor]:
        """The states called `name`, zeros at first."""
        found = []
        for parameter in group.parameters:
            state = self.state[parameter]
            if state.get(name) is None:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            found.append(state[name])
        return found


class FusedAdam(Prepared, torch.optim.Adam):
    """Adam, and AdamW with ``decoupled_weight_decay=True``, by torch's fused kernels."""

    def _prepare(self, group: _Group, settings: Settings) -> None:
        states = [self.state[parameter] for parameter in group.parameters]
        group.share_counts(states)
        group.first, group.second = self._moments(group, "exp_avg"), self._moments(group, "exp_avg_sq")

    def _change(self, group: _Group, gradients: list[Tensor], settings: Settings, size: Any, found: Any) -> None:
        group.counts.add_(1)
        kernel: Any = torch._fused_adamw_ if settings["decoupled_weight_decay"] else torch._fused_adam_
        first, second = settings["betas"]
        kernel(
            group.parameters, gradients, group.first, group.second, [], group.steps,
            lr=size, beta1=first, beta2=second, weight_decay=settings["weight_decay"], eps=settings["eps"],
            amsgrad=False, maximize=False, grad_scale=None, found_inf=found,
        )  # fmt: skip
        if found is not None:
            group.counts.sub_(found)


class FusedSGD(Prepared, torch.optim.SGD):
    """SGD with momentum by torch's fused kernel. The momentum starts at 0, so that a first step may be left out."""

    def _prepare(self, group: _Group, settings: Settings) -> None:
        group.first = self._moments(group, "momentum_buffer") if settings["momentum"] else []

    def _change(self, group: _Group, gradients: list[Tensor], settings: Settings, size: Any, found: Any) -> None:
        if settings["momentum"] and not group.first:  # it was 0 when the group was prepared
            self._prepare(group, settings)
        torch._fused_sgd_(
            group.parameters, gradients, group.first if settings["momentum"] else [],
            weight_decay=settings["weight_decay"], momentum=settings["momentum"], lr=size, dampening=0.0,
            nesterov=False, maximize=False, is_first_step=False, grad_scale=None, found_inf=found,
        )  # fmt: skip


class MaskedRMSprop(Prepared, torch.optim.RMSprop):
    """RMSprop without momentum; torch's own has no step that a tensor leaves out."""

    def _prepare(self, group: _Group, settings: Settings) -> None:
        states = [self.state[parameter] for parameter in group.parameters]
        group.share_counts(states)
        group.second = self._moments(group, "square_avg")

    def _change(self, group: _Group, gradients: list[Tensor], settings: Settings, size: Any, found: Any) -> None:
        bad = torch.zeros((), device=group.counts.device) if found is None else found
        keep = 1 - bad
        gradients = [torch.where(bad > 0, 0.0, gradient) for gradient in gradients]
        share = (1 - settings["alpha"]) * keep
        squares = torch._foreach_mul(gradients, gradients)
        torch._foreach_mul_(squares, share)
        torch._foreach_mul_(group.second, 1 - share)
        torch._foreach_add_(group.second, squares)
        scales = torch._foreach_sqrt(group.second)
        torch._foreach_add_(scales, settings["eps"])
        torch._foreach_div_(gradients, scales)
        torch._foreach_mul_(gradients, -size * keep)
        torch._foreach_add_(group.parameters, gradients)
        group.counts.add_(keep)


def build_optimizer(
    settings: Optimizer, parameters: list[nn.Parameter], correction: float, device: torch.device, *, tensors: bool
) -> torch.optim.Optimizer:
    """The optimizer of a player. With `tensors`, it neither reads nor is given a number of the host in a step."""
    lr = number_at(settings.lr, 0) * correction
    first, second = (float(number_at(beta, 0)) ** correction for beta in settings.betas)
    groups: list[dict[str, Any]] = [{"params": parameters}]
    built: torch.optim.Optimizer
    if settings.name == "adam":
        built = FusedAdam(groups, lr=lr, betas=(first, second), eps=settings.eps, fused=True)
    elif settings.name == "adamw":
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        built = FusedAdam(
            groups, lr=lr, betas=(first, second), eps=settings.eps, fused=True, decoupled_weight_decay=True
        )
    elif settings.name == "rmsprop":
        kind = MaskedRMSprop if tensors else torch.optim.RMSprop
        built = kind(groups, lr=lr, alpha=second, eps=settings.eps)
    else:
        built = FusedSGD(groups, lr=lr, momentum=first, fused=True)
    if tensors and isinstance(built, Prepared):
        built.hold_step_size(device)
    return built
