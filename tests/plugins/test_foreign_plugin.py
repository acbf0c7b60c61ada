"""A plugin that is not ours: another kind of data, another distribution, trained without a change to the core.

Table rows with a category and two amounts: nothing of it is a picture, a text or a sound.
"""

from __future__ import annotations

import csv
import json
import os

import pytest
from gan.testing import install
from prepared import run_gan

INIT = """
from gan.contracts import ArchitectureEntry, DatasetEntry, ModalityEntry, RecipeEntry
from gan.hookspecs import hookimpl

@hookimpl
def gan_modalities():
    yield ModalityEntry(name="table", summary="Rows of a table", target="gan_ledger.rows:Rows", dataset="ledger")

@hookimpl
def gan_architectures():
    yield ArchitectureEntry(name="tgan", summary="s", target="gan_ledger.tgan:TGAN", modality="table", paper="p")

@hookimpl
def gan_datasets():
    yield DatasetEntry(name="ledger", summary="s", target="gan_ledger.rows:ledger", modality="table", licence="none")

@hookimpl
def gan_recipes():
    yield RecipeEntry(
        name="ledger", summary="s", target="gan_ledger:ledger.yaml", architecture="tgan", default=True
    )
"""
ROWS = """
import csv, io
import numpy as np
from PIL import Image
from pydantic import BaseModel
from gan.contracts import FieldSpec, Modality
from gan.errors import BadData

class Rows(Modality):
    class Config(BaseModel, extra="forbid"):
        pass

    suffixes = (".tsv",)

    def survey(self, files):
        kinds = {row[0] for file in files for row in self._rows(file)}
        return {"kinds": sorted(kinds)}

    @property
    def fields(self):
        return {
            "kind": FieldSpec((), "int64", 0, len(self.facts["kinds"]) - 1, "category index"),
            "amounts": FieldSpec((2,), "float32", 0.0, 1000.0, "coins"),
        }

    def _rows(self, file):
        return [row for row in csv.reader(io.StringIO(file.data().decode()), delimiter="\\t") if row]

    def read(self, file):
        for row in self._rows(file):
            if len(row) != 3:
                raise BadData("a row has three columns", file.name)
            yield {"kind": np.int64(self.facts["kinds"].index(row[0])), "amounts": np.array(row[1:], np.float32)}

    def write(self, sample, stem, options=None):
        path = stem.with_name(stem.name + ".tsv")
        left, right = sample["amounts"].tolist()
        path.write_text(f"{self.facts['kinds'][int(sample['kind'])]}\\t{left:.2f}\\t{right:.2f}\\n")
        return path

    def preview(self, samples):
        return Image.fromarray((samples["amounts"] / 1000 * 255).astype("uint8"))

def ledger(folder, download):
    rng = np.random.default_rng(0)
    with open(folder / "rows.tsv", "w") as file:
        for _ in range(400):
            bread = rng.random() < 0.5
            base = 100 if bread else 700
            file.write(f"{'bread' if bread else 'iron'}\\t{base + rng.random() * 50:.2f}\\t{base / 2:.2f}\\n")
"""
TGAN = """
import torch
from torch import nn
from pydantic import BaseModel
from gan.adversarial import adversarial_turns
from gan.game import Optimizer, Phase, Player

class TGAN(nn.Module):
    class Config(BaseModel, extra="forbid"):
        width: int = 32

    def __init__(self, config, fields):
        super().__init__()
        self.kinds = int(fields["kind"].high) + 1
        self.register_buffer("scale", torch.tensor(fields["amounts"].high))
        self.generator = nn.Sequential(nn.Linear(8, config.width), nn.ReLU(), nn.Linear(config.width, self.kinds + 2))
        self.critic = nn.Sequential(nn.Linear(self.kinds + 2, config.width), nn.ReLU(), nn.Linear(config.width, 1))

    def _row(self, noise):
        out = self.generator(noise)
        return torch.cat([out[:, : self.kinds].softmax(1), out[:, self.kinds :].sigmoid()], 1)

    def _real(self, batch):
        return torch.cat([nn.functional.one_hot(batch["kind"], self.kinds), batch["amounts"] / self.scale], 1)

    def players(self):
        adam = Optimizer(lr=2e-3, betas=(0.0, 0.99))
        return {"generator": Player(self.generator, adam), "critic": Player(self.critic, adam)}

    def phases(self, loss, penalties):
        turns = adversarial_turns(
            loss, penalties, real=self._real, fake=lambda b: self._row(b.rng.randn(8)), critic=self.critic,
            discriminator="critic",
        )
        return [Phase("adversarial", turns)]

    def generate(self, count, rng, request):
        row = self._row(rng.randn(8))
        return {"kind": row[:, : self.kinds].argmax(1), "amounts": row[:, self.kinds :] * self.scale}
"""
RECIPE = "plugin: ledger\narchitecture: tgan\nloss: hinge\ntraining: {samples: 12800, batch: 64, device: cpu}\n"


@pytest.fixture
def gan(tmp_path):
    """A function that runs the command line with the foreign plugin installed."""
    files = {"__init__.py": INIT, "rows.py": ROWS, "tgan.py": TGAN, "ledger.yaml": RECIPE}
    install(tmp_path / "site", "ledger", {f"gan_ledger/{name}": text for name, text in files.items()})
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "GAN_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments: str) -> str:
        process = run_gan(arguments, environment, tmp_path)
        assert process.returncode == 0, process.stderr
        return process.stdout

    return run


def test_rows_of_a_table_are_listed_trained_resumed_and_made(gan, tmp_path):
    listed = {info["name"]: info for info in json.loads(gan("plugins", "--json"))}
    assert listed["ledger"]["status"] == "unloaded"
    assert [entry["name"] for entry in listed["ledger"]["offers"]["gan_architectures"]] == ["tgan"]
    gan("run", "--plugin", "ledger", "--quiet", "--out", "run")
    gan("resume", "run", "--quiet")
    gan("generate", "run", "--count", "64", "--seed", "3", "--out", "made", "--quiet")
    rows = [next(csv.reader(path.open(), delimiter="\t")) for path in sorted((tmp_path / "made").glob("*.tsv"))]
    assert len(rows) == 64
    kinds = {kind for kind, _, _ in rows}
    assert kinds <= {"bread", "iron"}
    # bread costs 100 … 150 and iron 700 … 750: a game that learned keeps a kind's amounts on its side of 425
    right = [float(left) < 425 if kind == "bread" else float(left) > 425 for kind, left, _ in rows]
    assert sum(right) >= 60, rows
