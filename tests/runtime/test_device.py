"""Choosing a device has no side effect on the process group; `init_runtime` joins it once."""

from __future__ import annotations

import ctypes
import resource
import socket
import sys
from datetime import timedelta

import pytest
import torch
from gan.errors import UsageError
from gan.runtime.device import _convolution_seconds, choose_device, slow_precision, tune
from gan.runtime.distributed import init_runtime, shutdown


@pytest.fixture
def launched(monkeypatch):
    """The environment that torchrun gives to the second of two processes, without the first."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_the_precision_of_a_cpu(precision, dtype):
    chosen = choose_device("cpu", precision)
    assert (chosen.device, chosen.dtype, chosen.rank, chosen.world_size) == (torch.device("cpu"), dtype, 0, 1)


def test_bf16_on_a_processor_without_it_is_told_with_its_cost(monkeypatch):
    chosen = choose_device("cpu", "bf16")
    seconds = {torch.bfloat16: 0.34, torch.float32: 0.02}
    monkeypatch.setattr("gan.runtime.device._convolution_seconds", seconds.__getitem__)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    assert "17.0 times as long as in fp32; use auto or fp32" in slow_precision(chosen)
    assert slow_precision(choose_device("cpu", "fp32")) == ""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert slow_precision(chosen) == ""
    monkeypatch.undo()
    assert 0 < _convolution_seconds(torch.float32) < 5


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="no device named 'gpu'"):
        choose_device("gpu")


def test_choosing_a_device_joins_no_process_group(launched):
    assert choose_device("cpu").world_size == 1
    assert not torch.distributed.is_initialized()


def test_a_single_process_joins_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert init_runtime("cpu").world_size == 1
    assert not torch.distributed.is_initialized()
    shutdown()


def test_a_launched_process_joins_its_group_once(launched, monkeypatch):
    joined = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: bool(joined))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda kind, timeout: joined.append((kind, timeout)))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", joined.clear)
    for _ in range(2):
        chosen = init_runtime("cpu")
        assert (chosen.rank, chosen.world_size, joined) == (1, 2, [("gloo", timedelta(hours=24))])
    shutdown()
    shutdown()
    assert joined == []


def test_a_group_of_one_is_left_at_shutdown():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    shutdown()
    assert not torch.distributed.is_initialized()


def test_pytorch_is_tuned_on_cuda_only(monkeypatch):
    from gan.runtime.device import tune

    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    tune(torch.device("cpu"))
    assert (said, torch.backends.cudnn.benchmark) == ([], False)
    tune(torch.device("cuda"))
    assert (said, torch.backends.cudnn.benchmark) == (["high"], True)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="glibc")
def test_freed_memory_is_kept_for_the_next_step():
    """A block of 64 MiB that was freed is taken again without new pages, which would be 16,384 page faults, once the
    heap has a place for it that nothing else divides."""
    tune(torch.device("cpu"))

    def step():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    for _ in range(20):
        step()
    assert min(step() for _ in range(5)) < 1_000
