"""The records of a run as TensorBoard events, by the package `tensorboard` (``pip install gan-core[tensorboard]``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gan.errors import UsageError


def write_events(records: Iterable[Mapping[str, Any]], folder: Path) -> Path:
    """Write a scalar for every term, signal of health and metric of the records of a run; returns `folder`.

    Tags are ``PLAYER/term``, ``health/signal`` and ``metrics/name``; steps are real samples shown. Raises `UsageError`
    if `tensorboard` is not installed or the folder holds events already.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not installed; install it: pip install gan-core[tensorboard]") from error
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another folder for the events")
    with SummaryWriter(str(folder)) as writer:
        for record in records:
            values = dict(record.get("terms") or {})
            values |= {f"health/{name}": value for name, value in (record.get("health") or {}).items()}
            values |= {f"metrics/{name}": value["value"] for name, value in (record.get("metrics") or {}).items()}
            for tag, value in values.items():
                if isinstance(value, int | float):
                    writer.add_scalar(tag, value, record["samples"])
    return folder
