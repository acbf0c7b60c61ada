"""The oracle benchmark of SeqGAN: a random LSTM that defines a synthetic language with exact likelihoods.

Yu et al., SeqGAN, AAAI 2017, section 4: every weight is sampled from N(0, 1); the oracle's samples are the real data,
and a generator is judged by the oracle's likelihood of its samples (NLL-oracle in nats per token; lower is better).
The published oracle's samples score 5.75 and uniform tokens 11.45 at V=5000, T=20; the paper's table: random 10.310,
MLE 9.038, SeqGAN 8.736.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan.contracts import Download
from gan.errors import BadData
from torch import Tensor

from gan_text.networks.lstm import LSTMGenerator

GATES = ("i", "f", "o_gate", "c")
"""Order of the gates in the published file, and in `LSTMGenerator`."""
FILE = "oracle.npz"
"""Name of the file with the oracle's weights, next to its samples."""


def draw_oracle(words: int = 5000, width: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """A new oracle, in the format of the published one; every weight is from N(0, 1)."""
    source = np.random.Generator(np.random.PCG64(seed))

    def normal(*shape: int) -> np.ndarray:
        return source.standard_normal(shape, dtype=np.float32)

    arrays = {"embeddings": normal(words, width)}
    for gate in GATES:
        arrays[f"W_{gate}"] = normal(width, width)
        arrays[f"U_{gate}"] = normal(width, width)
        arrays[f"b_{gate}"] = normal(width)
    return arrays | {"W_out": normal(width, words), "b_out": normal(words)}


def load_oracle(path: Path) -> LSTMGenerator:
    """Load an oracle from a file and check its names and shapes; raises `BadData`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadData(f"cannot be read as an oracle: {error}", path) from error
    return oracle_from(arrays, path)


def oracle_from(arrays: Mapping[str, np.ndarray], path: Path | str = "oracle") -> LSTMGenerator:
    """Build the network from an oracle's arrays."""
    try:
        words, width = arrays["embeddings"].shape
        parts = [np.concatenate([arrays[f"{kind}_{gate}"] for gate in GATES], -1) for kind in ("W", "U", "b")]
        weights = {
            "embedding": arrays["embeddings"], "input_weight": parts[0], "hidden_weight": parts[1],
            "gate_bias": parts[2], "output_weight": arrays["W_out"], "output_bias": arrays["b_out"],
        }  # fmt: skip
        oracle = LSTMGenerator(words, width, len(arrays["W_out"]))
        oracle.load_state_dict({n: torch.from_numpy(np.asarray(w, dtype=np.float32)) for n, w in weights.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadData(f"is not an oracle: {error}", path) from error
    return oracle.requires_grad_(False)


@torch.no_grad()
def nll_oracle(oracle: LSTMGenerator, tokens: Tensor, block: int = 2000) -> Tensor:
    """``(N, T)`` -> ``(N,)``: mean nats per token of each sequence under the oracle."""
    return torch.cat([oracle.nll(part).mean(1) for part in torch.split(tokens, block)])


def oracle_samples(oracle: LSTMGenerator, count: int, length: int, seed: int) -> np.ndarray:
    """``(count, length)`` int64 sequences sampled from the oracle."""
    uniforms = np.random.Generator(np.random.PCG64([seed, 1])).random((count, length), dtype=np.float32)
    return oracle.sample(torch.from_numpy(uniforms)).numpy()


def write_oracle_data(
    folder: Path, arrays: Mapping[str, np.ndarray], *, count: int = 10_000, length: int = 20, seed: int = 0
) -> None:
    """Write a dataset: ``oracle.npz`` and ``sentences.txt`` with one sequence per line, as in the authors' code."""
    samples = oracle_samples(oracle_from(arrays), count, length, seed)
    contents: dict[str, Any] = dict(arrays)
    np.savez(folder / FILE, **contents)
    lines = [" ".join(map(str, row)) for row in samples.tolist()]
    (folder / "sentences.txt").write_text("\n".join(lines) + "\n", encoding="ascii")


def oracle_of(modality: Any) -> LSTMGenerator:
    """The oracle of a run's dataset; raises `BadData` if there is none or its file has changed."""
    about = modality.facts.get("oracle")
    if about is None:
        raise BadData(f"the data have no oracle: there is no {FILE} next to them")
    path = Path(about["path"])
    if not path.is_file():
        raise BadData("the oracle of this run's data is missing", path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != about["sha256"]:
        raise BadData("is not the oracle that the data were sampled from", path)
    return load_oracle(path)


def fill_oracle(folder: Path, download: Download) -> None:
    """The dataset ``oracle``: 10,000 sequences of 20 tokens from a new oracle."""
    write_oracle_data(folder, draw_oracle())
