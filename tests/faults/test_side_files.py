"""The files beside the checkpoints: damaged, replaced by pipes, devices and links, or somebody else's.

Every command either makes them anew and says so, or refuses with 4 and the file's name before it trains; nothing
outside the folder is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from fault_injection import final_state, newest
from gan.storage.durable import ASIDE
from gan.storage.run_folder import RunFolder

UNLOADED = 600
"""Megabytes of a process that has imported torch and read nothing."""
SIDE_FILES = ("recipe.yaml", "manifest.json", "modality.json", "metrics.jsonl", "evaluation/untrained.json")


@pytest.fixture
def gan(toy):
    """Commands in forks of the prepared process."""
    nothing = toy.process.work / "unwatched"
    return lambda *arguments: toy.process.run(arguments, root=nothing, as_json=False)


@pytest.fixture
def runs_once(toy):
    """A run that was killed after some checkpoints and a finished one, to be copied."""
    if not hasattr(toy, "models"):
        half, whole = toy.new(), toy.new()
        assert toy.start(half, mode="kill", at=toy.kills * 2 // 3).code == -9
        assert toy.start(whole).code == 0
        toy.models = (half, whole)
    return toy.models


@pytest.fixture
def half(toy, runs_once):
    return shutil.copytree(runs_once[0], toy.new())


@pytest.fixture
def whole(toy, runs_once):
    return shutil.copytree(runs_once[1], toy.new())


LONGEST = 10
"""Seconds of computing time that a command may take. One that waits for ever is ended by an alarm: its code is -14."""


def flip(path, seed=0):
    content = bytearray(path.read_bytes())
    content[random.Random(seed).randrange(len(content))] ^= 1
    path.write_bytes(content)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path):
    os.truncate(path, 3 << 30)


def link(path):
    other = path.parent.parent.parent / "elsewhere.txt"
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)


def deep(path):
    path.write_text("[" * 1_000_000)


DAMAGE = (flip, fifo, device, huge, link, deep)


@pytest.mark.rule("L3")
@pytest.mark.parametrize(
    ("name", "damages"), [(name, (flip, DAMAGE[number + 1])) for number, name in enumerate(SIDE_FILES)]
)
def test_a_damaged_side_file_is_refused_before_training_or_made_anew(half, toy, gan, name, damages):
    refused_or_made_anew(half, toy, gan, name, damages)


@pytest.mark.slow
@pytest.mark.rule("L3")
@pytest.mark.parametrize("name", SIDE_FILES)
def test_every_damage_of_every_side_file(half, toy, gan, name):
    refused_or_made_anew(half, toy, gan, name, DAMAGE)


def refused_or_made_anew(half, toy, gan, name, damages):
    for number, damage in enumerate(damages):
        run = shutil.copytree(half, half.parent / f"copy-{number}")
        damage(run / name)
        done = gan("resume", run, "--quiet")
        assert done.computing < LONGEST, damage
        assert done.code in (0, 4), (damage, done.errors)
        assert name in done.errors, (damage, done.errors)
        assert "Traceback" not in done.errors
        if done.code == 0:
            weights = final_state(run)["architecture.safetensors"]
            assert weights == toy.is_baseline["architecture.safetensors"]
        else:
            assert len(done.errors.splitlines()) == 1
            assert not (run / "evaluation" / "result.json").exists()


@pytest.mark.rule("L3")
@pytest.mark.parametrize("name", ["modality.json", "evaluation/result.json"])
def test_what_can_be_made_anew_is(whole, gan, name):
    before = (whole / name).read_bytes()
    flip(whole / name)
    page = gan("page", whole)
    assert page.code == 4
    assert f"gan resume {whole}" in page.errors
    done = gan("resume", whole, "--quiet")
    assert (done.code, "made anew" in done.errors) == (0, True), done.errors
    assert (whole / name).read_bytes().startswith(before[:1])
    assert gan("page", whole).code == 0
    assert gan("verify", whole).code == 0


@pytest.mark.rule("L3")
def test_a_damaged_record_is_told_and_kept_aside(half, gan):
    lines = (half / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    damaged = [lines[0], b"\xff" + lines[1][1:], *lines[2:], b'{"samples": 9']
    (half / "metrics.jsonl").write_bytes(b"".join(damaged))
    done = gan("resume", half, "--quiet")
    assert done.code == 0
    assert f"1 of {len(lines)} records cannot be read" in done.errors
    assert (half / "metrics.jsonl.damaged-1").read_bytes() == b"".join(damaged)
    samples = [json.loads(line)["samples"] for line in (half / "metrics.jsonl").read_text().splitlines()]
    assert samples == [8, *range(24, 49, 8)]


@pytest.mark.rule("L3")
def test_a_record_with_another_number_is_told(half, gan):
    text = (half / "metrics.jsonl").read_text()
    (half / "metrics.jsonl").write_text(text.replace('"skipped": 0', '"skipped": 1', 1))
    done = gan("resume", half, "--quiet")
    assert done.code == 0
    assert "are not those that were written" in done.errors


@pytest.mark.rule("L3")
def test_only_a_torn_tail_is_dropped_without_a_word(half, gan):
    with open(half / "metrics.jsonl", "ab") as file:
        file.write(b'{"samples": 40, "pha')
    done = gan("resume", half, "--quiet")
    assert (done.code, done.errors) == (0, "")
    assert sorted(path.name for path in half.glob("metrics*")) == ["metrics.jsonl"]


@pytest.mark.rule("L4")
@pytest.mark.parametrize("name", ["checkpoints", "samples", "page", "previews", "evaluation"])
def test_a_link_that_leaves_the_run_is_refused(whole, gan, name):
    outside = whole.parent / "outside"
    shutil.move(whole / name, outside)
    (whole / name).symlink_to(outside)
    before = contents(outside)
    for command in (("resume", whole), ("generate", whole, "--count", "1", "--out", whole.parent / "new")):
        done = gan(*command)
        assert done.code == 4
        assert f"{whole / name}: is a link that leads out of the run folder" in done.errors
        assert len(done.errors.splitlines()) == 1
    assert contents(outside) == before


@pytest.mark.rule("L3", "L4")
@pytest.mark.parametrize("damage", [fifo, device, huge, link, deep])
def test_the_description_of_flags_is_read_with_care(whole, gan, damage):
    """``--help`` computes it where it is damaged, and shows none of a folder that the command itself refuses."""
    expected = gan("generate", whole, "--help").output
    assert "--truncation" in expected
    damage(whole / "options.json")
    done = gan("generate", whole, "--help")
    assert (done.code, done.errors) == (0, "")
    if damage in (huge, deep):
        assert done.output == expected
    else:
        assert done.output.startswith(expected.partition("\nOptions of this run")[0])
        assert "Options of this run" not in done.output


@pytest.mark.rule("L4")
def test_the_description_of_flags_cannot_write_to_the_terminal(whole, gan):
    found = json.loads((whole / "options.json").read_text())
    found["title"] = "\x1b]0;owned\x07"
    found["flags"].append(["\x1b[2J", "\x9b2J\u202e"])
    (whole / "options.json").write_text(json.dumps(found))
    said = gan("generate", whole, "--help").output
    assert "\\u001b]0;owned" in said
    assert not set("\x1b\x07\x9b\u202e") & set(said)


@pytest.mark.rule("L4")
def test_names_cannot_write_to_the_terminal(whole, gan):
    hostile = whole.parent / "run\x1b]0;owned\x07\x9b2J\u202e"
    whole.rename(hostile)
    (hostile / "recipe.yaml").write_text('plugin: "\\x1b[2J"\n')
    for command in (("resume", hostile), ("page", hostile), ("verify", hostile), ("resume", f"{hostile}-not")):
        done = gan(*command)
        assert done.code in (2, 4)
        assert not set("\x1b\x07\x9b\u202e") & set(done.output + done.errors), (command, done.errors)
        assert "\\u001b" in done.output + done.errors


@pytest.mark.rule("L8")
def test_verify_names_every_damaged_file(whole, gan):
    done = gan("verify", whole)
    assert done.code == 0, done.errors
    sound = done.output
    for name in (*SIDE_FILES, "evaluation/result.json", "checkpoints/samples-000000048/architecture.safetensors"):
        assert str((whole / name).parent if "checkpoints" in name else whole / name) in sound
        kept = (whole / name).read_bytes()
        flip(whole / name)
        done = gan("verify", whole)
        assert done.code == 4, name
        assert str(whole / name.partition("/architecture")[0]) in done.errors
        assert len(done.errors.splitlines()) == 1
        (whole / name).write_bytes(kept)
    packs = [line for line in sound.splitlines() if "/packs/" in line]
    assert len(packs) == 1
    assert gan("verify", whole.parent).code == 1  # files that say nothing of themselves are among those of any folder


# -- two starts --------------------------------------------------------------------------------------------------------


def start_twice(toy, run, *flags):
    command = [sys.executable, "-m", "gan", "run", "--recipe", toy.recipe, "--out", run, "--quiet", *flags]
    environment = {
        **os.environ,
        "PYTHONPATH": str(toy.process.work / "site"),
        "GAN_CACHE": str(toy.process.work / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    return [(process.communicate(timeout=100)[1], process.returncode) for process in both]


@pytest.mark.slow
@pytest.mark.rule("L7")
def test_of_two_starts_at_once_exactly_one_trains(toy):
    for flags in ((), ("--or-resume",)):
        run = toy.new()
        found = start_twice(toy, run, *flags)
        codes = sorted(code for _, code in found)
        assert codes[0] == 0, found
        assert codes[1] in ((7, 2) if not flags else (7, 0)), found
        weights = final_state(run)["architecture.safetensors"]
        assert weights == toy.is_baseline["architecture.safetensors"]


@pytest.mark.rule("L7")
def test_a_start_does_not_disturb_one_that_has_just_made_its_folder(toy, gan):
    """What the first has written so far is not swept by the second, which the lock sends away."""
    run = toy.new()
    run.mkdir()
    (run / ".tmp-recipe.yaml-0-0").write_text("half")
    with RunFolder(run).lock():
        done = gan("run", "--recipe", toy.recipe, "--out", run, "--quiet")
        assert (run / ".tmp-recipe.yaml-0-0").exists()
    assert done.code == 7
    assert f"in use by process {os.getpid()} on " in done.errors
    assert gan("run", "--recipe", toy.recipe, "--out", run, "--quiet").code == 0
    assert not list(run.glob(".*"))


@pytest.mark.rule("L7")
def test_a_repeated_command_starts_goes_on_and_ends(toy, half, gan):
    command = ("run", "--recipe", toy.recipe, "--or-resume", "--quiet", "--out")
    new = toy.new()
    for run in (new, new, half):
        done = gan(*command, run)
        assert (done.code, done.errors) == (0, ""), done.errors
        weights = final_state(run)["architecture.safetensors"]
        assert weights == toy.is_baseline["architecture.safetensors"]
    done = gan(*command, new, "--set", "training.batch=4")
    assert done.code == 4
    assert "recipe.training.batch: 8 -> 4" in done.errors
    assert gan("run", "--recipe", toy.recipe, "--or-resume").code == 2


NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


@pytest.fixture
def containers(toy, tmp_path):
    """Starts `gan run` twice at once, in two pid namespaces with an empty cache in common: both are process 1."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this machine permits no pid namespaces")
    environment = {
        **os.environ,
        "PYTHONPATH": str(toy.process.work / "site"),
        "GAN_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }

    def start(*runs):
        both = []
        for run in runs:
            command = [sys.executable, "-m", "gan", "run", "--recipe", toy.recipe, "--out", run, "--quiet"]
            process = subprocess.Popen([*NAMESPACE, *command], env=environment, stderr=subprocess.PIPE, text=True)
            both.append(process)
        return [(process.communicate(timeout=200)[1], process.returncode) for process in both]

    return start


@pytest.mark.slow
@pytest.mark.rule("L2")
def test_two_containers_make_their_data_in_one_cache(containers, toy, tmp_path):
    runs = toy.new(), toy.new()
    assert containers(*runs) == [("", 0), ("", 0)]
    for run in runs:
        weights = final_state(run)["architecture.safetensors"]
        assert weights == toy.is_baseline["architecture.safetensors"]
    for folder, kept in (("packs", 1), ("datasets", 1)):
        names = [path.name for path in (tmp_path / "cache" / folder).iterdir() if path.name != "known"]
        assert len(names) == kept, names


@pytest.mark.slow
@pytest.mark.rule("L2", "L7", "R14")
def test_of_two_containers_on_one_folder_one_trains(containers, toy):
    run = toy.new()
    found = sorted(containers(run, run), key=lambda outcome: outcome[1])
    assert found[0] == ("", 0)
    assert found[1][1] in (2, 7), found  # 2: it came when the run was there already
    assert str(run) in found[1][0]
    weights = final_state(run)["architecture.safetensors"]
    assert weights == toy.is_baseline["architecture.safetensors"]


# -- mutated run folders -----------------------------------------------------------------------------------------------


def contents(folder):
    """Every name below a folder with a hash of its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else os.lstat(path).st_mode
    return found


TEXTS = (b"", b"\0" * 50, b"null", b"[]", b"{}", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b"a: &a [*a]", b"1e999")


WORDS = (b'"samples"', b'"metrics"', b'"value"', b'"sealed"', b'"seal"', b'"sha256"', b"training", b"null", b"[]")
KINDS = (
    *("flip", "flips", "cut", "text", "digit", "key", "removed"),
    *("fifo", "device", "huge", "link", "folder", "swap"),
)


def mutate(run, rng, outside):
    """Change one thing in a run folder; returns the name of the file and what was done to it."""
    everything = sorted(path for path in run.rglob("*") if path.suffix != ".png" or rng.random() < 0.1)
    path = rng.choice(everything)
    if path.is_dir():
        kind = rng.choice(["removed", "a link outside", "a file", "empty"])
        if kind == "a link outside":
            shutil.copytree(path, outside / "copy")
        shutil.rmtree(path)
        if kind == "a link outside":
            path.symlink_to(outside / "copy")
        elif kind == "a file":
            path.write_text("x")
        elif kind == "empty":
            path.mkdir()
        return path, kind
    kind = rng.choice(KINDS)
    content = bytearray(path.read_bytes())
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else 20):
            if content:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == "cut":
        os.truncate(path, rng.randrange(len(content) + 1))
    elif kind == "text":
        path.write_bytes(rng.choice(TEXTS))
    elif kind == "digit":
        places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
        if places:
            content[rng.choice(places)] = rng.choice(b"0123456789-.e")
        path.write_bytes(content)
    elif kind == "key":
        word = rng.choice(WORDS)
        path.write_bytes(bytes(content).replace(word, rng.choice([b'"\x1b[2J"', b"0", b"{}", b'"other"'])))
    elif kind == "link":
        (outside / "target").write_bytes(content)
        path.unlink()
        path.symlink_to(outside / "target")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "swap":
        shutil.copyfile(rng.choice([other for other in everything if other.is_file()]), path.with_name("swapped"))
        path.with_name("swapped").replace(path)
    elif kind == "removed":
        path.unlink()
    else:
        {"fifo": fifo, "device": device, "huge": huge}[kind](path)
    return path, kind


UNSEALED = {
    *(".holder", "options.json", "README.md", "training.png", "film.gif", "page", "samples", "previews"),
    *("receipts.json", "best", "evaluation"),
}
"""Files and folders of a run that decide no result."""


def check_mutated(gan, toy, models, seed):
    """One mutated run folder and one command."""
    rng = random.Random(seed)
    work = toy.new().parent
    outside = work / "outside"
    outside.mkdir()
    (outside / "canary").write_text("sings")
    finished = rng.random() < 0.5
    run = shutil.copytree(models[finished], work / "run")
    path, kind = mutate(run, rng, outside)
    before = contents(outside)
    commands = [("resume", run, "--quiet"), ("resume", run, "--quiet"), ("verify", run), ("page", run),
                ("generate", run, "--count", "1", "--out", work / "made"), ("compare", run, models[1]),
                ("generate", run, "--help"), ("evaluate", run, "--metrics", "ring-modes", "--count", "8")]  # fmt: skip
    command = rng.choice(commands)
    done = gan(*command)
    case = (seed, command[0], str(path.relative_to(run)), kind, done.code, done.errors[-2000:])
    assert done.code in (0, 2, 3, 4, 5, 6, 7), case
    assert "Traceback" not in done.errors, case
    assert "\x1b" not in done.errors + done.output, case
    assert done.computing < LONGEST, case
    assert done.megabytes < 1000 + UNLOADED, case
    assert contents(outside) == before, case
    if command[0] == "resume" and done.code == 0 and path.name != "recipe.yaml":
        weights = (max((run / "checkpoints").glob("samples-*")) / "architecture.safetensors").read_bytes()
        assert weights == toy.is_baseline["architecture.safetensors"], case
    if command[0] == "verify" and done.code == 0:
        parts = path.relative_to(run).parts
        unchanged = path.is_file() and contents(run) == contents_of(models[finished], run)
        unchanged = unchanged or (path.name == "metrics.jsonl" and kept_records(run, models[finished]))
        unchanged = unchanged or any(part.startswith(ASIDE) for part in parts)  # half written when it was killed
        assert UNSEALED & {parts[0], parts[-1]} or unchanged or kind in ("removed", "empty"), case
    shutil.rmtree(work)
    return done


def kept_records(run, model):
    """Whether the records up to the newest checkpoint are those of the model; later ones are not sealed yet."""
    before = (model / "metrics.jsonl").read_bytes().splitlines()
    sealed = [line for line in before if json.loads(line)["samples"] <= newest(model)]
    return (run / "metrics.jsonl").read_bytes().splitlines()[: len(sealed)] == sealed


def contents_of(model, run):
    return {name.replace(str(model), str(run)): found for name, found in contents(model).items()}


@pytest.mark.rule("L3", "L4")
@pytest.mark.parametrize("first", range(0, 25, 5))
def test_a_sample_of_mutated_run_folders(gan, toy, runs_once, first):
    for seed in range(first, first + 5):
        check_mutated(gan, toy, runs_once, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("L3", "L4")
def test_500_mutated_run_folders(gan, toy, runs_once, record_property):
    """All are tried, and the first failures are told; `benchmarks/reliability/mutated.py` records the counts."""
    lives, failed = [], []
    for seed in range(1000, 1500):
        try:
            lives.append(check_mutated(gan, toy, runs_once, seed))
        except AssertionError as error:
            failed.append(str(error))
    about = {
        "folders": len(lives) + len(failed),
        "failures": len(failed),
        "exit codes": Counter(str(life.code) for life in lives),
        "most seconds of computing time": round(max(life.computing for life in lives), 2),
        "most memory, MB": max(life.megabytes for life in lives),
        "of which before the command, MB": min(life.megabytes for life in lives),
    }
    record_property("mutated run folders", json.dumps(about))
    assert not failed, "\n".join([f"{len(failed)} of 500", *failed[:5]])
