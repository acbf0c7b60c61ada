"""Work of a test in a process of its own that may not use more than so much memory and CPU time. Linux only.

said = bounded(CODE, tmp_path, megabytes=500, seconds=60)
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
# `getrusage` would count the memory of the process that started this one, too


def bounded(code: str, *arguments: str | Path, megabytes: int, seconds: int) -> str:
    """What ``python -c CODE ARGUMENTS`` says. Raises `AssertionError` when it fails, when it needs more CPU time than
    `seconds` (the kernel ends it then) or more memory at its peak than `megabytes`, Python included."""
    command = [sys.executable, "-c", _FRAME.format(seconds=seconds, code=code), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"ended with {done.returncode} (-24: more than {seconds} s of CPU time): {done.stderr}")
    said, _, peak = done.stdout.rpartition("peak ")
    if int(peak) > 1024 * megabytes:
        raise AssertionError(f"needed {int(peak) // 1024} MB at its peak, more than {megabytes}")
    return said
