"""Where a training runs: device, precision, processes, seeds."""

from __future__ import annotations

import os
import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from gan.errors import UsageError


@dataclass(frozen=True)
class Device:
    """A device with its precision, and this process's place among those that train together."""

    device: torch.device
    dtype: torch.dtype
    """Of the networks' arithmetic: float32, bfloat16 or float16."""
    rank: int = 0
    world_size: int = 1

    @property
    def name(self) -> str:
        """For records: ``"cpu"``, ``"cuda (NVIDIA H100 80GB HBM3)"``."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which objectives run."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def synchronize(self) -> None:
        """Wait for the device, for honest timings."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device of a recipe; joins the other processes when torchrun (or anything that sets WORLD_SIZE) started us.

    `auto` takes the accelerator that torch finds, else the CPU; precision `auto` is bf16 on a CUDA device that computes
    it natively, else fp32.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        kind = found.type if found is not None else "cpu"
    else:
        kind = device
    try:
        where = torch.device(kind)
    except RuntimeError:
        raise UsageError(f"no device named '{device}'; try auto, cpu, cuda or mps") from None
    if where.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("training.device is cuda, but torch finds no CUDA device; use --device cpu or auto")
    if where.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("training.device is mps, but torch finds none; use --device cpu or auto")
    if where.type == "cuda":
        if where.index is None:
            where = torch.device("cuda", local_rank if processes > 1 else 0)
        torch.cuda.set_device(where)
    if processes > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    if precision == "auto":
        native = where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = torch.bfloat16 if native else torch.float32
    else:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return Device(where, dtype, rank, processes)


def seed_everything(seed: int, place: torch.device | None = None) -> None:
    """Seed Python's, numpy's and torch's global generators, for code that draws from them (dropout, initialisation)."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    seed_torch(seed, place)


def seed_torch(seed: int, place: torch.device | None = None) -> None:
    """Seed torch's global generator of the CPU, and that of the accelerator `place`.

    `torch.manual_seed` would seed every kind of accelerator, and where one is not initialised it remembers each call
    with its stack: too dear in a training step.
    """
    torch.default_generator.manual_seed(seed)
    if place is not None and place.type != "cpu":
        torch.get_device_module(place).manual_seed(seed)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out; on the CPU torch says so in words only."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
