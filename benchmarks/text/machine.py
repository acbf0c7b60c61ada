"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> dict[str, object]:
    """CPU model, cores, threads and versions; no names of hosts or folders."""
    import numpy
    import torch
    import transformers

    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")), cpu
        )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "transformers": transformers.__version__,
    }


def shared_text() -> Path:
    """The folder of real texts beside the checkout, or ``$GAN_SHARED``."""
    root = Path(__file__).parents[2]
    for place in (Path(os.environ.get("GAN_SHARED", root / "../shared")), root / "../../shared"):
        if (place / "data" / "text").is_dir():
            return place / "data" / "text"
    raise SystemExit("no ../shared/data/text beside the checkout")
