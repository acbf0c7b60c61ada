"""Runs code of a test in a child process with limits on memory and CPU time. Linux only.

output = bounded(CODE, tmp_path, megabytes=500, seconds=60)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_FRAME = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds} + 5))
{code}
print("peak", *(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
# `getrusage` would also count the memory of the parent process


def bounded(code: str, *arguments: str | Path, megabytes: int, seconds: int) -> str:
    """The output of ``python -c CODE ARGUMENTS``. Raises `AssertionError` when it fails, needs more CPU time than
    `seconds` (the kernel kills it) or more peak memory than `megabytes`, Python included."""
    command = [sys.executable, "-c", _FRAME.format(seconds=seconds, code=code), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode} (-24: more than {seconds} s of CPU time): {done.stderr}")
    output, _, peak = done.stdout.rpartition("peak ")
    if int(peak) > 1024 * megabytes:
        raise AssertionError(f"needed {int(peak) // 1024} MB at its peak, more than {megabytes}")
    return output
