"""Memory of this machine, and a guard that refuses networks which do not fit into it before they are allocated."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from gan.errors import UsageError

MAX_TENSORS = 50_000
"""Tensors that the construction of one architecture may create; the largest published networks have a few thousand."""
_UNCHECKED = 1 << 26
"""Bytes of a tensor for which the memory is not asked: asking takes 50 microseconds."""
_FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange, torch.linspace,
    torch.randperm, torch.randint, torch.empty_strided,
}  # fmt: skip


def available_memory() -> int:
    """Bytes that can be allocated without swapping: of the machine, or of its control group if that allows less."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError):
        most, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        inactive = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        found.append(most - used + int(inactive.get("inactive_file", 0)))
    if not found:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(0, min(found, default=1 << 50))


def in_words(size: float) -> str:
    """A number of bytes for a message: ``"1.5 GB"``."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


class BoundedConstruction(TorchFunctionMode):
    """Context in which torch refuses to create tensors that do not fit into the memory, and too many of them.

    Without it, the operating system promises memory that it does not have and kills the process when it is used. Raises
    `UsageError` that begins with `what`.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._count = 0

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Check the size of what `func` creates, and call it."""
        options = dict(kwargs or {})
        if func in _FACTORIES:
            self._count += 1
            if self._count > MAX_TENSORS:
                raise UsageError(f"{self._what} would have more than {MAX_TENSORS:,} tensors; lower its settings")
            shape = _shape(func, args, options)
            size = 4 * math.prod(shape)
            if size > _UNCHECKED and size > (free := available_memory()):
                raise UsageError(
                    f"{self._what} would have a tensor of {' x '.join(map(str, shape))} numbers, {in_words(size)}, and "
                    f"{in_words(free)} of memory are free; lower its settings"
                )
        return func(*args, **options)


def _shape(func: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> list[int]:
    size = options.get("size")
    if size is None:
        if func in (torch.arange, torch.linspace, torch.randint):
            sizes = [part for part in args if isinstance(part, (tuple, list))]
            size = sizes[0] if sizes else [max((abs(p) for p in args if isinstance(p, int)), default=0)]
        elif args and isinstance(args[0], (tuple, list)):
            size = args[0]
        else:
            size = [part for part in args if isinstance(part, int)]
            if func is torch.eye and len(size) == 1:
                size = size * 2
    return [abs(int(part)) for part in size]
