"""Devices, precision and seeds of PyTorch computations."""

from __future__ import annotations

import ctypes
import os
import random
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from gan.errors import UsageError


@dataclass(frozen=True)
class Device:
    """A device with its precision, and this process's rank in distributed training."""

    device: torch.device
    dtype: torch.dtype
    """Of the networks' arithmetic: float32, bfloat16 or float16 (mixed precision)."""
    rank: int = 0
    world_size: int = 1

    @property
    def name(self) -> str:
        """Name for records: ``"cpu"``, ``"cuda (NVIDIA H100 80GB HBM3)"``."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type

    @property
    def synchronous(self) -> bool:
        """Whether a number is there when an operation returns, so that reading it waits for nothing."""
        return self.device.type == "cpu"

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which objectives are computed."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def synchronize(self) -> None:
        """Wait until the device is idle, for correct timings."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def choose_device(device: str = "auto", precision: str = "auto") -> Device:
    """The device that a recipe names. Makes it the current CUDA device, if it is one.

    Device `auto` is the accelerator that torch finds, else the CPU; `cuda` is the one with the index ``LOCAL_RANK``.
    Precision `auto` is bf16 on CUDA devices with native support, else fp32. Raises `UsageError` if there is no such
    device.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        chosen = torch.device(accelerator.type if accelerator is not None else "cpu")
    else:
        try:
            chosen = torch.device(device)
        except (RuntimeError, ValueError):
            raise UsageError(f"no device named '{device}'; try auto, cpu, cuda or mps") from None
        if chosen.type not in ("cpu", "cuda", "mps", "xpu"):
            raise UsageError(f"training on the device '{device}' is not possible; use auto, cpu, cuda or mps")
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("training.device is cuda, but torch finds no CUDA device; use --device cpu or auto")
        if chosen.index is None:
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if not 0 <= chosen.index < torch.cuda.device_count():
            raise UsageError(f"no device {chosen}: torch finds {torch.cuda.device_count()} CUDA devices")
        torch.cuda.set_device(chosen)
    if chosen.type == "xpu" and not torch.xpu.is_available():
        raise UsageError("training.device is xpu, but torch finds none; use --device cpu or auto")
    if chosen.type == "cpu" and chosen.index not in (None, 0):
        raise UsageError(f"no device {chosen}; the processor is called cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("training.device is mps, but torch finds none; use --device cpu or auto")
    if precision == "auto":
        native = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native else "fp32"
    return Device(chosen, {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision])


def slow_precision(device: Device) -> str:
    """One line of warning, with the measured cost, where bf16 was chosen for a CPU that only emulates it; or empty."""
    if device.device.type != "cpu" or device.dtype != torch.bfloat16:
        return ""
    found = torch.cpu.get_capabilities()
    if any(bool(found.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16")):
        return ""
    ratio = _convolution_seconds(torch.bfloat16) / _convolution_seconds(torch.float32)
    if ratio <= 1:
        return ""
    return (
        f"training.precision is bf16, which this processor only emulates: a convolution takes {ratio:.1f} times as "
        "long as in fp32; use auto or fp32"
    )


def _convolution_seconds(dtype: torch.dtype) -> float:
    """The shortest of three times of a convolution of 8 pictures of 32 x 32 pixels with 64 channels."""
    layer = torch.nn.functional.conv2d
    pictures, weight = torch.ones(8, 64, 32, 32, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
    seconds = []
    for _ in range(4):  # the first prepares
        began = time.perf_counter()
        layer(pictures, weight, padding=1)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def tune(device: torch.device) -> None:
    """Set the process up for training on a device.

    On CUDA devices cuDNN measures which convolution is fastest (``torch.backends.cudnn.benchmark``), and fp32 products
    use TF32 (``torch.set_float32_matmul_precision("high")``). On the CPU, `keep_freed_memory`.
    """
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``."""


def keep_freed_memory() -> None:
    """Let the allocator of glibc keep freed blocks of up to 1 GiB, 2 GiB together, for the next step.

    By default it returns blocks of more than 32 MiB to the system when they are freed, so that each step of a training
    gets its activations as new pages: 12 % of the CPU time of a DCGAN's step (benchmarks/trainer/allocator.json).
    Nothing happens with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 1 << 25)


def seed_everything(seed: int, device: torch.device | None = None) -> None:
    """Seed the global generators of Python, numpy and torch, for code that uses them (dropout, initialization)."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    seed_torch(seed, device)


def seed_torch(seed: int, device: torch.device | None = None) -> None:
    """Seed torch's global generators of the CPU and of the accelerator `device`.

    `torch.manual_seed` would seed every kind of accelerator, and queue each call with its stack for those that are not
    initialized, which is too slow in a training step.
    """
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out. On the CPU, torch only says so in the message."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
