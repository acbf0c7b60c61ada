"""The command line as a user meets it: help without torch, mistakes in one or two lines with the right exit code."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys

import pytest
from gan.testing import install
from prepared import run_gan

TOY = """
from gan.testing.toy import *
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An environment of its own: a cache, a working folder, and the toy plugin installed beside the core."""
    install(tmp_path / "site", "toy", {"gan_toy.py": TOY})
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GAN_")},
        "PYTHONPATH": str(tmp_path / "site"),
        "GAN_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    monkeypatch.chdir(tmp_path)
    return environment


def gan(home, *arguments, code=0, **changes):
    done = run_gan(arguments, {**home, **changes})
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["generate", "--help"], ["plugins"], ["resume", "-h"]]
)
def test_start_up_imports_nothing_heavy(home, arguments):
    """Help, listing and completion do without torch, numpy, pydantic, matplotlib."""
    program = (
        "import sys; from gan.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('HEAVY', sorted({'torch','numpy','pydantic','matplotlib','scipy','PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=home, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_completion_names_plugins_without_torch(home):
    program = (
        "import os, sys\n"
        "os.environ.update(_GAN_COMPLETE='bash_complete', COMP_LINE='gan run --plugin t')\n"
        "from gan.cli import main\n"
        "try: main([])\n"
        "finally: print('HEAVY', 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=home, capture_output=True, text=True, timeout=60)
    assert "plain,toy" in done.stdout
    assert "HEAVY False" in done.stdout


LIGHT = {"torch", "numpy", "pydantic", "PIL"}
COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
"""What imports it costs more than torch itself."""
EVALUATION = {"scipy", "gan.evaluation.evaluate", "gan.training.session"}


@pytest.mark.parametrize(
    ("arguments", "unwanted", "most"),
    [
        (["plugins"], LIGHT | COMPILER | EVALUATION, 260),
        (["generate", "RUN", "--help"], LIGHT | COMPILER | EVALUATION, 260),
        (["generate", "RUN", "--count", "1", "--out", "OUT"], COMPILER | EVALUATION | {"matplotlib"}, 1500),
        (["run", "--plugin", "toy", "--samples", "256", "--out", "OUT/new"], COMPILER, 2100),
        (["evaluate", "RUN", "--count", "8"], COMPILER | {"scipy.stats", "matplotlib"}, 1700),
        (["diagnose", "RUN"], {"torch"} | COMPILER | EVALUATION, 1500),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_verb_imports_only_what_it_uses(trained, tmp_path_factory, arguments, unwanted, most):
    """And no more modules in all than `most`, torch's included: each costs about a millisecond."""
    run, home, _ = trained
    out = tmp_path_factory.getbasetemp() / "started"
    out.mkdir(exist_ok=True)
    program = (
        "import sys; from gan.cli import main\n"
        "try: main(sys.argv[2:])\n"
        "finally: open(sys.argv[1], 'w').write('\\n'.join(sys.modules))"
    )
    words = [word.replace("RUN", str(run)).replace("OUT", str(out)) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-c", program, str(out / "modules"), *words],
        env=home, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = (out / "modules").read_text().split()
    assert unwanted & set(found) == set()
    assert len(found) <= most
    if "--help" in arguments:
        assert "--truncation" in done.stdout


def test_the_help_of_an_older_run_or_a_changed_plugin_is_computed(trained, tmp_path):
    run, home, _ = trained
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    stored = json.loads((copied / "options.json").read_text())
    assert ["truncation", "Scale of the latent vectors; 1: as trained."] in stored["flags"]
    stored["versions"]["gan-toy"] = "0.0.0"
    stored["flags"] = []
    (copied / "options.json").write_text(json.dumps(stored))
    assert "--truncation" in gan(home, "generate", str(copied), "--help").stdout
    (copied / "options.json").unlink()
    assert "--truncation" in gan(home, "generate", str(copied), "--help").stdout


SHORT = ["--plugin", "toy", "--set", "training.tick=256", "--set", "evaluation.samples=64"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One short training of the toy, in a folder that tests only read."""
    folder = tmp_path_factory.mktemp("trained")
    install(folder / "site", "toy", {"gan_toy.py": TOY})
    home = {
        **os.environ,
        "PYTHONPATH": str(folder / "site"),
        "GAN_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gan", "run", *SHORT, "--samples", "1024", "--out", str(folder / "run")],
        env=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", home, done


def test_a_run_ends_with_its_table_and_files(trained):
    run, _, done = trained
    assert "toy/mlp on 8,192 samples" in done.stdout
    assert "modes" in done.stdout
    assert "samples  " in done.stderr  # one plain line a tick
    for name in ("recipe.yaml", "manifest.json", "metrics.jsonl", "README.md", "training.png", "modality.json"):
        assert (run / name).is_file(), name
    assert len(list((run / "samples").glob("sample-*.csv"))) == 8
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["samples"] for record in records] == [256, 512, 768, 1024]
    assert json.loads((run / "manifest.json").read_text())["exit"] == "finished"


def test_generate_writes_the_same_bytes_again(trained, tmp_path):
    run, home, _ = trained
    for folder in ("one", "two"):
        gan(home, "generate", str(run), "--count", "4", "--seed", "7", "--out", str(tmp_path / folder))
    gan(home, "generate", str(run), "--count", "1", "--first", "2", "--seed", "7", "--out", str(tmp_path / "third"))
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 10  # four samples with their records, a preview, the manifest
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    third = tmp_path / "third" / "sample-0002.csv"
    assert third.read_bytes() == (tmp_path / "one" / "sample-0002.csv").read_bytes()
    gan(home, "generate", str(run), "--count", "1", "--seed", "8", "--out", str(tmp_path / "other"))
    assert (tmp_path / "other" / "sample-0000.csv").read_bytes() != (tmp_path / "one" / "sample-0000.csv").read_bytes()


def test_generate_on_the_way_between_two_seeds(trained, tmp_path):
    run, home, _ = trained

    def points(folder):
        return [
            tuple(map(float, path.read_text().split(","))) for path in sorted((tmp_path / folder).glob("sample-*.csv"))
        ]

    gan(home, "generate", str(run), "--interpolate", "7", "8", "--count", "20", "--out", str(tmp_path / "way"))
    way = points("way")
    assert len(way) == 20
    for seed, end in (("7", way[0]), ("8", way[-1])):
        gan(home, "generate", str(run), "--count", "1", "--seed", seed, "--out", str(tmp_path / seed))
        assert end == pytest.approx(points(seed)[0], abs=1e-3)
    steps = [math.dist(one, other) for one, other in itertools.pairwise(way)]
    assert 0 < max(steps) < sum(steps) / 3, "the way has no leap"
    refused = gan(home, "generate", str(run), "--interpolate", "7", "8", "--first", "1", code=2)
    assert "--first" in refused.stderr


def test_generate_from_a_chosen_checkpoint(trained, tmp_path):
    """By its number of samples shown it is the newest one again; what is not kept is named with what is."""
    run, home, _ = trained
    for checkpoint in ("newest", "1024"):
        gan(home, "generate", str(run), "--count", "1", "--checkpoint", checkpoint, "--out", str(tmp_path / checkpoint))
    newest, numbered = (tmp_path / name / "sample-0000.csv" for name in ("newest", "1024"))
    assert newest.read_bytes() == numbered.read_bytes()
    lacking = gan(home, "generate", str(run), "--checkpoint", "300", "--out", str(tmp_path / "none"), code=2)
    assert "no checkpoint '300'; it has newest" in lacking.stderr
    assert "1024" in lacking.stderr
    no_best = gan(home, "generate", str(run), "--checkpoint", "best", "--out", str(tmp_path / "none"), code=4)
    assert "evaluation.best" in no_best.stderr
    assert not (tmp_path / "none").exists()


def test_a_recipe_file_does_the_run_again(trained, tmp_path):
    run, home, _ = trained
    gan(home, "run", "--recipe", str(run / "recipe.yaml"), "--out", str(tmp_path / "again"), "--quiet")
    for name in ("recipe.yaml", "metrics.jsonl", "samples/sample-0003.csv"):
        assert (run / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_resuming_a_finished_run_changes_nothing(trained):
    run, home, _ = trained
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}
    gan(home, "resume", str(run))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()} == before


def test_a_mistyped_flag_of_generate_is_answered_with_the_commands_own(trained):
    run, home, _ = trained
    assert "did you mean --count?" in gan(home, "generate", str(run), "--coutn", "5", code=2).stderr
    assert "did you mean --truncation?" in gan(home, "generate", str(run), "--truncaton", "1", code=2).stderr


def test_the_end_says_what_became_of_the_training(trained):
    """A verdict with its remedy first, then five numbers at most, each with its aim, then where everything is."""
    run, _, done = trained
    lines = done.stdout.splitlines()
    assert lines[0].startswith(("too short: ", "nearly equal artefacts: "))
    assert lines[1].startswith("what to do: train the whole recipe")
    header = next(n for n, line in enumerate(lines) if line.startswith("number"))
    assert lines[header].split() == ["number", "now", "aim", "before", "what", "it", "says"]
    assert lines[header + 1].split()[0] == "modes"
    assert " ↑ " in lines[header + 1]
    assert any(line.startswith("more") and f"gan generate {run}" in line for line in lines)


@pytest.mark.parametrize("columns", [60, *(pytest.param(width, marks=pytest.mark.slow) for width in (80, 120))])
def test_on_a_terminal_a_line_moves_and_stays_readable(home, tmp_path, columns):
    """In a pseudoterminal: percent, rate, time left and two losses in one line; paths are not cut."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    import fcntl
    import struct

    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    words = ["run", *SHORT, "--samples", "8192", "--set", "evaluation.artefacts=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gan", *words],
        stdin=secondary, stderr=secondary, stdout=subprocess.DEVNULL, cwd=tmp_path,
        env={**{k: v for k, v in home.items() if k not in ("COLUMNS", "LINES")}, "TERM": "xterm"},
    )  # fmt: skip
    os.close(secondary)
    seen = b""
    try:
        while part := _read(primary):
            seen += part
    finally:
        process.wait(timeout=60)
        os.close(primary)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "starting" in text, "before torch is imported"
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    moving = [line for line in lines if re.search(r"\d+ %  .*/s  [\d:…]+ left  .*dis\w* \S+  gen\w* \S+", line)]
    assert moving
    assert max(map(len, moving)) <= columns
    assert "preview  runs/toy-mlp-0001/previews/samples-000008192.png" in lines


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end was closed
        return b""


def test_json_lines_for_programs(home, tmp_path):
    done = gan(home, "run", *SHORT, "--samples", "512", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] == "tick"] == ["tick"] * 2
    assert events[-1]["event"] == "finished"
    assert len(events[-1]["artefacts"]) == 8
    assert (tmp_path / "runs" / "toy-mlp-0001" / "recipe.yaml").is_file()


def test_dry_run_shows_recipe_players_and_memory_and_writes_nothing(home, tmp_path):
    done = gan(home, "run", "--plugin", "toy", "--dry-run", "--set", "model.hidden=16")
    assert "hidden: 16" in done.stdout
    assert "player generator:" in done.stdout
    assert "memory: about" in done.stdout
    assert not (tmp_path / "runs").exists()
    assert json.loads(gan(home, "run", "--plugin", "toy", "--dry-run", "--json").stdout)["parameters"]["generator"] > 0


MISTAKES = [
    (["run", "--plugin", "tyo"], 2, ["no plugin named 'tyo'", "did you mean 'toy'"]),
    (["run", "--plugin", "sketch"], 2, ["'sketch'", "install"]),
    (["run"], 2, ["--plugin", "toy"]),
    (["run", "tyo"], 2, ["no plugin named 'tyo'", "did you mean 'toy'"]),
    (["run", "toy", "--plugin", "toy"], 2, ["toy and --plugin both say what is trained"]),
    (["run", "toy", "--coutn", "5"], 2, ["--coutn"]),
    (["run", "--plugin", "toy", "--set", "hidden=64"], 2, ["unknown key 'hidden'", "did you mean 'model.hidden'"]),
    (["run", "--plugin", "toy", "--set", "batch=8"], 2, ["unknown key 'batch'", "did you mean 'training.batch'"]),
    (["run", "--plugin", "toy", "--set", "extent=3"], 2, ["unknown key 'extent'", "did you mean 'modality.extent'"]),
    (["run", "toy", "--data", "./nowhere", "--dry-run"], 3, ["nowhere", "does not exist"]),
    (["run", "toy", "--minutes", "0"], 2, ["--minutes"]),
    (["run", "--plugin", "toy", "--architecture", "mpl"], 2, ["no architecture named 'mpl'", "did you mean 'mlp'"]),
    (["run", "--plugin", "toy", "--set", "training.bacth=3"], 2, ["training.bacth", "did you mean 'batch'"]),
    (["run", "--plugin", "toy", "--set", "model.hiden=3"], 2, ["model.hiden", "did you mean 'hidden'"]),
    (["run", "--plugin", "toy", "--set", "training.batch=many"], 2, ["training.batch", "'many'"]),
    (["run", "--plugin", "toy", "--set", "loss=hinges"], 2, ["no loss named 'hinges'", "did you mean 'hinge'"]),
    (["run", "--plugin", "toy", "--set", "optimizers.generator.lrate=1"], 2, ["optimizers.generator.lrate", "'lr'"]),
    (["run", "--plugin", "toy", "--set", "optimizers.critic.lr=1"], 2, ["generator, discriminator"]),
    (["run", "--plugin", "toy", "--set", "penalties.0.wieght=1"], 2, ["wieght", "did you mean 'weight'"]),
    (["run", "--plugin", "toy", "--set", "training.samples"], 2, ["KEY=VALUE"]),
    (["run", "--recipe", "none.yaml"], 2, ["no recipe file none.yaml"]),
    (["run", "--plugin", "toy", "--device", "quantum"], 2, ["quantum"]),
    (["run", "--plugin", "toy", "--data", "rinng"], 2, ["no file or folder 'rinng'", "did you mean 'ring'"]),
    (["run", "--plugin", "toy", "--data", "./nowhere"], 3, ["nowhere", "does not exist"]),
    (["run", "--plugin", "toy", "--data", "empty"], 3, ["empty", "no file with a known ending"]),
    (["run", "--plugin", "toy", "--data", "broken"], 3, ["none of 2 files can be used", "one.csv"]),
    (["run", "--plugin", "toy", "--data", "small"], 3, ["3 samples", "fewer than training.batch", "batch=3"]),
    (["run", *SHORT, "--out", "full"], 2, ["full", "not empty", "--out"]),
    (["rnu"], 2, ["no command 'rnu'", "did you mean 'run'"]),
    (["generate", "nowhere"], 2, ["nowhere"]),
    (["resume", "empty"], 2, ["recipe.yaml"]),
]


@pytest.fixture
def here(home, monkeypatch, capfd):
    """Runs the command line in this process: (exit code, standard error)."""
    monkeypatch.syspath_prepend(home["PYTHONPATH"])
    monkeypatch.setenv("GAN_CACHE", home["GAN_CACHE"])
    monkeypatch.delenv("GAN_PLUGINS", raising=False)
    monkeypatch.setattr("gan.plugins.registry.owners", lambda: {"sketch": "gan-sketch"})  # known and not installed

    def call(*arguments):
        from gan.cli import main

        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        return stop.value.code, capfd.readouterr().err

    return call


@pytest.mark.parametrize(("arguments", "code", "expected"), MISTAKES, ids=[" ".join(m[0])[:60] for m in MISTAKES])
def test_a_mistake_is_reported_in_one_or_two_lines(here, tmp_path, arguments, code, expected):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "broken").mkdir()
    for name in ("one.csv", "two.csv"):
        (tmp_path / "broken" / name).write_text("not numbers\n")
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "points.csv").write_text("0,1\n1,0\n1,1\n")
    exit_code, error = here(*arguments)
    lines = [line for line in error.strip().splitlines() if not line.startswith("reading files")]
    assert exit_code == code, error
    assert 1 <= len(lines) <= 2, error
    assert "Traceback" not in error
    for text in expected:
        assert text in error, error


def test_a_full_disk_is_reported_with_the_path(home, tmp_path):
    """RLIMIT_FSIZE makes every write over 1000 bytes fail: exit 6, no traceback, nothing announced as saved."""
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from gan.cli import main; main(sys.argv[1:])"
    )
    gan(home, "run", *SHORT, "--samples", "256", "--out", "warm", "--quiet")
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *SHORT, "--samples", "512", "--out", "run"],
        env=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 6, done.stderr
    assert "run" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
