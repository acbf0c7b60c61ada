"""`gan runs` lists and cleans; completion offers recipes, architectures, runs and keys without importing torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from gan import api
from gan.cli.completion import config_keys
from gan.errors import UsageError
from gan.plugins.manager import Plugins
from gan.reporting.run_list import removable, runs_in
from gan.storage.run_folder import RunFolder
from prepared import run_gan


@pytest.fixture(scope="module")
def folder(tmp_path_factory, plugins):
    """A finished run with two checkpoints, one that trained nothing, one that was killed, and one that is damaged."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ["training.samples=512", "training.batch=64", "training.tick=128", "training.checkpoint_ticks=2"]
    settings += ["training.preview_ticks=0", "evaluation.samples=64", "evaluation.artefacts=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        values = api.recipe("toy", settings=settings, plugins=plugins)
        api.train(values, out=folder / "all" / "done", plugins=plugins)
    for name in ("empty", "killed", "broken"):
        shutil.copytree(folder / "all" / "done", folder / "all" / name)
        shutil.rmtree(folder / "all" / name / "evaluation")
    manifest = json.loads((folder / "all" / "killed" / "manifest.json").read_text())
    for name, drop in (("empty", "metrics.jsonl"), ("killed", None)):
        run = folder / "all" / name
        record = {key: value for key, value in manifest.items() if key not in ("sealed", "seal", "sha256")}
        (run / "manifest.json").write_text(json.dumps({**record, "exit": None, "samples": 0}))
        if drop:
            (run / drop).unlink()
    (folder / "all" / "broken" / "recipe.yaml").write_text("[")
    return folder / "all"


def gan(*words, code=0, cwd=None):
    done = run_gan([str(word) for word in words], {**os.environ, "OMP_NUM_THREADS": "1"}, cwd)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_every_run_says_what_it_is(folder):
    infos = {info.path.name: info for info in runs_in(folder)}
    done = infos["done"]
    assert (done.title, done.state, done.samples, done.share) == ("toy/mlp", "finished", 512, 1.0)
    assert done.best.startswith("modes ")
    assert done.verdict
    assert done.size > 10_000
    assert infos["empty"].state == infos["killed"].state == "interrupted"
    assert infos["empty"].samples == 0
    assert infos["broken"].state.startswith("damaged: ")
    with RunFolder(folder / "killed").lock():
        assert {info.path.name: info.state for info in runs_in(folder)}["killed"] == "training"
    table = gan("runs", "--in", folder).stdout.splitlines()
    assert table[0].split()[:4] == ["RUN", "PLUGIN", "STATE", "DONE"]
    assert any(line.startswith(f"{folder}/done") and "100 %" in line and "toy/mlp" in line for line in table)
    assert len(json.loads(gan("runs", "--in", folder, "--json").stdout)) == 4
    assert "--in" in gan("runs", "--in", folder / "none", code=2).stderr
    assert f"gan runs --in {folder}" in gan("runs", folder, code=2).stderr


def test_clean_lists_first_and_removes_only_what_nobody_needs(folder, tmp_path):
    here = tmp_path / "all"
    shutil.copytree(folder, here)
    listed = gan("runs", "--in", here, "clean", "--checkpoints")
    assert f"{here}/empty" in listed.stdout
    assert f"{here}/killed" not in listed.stdout
    assert f"{here}/done/checkpoints/samples-000000256" in listed.stdout
    assert "remove it with --yes" in listed.stderr
    assert (here / "empty").is_dir()
    gan("runs", "--in", here, "clean", "--yes")
    assert sorted(path.name for path in here.iterdir()) == ["broken", "done", "killed"]
    gan("runs", "--in", here, "clean", "--checkpoints", "--yes")
    assert [path.name for path in (here / "done" / "checkpoints").iterdir()] == ["samples-000000512"]
    assert "nothing to remove" in gan("runs", "--in", here, "clean").stderr


def test_a_packed_model_names_no_path_and_is_never_cleaned(folder, tmp_path, plugins, monkeypatch):
    """Data of one's own leave their name only; weights, numbers and recipe are there; it makes samples."""
    from gan.control.tuned_run import pack_run
    from gan.plugins.models import is_packed, refuse_packed

    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "secret" / "points"
    own.mkdir(parents=True)
    (own / "a.csv").write_text("".join(f"{n % 3},{n % 5}\n" for n in range(256)))
    short = {"training": {"samples": 128, "batch": 64}, "evaluation": {"samples": 64, "artefacts": 2}}
    result = api.train({"plugin": "toy", **short}, data=own, out=tmp_path / "secret" / "run", plugins=plugins)
    path = pack_run(
        api.load(result, plugins=plugins), tmp_path / "models", name="mine", command="gan run x", licence="MIT"
    )
    assert is_packed(path)
    with pytest.raises(UsageError, match="nothing is written into it"):
        refuse_packed(path)
    for file in path.rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes(), file
    (info,) = runs_in(tmp_path / "models")
    assert (info.state, info.samples) == ("packed", 128)
    assert not list(removable([info], checkpoints=True))
    one, other = (api.generate(run, 2, seed=3, plugins=plugins) for run in (result, path))
    assert (one.fields["points"] == other.fields["points"]).all()
    with pytest.raises(UsageError, match="without a training to continue"):
        api.resume(path, plugins=plugins)
    earlier = api.load(folder / "done", checkpoint=256, plugins=plugins)
    with pytest.raises(UsageError, match="weights are of 256 samples and the numbers of 512"):
        pack_run(earlier, tmp_path / "models", name="earlier", command="", licence="")


def completed(words, cwd):
    program = (
        "import os, sys\n"
        "os.environ.update(_GAN_COMPLETE='bash_complete', COMP_LINE=sys.argv[1])\n"
        "from gan.cli import main\n"
        "try: main([])\n"
        "finally: print('HEAVY', sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, words], capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout + done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines()[:-1]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("gan run --plugin image --recipe dcgan-d", {"dcgan-digits"}),
        ("gan run --plugin image --architecture stylega", {"stylegan2"}),
        ("gan run image --set training.mi", {"training.minutes=", "training.micro_batch="}),
        ("gan run --plugin image --architecture dcgan --set model.generator_w", {"model.generator_width="}),
        ("gan run --plugin music --set modality.min_no", {"modality.min_notes="}),
        ("gan run --set see", {"seed="}),
        ("gan page runs/do", {"runs/done"}),
        ("gan generate zoo:chor", {"chorales"}),  # bash keeps what stands before the colon
    ],
)
def test_completion(words, found, folder, tmp_path):
    (tmp_path / "runs").mkdir()
    shutil.copytree(folder / "done", tmp_path / "runs" / "done")
    assert found <= set(completed(words, tmp_path))


def test_bash_itself_completes(folder, tmp_path):
    """Names are kept where files are possible as well, words are found behind a colon, and a key ends with =."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    (tmp_path / "runs").mkdir()
    shutil.copytree(folder / "done", tmp_path / "runs" / "done")
    lines = {
        "gan run image --recipe dcgan-d": "dcgan-digits",
        "gan generate zoo:chor": "chorales",
        "gan run --set training.mi": "training.micro_batch= training.minutes=",
        "gan generate runs/do": "runs/done",
        "gan resu": "resume",
    }
    script = (
        f'gan() {{ "{sys.executable}" -m gan "$@"; }}; eval "$(_GAN_COMPLETE=bash_source gan)"; compopt() {{ :; }}\n'
        'env() { local pair; for pair in "${@:1:2}"; do export "$pair"; done; "${@:3}"; unset _GAN_COMPLETE; }\n'
    )
    for line in lines:
        script += f'COMP_LINE={line!r} COMP_POINT={len(line)}; _gan_completion gan; echo "${{COMPREPLY[*]}}"\n'
    done = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [" ".join(sorted(line.split())) for line in done.stdout.splitlines()]
    assert found == list(lines.values()), done.stderr


def test_keys_are_those_of_the_classes():
    """For every architecture and modality of this repository: what the source says is what pydantic knows."""
    plugins = Plugins.installed()
    for hook in ("gan_modalities", "gan_architectures"):
        for entry in plugins.entries(hook):
            config = plugins.load(entry).Config
            own = [name for name in config.model_fields if name in config.__annotations__]
            assert set(own) <= set(config_keys(entry.entry.target)), entry.entry.target
