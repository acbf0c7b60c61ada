"""Named pictures. Each function fills an empty folder with files that the modality reads."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from gan.contracts import Download
from numpy.typing import NDArray


def digits(folder: Path, download: Download) -> None:
    """Scikit-learn's handwritten digits as IDX files: 1,797 pictures of 8x8 pixels and their labels.

    The original's 0 … 16 become 0 … 255.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    write_idx(folder / "digits-images-idx3-ubyte", np.rint(bunch.images * (255 / 16)).astype(np.uint8))
    write_idx(folder / "digits-labels-idx1-ubyte", bunch.target.astype(np.uint8))


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """`values` in the format of MNIST: big-endian magic and sizes, then bytes."""
    path.write_bytes(struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes())
