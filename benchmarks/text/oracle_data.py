"""Write the dataset of a published SeqGAN oracle.

    python benchmarks/text/oracle_data.py ../shared/data/text/seqgan_oracle.npz FOLDER [--seed 0]

Writes ``oracle.npz`` and 10,000 sequences of 20 tokens; train with ``--data FOLDER``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gan_text.oracle import write_oracle_data


def write(weights, folder, seed):
    """Write a dataset sampled from the oracle in a file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(weights, allow_pickle=False) as file:
        write_oracle_data(folder, {name: file[name] for name in file.files}, seed=seed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.weights, options.folder, options.seed)


if __name__ == "__main__":
    main()
