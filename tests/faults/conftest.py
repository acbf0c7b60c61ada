"""Tiny trainings of real methods, and processes that fail on demand."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from fault_injection import FaultyProcess, PowerCut, final_state
from gan.storage.durable import ASIDE
from gan.testing import install

ROOT = Path(__file__).parents[2]
TRAINING = {"samples": 48, "batch": 8, "tick": 8, "checkpoint_ticks": 2, "keep_checkpoints": 2, "preview_ticks": 3}
SHORT = {**TRAINING, "samples": 32}
EVALUATION = {"metrics": [], "artefacts": 1, "samples": 8}
RECIPES = {
    "toy": {
        "plugin": "toy",
        "architecture": "mlp",
        "loss": "non-saturating",
        "model": {"hidden": 8, "layers": 1},
        "training": {**TRAINING, "ema_half_life": 50},
    },
    "dcgan": {
        "plugin": "image",
        "architecture": "dcgan",
        "modality": {"resolution": 32, "channels": 1},
        "model": {"latent": 4, "generator_width": 2, "discriminator_width": 2},
        "loss": "non-saturating",
        "data": {"source": "digits"},
        "training": {**SHORT, "ema_half_life": 50},
    },
    "framegan": {
        "plugin": "music",
        "architecture": "framegan",
        "modality": {"tracks": "chorale", "bars": 2, "steps_per_beat": 2, "lowest": 48, "pitches": 24},
        "model": {"latent": 4, "width": 16, "monophonic": "all"},
        "loss": "relativistic-pairing",
        "penalties": [{"name": "r1"}],
        "data": {"source": "midi"},
        "training": {**SHORT, "ema_half_life": 50},
    },
    "seqgan": {
        "plugin": "text",
        "architecture": "seqgan",
        "modality": {"tokens": "characters", "length": 8},
        "model": {
            "embedding": 4, "hidden": 4, "rollouts": 1, "filters": [[1, 4], [2, 4]], "discriminator_embedding": 4,
            "negatives": 16, "renew": 16, "generator_interval": 1,
        },
        "loss": "non-saturating",
        "data": {"source": "text"},
        "phases": {"mle": {"samples": 8}, "discriminator": {"samples": 8}, "adversarial": {"samples": 16}},
        "training": SHORT,
    },
    "cyclegan": {
        "plugin": "image",
        "architecture": "cyclegan",
        "modality": {"resolution": 16, "channels": 1, "layout": "unpaired"},
        "model": {"generator_width": 2, "discriminator_width": 2, "layers": 1, "blocks": 1, "pool": 20},
        "loss": "least-squares",
        "data": {"source": "pictures"},
        "training": {**SHORT, "ema_half_life": 50},
    },
}  # fmt: skip
SWEPT = ("toy", "dcgan", "framegan", "seqgan")
"""Recipes whose every call is put under faults. Two checkpoints are kept of the toy's four and of the others' three, so
that pruning is under them too. CycleGAN is there for its pools of past pictures."""


def write_midi(folder: Path) -> None:
    """Six songs of four voices and eight bars of quarter notes."""
    import mido

    for song in range(6):
        file = mido.MidiFile(ticks_per_beat=24)
        for voice in range(4):
            track = mido.MidiTrack()
            for beat in range(32):
                pitch = 50 + 5 * (3 - voice) + (beat * (song + 1) + voice) % 5
                track.append(mido.Message("note_on", note=pitch, velocity=80, time=0))
                track.append(mido.Message("note_off", note=pitch, velocity=0, time=24))
            file.tracks.append(track)
        file.save(folder / f"{song}.mid")


def write_text(folder: Path) -> None:
    """Sixty short lines."""
    lines = [f"the {('cat', 'dog', 'owl')[i % 3]} {('ran', 'sat')[i % 2]} {i}" for i in range(60)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n")


def write_pictures(folder: Path) -> None:
    """Eight pictures of noise of each of two kinds."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in "ab":
        (folder / kind).mkdir()
        for number in range(8):
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / kind / f"{number}.png")


DATA = {"midi": write_midi, "text": write_text, "pictures": write_pictures}


@dataclass
class Runs:
    """Runs of one recipe; every one in a watched folder of its own."""

    process: FaultyProcess
    recipe: Path
    work: Path
    reference: dict[str, bytes]
    """What a run that nobody disturbed ends with."""
    letters: str = ""
    """The kinds of the calls that such a run makes in its folder, one letter each (see ``fault_injection.c``)."""
    seconds: float = 0.0
    """How long it takes."""
    resumed: int = 0
    """How many lives went on from a checkpoint past the first."""

    @property
    def operations(self) -> int:
        """Calls that an undisturbed run makes in its folder."""
        return len(self.letters)

    @property
    def kills(self) -> int:
        """Those of them that change the folder: all but the syncs."""
        return self.operations - self.letters.count("S")

    def new(self) -> Path:
        """A path for a run in a new, empty folder."""
        self.counter = getattr(self, "counter", itertools.count())
        root = self.work / f"runs-{next(self.counter)}"
        root.mkdir()
        return root / "run"

    def start(self, run: Path, **faults):
        """`gan run` under faults."""
        return self.process.run(["run", "--recipe", self.recipe, "--out", run], root=run.parent, **faults)

    def go_on(self, run: Path, *flags: str, **faults):
        """`gan resume`, or `gan run` where a run was killed before it was one."""
        if not (run / "recipe.yaml").is_file():
            return self.start(run, **faults)
        life = self.process.run(["resume", run, *flags], root=run.parent, **faults)
        self.resumed += life.started_from > 0
        return life

    def check_equal(self, run: Path, life) -> None:
        """The run ended as if nothing had happened; its folder is removed."""
        assert life.code == 0, life.errors
        found = final_state(run)
        assert found["names"].decode().splitlines() == self.is_baseline["names"].decode().splitlines()
        assert [name for name in self.is_baseline if found.get(name) != self.is_baseline[name]] == []
        kept = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert kept[-len(self.checkpoints) :] == self.checkpoints
        assert len(kept) <= len(self.checkpoints) + 1  # a power cut may undo the last deletion
        assert not any(name.startswith(ASIDE) for name in kept)
        shutil.rmtree(run.parent)


def available(names=tuple(RECIPES)) -> list[str]:
    """Those of the recipes whose plugin lies beside the core."""
    return [n for n in names if n == "toy" or (ROOT / "plugins" / f"gan-{RECIPES[n]['plugin']}").is_dir()]


TOY = """
import os
from gan.testing.toy import *
if patch := os.environ.get("GAN_FAULT_PATCH"):  # for processes that no FaultyProcess starts
    import gan_faults_patches
    getattr(gan_faults_patches, patch)()
"""


@pytest.fixture(scope="session")
def process(tmp_path_factory):
    work = tmp_path_factory.mktemp("faults")
    install(work / "site", "toy", {"gan_toy.py": TOY})
    (work / "site" / "gan_faults_patches.py").write_text((Path(__file__).parent / "patches.py").read_text())
    nowhere = str(work / "nowhere")  # no git is found, which would be asked twice in every life
    with FaultyProcess(work, {"GAN_CACHE": str(work / "cache"), "PATH": nowhere}, [work / "site"]) as running:
        yield running


@pytest.fixture(scope="session")
def all_runs(process):
    """Runs by the name of their recipe, made when they are first asked for."""
    made: dict[str, Runs] = {}

    def runs_of(name: str) -> Runs:
        if name not in made:
            work = process.work / name
            work.mkdir()
            recipe = work / "recipe.yaml"
            values = {"evaluation": EVALUATION, "seed": 5, **RECIPES[name]}
            source = values.get("data", {}).get("source")
            if source in DATA:
                (work / source).mkdir()
                DATA[source](work / source)
                values["data"] = {"source": str(work / source)}
            recipe.write_text(yaml.safe_dump(values))
            runs = Runs(process, recipe, work, {})
            first = runs.new()  # the first run also packs the data
            assert (life := runs.start(first)).code == 0, life.errors
            again = runs.new()
            life = runs.start(again, mode="log", log=work / "log")
            assert life.code == 0, life.errors
            runs.log_root = again.parent
            events = PowerCut(work / "log", again.parent).events
            runs.letters = "".join(event[1] for event in events if event[1] != "N")
            runs.seconds = life.seconds
            assert len(runs.letters) == life.operations
            runs.is_baseline = final_state(first)
            runs.checkpoints = sorted(path.name for path in (first / "checkpoints").iterdir())
            runs.check_equal(again, life)
            made[name] = runs
        return made[name]

    return runs_of


@pytest.fixture(params=available(SWEPT))
def runs(request, all_runs):
    """Every recipe of `SWEPT` in turn."""
    return all_runs(request.param)


@pytest.fixture(params=available())
def any_runs(request, all_runs):
    """Every recipe in turn."""
    return all_runs(request.param)


@pytest.fixture
def toy(all_runs):
    """The cheap recipe."""
    return all_runs("toy")
