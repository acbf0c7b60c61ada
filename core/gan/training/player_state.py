"""The training state of a player: its parameters, optimizer, learning-rate schedule and weight average."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gan.errors import GanError
from gan.game import Phase, Player
from gan.recipe import Schedule, Training, number_at
from gan.runtime.device import Device
from gan.training.ema import Average
from gan.training.optimizers import Prepared, build_optimizer


class PlayerState:
    """The parameters, the optimizer and the average of one player."""

    def __init__(self, name: str, player: Player, training: Training, lazy: Sequence[int], device: Device) -> None:
        self.name = name
        self.settings = player.optimizer
        self.named = dict(player.named_parameters())
        self.parameters = list(self.named.values())
        if not self.parameters:
            raise GanError(f"player '{name}' has no parameters")
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.uniform = len({(parameter.device, parameter.dtype) for parameter in self.parameters}) == 1
        """Whether all parameters are on one device and have one dtype."""
        self.correction = 1.0 / (1.0 + sum(1.0 / every for every in lazy))
        self.optimizer = build_optimizer(
            self.settings, self.parameters, self.correction, device.device, tensors=not device.synchronous
        )
        self._betas_change = any(isinstance(beta, Schedule) for beta in self.settings.betas)
        self.average = (
            Average(self.named, training.ema_half_life, training.ema_rampup, tensors=not device.synchronous)
            if player.average and training.ema_half_life
            else None
        )
        self.scaler = torch.amp.GradScaler(device.device.type) if device.dtype == torch.float16 else None
        self.skips = torch.zeros((), device=device.device)
        """Consecutive updates skipped up to now."""
        self.most_skips = torch.zeros((), device=device.device)
        """The most consecutive skipped updates since the last check."""

    def set_step_size(
        self, progress: float, shown: int, lr_scale: float, position: int = 0, dials: Mapping[str, float] | None = None
    ) -> None:
        """Set the learning rate by the schedule of `Optimizer`, corrected for lazy turns, times `lr_scale`.

        Numbers with a `Schedule` have their value at `position`, the samples shown in the phase; `dials` are factors.
        """
        settings, dials = self.settings, dials or {}
        scale = self.correction * lr_scale
        if settings.schedule != "constant" and progress > settings.decay_start:
            done = (progress - settings.decay_start) / max(1.0 - settings.decay_start, 1e-12)
            done = min(done, 1.0)
            fall = done if settings.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * done))
            scale *= 1.0 - (1.0 - settings.final) * fall
        if settings.warmup_samples:
            scale *= min(1.0, (shown + 1) / settings.warmup_samples)
        size = self._number("lr", settings.lr, position, dials) * scale
        if isinstance(self.optimizer, Prepared):
            self.optimizer.set_step_size(size)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = size
        if self._betas_change or dials:
            self._set_betas(position, dials)

    def _number(self, name: str, value: float | Schedule, position: int, dials: Mapping[str, float]) -> float:
        return number_at(value, position) * dials.get(f"optimizers.{self.name}.{name}", 1)

    def _set_betas(self, position: int, dials: Mapping[str, float]) -> None:
        first, second = (
            float(self._number(f"betas.{place}", value, position, dials)) ** self.correction
            for place, value in enumerate(self.settings.betas)
        )
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (first, second)
            elif "alpha" in group:
                group["alpha"] = second
            else:
                group["momentum"] = first


class Skips:
    """Checkpointable counters of skipped updates."""

    def __init__(self, skipped: Tensor, player_states: Mapping[str, PlayerState]) -> None:
        self._counts = {"all": skipped}
        for name, player_state in player_states.items():
            self._counts[f"{name}/now"] = player_state.skips
            self._counts[f"{name}/most"] = player_state.most_skips

    def state_dict(self) -> dict[str, float]:
        """The counters as floats."""
        return {name: float(value) for name, value in self._counts.items()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the counters."""
        for name, value in self._counts.items():
            value.fill_(state[name])


def check_players(players: Mapping[str, Player], phases: Sequence[Phase]) -> None:
    """Raise `GanError` if players share a parameter, or phases are empty, share a name or name unknown players."""
    owners: dict[int, str] = {}
    for name, player in players.items():
        for _, parameter in player.named_parameters():
            if owners.setdefault(id(parameter), name) != name:
                raise GanError(f"players '{owners[id(parameter)]}' and '{name}' share a parameter")
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise GanError(f"two phases have one name: {', '.join(names)}")
    for phase in phases:
        if not phase.turns:
            raise GanError(f"phase '{phase.name}' has no turn")
        for name in phase.adopt:
            if name not in players:
                raise GanError(f"phase '{phase.name}' adopts the average of '{name}', who is no player")
        for turn in phase.turns:
            if turn.player not in players:
                raise GanError(f"phase '{phase.name}' has a turn of '{turn.player}', who is no player")
